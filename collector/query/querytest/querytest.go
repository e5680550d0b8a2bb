// SPDX-License-Identifier: Apache-2.0

// Package querytest serves the HTTP API for tests: over TLS, from a real store, fleet and authority, with tokens of every
// role. The test plays the agents. Everything ends with the test.
package querytest

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/store/sqlite"
)

// API is a running API.
type API struct {
	// Address is host and port, CA a file with the certificate that vouches for them.
	Address, CA string
	// Viewer and Admin are tokens; JoinToken is good for enrolment alone, Expired was a viewer's.
	Viewer, Admin, JoinToken, Expired string

	Store     *sqlite.Store
	Fleet     *fleet.Fleet
	Authority *authority.Authority

	handler http.Handler
	// stop ends the server that runs.
	stop func()
}

// Now is when agents connect and say something.
func Now() time.Time { return time.Date(2026, 11, 18, 12, 29, 57, 0, time.UTC) }

// Start serves an API until the test ends. It sets store, fleet, tokens and log of cfg itself.
func Start(t *testing.T, cfg query.Config) *API {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	auth, err := authority.Open(authority.Config{Dir: dir, Store: st, Names: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := fleet.New(t.Context(), fleet.Config{
		Store: st, Log: slog.New(slog.DiscardHandler), Now: Now, Every: time.Hour, Gather: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	keep(t, nodes)
	api := &API{Store: st, Fleet: nodes, Authority: auth, CA: filepath.Join(dir, "ca.pem")}
	api.createTokens(t)
	cfg.Store, cfg.Fleet, cfg.Tokens, cfg.Log = st, nodes, auth, slog.New(slog.DiscardHandler)
	if api.handler, err = query.New(cfg); err != nil {
		t.Fatal(err)
	}
	api.serve(t, "127.0.0.1:0")
	t.Cleanup(func() { api.Stop() })
	return api
}

// keep runs a fleet until the test ends.
func keep(t *testing.T, nodes *fleet.Fleet) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- nodes.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the fleet ended with %v", err)
		}
	})
}

func (a *API) createTokens(t *testing.T) {
	t.Helper()
	for _, token := range []struct {
		to    *string
		grant authority.Grant
	}{
		{&a.Viewer, authority.Grant{Role: store.RoleViewer}},
		{&a.Admin, authority.Grant{Role: store.RoleAdmin, Note: "ann"}},
		{&a.JoinToken, authority.Grant{Role: store.RoleJoin, Uses: 1}},
		{&a.Expired, authority.Grant{Role: store.RoleViewer, TTL: time.Nanosecond}},
	} {
		text, _, err := a.Authority.CreateToken(t.Context(), token.grant)
		if err != nil {
			t.Fatal(err)
		}
		*token.to = text
	}
}

// Stop ends every request and the server, as a collector that is shut down does.
func (a *API) Stop() {
	a.stop()
}

// Restart serves again on the same address after Stop.
func (a *API) Restart(t *testing.T) {
	t.Helper()
	a.serve(t, a.Address)
}

func (a *API) serve(t *testing.T, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	a.Address = listener.Addr().String()
	ctx, cancel := context.WithCancel(t.Context())
	server := &http.Server{
		Handler: a.handler, TLSConfig: a.Authority.ServerTLS(), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	a.stop = func() {
		cancel()
		if err := server.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		a.stop = func() {}
	}
}

// Client returns an HTTP client that trusts the API.
func (a *API) Client() *http.Client {
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: a.Authority.Roots()}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, DisableKeepAlives: true}}
}

// Append stores records of one node and epoch, the first with the sequence first.
func (a *API) Append(t *testing.T, lane apiv1.Lane, node string, epoch, first uint64, records ...*apiv1.Record) {
	t.Helper()
	batch := store.Batch{Node: node, Epoch: epoch, Received: Now()}
	for i, record := range records {
		batch.Entries = append(batch.Entries, store.Entry{Sequence: first + uint64(i), Record: record})
	}
	if _, err := a.Store.Append(t.Context(), lane, []store.Batch{batch}); err != nil {
		t.Fatal(err)
	}
}

// AlertNames are the alerts that Alert knows, in the order of their time.
func AlertNames() []string {
	return []string{"exec", "connect", "open", "ptrace", "dns", "exit"}
}

// Alert reads one of the alerts of package view's testdata.
func Alert(t *testing.T, name string) *apiv1.Alert {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "view", "testdata", name+".txtpb"))
	if err != nil {
		t.Fatal(err)
	}
	var alert apiv1.Alert
	if err := prototext.Unmarshal(text, &alert); err != nil {
		t.Fatal(err)
	}
	return &alert
}

// AlertRecords returns the alerts of AlertNames as records, EventRecords their events.
func AlertRecords(t *testing.T) []*apiv1.Record {
	t.Helper()
	var records []*apiv1.Record
	for _, name := range AlertNames() {
		records = append(records, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: Alert(t, name)}})
	}
	return records
}

// EventRecords returns the events of the alerts of AlertNames as records.
func EventRecords(t *testing.T) []*apiv1.Record {
	t.Helper()
	var records []*apiv1.Record
	for _, name := range AlertNames() {
		records = append(records, &apiv1.Record{Record: &apiv1.Record_Event{Event: Alert(t, name).GetEvent()}})
	}
	return records
}
