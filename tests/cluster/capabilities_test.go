// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/holdfast-project/holdfast/collector/view"
)

// indispensable are the capabilities without which no program can be loaded:
// without one the agent has to end and name it. Without any other it has to
// work on, and tell what is off.
var indispensable = []string{"BPF", "PERFMON"}

// testCapabilities takes each capability from the agent in turn.
func testCapabilities(t *testing.T, h *holdfast) {
	ds, err := h.Client.AppsV1().DaemonSets(namespace).Get(t.Context(), "holdfast-agent", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	full := h.nodeNow(t, time.Now())
	for _, c := range ds.Spec.Template.Spec.Containers[0].SecurityContext.Capabilities.Add {
		name := string(c)
		t.Run(name, func(t *testing.T) {
			if slices.Contains(indispensable, name) {
				h.refuseWithout(t, name)
				return
			}
			begin := time.Now()
			// Without what an agent before has pinned, which would go on.
			h.helm(t, "upgrade", "--set", "agent.capabilities.omit={"+name+"}", "--set", "agent.settings.no-pin=true")
			var n *view.Node
			h.await(t, "the new agent has told how it is", func(ctx context.Context) error {
				var err error
				if n, err = h.ask.Node(ctx); err != nil {
					return err
				}
				if !n.Connected || n.Health == nil || n.Health.Started.Before(begin) {
					return errors.New("it has not")
				}
				return nil
			})
			logChanges(t, name, full.Capabilities, n.Capabilities)
		})
	}
	h.helm(t, "upgrade")
}

// refuseWithout takes a capability away without which the agent has to end with
// an error that names it.
func (h *holdfast) refuseWithout(t *testing.T, name string) {
	t.Helper()
	old, err := h.agentPod(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text, err := h.runHelm(t.Context(), "upgrade", "--set", "agent.capabilities.omit={"+name+"}", "--wait=hookOnly"); err != nil {
		t.Fatalf("helm upgrade: %v\n%s", err, text)
	}
	var log string
	h.await(t, "the agent without "+name+" says so", func(ctx context.Context) error {
		pod, err := h.agentPod(ctx)
		if err != nil {
			return err
		}
		if pod.UID == old.UID {
			return errors.New("the old agent still runs")
		}
		if log, err = h.PodLog(ctx, namespace, pod.Name, "agent"); err != nil {
			return err
		}
		if !strings.Contains(log, "CAP_"+name) {
			return fmt.Errorf("it says: %s", log)
		}
		return nil
	})
	lines := strings.Split(strings.TrimSpace(log), "\n")
	t.Logf("without %s: %s", name, lines[len(lines)-1])
}

// logChanges prints what an agent lacks beside another. Something has to be
// off, and to say that it is for want of the capability.
func logChanges(t *testing.T, name string, with, without []view.Capability) {
	t.Helper()
	off := 0
	for _, w := range with {
		at := slices.IndexFunc(without, func(c view.Capability) bool { return c.Signal == w.Signal })
		if at < 0 {
			t.Errorf("without %s, nothing is said of %s", name, w.Signal)
			continue
		}
		c := without[at]
		if c == w || w.Signal == "pinned" {
			continue
		}
		t.Logf("without %s: %-12s see %s -> %s, block %s -> %s, by %s: %s", name, w.Signal, w.See, c.See, w.Block, c.Block, c.Mechanism, c.Reason)
		if c.See == w.See && c.Block == w.Block {
			continue
		}
		if !strings.Contains(c.Reason, "CAP_"+name) {
			if strings.HasPrefix(w.Signal, "names from ") || strings.HasPrefix(w.Signal, "verdict before") {
				// The agent has only just begun to ask for names.
				continue
			}
			t.Errorf("without %s, %s is off for another reason: %q", name, w.Signal, c.Reason)
			continue
		}
		off++
	}
	if off == 0 {
		t.Errorf("without %s, nothing is named as off", name)
	}
}
