// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
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
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return r.Lab.DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	var buckets []string
	var counted, sum float64
	err := wait.For(t.Context(), 30*time.Second, func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		if err != nil {
			return err
		}
		answer, err := client.Do(request)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		buckets = nil
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), " ")
			switch rest, ok := strings.CutPrefix(name, "holdfast_agent_policy_window_seconds"); {
			case !ok:
			case strings.HasPrefix(rest, "_bucket"):
				buckets = append(buckets, rest+" "+value)
			case rest == "_count":
				counted, err = strconv.ParseFloat(value, 64)
			case rest == "_sum":
				sum, err = strconv.ParseFloat(value, 64)
			}
			if err != nil {
				return err
			}
		}
		if counted != count {
			return fmt.Errorf("%v containers are measured, want %d", counted, count)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d containers, %.1f ms each on the average", count, sum/count*1000)
	for _, b := range buckets {
		t.Log(b)
	}
	// With the list of upper bounds, what is beyond all of them.
	if len(buckets) < 10 || !strings.HasSuffix(buckets[len(buckets)-1], fmt.Sprintf(" %d", count)) {
		t.Errorf("%d buckets, the last one %s", len(buckets), buckets[len(buckets)-1])
	}
}
