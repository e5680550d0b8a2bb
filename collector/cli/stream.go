// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	// silence is how long a stream may be quiet: the collector sends a heartbeat far more often.
	silence = 45 * time.Second
	// maxLineBytes bounds a line of a stream.
	maxLineBytes = 16 << 20
	// pageSize is how many records are asked for at once.
	pageSize = 1000
)

// line is one line of a stream; exactly one of its fields is there, and Cursor beside a record that has one.
type line struct {
	Alert     json.RawMessage `json:"alert"`
	Event     json.RawMessage `json:"event"`
	Cursor    string          `json:"cursor"`
	Shed      uint64          `json:"shed"`
	Heartbeat time.Time       `json:"heartbeat"`
	Error     string          `json:"error"`
}

// errStream is the end of a stream that the collector did not mean to be one: asking again may help.
var errStream = errors.New("the stream broke off")

// stream reads lines until the stream or ctx ends. It returns nil where the collector closed the stream in order.
func (c *client) stream(ctx context.Context, path string, query url.Values, each func(line) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := c.do(ctx, http.MethodGet, path, query, nil, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	watchdog := time.AfterFunc(silence, func() { cancel(fmt.Errorf("%w: nothing came for %s", errStream, silence)) })
	defer watchdog.Stop()

	lines := bufio.NewScanner(response.Body)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	for lines.Scan() {
		watchdog.Reset(silence)
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return c.strange(fmt.Errorf("stream %s: %w", path, err))
		}
		if l.Error != "" {
			return fmt.Errorf("%w: %s", errStream, l.Error)
		}
		if err := each(l); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case errors.Is(err, bufio.ErrTooLong):
		return c.strange(fmt.Errorf("stream %s: a line of more than %d bytes", path, maxLineBytes))
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s closed the connection", errStream, c.address)
	default:
		return fmt.Errorf("%w: %w", errStream, cause(err))
	}
}

// page is a part of a list.
type page struct {
	Alerts []json.RawMessage `json:"alerts"`
	Events []json.RawMessage `json:"events"`
	// Next is where the list goes on; empty at its end.
	Next string `json:"next"`
}

// list calls each for every record of a list, page by page, until limit records; 0 means all of them.
func (c *client) list(ctx context.Context, path string, query url.Values, limit int, each func(json.RawMessage) error) error {
	for got := 0; ; {
		size := pageSize
		if limit > 0 {
			size = min(size, limit-got)
		}
		query.Set("limit", fmt.Sprint(size))
		var p page
		if err := c.get(ctx, path, query, &p); err != nil {
			return err
		}
		for _, record := range append(p.Alerts, p.Events...) {
			if err := each(record); err != nil {
				return err
			}
			got++
		}
		if p.Next == "" || (limit > 0 && got >= limit) {
			return nil
		}
		query.Set("cursor", p.Next)
	}
}
