// SPDX-License-Identifier: Apache-2.0

//go:build cluster

package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/kube/v1alpha1"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
	"github.com/holdfast-project/holdfast/rules/profile"
	rig "github.com/holdfast-project/holdfast/tests/rig/kube"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// cluster is a real API server that knows our kinds, as an administrator talks to it.
type cluster struct {
	t      *testing.T
	server *rig.Server
	http   *http.Client
}

// newCluster starts an API server and gives it the definitions.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	server := rig.Run(t)
	client, err := rest.HTTPClientFor(server.Admin())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, server: server, http: client}
	files, err := filepath.Glob("../../deploy/helm/holdfast/crds/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatalf("definitions %v: %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c.must(http.MethodPost, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "application/yaml", text)
	}
	for _, resource := range []string{v1alpha1.ProfileResource, v1alpha1.PolicyResource} {
		c.until(resource+" is served", func() error {
			_, err := c.ask(http.MethodGet, "/apis/"+v1alpha1.APIVersion+"/"+resource, "", nil)
			return err
		})
	}
	c.must(http.MethodPost, "/api/v1/namespaces", "application/yaml", []byte("{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"))
	c.install()
	return c
}

// install applies what of the manifests gives the collector its rights.
func (c *cluster) install() {
	c.t.Helper()
	const core, rbac = "/api/v1", "/apis/rbac.authorization.k8s.io/v1"
	paths := map[string]string{
		"Namespace": core + "/namespaces", "ConfigMap": core + "/namespaces/holdfast-system/configmaps",
		"ClusterRole": rbac + "/clusterroles", "ClusterRoleBinding": rbac + "/clusterrolebindings",
		"Role": rbac + "/namespaces/holdfast-system/roles", "RoleBinding": rbac + "/namespaces/holdfast-system/rolebindings",
	}
	text, err := os.ReadFile("../../deploy/manifests/holdfast.yaml")
	if err != nil {
		c.t.Fatal(err)
	}
	bound := 0
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		kind := regexp.MustCompile(`(?m)^kind: (\w+)$`).FindStringSubmatch(document)
		if kind == nil || paths[kind[1]] == "" {
			continue
		}
		if strings.HasSuffix(kind[1], "Binding") {
			bound++
		}
		c.must(http.MethodPost, paths[kind[1]], "application/yaml", []byte(document))
	}
	if bound < 2 {
		c.t.Fatalf("the manifests bind %d roles", bound)
	}
}

// ask sends a request and returns the answer's text; an error for an answer that is none of success.
func (c *cluster) ask(method, path, kind string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.server.URL()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		var status struct{ Message string }
		if err := json.Unmarshal(text, &status); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %s", response.Status, status.Message)
	}
	return text, nil
}

