// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// What deeds send that must not leave, in the writes that they make of it, after what may.
const (
	blockInnocent = "GET /innocent HTTP/1.1\r\nHost: shop\r\n\r\n"
	blockHead     = "POST /upload HTTP/1.1\r\nHost: elsewhere\r\n\r\n"
	blockKey      = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
	blockCards    = "4111 1111 1111 1111, 5555-5555-5555-4444, 2223 0031 2200 3222, 3782 822463 10005, "
)

var blockLarge = strings.Repeat("nothing to see here ", 8000)

// blocking is a way to send.
type blocking struct {
	name     string
	tls      bool
	innocent string
	parts    []string
	// before is how much of what is sent at the begin of the parts may leave: packets go as soon as they are full.
	before    int64
	detector  string
	datagrams bool
}

var blockings = []blocking{
	{name: "plain", parts: []string{blockHead + blockKey}, detector: "private-key"},
	{name: "parts", parts: []string{"-----BEG", "IN PRIVATE ", "KEY-----\n" + blockKey}, detector: "private-key"},
	{name: "large", parts: []string{blockLarge + blockKey}, before: int64(len(blockLarge)), detector: "private-key"},
	{name: "cards", innocent: blockCards, parts: []string{"3530 1113 ", "3330 0000"}, detector: "payment-card"},
	{name: "datagrams", parts: []string{blockKey}, detector: "private-key", datagrams: true},
	{name: "tls", tls: true, parts: []string{blockHead + blockKey}, detector: "private-key"},
	{name: "tls parts", tls: true, parts: []string{"-----BEG", "IN PRIVATE ", "KEY-----\n" + blockKey}, detector: "private-key"},
	{name: "tls cards", tls: true, innocent: blockCards, parts: []string{"3530 1113 ", "3330 0000"}, detector: "payment-card"},
}

// rounds is how often each way is tried.
func (b *blocking) rounds() int {
	if os.Getenv("HOLDFAST_LONG") != "" {
		return 1000
	}
	return 5
}

// TestNetworkBlock has processes send what must not leave, by each way, where that is enforced and where it is only told.
func TestNetworkBlock(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	r := newContentRig(t, ContentConfig{})
	must(t, r.content.Block(builtinInline(t)))
	// Programs are there from here on, rather than from each container on.
	r.inspected(leaving, Budget{})
	r.fits()
	for i := range blockings {
		for _, mode := range []wire.Mode{wire.ModeEnforce, wire.ModeMonitor} {
			t.Run(fmt.Sprint(blockings[i].name, " ", mode), func(t *testing.T) {
				whole := r.t
				r.t = t
				defer func() { r.t = whole }()
				testBlock(t, r, i, mode)
			})
		}
	}
}

func testBlock(t *testing.T, r *contentRig, way int, mode wire.Mode) {
	b := &blockings[way]
	rounds := b.rounds()
	if mode != wire.ModeEnforce {
		rounds = 2
	}
	c := r.inspected(modes{wire.SignalDlp: mode}, Budget{})
	read, write, err := os.Pipe()
	must(t, err)
	defer write.Close()
	before := r.content.Stats()
	d := c.begin("content block", read)
	read.Close()
	if b.tls {
		r.untilProbed(t)
	}
	_, err = fmt.Fprintf(write, "%d %d\n", way, rounds)
	must(t, err)
	did := d.end()
	after := r.content.Stats()
	t.Logf("%s: %d rounds: %v, %d reset, %d not", b.name, rounds, did.said, after.Resets-before.Resets, after.Unreset-before.Unreset)
	want := map[string]int64{"innocent": int64(rounds), "leaked": 0}
	if mode == wire.ModeMonitor {
		delete(want, "leaked")
		want["whole"] = int64(rounds)
	}
	for what, n := range want {
		if did.said[what] != n {
			t.Errorf("%s: %d, want %d", what, did.said[what], n)
		}
	}
	if !b.datagrams && mode == wire.ModeEnforce && did.said["reset"] != int64(rounds) {
		t.Errorf("%d of %d connections were reset", did.said["reset"], rounds)
	}
	wait.True(t, 10*time.Second, "it is told", func() bool { return len(r.netRig.of(did.pid, wire.TypeSendto)) > 0 })
	r.netRig.settle()
	for _, e := range r.netRig.of(did.pid, wire.TypeSendto) {
		c.told(e, flagOf(mode), wire.SignalDlp, wire.ReasonContent)
		if name := string(e.Text()); name != b.detector || e.Net().RemotePort == 0 || e.Net().Cookie == 0 {
			t.Errorf("told of %q: %+v", name, e.Net())
		}
	}
}

