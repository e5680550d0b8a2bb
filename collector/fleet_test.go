// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/storetest"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// hear waits for a message that is wanted; acknowledgements are left out.
func hear[T any](t *testing.T, s *collectortest.Stream, get func(*apiv1.CollectorMessage) *T) *T {
	t.Helper()
	for {
		m, err := s.Recv()
		check(t, err)
		if got := get(m); got != nil {
			return got
		}
		if m.GetAck() == nil {
			t.Fatalf("got %v", m)
		}
	}
}

func TestTail(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	s, _ := connect(t, c.Enrol(t, "node-1"))
	viewer := c.Token(t, authority.Grant{Role: store.RoleViewer})
	for node, want := range map[string]int{"nobody": http.StatusNotFound} {
		if code, body := ask(t, c, "/api/v1/nodes/"+node+"/events", viewer); code != want {
			t.Errorf("live events of %s: %d %s", node, code, body)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.HTTPAddr().String()+"/api/v1/nodes/node-1/events?type=exec&workload=shop/*/*", nil)
	check(t, err)
	r.Header.Set("Authorization", "Bearer "+viewer)
	answers := make(chan *http.Response, 1)
	go func() {
		response, err := web(t, c).Do(r)
		if err != nil {
			t.Error(err)
		}
		answers <- response
	}()
	start := hear(t, s, (*apiv1.CollectorMessage).GetTailStart)
	if f := start.GetFilter(); f.GetWorkload() != "shop/*/*" || len(f.GetTypes()) != 1 || f.GetTypes()[0] != "exec" {
		t.Errorf("the agent is asked for %v", f)
	}
	check(t, s.Say(&apiv1.TailBatch{Id: start.GetId() + 9, Events: []*apiv1.Event{{Type: "open"}}}))
	check(t, s.Say(&apiv1.TailBatch{Id: start.GetId(), Shed: 3, Events: []*apiv1.Event{{Type: "exec", Process: &apiv1.Process{Exe: "/bin/marker"}}}}))
	response := <-answers
	defer response.Body.Close()
	var seen bytes.Buffer
	for buf := make([]byte, 4096); !strings.Contains(seen.String(), "/bin/marker"); {
		n, err := response.Body.Read(buf)
		check(t, err)
		seen.Write(buf[:n])
	}
	cancel()
	if stop := hear(t, s, (*apiv1.CollectorMessage).GetTailStop); stop.GetId() != start.GetId()+9 && stop.GetId() != start.GetId() {
		t.Errorf("told to stop %d", stop.GetId())
	}
}

func TestRecordPolicy(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	s, welcome := connect(t, agent)
	if len(welcome.GetRecord().GetRules()) != 0 {
		t.Errorf("policy to begin with is %v", welcome.GetRecord())
	}
	f := c.Fleet()
	for _, bad := range []*apiv1.RecordRule{{Types: []string{"exec"}, Workload: "["}, {Types: []string{"exec"}, Workload: "a/b/c/d"}, {Workload: "a"}, {Types: []string{""}}} {
		if _, err := f.SetRecordPolicy(t.Context(), &apiv1.RecordPolicy{Rules: []*apiv1.RecordRule{bad}}); err == nil {
			t.Errorf("rule %v is accepted", bad)
		}
	}
	want := &apiv1.RecordPolicy{Rules: []*apiv1.RecordRule{{Workload: "shop/*/*", Types: []string{"exec"}}}}
	_, err := f.SetRecordPolicy(t.Context(), want)
	check(t, err)
	if got := hear(t, s, (*apiv1.CollectorMessage).GetRecord); !proto.Equal(got, want) {
		t.Errorf("the agent is told %v", got)
	}
	c.Stop(t)
	c = collectortest.Start(t, collector.Config{DataDir: c.Dir})
	agent.Address = c.GRPCAddr().String()
	if _, welcome = connect(t, agent); !proto.Equal(welcome.GetRecord(), want) {
		t.Errorf("policy after a restart is %v", welcome.GetRecord())
	}
}

// TestFullDisk fills the disk under a collector: it acknowledges nothing, says so, and goes on when there is room.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	c := collectortest.Start(t, collector.Config{DataDir: dir})
	s, _ := connect(t, c.Enrol(t, "node-1"))
	check(t, s.Say(batch(t, alerts, 1, 1, 1)))
	_, err := s.Ack(alerts, 1, 1)
	check(t, err)
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	check(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	check(t, f.Close())
	check(t, s.Say(batch(t, alerts, 1, 2, 500)))
	wait.True(t, patience, "not ready", func() bool {
		code, _ := ask(t, c, "/readyz", "")
		return code == http.StatusServiceUnavailable
	})
	logged(t, c, "free some space")
	if code, _ := ask(t, c, "/healthz", ""); code != http.StatusOK {
		t.Errorf("a collector with a full disk is alive, and says %d", code)
	}
	if _, body := ask(t, c, "/metrics", ""); !strings.Contains(body, `commit_failures_total{cause="full",lane="alerts"}`) || !strings.Contains(body, `outcome="stored"} 1`) {
		t.Error("the full disk was not counted, or something was acknowledged")
	}
	check(t, os.Remove(ballast))
	_, err = s.Ack(alerts, 1, 501)
	check(t, err)
	wait.True(t, patience, "ready again", func() bool {
		code, _ := ask(t, c, "/readyz", "")
		return code == http.StatusOK
	})
}

// TestTLSOfPeople speaks to the HTTP side without a client certificate and with old TLS.
func TestTLSOfPeople(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	conn, err := tls.Dial("tcp", c.HTTPAddr().String(), &tls.Config{MaxVersion: tls.VersionTLS12, RootCAs: c.Authority().Roots()})
	if err == nil {
		t.Error("TLS 1.2 is accepted", conn.Close())
	}
}

// TestCredit has more records wait than may: the stream ends, the agent comes back to a credit of nothing for records and
// some for alerts, and gets credit again once there is room.
func TestCredit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small disk needs root")
	}
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m,mode=0700"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	c := collectortest.Start(t, collector.Config{DataDir: dir})
	agent := c.Enrol(t, "node-1")
	s, _ := connect(t, agent)
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	check(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	check(t, f.Close())
	event := storetest.Event(1, "exec")
	event.GetEvent().Process.Cwd = strings.Repeat("x", 500<<10)
	big := collectortest.Encode(t, event)
	go func() {
		for first := uint64(1); s.Say(&apiv1.Batch{Lane: records, Epoch: 1, First: first, Records: [][]byte{big, big}}) == nil; first += 2 {
		}
	}()
	ends(t, s, codes.Unavailable, "heed the credit")
	s, welcome := connect(t, agent, &apiv1.Position{Lane: records, Epoch: 1}, &apiv1.Position{Lane: alerts, Epoch: 1})
	for _, a := range welcome.GetAcks() {
		if (a.GetCredit() == 0) != (a.GetLane() == records) {
			t.Errorf("while records wait, lane %v has credit %d", a.GetLane(), a.GetCredit())
		}
	}
	check(t, os.Remove(ballast))
	for {
		m, err := s.Recv()
		check(t, err)
		if a := m.GetAck(); a.GetLane() == records && a.GetCredit() > 0 {
			break
		}
	}
}
