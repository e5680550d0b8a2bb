// SPDX-License-Identifier: Apache-2.0

package collectortest

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/collector"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Collector is a collector that runs in the test's process.
type Collector struct {
	*collector.Collector
	Dir string
	Log *Log

	stop func() error
}

// Log is a log that a test can read.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write is io.Writer.Write.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is what was logged so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Start runs a collector on loopback until the test ends or Stop is called. Empty fields of cfg are filled in.
func Start(t testing.TB, cfg collector.Config) *Collector {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	cfg.GRPCListen, cfg.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
	log := &Log{}
	cfg.Log = slog.New(slog.NewJSONHandler(log, nil))
	c, err := collector.New(t.Context(), cfg)
	if err != nil {
		t.Fatalf("start a collector: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	running := &Collector{Collector: c, Dir: cfg.DataDir, Log: log}
	running.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := running.stop(); err != nil {
			t.Errorf("the collector ended with: %v", err)
		}
		if t.Failed() {
			t.Logf("log of the collector:\n%s", log)
		}
	})
	return running
}

// Stop stops the collector and waits for it.
func (c *Collector) Stop(t testing.TB) {
	t.Helper()
	if err := c.stop(); err != nil {
		t.Fatalf("stop the collector: %v", err)
	}
}

// Token makes a token.
func (c *Collector) Token(t testing.TB, g authority.Grant) string {
	t.Helper()
	text, _, err := c.Authority().CreateToken(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Enrol enrols a node with a token made for it.
func (c *Collector) Enrol(t testing.TB, node string) *Agent {
	t.Helper()
	token := c.Token(t, authority.Grant{Role: store.RoleJoin, Node: node, Uses: 1})
	a, err := Enrol(t.Context(), c.GRPCAddr().String(), token, node)
	if err != nil {
		t.Fatalf("enrol %s: %v", node, err)
	}
	return a
}

// Encode is a record as it lies in a spool.
func Encode(t testing.TB, r *apiv1.Record) []byte {
	t.Helper()
	b, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
