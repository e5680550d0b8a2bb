// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	utilexec "k8s.io/client-go/util/exec"
)

const (
	// answerTimeout bounds the wait for the answer to an order.
	answerTimeout = 30 * time.Second
	// maxAnswerBytes bounds what is kept of an answer.
	maxAnswerBytes = 4096
)

// conversation is an open line to the standard input and output of the shop.
type conversation struct {
	orders io.WriteCloser
	lines  *bufio.Reader
	number int
	hangUp func()
}

// attach opens a line to the shop, which ends with ctx or hangUp; hangUp returns when all is over.
func (c *Cluster) attach(ctx context.Context, pod *corev1.Pod) (*conversation, error) {
	request := c.core.Get().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("attach").
		Param("container", Workload).Param("stdin", "true").Param("stdout", "true")
	executor, err := c.executor(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ordersOut, orders := io.Pipe()
	answers, answersIn := io.Pipe()
	var over sync.WaitGroup
	over.Go(func() {
		err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: ordersOut, Stdout: answersIn})
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		answersIn.CloseWithError(err)
		ordersOut.CloseWithError(err)
	})
	return &conversation{orders: orders, lines: bufio.NewReader(answers), hangUp: func() {
		cancel()
		_ = answers.Close()
		_ = orders.Close()
		over.Wait()
	}}, nil
}

// executor speaks the protocol of kubectl exec and attach, which API servers know by WebSocket since Kubernetes 1.30.
func (c *Cluster) executor(request *rest.Request) (remotecommand.Executor, error) {
	executor, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return nil, fmt.Errorf("stream from the API server %s: %w", c.Address(), err)
	}
	return executor, nil
}

// Order sends the shop an order and returns what it says to that, cut to some kilobytes. It is an error if it does not answer;
// what is refused to it is part of an answer.
func (s *conversation) Order(ctx context.Context, what string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	// A line that does not answer is not used again.
	defer context.AfterFunc(ctx, s.hangUp)()
	s.number++
	if _, err := fmt.Fprintf(s.orders, "%d %s\n", s.number, what); err != nil {
		return "", s.broken(ctx, err)
	}
	var answer strings.Builder
	for end := fmt.Sprintf("== %d\n", s.number); ; {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return "", s.broken(ctx, err)
		}
		if line == end {
			return strings.TrimSpace(answer.String()), nil
		}
		if answer.Len() < maxAnswerBytes {
			answer.WriteString(line[:min(len(line), maxAnswerBytes)])
		}
	}
}

// broken says why there is no answer.
func (s *conversation) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("speak to the demo's shop by pods/attach: %w", err)
}

// Attack takes a step and returns what came of it, as the attacker sees it.
func (s *Shop) Attack(ctx context.Context, step Step) (string, error) {
	if step.Exec {
		return s.shell(ctx, step.Command)
	}
	answer, err := s.Order(ctx, "pencil; "+step.Command)
	if err != nil {
		return "", err
	}
	// What was ordered before comes first: the article, and the bank's thanks.
	lines := strings.Split(answer, "\n")
	return strings.Join(lines[min(2, len(lines)):], "\n"), nil
}

// shell runs a command in the shop's container, as kubectl exec does.
func (s *Shop) shell(ctx context.Context, command string) (string, error) {
	ctx, cancel := context.WithTimeout(quiet(ctx), answerTimeout)
	defer cancel()
	request := s.cluster.core.Get().Namespace(s.pod.Namespace).Resource("pods").Name(s.pod.Name).SubResource("exec").
		Param("container", Workload).Param("stdout", "true").Param("stderr", "true")
	for _, arg := range []string{"/bin/sh", "-c", command} {
		request = request.Param("command", arg)
	}
	executor, err := s.cluster.executor(request)
	if err != nil {
		return "", err
	}
	var out, failed limited
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &out, Stderr: &failed})
	said := strings.TrimSpace(string(out) + string(failed))
	var exit utilexec.ExitError
	switch {
	case err == nil || errors.As(err, &exit):
		return said, nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("exec in pod %s: %w", s.pod.Name, ctx.Err())
	}
	// A runtime that may not start the command says so in words of its own.
	return strings.TrimSpace(said + "\n" + err.Error()), nil
}

// limited keeps the beginning of what is written to it.
type limited []byte

// Write is io.Writer's; it takes everything.
func (l *limited) Write(p []byte) (int, error) {
	*l = append(*l, p[:min(len(p), maxAnswerBytes-len(*l))]...)
	return len(p), nil
}
