// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

func leakDeeds() []deed {
	return []deed{
		{"leak", "plain|tls ADDR FILE ROUNDS", 4, 4, "on ROUNDS connections ask the web server at ADDR for something, then send it FILE in parts", leak},
	}
}

// leaked is what leak prints.
type leaked struct {
	// Innocent requests were answered, Answered is how often the file was, and Ended how often the connection ended instead.
	Innocent, Answered, Ended int
}

func leak(args []string) error {
	text, err := os.ReadFile(args[2])
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	var did leaked
	for range rounds {
		if err := did.round(args[0] == "tls", args[1], text); err != nil {
			return err
		}
	}
	return json.NewEncoder(os.Stdout).Encode(did)
}

// round is one connection.
func (l *leaked) round(secure bool, addr string, text []byte) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	const patience = 20 * time.Second
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if secure {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	from := bufio.NewReader(conn)
	for range 2 {
		if err := ask(conn, from, "GET /innocent HTTP/1.1\r\nHost: sink\r\n\r\n"); err != nil {
			return fmt.Errorf("an innocent request: %w", err)
		}
		l.Innocent++
	}
	head := fmt.Sprintf("POST /secret HTTP/1.1\r\nHost: sink\r\nContent-Length: %d\r\n\r\n", len(text))
	if err := ask(conn, from, head, string(text[:8]), string(text[8:19]), string(text[19:])); err != nil {
		l.Ended++
		return nil
	}
	l.Answered++
	return nil
}

// ask writes a request in parts and reads the answer.
func ask(to io.Writer, from *bufio.Reader, parts ...string) error {
	for _, part := range parts {
		if _, err := io.WriteString(to, part); err != nil {
			return err
		}
	}
	answer, err := http.ReadResponse(from, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}
