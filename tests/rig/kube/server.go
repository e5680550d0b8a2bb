// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Config says what a Server is made of.
type Config struct {
	// APIServer and Etcd are the paths of the programs.
	APIServer, Etcd string
	// Dir holds everything; it must exist.
	Dir string
	// Args are further flags of kube-apiserver; they come last and so win.
	Args []string
}

// Issuer is the issuer of ServiceAccount tokens and the audience of those that name none.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// Server is a running API server. It is used by one goroutine.
type Server struct {
	cfg       Config
	authority *Authority
	// users is how many certificates User had signed.
	users     int
	etcdPort  int
	apiPort   int
	etcd, api *process
}

// Start starts both programs and waits until the API server is ready. On an error nothing is left running.
func Start(ctx context.Context, cfg Config) (_ *Server, err error) {
	s := &Server{cfg: cfg}
	if s.authority, err = NewAuthority(cfg.Dir); err != nil {
		return nil, err
	}
	err = s.authority.Server("server", []string{"localhost", "kubernetes.default.svc"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	if err := s.authority.Client("admin", "admin", "system:masters"); err != nil {
		return nil, err
	}
	if s.etcdPort, err = freePort(ctx); err != nil {
		return nil, err
	}
	if s.apiPort, err = freePort(ctx); err != nil {
		return nil, err
	}
	if err := s.startEtcd(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.StartAPI(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends both programs and waits for their ends.
func (s *Server) Close() error {
	err := s.StopAPI(context.Background())
	if s.etcd != nil {
		err = errors.Join(err, s.etcd.stop(context.Background()))
		s.etcd = nil
	}
	return err
}

func (s *Server) startEtcd(ctx context.Context) (err error) {
	url := "http://" + s.etcdAddress()
	s.etcd, err = start(s.cfg.Dir, s.cfg.Etcd, "--name=holdfast", "--data-dir="+filepath.Join(s.cfg.Dir, "etcd"),
		"--listen-client-urls="+url, "--advertise-client-urls="+url, "--listen-peer-urls=http://127.0.0.1:0")
	if err != nil {
		return err
	}
	return s.etcd.await(ctx, func(ctx context.Context) error { return get(ctx, http.DefaultClient, url+"/health") })
}

// StartAPI starts the API server again after StopAPI, at the same address and with what etcd holds, and waits until it is
// ready.
func (s *Server) StartAPI(ctx context.Context) (err error) {
	pki := s.authority.File
	args := []string{
		"--etcd-servers=http://" + s.etcdAddress(),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + strconv.Itoa(s.apiPort),
		"--endpoint-reconciler-type=none", "--service-cluster-ip-range=10.96.0.0/12",
		"--tls-cert-file=" + pki("server.pem"), "--tls-private-key-file=" + pki("server.key"), "--client-ca-file=" + pki("ca.pem"),
		"--service-account-issuer=" + Issuer, "--api-audiences=" + Issuer,
		"--service-account-key-file=" + pki("tokens.key"), "--service-account-signing-key-file=" + pki("tokens.key"),
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--disable-admission-plugins=ServiceAccount", "--profiling=false",
	}
	if s.api, err = start(s.cfg.Dir, s.cfg.APIServer, append(args, s.cfg.Args...)...); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(s.Admin())
	if err != nil {
		return fmt.Errorf("client of the API server: %w", err)
	}
	defer client.CloseIdleConnections()
	return s.api.await(ctx, func(ctx context.Context) error { return get(ctx, client, s.URL()+"/readyz") })
}

// StopAPI ends the API server: from then on nobody answers at its address. It does nothing if the server does not run.
func (s *Server) StopAPI(ctx context.Context) error {
	if s.api == nil {
		return nil
	}
	p := s.api
	s.api = nil
	return p.stop(ctx)
}

// URL is where the API server answers.
func (s *Server) URL() string { return "https://127.0.0.1:" + strconv.Itoa(s.apiPort) }

func (s *Server) etcdAddress() string { return "127.0.0.1:" + strconv.Itoa(s.etcdPort) }

// Admin is the configuration of a client that may do everything.
func (s *Server) Admin() *rest.Config {
	cfg := s.Anonymous()
	cfg.CertFile, cfg.KeyFile = s.authority.File("admin.pem"), s.authority.File("admin.key")
	return cfg
}

// Anonymous is the configuration of a client that says nothing of who it is. With BearerToken or BearerTokenFile set it is
// that of the token's holder; with Impersonate set in Admin's, that of anybody.
func (s *Server) Anonymous() *rest.Config {
	// Tests do not wait for a client's own limits.
	return &rest.Config{Host: s.URL(), TLSClientConfig: rest.TLSClientConfig{CAFile: s.authority.File("ca.pem")}, QPS: -1}
}

// User is the configuration of a client that presents itself as a user by a certificate. A ServiceAccount's name is
// system:serviceaccount:NAMESPACE:NAME, with the groups system:serviceaccounts and system:serviceaccounts:NAMESPACE.
func (s *Server) User(name string, groups ...string) (*rest.Config, error) {
	s.users++
	file := fmt.Sprintf("user-%d", s.users)
	if err := s.authority.Client(file, name, groups...); err != nil {
		return nil, err
	}
	cfg := s.Anonymous()
	cfg.CertFile, cfg.KeyFile = s.authority.File(file+".pem"), s.authority.File(file+".key")
	return cfg, nil
}

// Kubeconfig writes a client's configuration into a file in the form of kubectl, and returns the file's path.
func (s *Server) Kubeconfig(c *rest.Config) (path string, err error) {
	cfg := api.NewConfig()
	cfg.Clusters["holdfast"] = &api.Cluster{Server: c.Host, CertificateAuthority: c.CAFile}
	cfg.AuthInfos["holdfast"] = &api.AuthInfo{
		ClientCertificate: c.CertFile, ClientKey: c.KeyFile, Token: c.BearerToken, TokenFile: c.BearerTokenFile,
	}
	cfg.Contexts["holdfast"] = &api.Context{Cluster: "holdfast", AuthInfo: "holdfast"}
	cfg.CurrentContext = "holdfast"
	f, err := os.CreateTemp(s.cfg.Dir, "kubeconfig-")
	if err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	if err := clientcmd.WriteToFile(*cfg, f.Name()); err != nil {
		return "", fmt.Errorf("write a kubeconfig: %w", err)
	}
	return f.Name(), nil
}

// Log is the end of the API server's log, at most n lines.
func (s *Server) Log(n int) string { return logTail(s.cfg.Dir, s.cfg.APIServer, n) }

// freePort is a port of the loopback device that nobody listens on just now.
func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// get asks for a page and wants the answer 200.
func get(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}
