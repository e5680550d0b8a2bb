// SPDX-License-Identifier: Apache-2.0

// Command sender sends what is in a file over the network, as programs in Go do it:
//
//	sender https URL FILE          posts it, inside crypto/tls
//	sender grpc HOST:PORT FILE     asks a gRPC server for the health of the service of that name
//	sender websocket URL FILE      sends it as a message of WebSocket
//
// It checks no certificate.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sender:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	ways := map[string]func(context.Context, string, []byte) error{"https": overTLS, "grpc": overGRPC, "websocket": overWebSocket}
	if len(args) != 3 || ways[args[0]] == nil {
		return fmt.Errorf("want https, grpc or websocket, an address and a file")
	}
	text, err := os.ReadFile(args[2])
	if err != nil {
		return fmt.Errorf("read what to send: %w", err)
	}
	if err := ways[args[0]](ctx, args[1], text); err != nil {
		return fmt.Errorf("%s to %s: %w", args[0], args[1], err)
	}
	return nil
}

func overTLS(ctx context.Context, url string, text []byte) error {
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	answer, err := client.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	return nil
}

func overGRPC(ctx context.Context, address string, text []byte) error {
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: strings.TrimSpace(string(text))})
	return err
}

func overWebSocket(_ context.Context, url string, text []byte) error {
	conn, err := websocket.Dial(url, "", "http://localhost/")
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := websocket.Message.Send(conn, string(text)); err != nil {
		return err
	}
	var answer string
	return websocket.Message.Receive(conn, &answer)
}
