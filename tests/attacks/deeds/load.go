// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func loadDeeds() []deed {
	return []deed{
		{"burst", "N [PROGRAM]", 1, 2, "run PROGRAM (/bin/true) N times as fast as possible", burst},
		{"short", "FILE ADDR TAG", 3, 3, "start two processes: one opens FILE, one connects to ADDR; TAG tells them", short},
		{"plant-many", "DIR COUNT INTERVAL", 3, 3, "write COUNT numbered files into DIR, one every INTERVAL", plantMany},
		{"http", "URL DURATION", 2, 2, "fetch URL for DURATION, four at a time", fetch},
		{"redis", "ADDR DURATION", 2, 2, "write to and read from Redis at ADDR for DURATION, four at a time", exercise},
	}
}

// burst starts two at a time: the next one is being started while the last one still ends.
func burst(args []string) error {
	count, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	program := arg(args, 1, "/bin/true")
	began := time.Now()
	var next, ran atomic.Int64
	failed := make(chan error, 2)
	for range cap(failed) {
		go func() {
			for next.Add(1) <= count {
				if err := start(program, []string{program}, nil); err != nil {
					failed <- err
					return
				}
				ran.Add(1)
			}
			failed <- nil
		}()
	}
	err = errors.Join(<-failed, <-failed)
	took := time.Since(began)
	fmt.Printf("ran %d in %s\n", ran.Load(), took)
	return err
}

func short(args []string) error {
	return errors.Join(
		start(self, []string{"deeds", "open", args[0], args[2]}, nil),
		start(self, []string{"deeds", "connect", args[1], args[2]}, nil))
}

// plantMany prints a line for each file when it is done: its name and the wall clock before and after, nanoseconds.
func plantMany(args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	interval, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for n := range count {
		<-tick.C
		path := filepath.Join(args[0], fmt.Sprintf("n%07d", n))
		before := time.Now()
		if err := plantEmpty(path); err != nil {
			return err
		}
		fmt.Fprintln(out, path, before.UnixNano(), time.Now().UnixNano())
		// One write a line would be as much to watch as the deed.
		if n%100 == 99 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
	return out.Flush()
}

// plantEmpty makes a file in one system call, so that it is one event.
func plantEmpty(path string) error {
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_EXCL|syscall.O_CLOEXEC, 0o755)
	if err != nil {
		return outcome("create "+path, err)
	}
	return syscall.Close(fd)
}

// repeat calls do four times at once, again and again, until the time is over or one fails, and counts.
func repeat(duration string, do func(ctx context.Context) error) error {
	last, err := time.ParseDuration(duration)
	if err != nil {
		return err
	}
	end := time.Now().Add(last)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	var done atomic.Int64
	var wg sync.WaitGroup
	const parallel = 4
	failed := make(chan error, parallel)
	for range parallel {
		wg.Go(func() {
			for time.Now().Before(end) {
				// A dial may notice the end before the context does.
				if err := do(ctx); err != nil && time.Now().Before(end) {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	close(failed)
	fmt.Println("done", done.Load())
	return <-failed
}

func fetch(args []string) error {
	return repeat(args[1], func(ctx context.Context) error { return get(ctx, args[0]) })
}

func get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

// exercise speaks Redis's protocol: each round is a connection, on which a hundred values are written and read.
func exercise(args []string) error {
	return repeat(args[1], func(ctx context.Context) error {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "tcp", args[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for n := range 100 {
			if _, err := fmt.Fprintf(conn, "SET key:%d value\r\nGET key:%d\r\n", n, n); err != nil {
				return err
			}
			for _, want := range []string{"+OK\r\n", "$5\r\n", "value\r\n"} {
				got, err := answers.ReadString('\n')
				if err != nil || got != want {
					return errors.Join(fmt.Errorf("redis answers %q, want %q", got, want), err)
				}
			}
		}
		return nil
	})
}
