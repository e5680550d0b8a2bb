// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/holdfast-project/holdfast/tests/rig"
)

// addAddresses makes addresses of nobody's the lab's own.
func addAddresses(t *testing.T, r *rig.Rig, addresses ...string) {
	t.Helper()
	for _, address := range addresses {
		if err := r.Lab.AddAddress(netip.MustParseAddr(address)); err != nil {
			t.Fatal(err)
		}
	}
}

// listens listens at an address of the lab until the test ends.
func listens(t *testing.T, r *rig.Rig, address, port string) net.Listener {
	t.Helper()
	l, err := r.Lab.Listen(t.Context(), "tcp4", net.JoinHostPort(address, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// takesAll reads requests to their ends, and says so.
func takesAll(w http.ResponseWriter, q *http.Request) {
	if _, err := io.Copy(io.Discard, q.Body); err == nil {
		_, _ = io.WriteString(w, "taken\n")
	}
}

// webSink takes requests on an address that is no pod's, plain and over TLS, until the test ends.
func webSink(t *testing.T, r *rig.Rig, address string) {
	t.Helper()
	webServer(t, r, address, http.HandlerFunc(takesAll))
}

// webServer has a handler answer requests to an address that is no pod's, plain and over TLS, until the test ends.
func webServer(t *testing.T, r *rig.Rig, address string, handler http.Handler) {
	t.Helper()
	addAddresses(t, r, address)
	served(t, listens(t, r, address, "80"), handler).Start()
	served(t, listens(t, r, address, "443"), handler).StartTLS()
}

// served is a server that is yet to be started, and ends with the test.
func served(t *testing.T, l net.Listener, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener = l
	t.Cleanup(server.Close)
	return server
}
