// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

func forgetMessage(at uint64, names ...string) *apiv1.CollectorMessage {
	m := &apiv1.Forget{}
	for _, name := range names {
		m.Removals = append(m.Removals, &apiv1.Removal{Key: keyMessage(testKey(name)), At: at})
	}
	return &apiv1.CollectorMessage{Message: &apiv1.CollectorMessage_Forget{Forget: m}}
}

// TestForget has a collector tell of removals while what was learned before is on its way: it is not held any more, not in
// memory and not on disk, and the collector is told so, as it refuses what was late. What must not be heeded yet is tried
// again. What is learned afterwards says which removal was heeded.
func TestForget(t *testing.T) {
	authority := newCA(t)
	var mu sync.Mutex
	var heard []string
	p := profilePeer(nil, func(m *apiv1.AgentMessage) []*apiv1.CollectorMessage {
		mu.Lock()
		defer mu.Unlock()
		if a := m.GetAnnounce(); a != nil {
			one := "announced"
			for i, k := range a.GetKeys() {
				one += fmt.Sprintf(" %s %d", k.GetName(), len(a.GetDigests()[i]))
			}
			heard = append(heard, one)
			if len(heard) > 1 {
				return nil
			}
			return []*apiv1.CollectorMessage{effectiveMessage(
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("web")), Version: 3, Profile: []byte("web")},
				&apiv1.EffectiveProfile{Key: keyMessage(testKey("db")), Version: 3, Profile: []byte("db")},
			)}
		}
		o := m.GetObserved()
		if o == nil {
			return nil
		}
		heard = append(heard, fmt.Sprintf("observed %s %d %d", o.GetKey().GetName(), o.GetVersion(), o.GetForgotten()))
		ack := &apiv1.ObservedAck{Key: o.GetKey(), Version: o.GetVersion()}
		if o.GetForgotten() != 0 {
			return []*apiv1.CollectorMessage{{Message: &apiv1.CollectorMessage_Observed{Observed: ack}}}
		}
		ack.Refused = "it was learned before"
		return []*apiv1.CollectorMessage{
			forgetMessage(70, "web", "unknown", "enforced"), {Message: &apiv1.CollectorMessage_Observed{Observed: ack}},
		}
	})
	servePeer(t, p, authority.server())
	agent := newLearner(testKey("web"), testKey("db"))
	agent.enforced = map[profile.Key]bool{testKey("enforced"): true}
	r := newRig(t, p.address, authority.node("node-1"), func(c *Config) { c.Profiles = agent })
	r.timing.health = 20 * time.Millisecond
	r.run()
	agent.has(t, "db 3 db; web 3 web", "")
	agent.learn(testKey("web"), 1, "text of web")
	agent.heeds(t, 2)
	// Nobody waits for the answer to what is not held any more.
	agent.has(t, "db 3 db; web 3 web", "")
	agent.mu.Lock()
	agent.enforced = nil
	agent.mu.Unlock()
	agent.heeds(t, 3)
	agent.learnAfter(70, testKey("web"), 2, "anew")
	agent.has(t, "db 3 db; web 3 web", "web 2 ")
	r.stop()
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(heard, "; "), "announced db 0 web 0; observed web 1 0; announced db 32 web 0; observed web 2 70"; got != want {
		t.Errorf("the collector heard %q, expected %q", got, want)
	}
	for name, want := range map[string]bool{"web": false, "db": true} {
		if _, err := os.Stat(filepath.Join(r.cfg.DataDir, "profiles", fileOf(testKey(name)))); (err == nil) != want {
			t.Errorf("%s is kept on disk: %v", name, err)
		}
	}
	if log := r.log.String(); strings.Contains(log, "refuses an observed profile") {
		t.Errorf("what was late is told of as an error:\n%s", log)
	}
}
