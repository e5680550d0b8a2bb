// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/storetest"
	"github.com/holdfast-project/holdfast/tests/wait"
)

const (
	alerts  = apiv1.Lane_LANE_ALERTS
	records = apiv1.Lane_LANE_RECORDS
)

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is how long something may take to come about.
const patience = 20 * time.Second

func timeout(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// connect opens an uplink that ends with the test.
func connect(t testing.TB, a *collectortest.Agent, positions ...*apiv1.Position) (*collectortest.Stream, *apiv1.Welcome) {
	t.Helper()
	s, welcome, err := a.Connect(timeout(t), positions...)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s, welcome
}

// batch is n alerts or events in a row.
func batch(t testing.TB, lane apiv1.Lane, epoch, first uint64, n int) *apiv1.Batch {
	t.Helper()
	b := &apiv1.Batch{Lane: lane, Epoch: epoch, First: first}
	for i := range n {
		second := int(first) + i
		r := storetest.Alert(second, "Terminal shell", apiv1.Priority_PRIORITY_WARNING)
		if lane == records {
			r = storetest.Event(second, "exec")
		}
		b.Records = append(b.Records, collectortest.Encode(t, r))
	}
	return b
}

// web is a client of the HTTP API.
func web(t testing.TB, c *collectortest.Collector) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Authority().Roots(), MinVersion: tls.VersionTLS13}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// ask asks the HTTP API for something.
func ask(t testing.TB, c *collectortest.Collector, path, token string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+c.HTTPAddr().String()+path, nil)
	check(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := web(t, c).Do(r)
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(body)
}

func TestWholeLine(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	s, welcome := connect(t, agent)
	if len(welcome.GetPositions()) != 0 || len(welcome.GetAcks()) != 2 {
		t.Fatalf("welcome of an unknown node is %v", welcome)
	}
	for _, a := range welcome.GetAcks() {
		if a.GetCredit() == 0 {
			t.Errorf("no credit to begin with: %v", a)
		}
	}
	check(t, s.Say(batch(t, records, 7, 1, 5)))
	check(t, s.Say(batch(t, alerts, 7, 1, 3)))
	check(t, s.Say(&apiv1.Health{Losses: map[string]uint64{"ring": 4}, Containers: 3}))
	ack, err := s.Ack(alerts, 7, 3)
	check(t, err)
	if ack.GetCredit() == 0 {
		t.Error("an acknowledgement without credit")
	}
	viewer := c.Token(t, authority.Grant{Role: store.RoleViewer})
	code, body := ask(t, c, "/api/v1/alerts", viewer)
	var page struct {
		Alerts []struct{ ID, Rule, Node string }
	}
	check(t, json.Unmarshal([]byte(body), &page))
	if code != http.StatusOK || len(page.Alerts) != 3 || page.Alerts[0].Node != "node-1" || page.Alerts[0].Rule != "Terminal shell" {
		t.Errorf("alerts are answered with %d %s", code, body)
	}
	if code, _ := ask(t, c, "/api/v1/alerts", ""); code != http.StatusUnauthorized {
		t.Errorf("without a token the answer is %d", code)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok",
		"/metrics": `holdfast_collector_records_total{lane="alerts",outcome="stored"} 3`,
	} {
		if code, body := ask(t, c, path, ""); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s answers %d %s, want %q in it", path, code, body, want)
		}
	}
	wait.True(t, patience, "health of the node", func() bool {
		_, body := ask(t, c, "/api/v1/nodes/node-1", viewer)
		return strings.Contains(body, `"ring":4`)
	})
}

func TestAgainAfterRestart(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	s, _ := connect(t, agent)
	check(t, s.Say(batch(t, alerts, 7, 1, 10)))
	_, err := s.Ack(alerts, 7, 10)
	check(t, err)
	c.Stop(t)
	if _, err := s.Ack(alerts, 7, 11); status.Code(err) != codes.Unavailable {
		t.Errorf("a stopped collector ends the stream with %v", err)
	}

	c = collectortest.Start(t, collector.Config{DataDir: c.Dir})
	agent.Address = c.GRPCAddr().String()
	// The agent missed the acknowledgement of 6 to 10, and has lost a lane elsewhere.
	s, welcome := connect(t, agent, &apiv1.Position{Lane: alerts, Epoch: 7, Acked: 5}, &apiv1.Position{Lane: records, Epoch: 9, Acked: 100})
	want := &apiv1.Position{Lane: alerts, Epoch: 7, Acked: 10}
	if !slices.ContainsFunc(welcome.GetPositions(), func(p *apiv1.Position) bool { return proto.Equal(p, want) }) {
		t.Errorf("positions after a restart are %v", welcome.GetPositions())
	}
	check(t, s.Say(batch(t, alerts, 7, 6, 10)))
	_, err = s.Ack(alerts, 7, 15)
	check(t, err)
	check(t, s.Say(batch(t, records, 9, 101, 1)))
	_, err = s.Ack(records, 9, 101)
	check(t, err)
	_, body := ask(t, c, "/metrics", "")
	for _, line := range []string{
		`holdfast_collector_records_total{lane="alerts",outcome="stored"} 5`,
		`holdfast_collector_records_total{lane="alerts",outcome="duplicate"} 5`,
		`holdfast_collector_records_lost_total{kind="gap",lane="records"} 0`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("metrics do not say %s", line)
		}
	}
	_, body = ask(t, c, "/api/v1/alerts", c.Token(t, authority.Grant{Role: store.RoleAdmin}))
	if n := strings.Count(body, `"id":"node-1:7:`); n != 15 {
		t.Errorf("%d alerts are stored, want 15", n)
	}
}

func TestOneCollectorServes(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	_, err := collector.New(t.Context(), collector.Config{DataDir: c.Dir, GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0"})
	if err == nil || !strings.Contains(err.Error(), "another collector serves "+c.Dir) {
		t.Errorf("a second collector on the directory: %v", err)
	}
	for name, mode := range map[string]os.FileMode{"ca.key": 0o600, "ca.pem": 0o644, "": 0o700 | os.ModeDir} {
		info, err := os.Stat(filepath.Join(c.Dir, name))
		check(t, err)
		if name != "" && info.Mode() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
}

func TestOwnCertificateForHTTP(t *testing.T) {
	issuer := collectortest.Start(t, collector.Config{})
	issuer.Stop(t)
	for _, files := range [][2]string{{"x.pem", ""}, {"", "x.key"}, {"missing.pem", "missing.key"}} {
		_, err := collector.New(t.Context(), collector.Config{
			DataDir: t.TempDir(), GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", HTTPCert: files[0], HTTPKey: files[1],
		})
		if err == nil || !strings.Contains(err.Error(), "--http-cert") {
			t.Errorf("certificate %q with key %q: %v", files[0], files[1], err)
		}
	}
	// Any pair will do; the authority's own is at hand.
	c := collectortest.Start(t, collector.Config{HTTPCert: filepath.Join(issuer.Dir, "ca.pem"), HTTPKey: filepath.Join(issuer.Dir, "ca.key")})
	conn, err := tls.Dial("tcp", c.HTTPAddr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	check(t, err)
	defer conn.Close()
	if cn := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; !strings.HasPrefix(cn, "Holdfast CA ") {
		t.Errorf("the certificate served is %q", cn)
	}
}
