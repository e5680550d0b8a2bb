// SPDX-License-Identifier: Apache-2.0

package collector_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/collectortest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/storetest"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// ends fails the test unless a stream ends with a code and a text.
func ends(t *testing.T, s *collectortest.Stream, code codes.Code, text string) {
	t.Helper()
	for {
		_, err := s.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("the stream ended with %v, want %s and %q", err, code, text)
		}
		return
	}
}

// logged fails the test unless the collector logs a text.
func logged(t *testing.T, c *collectortest.Collector, text string) {
	t.Helper()
	wait.True(t, patience, "logged: "+text, func() bool { return strings.Contains(c.Log.String(), text) })
}

// works fails the test unless an agent can still have an alert stored.
func works(t *testing.T, c *collectortest.Collector, node string) {
	t.Helper()
	s, _ := connect(t, c.Enrol(t, node))
	check(t, s.Say(batch(t, alerts, 1, 1, 1)))
	_, err := s.Ack(alerts, 1, 1)
	check(t, err)
}

func TestStrangers(t *testing.T) {
	c, other := collectortest.Start(t, collector.Config{}), collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	address := c.GRPCAddr().String()

	bare := *agent
	bare.Cert = tls.Certificate{}
	_, _, err := bare.Connect(timeout(t))
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a certificate: %v", err)
	}
	_, err = bare.Renew(timeout(t), "node-1")
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("renewal without a certificate: %v", err)
	}
	logged(t, c, "no client certificate")

	foreign := other.Enrol(t, "node-1")
	foreign.Address, foreign.Roots = address, agent.Roots
	_, _, err = foreign.Connect(timeout(t))
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("with a certificate of another authority, which Go does not send unasked: %v", err)
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, RootCAs: agent.Roots, NextProtos: []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &foreign.Cert, nil },
	})
	check(t, err)
	defer conn.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "tls: unknown certificate authority") {
		t.Errorf("with a certificate of another authority: %v", err)
	}
	logged(t, c, "certificate signed by unknown authority")

	// An agent refuses a collector of another authority, by its roots and by the pin of its token.
	astray := *agent
	astray.Address = other.GRPCAddr().String()
	if _, _, err := astray.Connect(timeout(t)); err == nil {
		t.Error("the agent trusts another authority")
	}
	_, err = collectortest.Enrol(timeout(t), astray.Address, c.Token(t, authority.Grant{Role: store.RoleJoin, Uses: 1}), "n")
	if err == nil || !strings.Contains(err.Error(), "pin") {
		t.Errorf("enrolment with another collector: %v", err)
	}
	works(t, c, "node-2")
}

func TestForgedNode(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	s, err := agent.Open(timeout(t))
	check(t, err)
	defer s.Close()
	check(t, s.Say(&apiv1.Hello{Node: "node-2"}))
	ends(t, s, codes.PermissionDenied, "node-2")
	logged(t, c, `hello is from node \"node-2\", but the certificate is of node \"node-1\"`)
	if _, body := ask(t, c, "/metrics", ""); !strings.Contains(body, `holdfast_collector_rejected_total{reason="denied"} 1`) {
		t.Error("the forgery was not counted")
	}
	wait.True(t, patience, "the forgery is reported", func() bool {
		all, err := c.Fleet().Refusals(t.Context())
		check(t, err)
		return len(all) == 1 && all[0].Node == "node-1" && all[0].Cause == string(authority.CauseOtherNode) && all[0].Credential == "certificate"
	})
	if _, err := agent.Renew(timeout(t), "node-2"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("renewal for another node: %v", err)
	}
	works(t, c, "node-2")
}

func TestBreaches(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	for _, test := range []struct {
		name, text string
		code       codes.Code
		hello      bool
		message    any
	}{
		{"batch before hello", "not hello", codes.InvalidArgument, false, &apiv1.Batch{}},
		{"nothing before hello", "not hello", codes.InvalidArgument, false, nil},
		{"empty message", "a message of type", codes.InvalidArgument, true, nil},
		{"second hello", "a message of type", codes.InvalidArgument, true, &apiv1.Hello{Node: "node-1"}},
		{"no lane", "lane 0", codes.InvalidArgument, true, &apiv1.Batch{First: 1}},
		{"unknown lane", "lane 77", codes.InvalidArgument, true, &apiv1.Batch{Lane: 77, First: 1}},
		{"sequence 0", "sequence 0", codes.InvalidArgument, true, &apiv1.Batch{Lane: alerts, Records: [][]byte{{}}}},
		{"sequences run over", "leave no room", codes.InvalidArgument, true, &apiv1.Batch{Lane: alerts, First: 1<<64 - 2, Records: [][]byte{{}, {}, {}}}},
		{"loss backwards", "loss of sequences", codes.InvalidArgument, true, &apiv1.Batch{Lane: alerts, Losses: []*apiv1.SpoolLoss{{First: 4, Last: 3}}}},
		{"too many records", "more than", codes.InvalidArgument, true, &apiv1.Batch{Lane: alerts, First: 1, Records: make([][]byte, 20000)}},
		{"oversized", "larger than max", codes.ResourceExhausted, true, &apiv1.Batch{Lane: alerts, First: 1, Records: [][]byte{make([]byte, 5<<20)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := agent.Open(timeout(t))
			check(t, err)
			defer s.Close()
			if test.hello {
				check(t, s.Say(&apiv1.Hello{Node: "node-1"}))
			}
			check(t, s.Say(test.message))
			ends(t, s, test.code, test.text)
			logged(t, c, test.text)
		})
	}
	works(t, c, "node-2")
}

func TestQuarantine(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	s, _ := connect(t, c.Enrol(t, "node-1"))
	good := batch(t, alerts, 1, 1, 2).GetRecords()
	event := batch(t, records, 1, 1, 1).GetRecords()[0]
	ruleless := collectortest.Encode(t, storetest.Alert(1, "", apiv1.Priority_PRIORITY_ALERT))
	priority := collectortest.Encode(t, storetest.Alert(1, "r", 99))
	noise := make([]byte, 300)
	_, err := rand.Read(noise)
	check(t, err)
	noise[0] = 0xff
	check(t, s.Say(&apiv1.Batch{Lane: alerts, Epoch: 1, First: 1, Records: [][]byte{good[0], noise, {}, event, ruleless, priority, make([]byte, 2<<20), good[1]}}))
	_, err = s.Ack(alerts, 1, 8)
	check(t, err)
	_, body := ask(t, c, "/metrics", "")
	for _, line := range []string{
		`records_total{lane="alerts",outcome="quarantined"} 6`, `records_total{lane="alerts",outcome="stored"} 2`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("metrics do not say %s", line)
		}
	}
	logged(t, c, `"records":6,"sequence":2`)
}

