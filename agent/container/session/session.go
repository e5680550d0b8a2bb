// SPDX-License-Identifier: Apache-2.0

// Package session holds what the sources of container identity share: the connection to a runtime's socket, and the loop
// that begins a session anew when one ends. It starts no goroutine.
package session

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// CallTimeout bounds every call to a runtime but its event stream.
	CallTimeout = 10 * time.Second
	// Waits between two sessions. One that held longer than maxWait starts over at minWait.
	minWait = 100 * time.Millisecond
	maxWait = 5 * time.Second
	// maxMessage is containerd's own bound on messages, and what the kubelet allows.
	maxMessage = 16 << 20
)

// Dial makes a connection to a runtime's socket. It connects when it is first used; an error tells that the path cannot be
// one.
func Dial(socket string) (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix:"+socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: minWait, Multiplier: 1.6, Jitter: 0.2, MaxDelay: maxWait},
			MinConnectTimeout: CallTimeout,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w", socket, err)
	}
	return conn, nil
}

// Keep runs one session after the other until ctx ends. It calls ended with the error of each, and waits before the next,
// longer each time while they fail at once.
func Keep(ctx context.Context, session func(context.Context) error, ended func(error)) {
	KeepWithin(ctx, maxWait, session, ended)
}

// KeepWithin is Keep with another bound on the wait.
func KeepWithin(ctx context.Context, most time.Duration, session func(context.Context) error, ended func(error)) {
	wait := min(minWait, most)
	for {
		began := time.Now()
		err := session(ctx)
		if ctx.Err() != nil {
			return
		}
		ended(err)
		if time.Since(began) > maxWait {
			wait = min(minWait, most)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		wait = min(wait*2, most)
	}
}
