// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"net/http"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/view"
)

// nodeList is the answer to a list of nodes, which is never paged: a fleet has few of them.
type nodeList struct {
	Nodes []view.Node `json:"nodes"`
	// RefusedLastDay is how often somebody who would have been a node was refused, of late; the refusals say who.
	RefusedLastDay uint64 `json:"refused_last_day,omitempty"`
}

// refusedOfLate is how far back a list of nodes counts who was refused.
const refusedOfLate = 24 * time.Hour

func (s *server) nodes(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	nodes, err := s.Fleet.Nodes(ctx)
	if err != nil {
		return err
	}
	answer := nodeList{Nodes: make([]view.Node, 0, len(nodes))}
	for _, n := range nodes {
		answer.Nodes = append(answer.Nodes, newNode(n))
	}
	refusals, err := s.Fleet.Refusals(ctx)
	if err != nil {
		return err
	}
	for _, r := range refusals {
		if time.Since(r.Last) < refusedOfLate {
			answer.RefusedLastDay += r.Count
		}
	}
	return s.reply(w, r, answer)
}

// refusalList is the answer to who was refused. The store bounds it.
type refusalList struct {
	Refusals []view.Refusal `json:"refusals"`
}

func (s *server) refusals(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	refusals, err := s.Fleet.Refusals(ctx)
	if err != nil {
		return err
	}
	answer := refusalList{Refusals: make([]view.Refusal, 0, len(refusals))}
	for _, r := range refusals {
		answer.Refusals = append(answer.Refusals, view.Refusal{
			Node: r.Node, Host: r.Host, Credential: r.Credential, Cause: r.Cause, Reason: r.Reason, Count: r.Count,
			First: r.First.UTC(), Last: r.Last.UTC(),
		})
	}
	return s.reply(w, r, answer)
}

func (s *server) node(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	node, err := s.Fleet.Node(ctx, r.PathValue("node"))
	if err != nil {
		return err
	}
	return s.reply(w, r, newNode(node))
}

func newNode(n fleet.Node) view.Node {
	capabilities := n.Hello.GetCapabilities()
	if current := n.Health.GetCapabilities(); len(current) > 0 {
		capabilities = current
	}
	node := view.Node{
		Node: n.Name, Connected: n.Connected, LastSeen: n.LastSeen.UTC(), FirstSeen: n.FirstSeen.UTC(), Address: n.Address,
		AgentVersion: n.Hello.GetAgentVersion(), Kernel: n.Hello.GetKernelRelease(), Machine: n.Hello.GetMachine(),
		BootID: n.Hello.GetBootId(), Undelivered: n.Losses, Health: view.NewHealth(n.Health),
		Capabilities: view.NewCapabilities(capabilities),
	}
	if node.Undelivered == nil {
		node.Undelivered = map[string]uint64{}
	}
	if !n.Revoked.IsZero() {
		node.Revoked = n.Revoked.UTC()
	}
	if !n.Allowed.IsZero() {
		node.Allowed = n.Allowed.UTC()
	}
	node.Lost = node.CountLost()
	return node
}

// tail streams live events of a node, which its agent filters.
func (s *server) tail(w http.ResponseWriter, r *http.Request, p params) error {
	pids, err := p.pids()
	if err != nil {
		return err
	}
	filter := &apiv1.EventFilter{Types: p.list("type"), Workload: p.text("workload"), Pids: pids}
	node := r.PathValue("node")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel() // Ends the tail whatever ends the stream.
	batches, err := s.Fleet.Tail(ctx, node, filter)
	if err != nil {
		return err
	}
	return s.serveStream(w, r, func(ctx context.Context, st *stream) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case batch, ok := <-batches:
				if !ok {
					return problemf(http.StatusConflict, "node %s went away", node)
				}
				if err := writeBatch(st, node, batch); err != nil {
					return err
				}
			}
		}
	})
}

func writeBatch(st *stream, node string, batch *apiv1.TailBatch) error {
	for _, e := range batch.GetEvents() {
		event := view.NewEvent(view.Origin{Node: node}, e)
		if err := st.line(streamLine{Event: &event}); err != nil {
			return err
		}
	}
	if shed := batch.GetShed(); shed > 0 {
		return st.line(streamLine{Shed: shed})
	}
	return nil
}
