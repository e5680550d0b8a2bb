// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/exfil"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// asking is a world in which the test's container is asked for everything, and holds nothing.
type asking struct{ unasked }

func (asking) Asked(cgroup uint64) (dlp, waf bool) { return cgroup == testCgroup, cgroup == testCgroup }

// TestStoriesAreCountedWhereTheModeDoesNotTell has a container that reads a labelled file send it away: it is found, and told
// nobody.
func TestStoriesAreCountedWhereTheModeDoesNotTell(t *testing.T) {
	p, feed := newPipeline(t)
	path := filepath.Join(t.TempDir(), "labels.yaml")
	if err := os.WriteFile(path, []byte("labels: [{label: customers, paths: [/data/customers.csv]}]\nexceptions: [{executable: /bin/a, detector: card}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	labels, err := readLabels(path)
	if err != nil {
		t.Fatal(err)
	}
	p.exfil, p.exceptions = exfil.New(exfil.Config{World: asking{}, Labels: labels}), labels.Exceptions()
	id := strings.Repeat("ab", 32)
	p.Record(bytesOf(wire.TypeCgroupMkdir, 0, wire.Cgroup{Id: testCgroup, Parent: 1, NameLen: uint16(len(id))}, id))
	p.Record(execBytes(testCgroup, "/bin/a", wire.FileOverlay))
	file := "/data/customers.csv"
	p.Record(bytesOf(wire.TypeOpen, testCgroup, wire.FileOp{PathLen: uint16(len(file))}, file))
	p.Record(bytesOf(wire.TypeFlow, testCgroup, wire.Net{
		Cookie: 1, Family: 2, Protocol: 6, Remote: [16]uint8{203, 0, 113, 9}, RemotePort: 443, BytesOut: 4000, NetFlags: uint16(wire.NetOutbound | wire.NetClosed),
	}))
	feed.Up()
	feed.Put(container.Record{Key: container.Key{RuntimeNamespace: "k8s.io", ID: id}, Name: "web", Pod: "web-1", Namespace: "shop"})
	p.Settle()
	if found, told := p.counts.findings.Load(), p.counts.alerts.Load(); found != 1 || told != 0 {
		t.Errorf("%d found, %d told; 1 and 0 expected", found, told)
	}
	f := content.Found{Finding: dlp.Finding{Reason: dlp.Content, Detector: "card"}}
	f.Piece.Head = wire.Head{Origin: testCgroup, Tgid: 7, Start: 70}
	p.finding(&f)
	f.Piece.Head.Start, f.Executable = 71, ""
	p.finding(&f)
	if found, excepted := p.counts.findings.Load(), p.counts.excepted.Load(); found != 2 || excepted != 1 {
		t.Errorf("%d found, %d excepted; 2 and 1 expected", found, excepted)
	}
}

// TestFindingsWaitForTheirProcess has findings in content come before the records of what was done before.
func TestFindingsWaitForTheirProcess(t *testing.T) {
	p, _ := newPipeline(t)
	p.found = make(chan content.Found, 1)
	told := func(want uint64) {
		t.Helper()
		if got := p.counts.findings.Load(); got != want {
			t.Fatalf("%d findings are told, %d expected", got, want)
		}
	}
	f := content.Found{Finding: dlp.Finding{Reason: dlp.Content, Detector: "card"}}
	f.Piece.Head = wire.Head{Origin: testCgroup, Tgid: 7, Start: 70, Time: 50}
	later := wire.Exit{Head: wire.Head{Time: 60}}
	p.found <- f
	p.tellFindings(1e6)
	told(0)
	p.Record(execBytes(testCgroup, "/bin/a", wire.FileOverlay))
	// What else it did before may still come.
	p.tellFindings(2e6)
	told(0)
	p.Record(bytesOf(wire.TypeExit, testCgroup, later))
	p.tellFindings(3e6)
	told(1)
	// Nothing younger comes.
	f.Piece.Head.Time = 70
	p.found <- f
	p.tellFindings(4e6)
	told(1)
	p.tellFindings(4e6 + findingPatience)
	told(2)
	// Nor does the process.
	f.Piece.Head.Start = 71
	p.found <- f
	p.tellFindings(1e9)
	p.tellFindings(1e9 + findingPatience)
	told(2)
	p.tellFindings(2e9)
	told(3)
	// Of one that is not told, the container has it.
	f.Piece.Head.Tgid, f.Piece.Head.Time = 0, 0
	p.found <- f
	p.tellFindings(2e9)
	told(4)
}

// TestHeadsAreReadWithinTheRoot reads the beginning of files as a process sees them, and of nothing else.
func TestHeadsAreReadWithinTheRoot(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", headBytes+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if head, err := headOf(uint32(os.Getpid()), path); err != nil || len(head) != headBytes {
		t.Errorf("%d bytes, %v", len(head), err)
	}
	for _, path := range []string{dir, "/dev/zero", filepath.Join(dir, "none"), "/proc/self/fd/0"} {
		if _, err := headOf(uint32(os.Getpid()), path); err == nil {
			t.Errorf("%s is read", path)
		}
	}
}
