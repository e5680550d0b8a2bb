// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package account_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/metrics"
	"github.com/holdfast-project/holdfast/tests/rig/kube"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// What the cluster of these tests is made of.
const (
	namespace     = "holdfast-system"
	agentAccount  = "holdfast-agent"
	otherAccount  = "something-else"
	audience      = "holdfast-collector"
	collectorUser = "system:serviceaccount:holdfast-system:holdfast-collector"
)

// cluster is an API server with what the chart would have made, but for what runs.
type cluster struct {
	*kube.Server
	t     *testing.T
	admin *kubernetes.Clientset
}

func startCluster(t *testing.T) *cluster {
	server := kube.Run(t)
	admin, err := kubernetes.NewForConfig(server.Admin())
	check(t, err)
	c := &cluster{Server: server, t: t, admin: admin}
	_, err = admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
	check(t, err)
	for _, name := range []string{agentAccount, otherAccount} {
		_, err := admin.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		check(t, err)
	}
	_, err = admin.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "collector"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"tokenreviews"}, Verbs: []string{"create"}}},
	}, metav1.CreateOptions{})
	check(t, err)
	_, err = admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "collector"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "collector"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: collectorUser}},
	}, metav1.CreateOptions{})
	check(t, err)
	return c
}

// pod makes a pod of an account on a node, which it makes too.
func (c *cluster) pod(name, account, node string) *corev1.Pod {
	c.t.Helper()
	_, err := c.admin.CoreV1().Nodes().Create(c.t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{})
	check(c.t, err)
	pod, err := c.admin.CoreV1().Pods(namespace).Create(c.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: account, Containers: []corev1.Container{{Name: "agent", Image: "holdfast-agent"}},
		},
	}, metav1.CreateOptions{})
	check(c.t, err)
	return pod
}

// token asks for a token as the kubelet does for a projected volume; pod may be nil.
func (c *cluster) token(account, audience string, pod *corev1.Pod) string {
	c.t.Helper()
	seconds := int64(600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	if audience != "" {
		request.Spec.Audiences = []string{audience}
	}
	if pod != nil {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	answer, err := c.admin.CoreV1().ServiceAccounts(namespace).CreateToken(c.t.Context(), account, request, metav1.CreateOptions{})
	check(c.t, err)
	return answer.Status.Token
}

// central is a collector that takes the tokens of the agent's account, and asks the API server as a user.
type central struct {
	*collectortest.Collector
	// hosts is how many addresses have been used to enrol from.
	hosts int
}

func startCollector(c *cluster, user string) *central {
	c.t.Helper()
	cfg, err := c.User(user, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
	check(c.t, err)
	path, err := c.Kubeconfig(cfg)
	check(c.t, err)
	return &central{Collector: collectortest.Start(c.t, collector.Config{
		KubernetesEnrol: namespace + "/" + agentAccount, KubernetesAudience: audience, Kubeconfig: path,
	})}
}

// enrol asks for a certificate of a node with a token, from an address that has not failed yet.
func (c *central) enrol(t *testing.T, token, node string) (*apiv1.Certificate, string, error) {
	t.Helper()
	c.hosts++
	host := fmt.Sprintf("127.0.0.%d", 1+c.hosts)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}
	conn, err := grpc.NewClient("passthrough:///"+c.GRPCAddr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, RootCAs: c.Authority().Roots(),
		})),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp", address)
		}))
	check(t, err)
	defer conn.Close()
	_, csr, err := collectortest.Request(node)
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	issued, err := apiv1.NewEnrolmentClient(conn).Enrol(ctx, &apiv1.EnrolRequest{ServiceAccountToken: token, Node: node, Csr: csr})
	return issued, host, err
}

// holdfast runs the holdfast command on the collector, and gives each line of what it prints to take.
func (c *central) holdfast(t *testing.T, take func(line []byte), args ...string) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(ca, c.Authority().PEM(), 0o600))
	environment := map[string]string{
		"HOLDFAST_ADDRESS": c.HTTPAddr().String(), "HOLDFAST_CA": ca,
		"HOLDFAST_TOKEN": c.Token(t, authority.Grant{Role: store.RoleViewer}),
	}
	var out, errs bytes.Buffer
	env := cli.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: time.Now, Location: time.UTC,
		Getenv: func(name string) string { return environment[name] },
	}
	if code := cli.Run(t.Context(), env, append(args, "-o", "json")); code != 0 {
		t.Fatalf("holdfast %v: %s", args, errs.String())
	}
	for line := range bytes.Lines(out.Bytes()) {
		take(line)
	}
}

// reported waits until 'holdfast nodes refused' lists a refusal.
func (c *central) reported(t *testing.T, node, host, cause string) view.Refusal {
	t.Helper()
	var found view.Refusal
	wait.Until(t, patience, func() error {
		found = view.Refusal{}
		c.holdfast(t, func(line []byte) {
			var r view.Refusal
			check(t, json.Unmarshal(line, &r))
			if r.Node == node && r.Host == host && r.Cause == cause {
				found = r
			}
		}, "nodes", "refused")
		if found.Count == 0 {
			return fmt.Errorf("no refusal of %s from %s for %s is listed", node, host, cause)
		}
		return nil
	})
	return found
}

// connected waits until 'holdfast nodes' shows that a node is connected.
func (c *central) connected(t *testing.T, node string) {
	t.Helper()
	wait.Until(t, patience, func() error {
		err := errors.New("node " + node + " is not listed")
		c.holdfast(t, func(line []byte) {
			var n view.Node
			check(t, json.Unmarshal(line, &n))
			if n.Node == node {
				err = nil
				if !n.Connected {
					err = errors.New("node " + node + " is away")
				}
			}
		}, "nodes")
		return err
	})
}

// metric is the value of a series of the collector's; 0 if there is none.
func (c *central) metric(t *testing.T, series string) float64 {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Authority().Roots()}, DisableKeepAlives: true}}
	all, err := metrics.Read(t.Context(), client, "https://"+c.HTTPAddr().String()+"/metrics")
	check(t, err)
	return all[series]
}

// nodeOf is the node that a certificate is of.
func nodeOf(t *testing.T, issued *apiv1.Certificate) string {
	t.Helper()
	leaf, err := x509.ParseCertificate(issued.GetChain()[0])
	check(t, err)
	return leaf.URIs[0].String()
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long something may take to come about.
const patience = 4 * time.Minute
