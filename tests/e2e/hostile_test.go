// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// hostileProgram is a program for Python that sends to an address what is meant to exhaust who looks at it, and goes on until it is
// killed, again and again: 64 MiB in 64 KiB of gzip; windows of 8 MiB that a later frame of zstd asks for, on connections that do not end; headers
// of HTTP/1 and of HTTP/2 that do not end; and more than two thousand connections that stay in the midst of a line, or of its first
// word.
const hostileProgram = `import gzip, resource, socket, struct, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = []
def send(data, hold=False):
    try:
        s = socket.create_connection((sys.argv[1], 80))
        s.sendall(data)
        if hold:
            held.append(s)
        else:
            s.close()
    except OSError as e:
        print(e, file=sys.stderr)
def post(body, encoding, length):
    return b"POST /bomb HTTP/1.1\r\nHost: sink.example\r\nContent-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (encoding, length, body)
def zstd(window):
    block = b"some text that goes on"
    return b"\x28\xb5\x2f\xfd\x00" + bytes([window - 10 << 3]) + struct.pack("<I", len(block) << 3 | 1)[:3] + block
def frame(kind, body):
    return struct.pack(">I", len(body))[1:] + bytes([kind, 0]) + struct.pack(">I", 1) + body
bomb = gzip.compress(bytes(64 << 20))
while True:
    for _ in range(2):
        send(post(bomb, b"gzip", len(bomb)))
    for _ in range(30):
        send(post(zstd(10) + zstd(23), b"zstd", 100000), True)
    send(b"GET / HTTP/1.1\r\nHost: sink.example\r\n" + b"X-More: of it\r\n" * 16384)
    send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(1, b"\x82") + frame(9, b"\x00\x01a\x01b" * 3000) * 8)
    for n in range(2200):
        send(b"GET / HTTP/1.1\r\nX: " + b"a" * 5000 if n % 8 else b"GE", True)
        if n % 50 == 0:
            time.sleep(0.1)
    for s in held:
        s.close()
    held = []
`

// TestHostileContent has a container send bombs and floods while another sends card numbers: those are told, what was given up is
// counted by its cause, and the agent's memory stays bounded.
func TestHostileContent(t *testing.T) {
	const (
		address = "203.0.113.9"
		limit   = 256 << 20
	)
	r := startRig(t, rig.Config{AgentArgs: []string{"--dlp-mode", "monitor"}})
	if err := r.Lab.Load(t.Context(), lab.Python); err != nil {
		t.Fatal(err)
	}
	webSink(t, r, address)
	innocent := run(t, runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "sender"}), lab.ContainerConfig{
		Name: "app", Image: lab.PythonImage, Command: []string{"sleep", "100000"},
	})
	hostile := run(t, runPod(t, r, lab.PodConfig{Namespace: "shop", Name: "hostile"}), lab.ContainerConfig{
		Name: "app", Image: lab.PythonImage, Command: []string{"python3", "-c", hostileProgram, address},
	})
	// The server waits for those who are connected.
	defer func() {
		if err := hostile.Stop(t.Context(), 0); err != nil {
			t.Error(err)
		}
	}()
	causes := []string{
		"content_opaque_expansion", "content_opaque_headers", "content_opaque_encoding", "content_flow_evicted", "content_flow_half_open_evicted",
	}
	err := wait.For(t.Context(), 2*time.Minute, func() error {
		n, err := r.Node(t.Context())
		if err != nil {
			return err
		}
		var missing []string
		for _, cause := range causes {
			if n.Health.Uninspected[cause] == 0 {
				missing = append(missing, cause)
			}
		}
		if len(missing) > 0 {
			err = fmt.Errorf("not counted: %s; counted: %v", strings.Join(missing, ", "), n.Health.Uninspected)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	told, numbers := sendCards(t, r, innocent, "http://"+address+"/orders", "packet")
	if f := told.Finding; told.Workload.Name != "sender" || f.Class != "card" || f.Distinct < 5 || f.Part != "body" || f.Method != "POST" || f.Path != "/orders" {
		t.Errorf("alert %+v, finding %+v", told, f)
	}
	holdsNone(t, r.Dir, numbers)
	now, peak := resident(t, r.Agent.PID(), "VmRSS"), resident(t, r.Agent.PID(), "VmHWM")
	t.Logf("resident: %d KiB, %d KiB at most", now>>10, peak>>10)
	if peak > limit {
		t.Errorf("%d bytes were resident, at most %d are allowed", peak, limit)
	}
}
