// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// api asks the collector's API, without the command.
type api struct {
	client *http.Client
	header http.Header
}

func newAPI(t *testing.T, r *rig.Rig) *api {
	t.Helper()
	a := &api{header: http.Header{}}
	roots := x509.NewCertPool()
	for _, setting := range r.Environment() {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "HOLDFAST_TOKEN":
			a.header.Set("Authorization", "Bearer "+value)
		case "HOLDFAST_CA":
			text, err := os.ReadFile(value)
			if err != nil || !roots.AppendCertsFromPEM(text) {
				t.Fatalf("the collector's authority: %v", err)
			}
		}
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return r.Lab.DialContext(ctx, network, address)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	a.client = &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return a
}

func (a *api) post(ctx context.Context, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+rig.HTTPAddress+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header = a.header.Clone()
	request.Header.Set("Content-Type", "application/json")
	answer, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if said, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s: %w", path, answer.Status, said, err)
	}
	return nil
}

// pairScript runs a program that is always listed, one that is listed now and then, and one that was dropped, again and
// again, and says how each ended.
const pairScript = `cp /usr/bin/busybox /tmp/true
while :; do
	/opt/%[1]s/true; echo own $?
	/opt/c/true; echo sometimes $?
	/tmp/true; echo dropped $?
	usleep 3000
done 2>/dev/null`

// pairProfile is the overlay of one of the two: of its own program, and of the one that comes and goes if more says so.
func pairProfile(name string, more bool) string {
	text := fmt.Sprintf(`apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: pair, kind: Pod, name: both, container: %[1]s}
processes:
  - path: /usr/bin/busybox
  - path: /opt/%[1]s/true
`, name)
	if more {
		text += "  - path: /opt/c/true\n"
	}
	return text
}

// pair is a pod with two containers, a and b, of the same image.
type pair struct {
	t    *testing.T
	rig  *rig.Rig
	api  *api
	a, b *lab.Container
}

func startPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, rig: startRig(t, rig.Config{})}
	p.api = newAPI(t, p.rig)
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	var files []lab.File
	for _, name := range []string{"a", "b", "c"} {
		files = append(files, lab.File{Path: "/opt/" + name + "/true", Mode: 0o755, Source: busybox})
	}
	image, err := lab.NewImage("docker.io/acme/pair:1", files, "/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.rig.Lab.ImportBuilt(t.Context(), built); err != nil {
		t.Fatal(err)
	}
	p.reload("a", false, true)
	p.reload("b", false, true)
	p.mode("a", "enforce", true)
	pod := runPod(t, p.rig, lab.PodConfig{Namespace: "pair", Name: "both"})
	script := func(name string) lab.ContainerConfig {
		return lab.ContainerConfig{Name: name, Image: image.Name, Args: []string{"-c", fmt.Sprintf(pairScript, name)}}
	}
	p.a, p.b = run(t, pod, script("a")), run(t, pod, script("b"))
	setMode(t, p.rig, "pair/both/a", "enforce")
	return p
}

