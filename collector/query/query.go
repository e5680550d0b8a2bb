// SPDX-License-Identifier: Apache-2.0

// Package query is the collector's HTTP API: what the CLI and the web UI ask, answered as JSON from the store and the
// fleet. Every route needs a token; viewers read, admins also change. docs/api.md describes the calls.
//
// The package starts nothing of its own: the goroutine of a stream lives as long as its request. It serves no TLS and no
// pages; the composition root does.
package query

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Fleet is what the API asks of the connected agents. fleet.Fleet is one.
type Fleet interface {
	// Nodes returns every known node, by name; Node returns one, or store.ErrNotFound.
	Nodes(ctx context.Context) ([]fleet.Node, error)
	Node(ctx context.Context, name string) (fleet.Node, error)
	// Refusals returns who was refused that would have been a node, the latest first.
	Refusals(ctx context.Context) ([]store.Refusal, error)
	// Tail streams live events of a node. The channel is closed when ctx ends or the node goes away. It returns
	// fleet.ErrNotConnected, fleet.ErrTooManyTails or store.ErrNotFound.
	Tail(ctx context.Context, node string, filter *apiv1.EventFilter) (<-chan *apiv1.TailBatch, error)
	// RecordPolicy returns what is recorded; SetRecordPolicy replaces it, or returns fleet.ErrPolicy.
	RecordPolicy(ctx context.Context) (*apiv1.RecordPolicy, uint64, error)
	SetRecordPolicy(ctx context.Context, p *apiv1.RecordPolicy) (uint64, error)
	Profiles
	Modes
	Explainer
}

// Tokens says who a token belongs to. authority.Authority is one.
type Tokens interface {
	// Authenticate returns authority.ErrToken for a token that is good for nothing.
	Authenticate(ctx context.Context, token string) (authority.Principal, error)
}

// Config is what the API is made of.
type Config struct {
	Store  store.Reader
	Fleet  Fleet
	Tokens Tokens
	Log    *slog.Logger

	// Heartbeat is how often a quiet stream says that it lives; 10 s when zero.
	Heartbeat time.Duration
	// MaxStreams is how many streams may be open at once; 64 when zero.
	MaxStreams int
	// MaxQueries is how many pages are read from the store at once, each of which takes memory; others wait. 8 when zero.
	MaxQueries int
	// Timeout bounds a call that is no stream, and one write to a stream; 30 s when zero.
	Timeout time.Duration
}

// server answers the calls.
type server struct {
	Config
	// streams holds one entry for each open stream, queries one for each page that is read.
	streams, queries chan struct{}
	// policy serialises changes of the record policy, each of which reads it first.
	policy sync.Mutex
}

// New returns the handler of everything under /api/. It is safe for concurrent use.
func New(cfg Config) (http.Handler, error) {
	if cfg.Store == nil || cfg.Fleet == nil || cfg.Tokens == nil || cfg.Log == nil {
		return nil, errors.New("query: store, fleet, tokens and log must be given")
	}
	if cfg.Heartbeat < 0 || cfg.MaxStreams < 0 || cfg.MaxQueries < 0 || cfg.Timeout < 0 {
		return nil, errors.New("query: heartbeat, streams, queries and timeout must not be negative")
	}
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 10*time.Second)
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 64)
	cfg.MaxQueries = cmp.Or(cfg.MaxQueries, 8)
	cfg.Timeout = cmp.Or(cfg.Timeout, 30*time.Second)
	s := &server{Config: cfg, streams: make(chan struct{}, cfg.MaxStreams), queries: make(chan struct{}, cfg.MaxQueries)}
	return s.handler(s.routes()), nil
}

// route is one call: a method and a path, who may use it, the parameters it takes, and what answers it.
type route struct {
	method, path string
	role         store.Role
	params       []string
	answer       func(w http.ResponseWriter, r *http.Request, p params) error
}

