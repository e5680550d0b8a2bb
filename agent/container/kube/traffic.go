// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Class is a kind of request to the API server.
type Class struct {
	// Verb is get, list or watch, Resource the resource in the plural; "discovery" stands for lists of resources.
	Verb, Resource string
}

// Traffic counts what was asked of the API server: requests by class, those that failed or were refused, and the bytes
// of bodies, after decompression, that came in.
type Traffic struct {
	Class
	Requests, Failed, BytesIn uint64
}

// maxClasses bounds the classes that are counted one by one; resources of custom controllers make further ones.
const maxClasses = 64

// traffic counts requests. It is safe for concurrent use.
type traffic struct {
	mu      sync.Mutex
	classes map[Class]*counts
}

type counts struct {
	requests, failed, bytes atomic.Uint64
}

func (t *traffic) of(c Class) *counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.classes[c]; n != nil {
		return n
	}
	if t.classes == nil {
		t.classes = map[Class]*counts{}
	}
	if len(t.classes) >= maxClasses {
		c = Class{c.Verb, "other"}
	}
	if t.classes[c] == nil {
		t.classes[c] = &counts{}
	}
	return t.classes[c]
}

// list gives the counts in the order of the classes.
func (t *traffic) list() []Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Traffic, 0, len(t.classes))
	for c, n := range t.classes {
		list = append(list, Traffic{Class: c, Requests: n.requests.Load(), Failed: n.failed.Load(), BytesIn: n.bytes.Load()})
	}
	slices.SortFunc(list, func(a, b Traffic) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Verb, b.Verb))
	})
	return list
}

// wrap counts what goes through a transport.
func (t *traffic) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		n := t.of(classOf(r))
		n.requests.Add(1)
		response, err := next.RoundTrip(r)
		if err != nil {
			n.failed.Add(1)
			return nil, err
		}
		if response.StatusCode >= http.StatusBadRequest {
			n.failed.Add(1)
		}
		response.Body = &countedBody{response.Body, &n.bytes}
		return response, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type countedBody struct {
	io.ReadCloser
	n *atomic.Uint64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(uint64(n))
	return n, err
}

// classOf reads the class from the path: /api/v1/… or /apis/GROUP/VERSION/…, then namespaces/NAME where the resource is
// of a namespace, then the resource and perhaps a name.
func classOf(r *http.Request) Class {
	part := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(part) >= 2 && part[0] == "api":
		part = part[2:]
	case len(part) >= 3 && part[0] == "apis":
		part = part[3:]
	default:
		return Class{"get", "other"}
	}
	if len(part) > 2 && part[0] == "namespaces" {
		part = part[2:]
	}
	switch {
	case len(part) == 0:
		return Class{"get", "discovery"}
	case len(part) > 1:
		return Class{"get", part[0]}
	case r.URL.Query().Get("watch") != "" && r.URL.Query().Get("watch") != "false":
		return Class{"watch", part[0]}
	default:
		return Class{"list", part[0]}
	}
}
