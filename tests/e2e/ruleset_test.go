// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestCoreRuleSetIsChosen has two servers, of which one is chosen for the core rule set, and sends both what the filter does not
// look for: a script for somebody's browser. It is told of the one, with the rule and the score, and not of the other.
func TestCoreRuleSetIsChosen(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--waf-mode", "monitor", "--waf-crs", "shop/chosen"}})
	if err := r.Lab.Load(t.Context(), lab.Nginx); err != nil {
		t.Fatal(err)
	}
	addAskers(t, r)
	servers := map[string]*web{}
	for _, name := range []string{"chosen", "other"} {
		pod := runPod(t, r, lab.PodConfig{Namespace: "shop", Name: name})
		run(t, pod, lab.ContainerConfig{Name: "nginx", Image: lab.NginxImage})
		if err := pod.AwaitPort(t.Context(), lab.NginxPort); err != nil {
			t.Fatal(err)
		}
		servers[name] = &web{
			name: name, container: "nginx", process: "nginx", source: "packet", address: netip.AddrPortFrom(pod.IPs[0], lab.NginxPort),
			from: netip.MustParseAddr("198.18.4.0"),
		}
		servers[name].warm(t, r)
	}
	before := agentMemory(t, r)
	const script = "GET /search?q=%3Cscript%3Ealert(document.cookie)%3C/script%3E HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n\r\n"
	other, chosen := servers["other"], servers["chosen"]
	// Addresses of both servers are taken from one network.
	other.from = netip.MustParseAddr("198.18.5.0")
	unseen := other.next()
	other.ask(t, r.Lab, unseen, []byte(script))
	from := chosen.next()
	chosen.ask(t, r.Lab, from, []byte(script))
	told := chosen.await(t, r, from)[from]
	for i := range told {
		chosen.check(t, &told[i], "cross-site-scripting")
		if f := told[i].Finding; !strings.HasPrefix(f.Detector, "crs-941") || f.Score < 5 || f.Name != "q" || f.Evidence == "" {
			t.Errorf("finding %+v", f)
		}
		t.Log(told[i].Output)
	}
	if silent, err := other.told(t.Context(), r, unseen); err != nil || len(silent) != 0 {
		t.Errorf("%v, of the server that is not chosen: %+v", err, silent)
	}
	t.Logf("the agent has %.1f MiB resident before the core rule set is asked, %.1f after", before, agentMemory(t, r))
}

// agentMemory is how many MiB the agent says to have in memory, from a report that is newer than the call.
func agentMemory(t *testing.T, r *rig.Rig) float64 {
	t.Helper()
	called := time.Now()
	var health *view.Health
	err := wait.For(t.Context(), time.Minute, func() error {
		node, err := r.Node(t.Context())
		if err != nil {
			return err
		}
		if health = node.Health; health == nil || health.Time.Before(called) {
			return fmt.Errorf("no report since")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return float64(health.RSSBytes) / (1 << 20)
}