func TestNoise(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	for i, noise := range []string{"GET / HTTP/1.1\r\n\r\n", strings.Repeat("\x16\x03\x01", 9000), strings.Repeat("\x00", 70000)} {
		conn, err := net.Dial("tcp", c.GRPCAddr().String())
		check(t, err)
		// The collector may hang up in the middle.
		_, _ = conn.Write([]byte(noise))
		check(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		for buf := make([]byte, 512); err == nil; {
			_, err = conn.Read(buf)
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			t.Errorf("noise %d is listened to for 20 s", i)
		}
		check(t, conn.Close())
	}
	logged(t, c, `"reason":"handshake"`)
	// Behind the handshake, what is not HTTP/2 ends the connection too.
	conn, err := tls.Dial("tcp", c.GRPCAddr().String(), &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: authority.ServerName, RootCAs: c.Authority().Roots(), NextProtos: []string{"h2"},
	})
	check(t, err)
	defer conn.Close()
	// The collector hangs up at the first bytes.
	_, _ = conn.Write([]byte(strings.Repeat("garbage", 1000)))
	err = nil
	check(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	for buf := make([]byte, 512); err == nil; {
		_, err = conn.Read(buf)
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Error("garbage in place of HTTP/2 is listened to for 20 s")
	}
	// Older TLS is refused.
	old, err := tls.Dial("tcp", c.GRPCAddr().String(), &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	if err == nil {
		t.Error("TLS 1.2 is accepted", old.Close())
	}
	works(t, c, "node-2")
}

func TestTokens(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	join := func(g authority.Grant) string {
		g.Role = store.RoleJoin
		return c.Token(t, g)
	}
	try := func(token, node string) error {
		_, err := collectortest.Enrol(timeout(t), c.GRPCAddr().String(), token, node)
		return err
	}
	twice := join(authority.Grant{Uses: 2})
	check(t, try(twice, "a"))
	check(t, try(twice, "b"))
	bound := join(authority.Grant{Uses: -1, Node: "c"})
	check(t, try(bound, "c"))
	expired := join(authority.Grant{Uses: 1, TTL: time.Nanosecond})
	parts := strings.Split(twice, "_")
	parts[2] = strings.Repeat("a", len(parts[2]))
	for _, test := range []struct {
		name, token, node, text string
		code                    codes.Code
	}{
		{"spent", twice, "d", "no uses left", codes.Unauthenticated},
		{"expired", expired, "d", "expired", codes.Unauthenticated},
		{"bound to another", bound, "d", "for another node", codes.PermissionDenied},
		{"wrong secret", strings.Join(parts, "_"), "d", "no such token", codes.Unauthenticated},
		{"bad node name", bound, "../d", "node name", codes.InvalidArgument},
	} {
		err := try(test.token, test.node)
		if status.Code(err) != test.code || !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %s and %q", test.name, err, test.code, test.text)
		}
		logged(t, c, test.text)
	}
	if strings.Contains(c.Log.String(), parts[2]) {
		t.Error("a secret is in the log")
	}
	// Who keeps failing is put off, and only that address.
	var err error
	for range 20 {
		err = try(twice, "d")
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("after twenty failures: %v", err)
	}
}

func TestRevoke(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	many := c.Token(t, authority.Grant{Role: store.RoleJoin, Uses: -1})
	s, _ := connect(t, agent)
	// As another process does it, which knows nothing of streams.
	check(t, c.Authority().Revoke(context.Background(), "node-1"))
	ends(t, s, codes.PermissionDenied, "revoked")
	if _, _, err := agent.Connect(timeout(t)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a revoked node connects: %v", err)
	}
	if _, err := agent.Renew(timeout(t), "node-1"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a revoked node renews: %v", err)
	}
	if _, err := collectortest.Enrol(timeout(t), agent.Address, many, "node-1"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a revoked node enrols with any token: %v", err)
	}
	// Certificates count seconds.
	time.Sleep(1100 * time.Millisecond)
	connect(t, c.Enrol(t, "node-1"))
}

func TestRenew(t *testing.T) {
	c := collectortest.Start(t, collector.Config{})
	agent := c.Enrol(t, "node-1")
	renewed, err := agent.Renew(timeout(t), "")
	check(t, err)
	s, _ := connect(t, renewed)
	// The node's newer stream takes over.
	connect(t, agent)
	ends(t, s, codes.Aborted, "newer stream")
}
