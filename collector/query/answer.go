// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
)

// problem is an error that a caller is told about, with the HTTP status that fits.
type problem struct {
	status int
	err    error
}

func (p problem) Error() string { return p.err.Error() }
func (p problem) Unwrap() error { return p.err }

func problemf(status int, format string, args ...any) error {
	return problem{status: status, err: fmt.Errorf(format, args...)}
}

// statusOf returns the HTTP status of an error. What is not meant for callers is an internal error.
func statusOf(err error) int {
	var p problem
	switch {
	case errors.As(err, &p):
		return p.status
	case errors.Is(err, store.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, store.ErrCursor), errors.Is(err, store.ErrFilter), errors.Is(err, fleet.ErrPolicy):
		return http.StatusBadRequest
	case errors.Is(err, fleet.ErrNotConnected), errors.Is(err, fleet.ErrInUse), errors.Is(err, fleet.ErrHeld), errors.Is(err, store.ErrTooMany):
		return http.StatusConflict
	case errors.Is(err, store.ErrChanged):
		return http.StatusPreconditionFailed
	case errors.Is(err, fleet.ErrRefused):
		return http.StatusUnprocessableEntity
	case errors.Is(err, fleet.ErrTooManyTails):
		return http.StatusTooManyRequests
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	default:
		return http.StatusInternalServerError
	}
}

// codeOf names an error of a status in the words of the API.
func codeOf(status int, err error) string {
	switch status {
	case http.StatusBadRequest:
		return "invalid"
	case http.StatusUnauthorized:
		return "unauthenticated"
	case http.StatusForbidden:
		return "forbidden"
	case http.StatusNotFound:
		return "not_found"
	case http.StatusMethodNotAllowed:
		return "method_not_allowed"
	case http.StatusConflict:
		if errors.Is(err, fleet.ErrInUse) || errors.Is(err, fleet.ErrHeld) || errors.Is(err, store.ErrTooMany) {
			return "conflict"
		}
		return "not_connected"
	case http.StatusPreconditionFailed:
		return "changed"
	case http.StatusPreconditionRequired:
		return "needs_version"
	case http.StatusUnprocessableEntity:
		return "refused"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "unsupported_media_type"
	case http.StatusTooManyRequests:
		return "too_many"
	case http.StatusGatewayTimeout, http.StatusRequestTimeout:
		return "timeout"
	default:
		return "internal"
	}
}

// errorBody is the body of an answer that is no success.
type errorBody struct {
	Error errorText `json:"error"`
}

type errorText struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// fail answers with an error. The details of an internal one are logged and not told.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, message := statusOf(err), err.Error()
	// The server takes a body that does not come for a client that has gone.
	if r.Context().Err() != nil && status != http.StatusRequestTimeout {
		return // Nobody is there to be told.
	}
	switch status {
	case http.StatusInternalServerError:
		s.Log.Error("request", "method", r.Method, "path", r.URL.Path, "error", err)
		message = "internal error: the collector's log says more"
	case http.StatusUnauthorized:
		s.Log.Info("request refused", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
		w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	case http.StatusForbidden:
		s.Log.Info("request refused", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "5")
	}
	s.write(w, r, status, errorBody{errorText{Code: codeOf(status, err), Message: message}})
}

// reply answers with v.
func (s *server) reply(w http.ResponseWriter, r *http.Request, v any) error {
	s.write(w, r, http.StatusOK, v)
	return nil
}

// write sends v. An error of it is the end of the connection, which nobody can be told over it.
func (s *server) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	control := http.NewResponseController(w)
	err := control.SetWriteDeadline(time.Now().Add(s.Timeout))
	w.WriteHeader(status)
	err = errors.Join(err, encode(w, v), control.SetWriteDeadline(time.Time{}))
	if err != nil {
		s.Log.Debug("answer not sent", "path", r.URL.Path, "remote", r.RemoteAddr, "error", err)
	}
}

// encode writes v as one line. Answers are JSON and never a page, so <, > and & stay legible.
func encode(w interface{ Write([]byte) (int, error) }, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
