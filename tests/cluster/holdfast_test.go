// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/cluster/build"
	"github.com/holdfast-project/holdfast/tests/cluster/lab"
	node "github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

func TestMain(m *testing.M) {
	node.RunHolder()
	os.Exit(m.Run())
}

// Where the chart's parts are.
const (
	namespace    = "holdfast-system"
	collectorPod = "holdfast-collector-0"
	// dataDir is the collector's.
	dataDir = "/var/lib/holdfast"
	// imagePrefix and imageTag are of the images that are built for the test.
	imagePrefix = "docker.io/library"
	imageTag    = "lab"
)

// patience is how long a condition may take to come true on a machine that has
// more to do.
const patience = 4 * time.Minute

// holdfast is a cluster with Holdfast installed as users install it.
type holdfast struct {
	*lab.Cluster
	// ask asks the collector.
	ask rig.Asker

	root, bin, ca, token string
	// before is what was on the node before the chart was installed.
	before leftovers
}

// install brings up a cluster, builds the images, installs the chart, and
// waits until Helm says that everything is ready.
func install(t *testing.T) *holdfast {
	t.Helper()
	h := &holdfast{bin: t.TempDir()}
	var err error
	if h.root, err = build.Root(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := rig.Build(t.Context(), h.bin, append(rig.Programs(), "./deploy/images")...); err != nil {
		t.Fatal(err)
	}
	h.Cluster, err = lab.Start(t.Context(), lab.Config{Node: node.Config{Memory: true, Crun: true}, Progress: func(step string, after time.Duration) {
		t.Logf("%s after %s", step, after)
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			h.describe(t)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	h.importImages(t, h.bin, imageTag)
	if err := h.Node.Load(t.Context(), node.Busybox); err != nil {
		t.Fatal(err)
	}
	h.makeVolume(t)
	if h.before, err = h.present(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	h.helm(t, "install", "--create-namespace")
	t.Logf("the chart is installed, all of it ready, after %s", time.Since(begin).Round(10*time.Millisecond))
	h.login(t)
	return h
}

// importImages builds the images of the programs in a folder as make images does
// and gives them to the node.
func (h *holdfast) importImages(t *testing.T, bin, tag string) {
	t.Helper()
	out := t.TempDir()
	programs := filepath.Join(t.TempDir(), "linux")
	if err := os.Mkdir(programs, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range rig.Programs() {
		name := filepath.Base(path)
		if err := os.Link(filepath.Join(bin, name), filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := h.Node.Command(t.Context(), filepath.Join(h.bin, "images"), "--prefix", imagePrefix, "--tag", tag, "--out", out, programs)
	cmd.Dir = h.root
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the images: %v\n%s", err, text)
	}
	archives, err := filepath.Glob(filepath.Join(out, "*.tar"))
	if err != nil || len(archives) != 2 {
		t.Fatalf("built the images %v, %v; want two archives", archives, err)
	}
	if err := h.ImportArchives(t.Context(), archives...); err != nil {
		t.Fatal(err)
	}
}

// makeVolume makes the volume that the collector's claim binds to: the cluster
// has nobody who provides volumes. Its user is that of the collector's image.
func (h *holdfast) makeVolume(t *testing.T) {
	t.Helper()
	dir := filepath.Join(h.Node.Dir(), "volume")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 65532, 65532)); err != nil {
		t.Fatal(err)
	}
	h.apply(t, fmt.Sprintf(`
apiVersion: v1
kind: PersistentVolume
metadata: {name: collector}
spec:
  capacity: {storage: 50Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: %s, type: Directory}
`, dir))
	h.ca = filepath.Join(dir, "ca.pem")
}

// helm installs or upgrades the release, with this machine's peculiarities and
// values of the caller's, and waits until it is ready.
func (h *holdfast) helm(t *testing.T, verb string, args ...string) {
	t.Helper()
	if text, err := h.runHelm(t.Context(), verb, args...); err != nil {
		t.Fatalf("helm %s: %v\n%s", verb, err, text)
	}
}

func (h *holdfast) runHelm(ctx context.Context, verb string, args ...string) (string, error) {
	all := append([]string{
		verb, "holdfast", filepath.Join(h.root, "deploy", "helm", "holdfast"), "--namespace", namespace, "--wait", "--timeout", patience.String(),
		"--set", "image.registry=" + imagePrefix, "--set", "image.tag=" + imageTag, "--set", "image.pullPolicy=Never",
		// Hybrid or pure, wherever the machine has cgroup2.
		"--set", "agent.host.cgroupDir=" + h.Node.CgroupRoot(),
		// Debian's containerd has no NRI, and a development machine may lack what 5.10 needs.
		"--set", "agent.features.nri=false", "--set", "agent.features.linux510=false",
		"--set", "agent.settings.record={exec}", "--set", "collector.settings.min-free=0",
		"--set", "agent.kubernetes.owners[0].apiGroup=example.com", "--set", "agent.kubernetes.owners[0].resources={widgets}",
	}, args...)
	text, err := h.Helm(ctx, all...).CombinedOutput()
	return string(text), err
}

// login makes a token and prepares the holdfast command to ask with it.
func (h *holdfast) login(t *testing.T) {
	t.Helper()
	out, err := h.Exec(t.Context(), namespace, collectorPod, "collector",
		"/holdfast-collector", "token", "create", "--data-dir", dataDir, "--role", "admin")
	if err != nil {
		t.Fatal(err)
	}
	h.token = strings.TrimSpace(out)
	pod, err := h.Client.CoreV1().Pods(namespace).Get(t.Context(), collectorPod, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	address := pod.Status.PodIP + ":8080"
	h.ask = rig.Asker{Holdfast: func(ctx context.Context, args ...string) *node.Cmd {
		cmd := h.Node.Command(ctx, filepath.Join(h.bin, "holdfast"), args...)
		cmd.Env = append(os.Environ(), "HOLDFAST_ADDRESS="+address, "HOLDFAST_TOKEN="+h.token, "HOLDFAST_CA="+h.ca)
		return cmd
	}}
}

// agentPod is the agent's pod that is not about to end.
func (h *holdfast) agentPod(ctx context.Context) (*corev1.Pod, error) {
	pods, err := h.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=holdfast-agent"})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			return &p, nil
		}
	}
	return nil, errors.New("there is no pod of the agent")
}

// nodeNow is what the agent says of its node, told after a time.
func (h *holdfast) nodeNow(t *testing.T, after time.Time) *view.Node {
	t.Helper()
	var found *view.Node
	h.await(t, "the agent has told how it is", func(ctx context.Context) error {
		n, err := h.ask.Node(ctx)
		if err != nil {
			return err
		}
		if !n.Connected || n.Health == nil || n.Health.Time.Before(after) {
			return errors.New("the agent has not told how it is since")
		}
		found = n
		return nil
	})
	return found
}

// quiesce waits until the collector has all that the agent has seen so far.
func (h *holdfast) quiesce(t *testing.T) *view.Node {
	t.Helper()
	begin := time.Now()
	var found *view.Node
	h.await(t, "the agent's spools are empty", func(ctx context.Context) error {
		n, err := h.ask.Node(ctx)
		if err != nil {
			return err
		}
		if n.Health == nil || n.Health.Time.Before(begin) {
			return errors.New("the agent has not told how it is since")
		}
		for _, s := range n.Health.Spools {
			if s.Pending() > 0 {
				return fmt.Errorf("%d records wait in the spool of %s", s.Pending(), s.Lane)
			}
		}
		found = n
		return nil
	})
	return found
}

// await waits for a condition and fails the test without it.
func (h *holdfast) await(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	if err := h.Await(t.Context(), patience, what, condition); err != nil {
		t.Fatal(err)
	}
}

func (h *holdfast) apply(t *testing.T, manifest string) {
	t.Helper()
	if err := h.Apply(t.Context(), []byte(manifest)); err != nil {
		t.Fatal(err)
	}
}

// kubectl runs kubectl and returns what it says.
func (h *holdfast) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	text, err := h.Kubectl(t.Context(), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, text)
	}
	return string(text)
}

// since is a point in time as holdfast takes it.
func since(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) }

// describe logs how the release is, for a test that has failed.
func (h *holdfast) describe(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--sort-by=.lastTimestamp"},
		{"logs", "-n", namespace, collectorPod, "--tail=30"},
		{"logs", "-n", namespace, "ds/holdfast-agent", "--tail=30"},
		{"logs", "-n", namespace, "ds/holdfast-agent", "--tail=30", "--previous"},
	} {
		text, err := h.Kubectl(ctx, args...).CombinedOutput()
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}