func (c *cluster) must(method, path, kind string, body []byte) []byte {
	c.t.Helper()
	text, err := c.ask(method, path, kind, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return text
}

// until waits for something to succeed.
func (c *cluster) until(what string, try func() error) {
	c.t.Helper()
	wait.Until(c.t, 5*time.Minute, func() error {
		if err := try(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		return nil
	})
}

// resourceOf is the resource of a kind, in namespace shop.
func resourceOf(kind string) string {
	resource := map[string]string{v1alpha1.ProfileKind: v1alpha1.ProfileResource, v1alpha1.PolicyKind: v1alpha1.PolicyResource}[kind]
	return "/apis/" + v1alpha1.APIVersion + "/namespaces/shop/" + resource
}

// create makes an object of a kind in namespace shop, as a person with a field manager.
func (c *cluster) create(kind, name, spec string) error {
	text := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: shop}\nspec: %s\n", v1alpha1.APIVersion, kind, name, spec)
	_, err := c.ask(http.MethodPost, resourceOf(kind)+"?fieldValidation=Strict&fieldManager=argocd-controller", "application/yaml", []byte(text))
	return err
}

// TestRefused has the API server refuse objects, each for the reason that people are to be told.
func TestRefused(t *testing.T) {
	c := newCluster(t)
	text, err := os.ReadFile("testdata/refused.yaml")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for i, document := range strings.Split(string(text), "---\n") {
		want, rest, _ := strings.Cut(strings.TrimPrefix(document, "# want: "), "\n")
		kind, spec, found := strings.Cut(strings.TrimPrefix(rest, "kind: "), "\nspec: ")
		if !found || want == "" {
			t.Fatalf("document %d is none: %s", i, document)
		}
		err := c.create(kind, fmt.Sprintf("bad-%d", i), strings.TrimSpace(spec))
		for part := range strings.SplitSeq(want, " ... ") {
			if err != nil && strings.Contains(err.Error(), part) {
				continue
			}
			t.Errorf("%s\nis answered with\n  %v\nexpected is\n  %s", spec, err, want)
		}
		refused++
	}
	t.Logf("%d objects are refused by the API server with the reason", refused)
	// The largest object that the limits allow is taken, with every entry checked.
	processes := make([]string, 0, v1alpha1.MaxProcesses)
	for i := range v1alpha1.MaxProcesses {
		processes = append(processes, fmt.Sprintf("{path: /bin/%d, egress: [{name: n%d.example, protocol: tcp, port: 443}, {cidr: 10.0.0.0/8, protocol: udp, port: any}], files: [{path: /tmp/<n>/*, access: [write]}]}", i, i))
	}
	spec := "{workload: {kind: Deployment, name: web, container: app}, processes: [" + strings.Join(processes, ", ") + "]}"
	if err := c.create(v1alpha1.ProfileKind, "large", spec); err != nil {
		t.Errorf("a large object: %v", err)
	}
	if err := c.create(v1alpha1.ProfileKind, "larger", strings.Replace(spec, "[", "[{path: /bin/more}, ", 1)); err == nil || !strings.Contains(err.Error(), "Too many") {
		t.Errorf("an object that is too large: %v", err)
	}
	// What is exactly an object stays one: profile, API server, profile.
	checkStored(t, c)
}

// checkStored sends a profile with times, counts and odd characters to the API server and back.
func checkStored(t *testing.T, c *cluster) {
	t.Helper()
	files, err := filepath.Glob("../cli/testdata/profiles/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no profile: %v", err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.DecodeOne(files[0], text)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := v1alpha1.SpecOf(p)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.create(v1alpha1.ProfileKind, "stored", string(encoded)); err != nil {
		t.Fatal(err)
	}
	manifest, err := v1alpha1.Manifest(p)
	if err != nil {
		t.Fatal(err)
	}
	c.must(http.MethodPost, resourceOf(v1alpha1.ProfileKind)+"?fieldValidation=Strict", "application/yaml", []byte(manifest))
	var back v1alpha1.HoldfastProfile
	if err := json.Unmarshal(c.must(http.MethodGet, resourceOf(v1alpha1.ProfileKind)+"/stored", "", nil), &back); err != nil {
		t.Fatal(err)
	}
	again, err := back.Profile()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(profile.Encode(again)), string(profile.Encode(p)); got != want {
		t.Errorf("the API server made of\n%s\nthis:\n%s", want, got)
	}
}

// columns are what kubectl get shows of the only object of a kind: the columns' names with what stands in them.
func (c *cluster) columns(kind string) map[string]string {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.server.URL()+resourceOf(kind), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := c.http.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	var table metav1.Table
	if err := json.NewDecoder(response.Body).Decode(&table); err != nil || len(table.Rows) != 1 {
		c.t.Fatalf("%d rows: %v", len(table.Rows), err)
	}
	cells := map[string]string{}
	for i, column := range table.ColumnDefinitions {
		cells[column.Name] = fmt.Sprint(table.Rows[0].Cells[i])
	}
	return cells
}

// collectorRig is a fleet over a real store with a controller, and one agent whose part the test plays.
type collectorRig struct {
	*cluster
	fleet   *fleet.Fleet
	store   *sqlite.Store
	session *fleet.Session
	stop    func()
}

var webKey = profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}

// startCollector runs fleet and controller over a directory, with the rights that the manifests give and no others.
func (c *cluster) startCollector(dir string) *collectorRig {
	c.t.Helper()
	t := c.t
	s, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	f, err := fleet.New(t.Context(), fleet.Config{Store: s, Log: log, Every: 50 * time.Millisecond, Gather: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	account, err := c.server.User("system:serviceaccount:holdfast-system:holdfast-collector", "system:serviceaccounts",
		"system:serviceaccounts:holdfast-system", "system:authenticated")
	if err != nil {
		t.Fatal(err)
	}
	k, err := New(Config{
		Connection: &Connection{Config: account, Namespace: "holdfast-system"}, Fleet: f, Alerts: s, Authority: []byte("the certificate"),
		Instance: "collector-0", Log: log, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- f.Run(ctx) }()
	go func() { ended <- k.Run(ctx) }()
	r := &collectorRig{cluster: c, fleet: f, store: s}
	r.session = f.Join(t.Context(), fleet.Arrival{Hello: &apiv1.Hello{Node: "node-a"}, Issued: time.Now()})
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		r.session.Leave(context.WithoutCancel(t.Context()))
		cancel()
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run returned %v", err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

// runs says what the node does for the workload.
func (r *collectorRig) runs(version uint64, modes map[string]string, blocked uint64) {
	w := &apiv1.WorkloadState{
		Key:        &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"},
		Containers: 3, ProfileVersion: version, Blocked: blocked,
	}
	for _, signal := range profile.Signals() {
		mode := modes[string(signal)]
		if mode == "" {
			mode = "learn"
		}
		w.Signals = append(w.Signals, &apiv1.SignalState{Signal: string(signal), Mode: mode, State: "stable"})
	}
	r.session.Health(&apiv1.Health{Workloads: []*apiv1.WorkloadState{w}})
}

// status waits until the status of an object is as it should be.
func (r *collectorRig) status(kind, name string, check func(v1alpha1.ProfileStatus) error) {
	r.t.Helper()
	r.until("status of "+kind+" "+name, func() error {
		text, err := r.ask(http.MethodGet, resourceOf(kind)+"/"+name, "", nil)
		if err != nil {
			return err
		}
		var o v1alpha1.HoldfastProfile
		if err := json.Unmarshal(text, &o); err != nil {
			return err
		}
		if err := check(o.Status); err != nil {
			return fmt.Errorf("%w: %+v", err, o.Status)
		}
		return nil
	})
}

// outcome checks the condition Applied and the coverage.
func outcome(reason, coverage string) func(v1alpha1.ProfileStatus) error {
	return func(s v1alpha1.ProfileStatus) error {
		if len(s.Conditions) == 0 || s.Conditions[0].Reason != reason || s.Coverage != coverage {
			return fmt.Errorf("expected %s with %s", reason, coverage)
		}
		return nil
	}
}

// overlay waits until the overlay of the workload allows a program, or is none for "".
func (r *collectorRig) overlay(path string) (version uint64) {
	r.t.Helper()
	r.until("overlay with "+path, func() error {
		l, err := r.fleet.Layer(r.t.Context(), webKey, fleet.LayerOverlay, "", 0)
		if err != nil {
			return err
		}
		if path == "" && l.Text() != "" || path != "" && !strings.Contains(l.Text(), path) {
			return fmt.Errorf("it is %q", l.Text())
		}
		return nil
	})
	r.until("effective profile", func() error {
		all, err := r.fleet.Profiles(r.t.Context())
		if err != nil {
			return err
		}
		for _, p := range all {
			if p.Key == webKey {
				version = p.Version
			}
		}
		if path != "" && version == 0 {
			return errors.New("it has no version yet")
		}
		return nil
	})
	return version
}

// modes waits until settings hold, as pattern: mode of signals by author.
func (r *collectorRig) modes(want ...string) {
	r.t.Helper()
	r.until("modes", func() error {
		all, _, err := r.fleet.Modes(r.t.Context())
		if err != nil {
			return err
		}
		var got []string
		for _, s := range all {
			got = append(got, fmt.Sprintf("%s: %s of %v by %s", s.Workload, s.Mode, s.Signals, s.Author))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			return fmt.Errorf("got\n%s\nexpected\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

const webProfile = "{workload: {kind: Deployment, name: web, container: app}, modes: {process: enforce}, processes: [{path: %s, anyArguments: true}]}"

// TestObjects takes objects over, from the first apply to the removal, with people and an outage in between.
func TestObjects(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	r := c.startCollector(dir)
	apply := func(kind, name, spec string) {
		t.Helper()
		if err := c.create(kind, name, spec); err != nil {
			t.Fatal(err)
		}
	}
	ours := "shop/web/app: enforce of [process] by kubernetes: shop/web (argocd-controller)"
	policy := "shop/web*: enforce of [protect] by kubernetes: shop/careful (argocd-controller)"

	apply(v1alpha1.ProfileKind, "web", fmt.Sprintf(webProfile, "/bin/one"))
	version := r.overlay("/bin/one")
	r.modes(ours)
	apply(v1alpha1.PolicyKind, "careful", "{workloads: [{name: 'web*'}], modes: {protect: enforce}}")
	r.modes(ours, policy)
	r.runs(version, map[string]string{"process": "enforce", "protect": "enforce"}, 2)
	r.status(v1alpha1.ProfileKind, "web", outcome(v1alpha1.ReasonApplied, "3/3"))
	r.status(v1alpha1.PolicyKind, "careful", func(s v1alpha1.ProfileStatus) error {
		if s.Blocked != 2 || s.Signals.Protect == nil || s.Signals.Protect.Mode != "enforce" {
			return errors.New("expected 2 blocked, protect enforced")
		}
		return outcome(v1alpha1.ReasonApplied, "3/3")(s)
	})

	for column, want := range map[string]string{
		"Name": "web", "Kind": "Deployment", "Workload": "web", "Container": "app", "Applied": "True", "Coverage": "3/3", "Process": "enforce", "Blocked": "2",
	} {
		if got := c.columns(v1alpha1.ProfileKind)[column]; got != want {
			t.Errorf("column %s shows %q, expected %q", column, got, want)
		}
	}

	// A younger object about the same container is in conflict, and says with whom.
	apply(v1alpha1.ProfileKind, "a-second", fmt.Sprintf(webProfile, "/bin/other"))
	r.status(v1alpha1.ProfileKind, "a-second", func(s v1alpha1.ProfileStatus) error {
		if len(s.Conflicts) != 1 || s.Conflicts[0].With != "HoldfastProfile shop/web" {
			return errors.New("expected a conflict with the older object")
		}
		return outcome(v1alpha1.ReasonConflicted, "0/3")(s)
	})
	r.overlay("/bin/one")

	// The older one goes, and the younger one is in force.
	c.must(http.MethodDelete, resourceOf(v1alpha1.ProfileKind)+"/web", "", nil)
	r.overlay("/bin/other")
	r.status(v1alpha1.ProfileKind, "a-second", outcome(v1alpha1.ReasonApplied, "0/3"))

	// A person changes what the object wrote: that holds, and the object says so, until it says the same.
	text := string(profile.Encode(writtenBy(t, webKey, "/bin/other", "/bin/person")))
	if _, err := r.fleet.PutOverlay(t.Context(), webKey, text, nil, fleet.Author{Name: "ann", Reason: "INC-17"}); err != nil {
		t.Fatal(err)
	}
	r.status(v1alpha1.ProfileKind, "a-second", func(s v1alpha1.ProfileStatus) error {
		if len(s.Conflicts) != 1 || !strings.Contains(s.Conflicts[0].Message, "/bin/person") || !strings.Contains(s.Conflicts[0].Message, "ann") {
			return errors.New("expected a conflict with ann about /bin/person")
		}
		return outcome(v1alpha1.ReasonConflicted, "0/3")(s)
	})
	r.overlay("/bin/person")
	if all := r.fleet.ObjectConflicts(); len(all) != 1 || all[0].Key != webKey {
		t.Errorf("the fleet tells of %+v", all)
	}
	patch := `[{"op":"add","path":"/spec/processes/-","value":{"path":"/bin/person","anyArguments":true}}]`
	c.must(http.MethodPatch, resourceOf(v1alpha1.ProfileKind)+"/a-second", "application/json-patch+json", []byte(patch))
	r.status(v1alpha1.ProfileKind, "a-second", outcome(v1alpha1.ReasonApplied, "0/3"))

	// What the schema cannot know to be wrong is in the status; what was in force stays.
	patch = `[{"op":"add","path":"/spec/processes/-","value":{"path":"/bin/bad","arguments":[{"argv":["bad","8080"]}]}}]`
	c.must(http.MethodPatch, resourceOf(v1alpha1.ProfileKind)+"/a-second", "application/json-patch+json", []byte(patch))
	r.status(v1alpha1.ProfileKind, "a-second", outcome(v1alpha1.ReasonInvalid, "0/3"))
	r.overlay("/bin/person")
	r.modes(policy, "shop/web/app: enforce of [process] by kubernetes: shop/a-second (argocd-controller)")

	// The API server goes away; nothing is taken for removed, not by a collector that starts meanwhile either.
	if err := c.server.StopAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r = c.startCollector(dir)
	r.overlay("/bin/person")
	r.modes(policy, "shop/web/app: enforce of [process] by kubernetes: shop/a-second (argocd-controller)")
	if err := c.server.StartAPI(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.must(http.MethodDelete, resourceOf(v1alpha1.ProfileKind)+"/a-second", "", nil)
	r.overlay("")
	r.modes(policy)
	c.must(http.MethodDelete, resourceOf(v1alpha1.PolicyKind)+"/careful", "", nil)
	r.modes()
}

// writtenBy is an overlay with programs.
func writtenBy(t *testing.T, key profile.Key, paths ...string) *profile.Profile {
	t.Helper()
	o := profileOf(key.Name, 0, v1alpha1.Modes{}, paths...)
	p, err := o.Profile()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAuthority keeps the certificate of the authority published.
func TestAuthority(t *testing.T) {
	c := newCluster(t)
	c.startCollector(t.TempDir())
	published := func() error {
		text, err := c.ask(http.MethodGet, "/api/v1/namespaces/holdfast-system/configmaps/holdfast-ca", "", nil)
		if err != nil {
			return err
		}
		var m corev1.ConfigMap
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
		if m.Data["ca.pem"] != "the certificate" {
			return fmt.Errorf("it holds %q", m.Data)
		}
		return nil
	}
	c.until("ConfigMap", published)
	c.must(http.MethodPatch, "/api/v1/namespaces/holdfast-system/configmaps/holdfast-ca", "application/merge-patch+json", []byte(`{"data":{"ca.pem":"forged","mine":"x"}}`))
	c.until("ConfigMap again", published)
}

// TestEvents has blocked deeds written as Events on their pod, folded.
func TestEvents(t *testing.T) {
	c := newCluster(t)
	r := c.startCollector(t.TempDir())
	events := func() []eventsv1.Event {
		text := c.must(http.MethodGet, "/apis/events.k8s.io/v1/namespaces/shop/events", "", nil)
		var list eventsv1.EventList
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	sequence := uint64(0)
	happen := func(row store.Row, times int) {
		t.Helper()
		raw, err := proto.Marshal(row.Record)
		if err != nil {
			t.Fatal(err)
		}
		batch := store.Batch{Node: "node-a", Epoch: 1, Received: time.Now()}
		for range times {
			sequence++
			batch.Entries = append(batch.Entries, store.Entry{Sequence: sequence, Record: row.Record, Raw: raw})
		}
		if _, err := r.store.Append(t.Context(), apiv1.Lane_LANE_ALERTS, []store.Batch{batch}); err != nil {
			t.Fatal(err)
		}
	}
	// Events begin with what is stored once the alerts are followed.
	c.until("first Event", func() error {
		happen(blocked("web-1", "executable"), 1)
		if len(events()) == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	happen(blocked("web-1", "executable"), 40)
	happen(blocked("web-2", "executable"), 10)
	var one eventsv1.Event
	c.until("folded Events", func() error {
		all := events()
		if len(all) != 2 {
			return fmt.Errorf("there are %d", len(all))
		}
		for _, e := range all {
			if e.Regarding.Name == "web-1" {
				one = e
			}
			if e.Series == nil || e.Series.Count < 10 || e.Regarding.Name == "web-1" && e.Series.Count < 41 {
				return fmt.Errorf("series of %s is %+v", e.Regarding.Name, e.Series)
			}
		}
		return nil
	})
	if one.Reason != "HoldfastBlocked" || one.Action != "ProcessExecutable" || one.Type != "Warning" || one.Regarding.UID != "uid-web-1" ||
		one.Regarding.FieldPath != "spec.containers{app}" || !strings.Contains(one.Note, "holdfast explain node-a:1:") || one.ReportingInstance != "collector-0" {
		t.Errorf("%+v", one)
	}
}
