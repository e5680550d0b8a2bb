// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/metrics"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// TestPolicyWindow starts containers and reads how long each was there before its policy was in force: not at all, where the
// runtime told of it in time.
func TestPolicyWindow(t *testing.T) {
	const address, count = "127.0.0.1:9464", 10
	r := startRig(t, rig.Config{AgentArgs: []string{"--metrics-listen", address}})
	if err := r.Lab.Load(t.Context(), lab.Busybox); err != nil {
		t.Fatal(err)
	}
	pod := runPod(t, r, lab.PodConfig{Namespace: "window", Name: "many"})
	for i := range count {
		run(t, pod, lab.ContainerConfig{Name: fmt.Sprintf("c%d", i), Image: lab.BusyboxImage, Args: []string{"-c", "sleep 100000"}})
	}
	client := &http.Client{Transport: &http.Transport{DialContext: r.Lab.DialContext, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	const name = "holdfast_agent_policy_window_seconds"
	var all map[string]float64
	err := wait.For(t.Context(), 30*time.Second, func() error {
		var err error
		if all, err = metrics.Read(t.Context(), client, "http://"+address+"/metrics"); err == nil && all[name+"_count"] != count {
			err = fmt.Errorf("%v containers are measured, want %d", all[name+"_count"], count)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers, %.1f ms each on the average", count, all[name+"_sum"]/count*1000)
	buckets := 0
	for series, n := range all {
		if strings.HasPrefix(series, name+"_bucket") {
			t.Log(series, n)
			buckets++
		}
	}
	// With the list of upper bounds, what is beyond all of them.
	if n := all[name+`_bucket{le="+Inf"}`]; buckets < 10 || n != count {
		t.Errorf("%d buckets, the last one %g", buckets, n)
	}
}
