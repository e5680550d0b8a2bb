// SPDX-License-Identifier: Apache-2.0

package query

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
)

// streamLine is one line of a stream: an alert, an event, a count of what was shed, a heartbeat, or the error that ends
// it. The cursor is where the stream goes on behind an alert or event.
type streamLine struct {
	Alert     *view.Alert  `json:"alert,omitempty"`
	Event     *view.Event  `json:"event,omitempty"`
	Cursor    store.Cursor `json:"cursor,omitempty"`
	Shed      uint64       `json:"shed,omitempty"`
	Heartbeat time.Time    `json:"heartbeat,omitzero"`
	Error     string       `json:"error,omitempty"`
}

// stream is an answer without an end: lines of JSON, each flushed soon after it was written. A client that does not
// read is cut off when a write to it takes longer than the timeout, so that nothing piles up for it.
type stream struct {
	timeout time.Duration
	control *http.ResponseController
	kick    chan struct{}

	mu  sync.Mutex // Guards what follows.
	out *bufio.Writer
	err error
}

// serveStream runs feed with a stream to the caller. A failure before the first line is answered as for any call; one
// after it is the last line. Between lines the stream shows that it lives.
func (s *server) serveStream(w http.ResponseWriter, r *http.Request, feed func(context.Context, *stream) error) error {
	select {
	case s.streams <- struct{}{}:
		defer func() { <-s.streams }()
	default:
		return problemf(http.StatusTooManyRequests, "%d streams are open already, which is the most", s.MaxStreams)
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("X-Accel-Buffering", "no") // Proxies would hold lines back.
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	st := &stream{
		timeout: s.Timeout, control: http.NewResponseController(w), kick: make(chan struct{}, 1),
		out: bufio.NewWriterSize(w, 32<<10),
	}
	ctx, cancel := context.WithCancel(r.Context())
	var pulse sync.WaitGroup
	pulse.Go(func() {
		defer cancel() // A stream that cannot be written to feeds nobody.
		st.pulse(ctx, s.Heartbeat)
	})
	err := feed(ctx, st)
	if err != nil && ctx.Err() == nil {
		st.end(s.lastWords(r, err))
	}
	cancel()
	pulse.Wait()
	// The connection may carry other requests after this one; that of a caller who is gone does not.
	_ = st.control.SetWriteDeadline(time.Time{})
	return nil
}

// lastWords is what a caller is told of the error that ends a stream.
func (s *server) lastWords(r *http.Request, err error) string {
	if statusOf(err) == http.StatusInternalServerError {
		s.Log.Error("stream", "path", r.URL.Path, "error", err)
		return "internal error: the collector's log says more"
	}
	return err.Error()
}

// pulse flushes what was written, and writes a heartbeat at once and whenever it is time for one, until ctx ends or the
// caller is gone.
func (st *stream) pulse(ctx context.Context, every time.Duration) {
	beat := time.NewTicker(every)
	defer beat.Stop()
	if st.line(streamLine{Heartbeat: time.Now().UTC()}) != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			if st.line(streamLine{Heartbeat: time.Now().UTC()}) != nil {
				return
			}
		case <-st.kick:
			if st.flush() != nil {
				return
			}
		}
	}
}

// line writes a line, and has it flushed.
func (st *stream) line(l streamLine) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.write(l)
	select {
	case st.kick <- struct{}{}:
	default: // A flush is due anyway.
	}
	return st.err
}

// end writes the last line.
func (st *stream) end(message string) {
	st.mu.Lock()
	st.write(streamLine{Error: message})
	st.mu.Unlock()
	_ = st.flush() // The caller may be gone; then nobody misses it.
}

func (st *stream) write(l streamLine) {
	if st.err == nil {
		st.err = st.control.SetWriteDeadline(time.Now().Add(st.timeout))
	}
	if st.err == nil {
		st.err = encode(st.out, l)
	}
}

func (st *stream) flush() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.err == nil {
		st.err = st.control.SetWriteDeadline(time.Now().Add(st.timeout))
	}
	if st.err == nil {
		st.err = st.out.Flush()
	}
	if st.err == nil {
		st.err = st.control.Flush()
	}
	if st.err != nil {
		return fmt.Errorf("stream: %w", st.err)
	}
	return nil
}
