// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"

	"github.com/holdfast-project/holdfast/agent/policy"
	"github.com/holdfast-project/holdfast/agent/replace"
)

// clusterFile keeps what names of the cluster stood for.
const clusterFile = "cluster.json"

// maxRemembered bounds the addresses that are remembered, of all names together.
const maxRemembered = 65536

// remember answers for the cluster until the cluster can: an agent that starts must not take away what a service stood for
// under the one before, and the API server may be away just then. It is safe for concurrent use.
type remember struct {
	cluster Cluster
	file    string
	log     *slog.Logger

	mu sync.Mutex
	// known are targets by what was asked for; count is how many.
	known   map[string][]policy.Target
	count   int
	changed bool
}

// newRemember reads what was remembered. A file that cannot be read is reported, and nothing is known then.
func newRemember(cluster Cluster, dir string, log *slog.Logger) *remember {
	r := &remember{cluster: cluster, file: filepath.Join(dir, clusterFile), log: log, known: map[string][]policy.Target{}}
	text, err := read(r.file)
	if err == nil {
		err = json.Unmarshal(text, &r.known)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("what names of the cluster stood for is not known until Kubernetes tells", "file", r.file, "error", err)
	}
	if r.known == nil || err != nil {
		r.known = map[string][]policy.Target{}
	}
	for _, list := range r.known {
		r.count += len(list)
	}
	return r
}

// Service implements policy.Resolver.
func (r *remember) Service(namespace, name string, protocol uint8, port uint16) []policy.Target {
	of := movedService + namespace + "/" + name
	return r.answer(of, fmt.Sprintf("%s %d/%d", of, protocol, port), func() []policy.Target {
		return r.cluster.Service(namespace, name, protocol, port)
	})
}

// Workload implements policy.Resolver.
func (r *remember) Workload(namespace, kind, name string) []netip.Prefix {
	of := movedWorkload + namespace + "/" + kind + "/" + name
	targets := r.answer(of, of, func() []policy.Target {
		var list []policy.Target
		for _, prefix := range r.cluster.Workload(namespace, kind, name) {
			list = append(list, policy.Target{Prefix: prefix})
		}
		return list
	})
	prefixes := make([]netip.Prefix, len(targets))
	for i, target := range targets {
		prefixes[i] = target.Prefix
	}
	return prefixes
}

// answer asks the cluster if it can tell, and remembers the answer; else it gives the last one.
func (r *remember) answer(of, question string, ask func() []policy.Target) []policy.Target {
	if !r.cluster.Told(of) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.known[question]
	}
	list := ask()
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.known[question])
	switch {
	case len(list) == 0:
		delete(r.known, question)
	case r.count-before+len(list) > maxRemembered:
		return list
	default:
		r.known[question] = list
	}
	r.count += len(r.known[question]) - before
	r.changed = true
	return list
}

// forget drops what no policy refers to any more, but for what the agent before asked for while it is not told.
func (r *remember) forget(referred map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for question, list := range r.known {
		name := question
		if i := strings.LastIndexByte(question, ' '); i > len(movedService) {
			name = question[:i]
		}
		if !referred[name] && r.cluster.Told(name) {
			delete(r.known, question)
			r.count -= len(list)
			r.changed = true
		}
	}
}

// saveCluster writes down what names stand for that policies refer to.
func (g *Guard) saveCluster() {
	if g.cluster == nil {
		return
	}
	referred := map[string]bool{}
	g.mu.Lock()
	for _, w := range g.workloads {
		for _, name := range w.cluster {
			referred[name] = true
		}
	}
	g.mu.Unlock()
	g.cluster.forget(referred)
	g.cluster.save()
}

// save writes down what has changed.
func (r *remember) save() {
	r.mu.Lock()
	text, err := json.Marshal(r.known)
	changed := r.changed
	r.changed = false
	r.mu.Unlock()
	if err == nil && changed {
		err = replace.File(r.file, text)
	}
	if err != nil {
		r.log.Error("what names of the cluster stand for was not written down, trying again", "error", err)
		r.mu.Lock()
		r.changed = true
		r.mu.Unlock()
	}
}
