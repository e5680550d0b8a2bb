// SPDX-License-Identifier: Apache-2.0

package uplink_test

import (
	"fmt"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/authority"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestFlow takes alerts, records, health and a record policy through a whole line.
func TestFlow(t *testing.T) {
	c := startCollector(t, t.TempDir(), "", 0)
	a := startAgent(t, t.TempDir(), node, c.address, c.token(t, authority.Grant{}))
	a.connected(t)
	const alerts, records = 2000, 5000
	for i := range alerts {
		a.alert(t, i)
	}
	for i := range records {
		a.record(t, i)
	}
	a.delivered(t)
	exactlyOnce(t, c.store, alerts)
	usage, err := c.store.Usage(t.Context(), apiv1.Lane_LANE_RECORDS)
	if err != nil || usage.Rows != records {
		t.Errorf("%d records are stored, expected %d: %v", usage.Rows, records, err)
	}
	wait.Until(t, patience, func() error {
		n, err := c.fleet.Node(t.Context(), node)
		if err != nil {
			return err
		}
		if n.Health.GetContainers() != 7 || n.Hello.GetKernelRelease() != "6.1" || !n.Connected {
			return fmt.Errorf("the collector knows %+v", n)
		}
		return nil
	})
	if p := <-a.policies; len(p.GetRules()) != 0 {
		t.Errorf("policy before one was set: %v", p)
	}
	if _, err := c.fleet.SetRecordPolicy(t.Context(), &apiv1.RecordPolicy{Rules: []*apiv1.RecordRule{{Workload: "shop/*", Types: []string{"exec"}}}}); err != nil {
		t.Fatal(err)
	}
	select {
	case p := <-a.policies:
		if len(p.GetRules()) != 1 || p.GetRules()[0].GetWorkload() != "shop/*" {
			t.Errorf("policy: %v", p)
		}
	case <-time.After(patience):
		t.Error("no policy came")
	}
	s := a.Stats()
	if s.Alerts.Acked != alerts || s.Records.Acked != records || s.Alerts.InFlight != 0 || s.RTT <= 0 || s.Streams != 1 || s.Failures != 0 {
		t.Errorf("stats: %+v", s)
	}
	a.stop()
	if err := <-a.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}
