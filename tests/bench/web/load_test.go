// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/holdfast-project/holdfast/tests/lab"
)

// lane is a way to use the server.
type lane struct {
	name, page string
	tls        bool
	// requests are sent each time.
	requests int64
}

// connections are how many are open at a time.
const connections = 8

// load is a lane's connections, which ask as fast as they get answers.
type load struct {
	request []byte
	size    int // of an answer
	conns   []net.Conn
}

// open connects.
func (l *lane) open(ctx context.Context, from *lab.Lab, address string) (*load, error) {
	port := plainPort
	if l.tls {
		port = tlsPort
	}
	w := &load{request: fmt.Appendf(nil, "GET /%s?q=green+tea&page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"+
		"Accept: text/html,application/xhtml+xml,application/json;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nCookie: session=k3v9x2m7q1; theme=dark; lang=en\r\n\r\n", l.page)}
	for range connections {
		conn, err := from.DialContext(ctx, "tcp", net.JoinHostPort(address, fmt.Sprint(port)))
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		if l.tls {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		w.conns = append(w.conns, conn)
		if w.size, err = w.measure(conn); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

// measure asks once and returns the length of the answer with its head, which is that of all.
func (w *load) measure(conn net.Conn) (int, error) {
	if _, err := conn.Write(w.request); err != nil {
		return 0, err
	}
	var head bytes.Buffer
	from := bufio.NewReaderSize(io.TeeReader(conn, &head), 1)
	answer, err := http.ReadResponse(from, nil)
	if err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK || answer.ContentLength < 0 {
		return 0, fmt.Errorf("the server answers %s with %d bytes", answer.Status, answer.ContentLength)
	}
	return head.Len(), nil
}

// drive sends so many requests over all connections.
func (w *load) drive(requests int64) error {
	var group sync.WaitGroup
	var sent atomic.Int64
	errs := make([]error, len(w.conns))
	for i, conn := range w.conns {
		group.Go(func() {
			answer := make([]byte, w.size)
			for errs[i] == nil && sent.Add(1) <= requests {
				if _, errs[i] = conn.Write(w.request); errs[i] == nil {
					_, errs[i] = io.ReadFull(conn, answer)
				}
				if errs[i] == nil && !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
					errs[i] = fmt.Errorf("the server answers %.40q", answer)
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (w *load) close() error {
	var errs []error
	for _, conn := range w.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}
