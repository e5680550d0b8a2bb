// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
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
		if ch.to != "" {
			addAddresses(t, r, ch.to)
		}
	}
	addAddresses(t, r, javaAddress)
	if _, err := r.Lab.ServeNames(t.Context(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	const all = "0.0.0.0"
	takesWeb(t, listens(t, r, all, "80"), listens(t, r, all, "443"))
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, anyService{})
	calls, bytes := listens(t, r, all, fmt.Sprint(grpcPort)), listens(t, r, all, fmt.Sprint(discardPort))
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

// takesWeb serves requests, and messages of WebSocket.
func takesWeb(t *testing.T, plain, secured net.Listener) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", takesAll)
	mux.Handle("/socket", websocket.Handler(func(conn *websocket.Conn) {
		var text string
		if websocket.Message.Receive(conn, &text) == nil {
			_ = websocket.Message.Send(conn, "taken")
		}
	}))
	served(t, plain, mux).Start()
	both := served(t, secured, mux)
	both.EnableHTTP2 = true
	both.StartTLS()
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