// reload replaces the overlay of a container, by the API or by the command.
func (p *pair) reload(name string, more, byAPI bool) {
	p.t.Helper()
	if byAPI {
		body := map[string]any{"profiles": []string{pairProfile(name, more)}, "reason": "reload"}
		if err := p.api.post(p.t.Context(), "/api/v1/profiles/import", body); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	path := file(p.t, p.rig, "pair.yaml", pairProfile(name, more))
	p.command("profile", "import", path, "--reason", "reload")
}

// mode sets the mode of the process signal of a container, by the API or by the command.
func (p *pair) mode(name, mode string, byAPI bool) {
	p.t.Helper()
	if byAPI {
		body := map[string]any{"workload": "pair/both/" + name, "signals": []string{"process"}, "mode": mode, "reason": "toggle"}
		if err := p.api.post(p.t.Context(), "/api/v1/modes", body); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	p.command("mode", "set", "pair/both/"+name, mode, "--signal", "process", "--reason", "toggle")
}

func (p *pair) command(args ...string) {
	p.t.Helper()
	if out, err := p.rig.Holdfast(p.t.Context(), args...).CombinedOutput(); err != nil {
		p.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// outcomes counts what a container has said, from a length of its log on.
func outcomes(t *testing.T, c *lab.Container, from int) (counts map[string]int, length int) {
	t.Helper()
	text, err := c.Logs()
	if err != nil {
		t.Fatal(err)
	}
	counts = map[string]int{}
	for line := range strings.Lines(text[from:]) {
		if strings.HasSuffix(line, "\n") {
			counts[strings.TrimSpace(line)]++
		}
	}
	return counts, len(text)
}

const (
	ran    = "0"
	killed = "137"
)

// TestPairKeepsItsPolicies has two containers of one pod, one enforced and one that learns, while the modes of the second
// are changed and the policies of both reloaded some hundred times, by the API and by the command. Each runs what it
// lists throughout, whatever the other is allowed; what was dropped never runs in the enforced one, and what comes and goes
// is judged by the old policy or by the new.
func TestPairKeepsItsPolicies(t *testing.T) {
	p := startPair(t)
	_, fromA := outcomes(t, p.a, 0)
	_, fromB := outcomes(t, p.b, 0)
	rounds := 300
	if long() {
		rounds = 1000
	}
	// So that what is asked for comes into force before the next.
	pace := time.NewTicker(25 * time.Millisecond)
	defer pace.Stop()
	modes := []string{"monitor", "enforce", "learn"}
	began := time.Now()
	for i := range rounds {
		<-pace.C
		byAPI := i%5 != 0
		p.mode("b", modes[i%len(modes)], byAPI)
		p.reload([]string{"a", "b"}[i%2], i%4 < 2, byAPI)
	}
	t.Logf("%d changes of modes and as many reloads in %s", rounds, time.Since(began).Round(time.Millisecond))
	a, _ := outcomes(t, p.a, fromA)
	b, _ := outcomes(t, p.b, fromB)
	t.Logf("enforced: %v", a)
	t.Logf("learn, monitor, enforce: %v", b)
	for what, n := range a {
		if what == "own "+ran || what == "dropped "+killed || what == "sometimes "+ran || what == "sometimes "+killed {
			continue
		}
		t.Errorf("enforced: %d times %q", n, what)
	}
	for what, n := range b {
		if strings.HasPrefix(what, "own ") && what != "own "+ran || !strings.HasSuffix(what, " "+ran) && !strings.HasSuffix(what, " "+killed) {
			t.Errorf("of changing mode: %d times %q", n, what)
		}
	}
	// The test shows something only if each of these happened.
	for what, n := range map[string]int{
		"enforced, listed now": a["sometimes "+ran], "enforced, not listed now": a["sometimes "+killed],
		"changing mode, ended": b["dropped "+killed], "changing mode, let run": b["dropped "+ran],
	} {
		if n == 0 {
			t.Errorf("%s: never seen", what)
		}
	}
	p.settle()
}

// settle ends the changes and checks that each container is then kept to its own policy and mode: what the one has learned
// meanwhile is nothing to the other.
func (p *pair) settle() {
	p.reload("a", false, true)
	p.reload("b", false, true)
	setMode(p.t, p.rig, "pair/both/b", "enforce")
	for c, want := range map[*lab.Container]string{p.a: killed, p.b: ran} {
		err := wait.For(p.t.Context(), 20*time.Second, func() error {
			_, from := outcomes(p.t, c, 0)
			time.Sleep(300 * time.Millisecond)
			got, _ := outcomes(p.t, c, from)
			if got["sometimes "+want] == 0 || len(got) > 3 || got["own "+ran] == 0 || got["dropped "+killed] == 0 {
				return fmt.Errorf("%s: %v", c.Name, got)
			}
			return nil
		})
		if err != nil {
			p.t.Error(err)
		}
	}
}
