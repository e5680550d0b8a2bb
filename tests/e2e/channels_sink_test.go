// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/holdfast-project/holdfast/tests/rig"
)

// Ports of the taker.
const (
	discardPort = 9
	grpcPort    = 50051
)

// taker takes what is sent over the channels, each of which has an address of its own: HTTP, WebSocket, gRPC, names, and bytes.
func taker(t *testing.T, r *rig.Rig) {
	t.Helper()
	for _, ch := range channels {
		if address, err := netip.ParseAddr(ch.to); err == nil {
			if err := r.Lab.AddAddress(address); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Lab.AddAddress(netip.MustParseAddr(javaAddress)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Lab.ServeNames(t.Context(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	takesWeb(t, listens(t, r, 80), listens(t, r, 443))
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, anyService{})
	calls, bytes := listens(t, r, grpcPort), listens(t, r, discardPort)
	go func() { _ = server.Serve(calls) }()
	t.Cleanup(server.Stop)
	go discard(bytes)
}

// anyService says of every service that it is well.
type anyService struct {
	grpc_health_v1.UnimplementedHealthServer
}

// Check implements grpc_health_v1.HealthServer.
func (anyService) Check(context.Context, *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	return &grpc_health_v1.HealthCheckResponse{Status: grpc_health_v1.HealthCheckResponse_SERVING}, nil
}

// listens listens at a port of all addresses.
func listens(t *testing.T, r *rig.Rig, port uint16) net.Listener {
	t.Helper()
	l, err := r.Lab.Listen(t.Context(), "tcp4", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// takesWeb serves requests, and messages of WebSocket.
func takesWeb(t *testing.T, plain, secured net.Listener) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		if _, err := io.Copy(io.Discard, q.Body); err == nil {
			_, _ = io.WriteString(w, "taken\n")
		}
	})
	mux.Handle("/socket", websocket.Handler(func(conn *websocket.Conn) {
		var text string
		if websocket.Message.Receive(conn, &text) == nil {
			_ = websocket.Message.Send(conn, "taken")
		}
	}))
	for listener, start := range map[net.Listener]func(*httptest.Server){plain: (*httptest.Server).Start, secured: (*httptest.Server).StartTLS} {
		server := httptest.NewUnstartedServer(mux)
		_ = server.Listener.Close()
		server.Listener, server.EnableHTTP2 = listener, true
		start(server)
		t.Cleanup(server.Close)
	}
}

// discard reads all that connections bring, and ends them.
func discard(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
	}
}