// deedContentBlock sends by the way, and as often, as it is told.
func deedContentBlock(s say) error {
	var way, rounds int
	if _, err := fmt.Fscanln(os.NewFile(4, "way"), &way, &rounds); err != nil {
		return err
	}
	b := &blockings[way]
	var config *tls.Config
	if b.tls {
		certificate, err := selfSigned()
		if err != nil {
			return err
		}
		config = &tls.Config{Certificates: []tls.Certificate{certificate}, InsecureSkipVerify: true}
	}
	s["innocent"], s["leaked"], s["reset"], s["whole"] = 0, 0, 0, 0
	for range rounds {
		round := b.connection
		if b.datagrams {
			round = b.datagram
		}
		if err := round(s, config); err != nil {
			return err
		}
	}
	return nil
}

// counted is a connection whose bytes that come are counted.
type counted struct {
	net.Conn
	came *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.came.Add(int64(n))
	return n, err
}

// connection has a client ask for what is innocent, then send the rest, and counts what arrives of that.
func (b *blocking) connection(s say, config *tls.Config) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	var came atomic.Int64
	served := make(chan error, 1)
	whole := make(chan struct{})
	go func() { served <- b.serve(l, config, &came, whole) }()
	raw, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		return err
	}
	defer raw.Close()
	client := raw
	if config != nil {
		client = tls.Client(raw, config)
	}
	if _, err := client.Write([]byte(blockInnocent + b.innocent)); err != nil {
		return err
	}
	if err := expectText(client, "ok"); err != nil {
		return err
	}
	s["innocent"]++
	before := came.Load()
	for _, part := range b.parts {
		if _, err := client.Write([]byte(part)); err != nil {
			break
		}
	}
	// What comes is the end: a reset, or the answer to all of it.
	_ = raw.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err = client.Read(make([]byte, 16))
	if errors.Is(err, unix.ECONNABORTED) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		s["reset"]++
	}
	raw.Close()
	<-served
	select {
	case <-whole:
		s["whole"]++
	default:
	}
	s["leaked"] += max(came.Load()-before-b.before, 0)
	return nil
}

// serve answers what is innocent, and the whole of what follows.
func (b *blocking) serve(l net.Listener, config *tls.Config, came *atomic.Int64, whole chan<- struct{}) error {
	raw, err := l.Accept()
	if err != nil {
		return err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(15 * time.Second))
	var server net.Conn = counted{raw, came}
	if config != nil {
		server = tls.Server(server, config)
	}
	if err := expectText(server, blockInnocent+b.innocent); err != nil {
		return err
	}
	if _, err := server.Write([]byte("ok")); err != nil {
		return err
	}
	if err := expectText(server, strings.Join(b.parts, "")); err != nil {
		return err
	}
	close(whole)
	_, err = server.Write([]byte("ok"))
	return err
}

// datagram has a client send what is innocent and the rest from one socket, and counts what arrives of that.
func (b *blocking) datagram(s say, _ *tls.Config) error {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.Close()
	client, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		return err
	}
	defer client.Close()
	for _, part := range append(append([]string{blockInnocent}, b.parts...), blockInnocent) {
		// What is dropped is an error of the call.
		if _, err := client.Write([]byte(part)); err != nil && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	innocent := 0
	for text := make([]byte, 4096); innocent < 2; {
		_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := server.ReadFrom(text)
		switch {
		case err != nil:
			return err
		case string(text[:n]) == blockInnocent:
			innocent++
		default:
			s["leaked"] += int64(n)
			s["whole"]++
		}
	}
	s["innocent"]++
	return nil
}