// routes is the whole API.
func (s *server) routes() []route {
	const get, put, del = http.MethodGet, http.MethodPut, http.MethodDelete
	list := []string{"since", "until", "workload", "node", "text", "order", "limit", "cursor", "follow", "last"}
	alerts := append([]string{"rule", "priority"}, list...)
	events := append([]string{"type"}, list...)
	return slices.Concat([]route{
		{get, "/api/v1/alerts", store.RoleViewer, alerts, s.alerts},
		{get, "/api/v1/alerts/{id}", store.RoleViewer, nil, s.alert},
		{get, "/api/v1/alerts/{id}/explain", store.RoleViewer, nil, s.explain},
		{http.MethodPost, "/api/v1/alerts/{id}/allow", store.RoleAdmin, nil, s.allow},
		{get, "/api/v1/events", store.RoleViewer, events, s.events},
		{get, "/api/v1/nodes", store.RoleViewer, nil, s.nodes},
		{get, "/api/v1/nodes/{node}", store.RoleViewer, nil, s.node},
		{get, "/api/v1/nodes/{node}/events", store.RoleViewer, []string{"type", "workload", "pid"}, s.tail},
		{get, "/api/v1/refusals", store.RoleViewer, nil, s.refusals},
		{get, "/api/v1/record", store.RoleViewer, nil, s.record},
		{put, "/api/v1/record", store.RoleAdmin, nil, s.setRecord},
		{del, "/api/v1/record", store.RoleAdmin, []string{"workload", "all"}, s.clearRecord},
	}, s.profileRoutes(), s.modeRoutes())
}

// handler serves the routes, and says in JSON what is not one. Nothing is answered before the token was.
func (s *server) handler(routes []route) http.Handler {
	mux := http.NewServeMux()
	methods := map[string][]string{}
	for _, rt := range routes {
		mux.Handle(rt.method+" "+rt.path, s.guard(rt))
		methods[rt.path] = append(methods[rt.path], rt.method)
	}
	for path, allowed := range methods {
		refuse := s.guard(route{role: store.RoleViewer, answer: func(w http.ResponseWriter, r *http.Request, _ params) error {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			return problemf(http.StatusMethodNotAllowed, "%s is not for %s: it takes %s", path, r.Method, strings.Join(allowed, ", "))
		}})
		// A pattern for every method would conflict where one path is a case of another.
		for _, method := range []string{
			http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace,
		} {
			if !slices.Contains(allowed, method) {
				mux.Handle(method+" "+path, refuse)
			}
		}
	}
	mux.Handle("/", s.guard(route{role: store.RoleViewer, answer: func(_ http.ResponseWriter, r *http.Request, _ params) error {
		return problemf(http.StatusNotFound, "there is no call %s %s", r.Method, r.URL.Path)
	}}))
	return mux
}

// guard answers a route for whoever may use it: token, role and parameters are checked before the route sees anything.
func (s *server) guard(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		caller, err := s.admit(r, rt.role)
		if err == nil {
			var p params
			if p, err = parseParams(r.URL.RawQuery, rt); err == nil {
				p.author = authorOf(caller)
				err = rt.answer(w, r, p)
			}
		}
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// secure sets the headers that keep answers out of caches, frames and guesses about their type.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("X-Content-Type-Options", "nosniff")
}

// admit checks that the request carries a token of at least the role, and says whose.
func (s *server) admit(r *http.Request, role store.Role) (authority.Principal, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return authority.Principal{}, problemf(http.StatusUnauthorized, "no token: send one as Authorization: Bearer TOKEN")
	}
	principal, err := s.Tokens.Authenticate(r.Context(), token)
	if errors.Is(err, authority.ErrToken) {
		return authority.Principal{}, problem{status: http.StatusUnauthorized, err: err}
	}
	if err != nil {
		return authority.Principal{}, err
	}
	if !allows(principal.Role, role) {
		return authority.Principal{}, problemf(http.StatusForbidden, "token %s has the role %s; this call needs %s", principal.ID, principal.Role, role)
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.Log.Info("change asked for", "token", principal.ID, "role", principal.Role, "method", r.Method, "path", r.URL.Path,
			"query", r.URL.RawQuery, "remote", r.RemoteAddr)
	}
	return principal, nil
}

// authorOf names who holds a token: by its note, or else by its ID.
func authorOf(p authority.Principal) string {
	return cmp.Or(p.Note, "token "+p.ID)
}

// allows says whether a token of the role has may do what needs the role needs. A role that is not listed may nothing.
func allows(has, needs store.Role) bool {
	switch has {
	case store.RoleAdmin:
		return needs == store.RoleAdmin || needs == store.RoleViewer
	case store.RoleViewer:
		return needs == store.RoleViewer
	default:
		return false
	}
}
