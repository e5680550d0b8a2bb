// SPDX-License-Identifier: Apache-2.0

package querytest

import (
	"context"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Agent is a connected agent, whose part the test plays.
type Agent struct {
	session *fleet.Session
	tail    uint64
	leaving context.Context
}

// Join connects the agent that hello names, until the test ends or it leaves. health may be nil.
func (a *API) Join(t *testing.T, hello *apiv1.Hello, health *apiv1.Health) *Agent {
	t.Helper()
	session := a.Fleet.Join(t.Context(), fleet.Arrival{Hello: hello, Address: "192.0.2.7:40000", Issued: Now()})
	// Leaving is part of the clean-up, when the test's own context has ended.
	agent := &Agent{session: session, leaving: context.WithoutCancel(t.Context())}
	t.Cleanup(agent.Leave)
	session.Seen()
	if health != nil {
		session.Health(health)
	}
	return agent
}

// Observe has the agent announce a profile and send what it has observed of it.
func (a *Agent) Observe(t *testing.T, version uint64, p *profile.Profile) {
	t.Helper()
	p.Normalise()
	key := &apiv1.ProfileKey{Namespace: p.Key.Namespace, Kind: p.Key.Kind, Name: p.Key.Name, Container: p.Key.Container}
	if err := a.session.Announce(t.Context(), &apiv1.Announce{Keys: []*apiv1.ProfileKey{key}}); err != nil {
		t.Fatal(err)
	}
	err := a.session.Observed(t.Context(), &apiv1.ObservedProfile{
		Key: key, Version: version, Profile: profile.Encode(p), States: []*apiv1.SignalLearning{{Signal: "process", State: "stabilising"}},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Leave ends the agent's connection.
func (a *Agent) Leave() {
	a.session.Leave(a.leaving)
}

// Asked waits until somebody tails the node, and returns what the agent is asked for. Later batches go to that viewer.
func (a *Agent) Asked(t *testing.T) *apiv1.EventFilter {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case message := <-a.session.Out():
			if start := message.GetTailStart(); start != nil {
				a.tail = start.GetId()
				return start.GetFilter()
			}
		case <-deadline:
			t.Fatal("nobody tails the node")
		}
	}
}

// Send sends live events, and says that shed more were left out.
func (a *Agent) Send(shed uint64, events ...*apiv1.Event) {
	a.session.Tail(&apiv1.TailBatch{Id: a.tail, Events: events, Shed: shed})
}

// Put makes a node known that is not connected.
func (a *API) Put(t *testing.T, node store.Node) {
	t.Helper()
	if err := a.Store.PutNodes(t.Context(), node); err != nil {
		t.Fatal(err)
	}
}

// Lose has a node say that the first n records of an epoch of its alerts will never come.
func (a *API) Lose(t *testing.T, node string, epoch, n uint64, cause string) {
	t.Helper()
	batch := store.Batch{Node: node, Epoch: epoch, Received: Now(), Losses: []store.Loss{{First: 1, Last: n, Cause: cause}}}
	if _, err := a.Store.Append(t.Context(), apiv1.Lane_LANE_ALERTS, []store.Batch{batch}); err != nil {
		t.Fatal(err)
	}
}
