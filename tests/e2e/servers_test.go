// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// TestServersAreQuiet runs nginx, Redis and Postgres under load, with probes as a kubelet does them. Nothing that they
// do is an attack, so there must be no alert.
func TestServersAreQuiet(t *testing.T) {
	r := startRig(t, rig.Config{})
	image := attacker(t, r)
	if err := r.Lab.Load(t.Context(), lab.Nginx, lab.Redis, lab.Postgres); err != nil {
		t.Fatal(err)
	}
	began, last := time.Now(), lasting(20*time.Second, 5*time.Minute)
	servers := []struct {
		image string
		port  uint16
		probe []string
		// load is what a client runs against the server's address.
		load func(pod *lab.Pod) lab.ContainerConfig
	}{
		{lab.NginxImage, lab.NginxPort, []string{"wget", "-qO", "/dev/null", "http://127.0.0.1/health"}, func(pod *lab.Pod) lab.ContainerConfig {
			return lab.ContainerConfig{Image: image.Name, Args: []string{"http", fmt.Sprintf("http://%s/", pod.IP), last.String()}}
		}},
		{lab.RedisImage, lab.RedisPort, []string{"redis-cli", "ping"}, func(pod *lab.Pod) lab.ContainerConfig {
			return lab.ContainerConfig{Image: image.Name, Args: []string{"redis", fmt.Sprintf("%s:%d", pod.IP, lab.RedisPort), last.String()}}
		}},
		{lab.PostgresImage, lab.PostgresPort, []string{"pg_isready", "-h", "127.0.0.1"}, func(pod *lab.Pod) lab.ContainerConfig {
			script := fmt.Sprintf("pgbench -h %[1]s -i -q postgres && pgbench -h %[1]s -c 4 -T %.0f postgres", pod.IP, last.Seconds())
			return lab.ContainerConfig{Image: lab.PostgresImage, Command: []string{"/bin/sh", "-c", script}}
		}},
	}
	var clients, probed []*lab.Container
	for _, s := range servers {
		name := strings.TrimSuffix(strings.TrimPrefix(s.image, "docker.io/library/"), ":lab")
		pod := runPod(t, r, lab.PodConfig{Namespace: "data", Name: name})
		probed = append(probed, run(t, pod, lab.ContainerConfig{Name: name, Image: s.image}))
		if err := pod.AwaitPort(t.Context(), s.port); err != nil {
			t.Fatal(err)
		}
		client := s.load(pod)
		client.Name = "client"
		clients = append(clients, run(t, runPod(t, r, lab.PodConfig{Namespace: "data", Name: name + "-client"}), client))
	}
	probes := 0
	for end := time.Now().Add(last); time.Now().Before(end); time.Sleep(time.Second) {
		for i, c := range probed {
			res, err := c.Exec(t.Context(), servers[i].probe...)
			if err != nil || res.Code != 0 {
				t.Fatalf("probe of %s: %v %+v", c, err, res)
			}
			probes++
		}
	}
	for _, c := range clients {
		status, err := c.Wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		log, err := c.Logs()
		if err != nil {
			t.Fatal(err)
		}
		if status.ExitCode != 0 {
			t.Errorf("%s ended with %d: %s", c, status.ExitCode, log)
		}
		t.Logf("%s: %s", c, strings.Join(strings.Fields(log[max(0, len(log)-250):]), " "))
	}
	quiesce(t, r, 30*time.Second)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "data/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		t.Errorf("%s: %s", a.Rule, a.Output)
	}
	n := node(t, r)
	t.Logf("%d alerts in %s of load and %d probes; events %v, only counted in the kernel %v", len(alerts), last, probes, n.Health.Events, n.Health.Counted)
}
