// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
)

// server is one of the servers of the field, what a kubelet probes it with, and what a client runs against its address.
type server struct {
	image string
	port  uint16
	probe []string
	load  func(pod *lab.Pod, last time.Duration) lab.ContainerConfig
}

func (s *server) name() string {
	return strings.TrimSuffix(strings.TrimPrefix(s.image, "docker.io/library/"), ":lab")
}

// servers are what runs under load; tool is the image with the clients that are not the servers' own.
func servers(tool string) []server {
	return []server{
		{lab.NginxImage, lab.NginxPort, []string{"wget", "-qO", "/dev/null", "http://127.0.0.1/health"},
			func(pod *lab.Pod, last time.Duration) lab.ContainerConfig {
				return lab.ContainerConfig{Image: tool, Args: []string{"http", fmt.Sprintf("http://%s/", pod.IP), last.String()}}
			}},
		{lab.RedisImage, lab.RedisPort, []string{"redis-cli", "ping"},
			func(pod *lab.Pod, last time.Duration) lab.ContainerConfig {
				return lab.ContainerConfig{Image: tool, Args: []string{"redis", fmt.Sprintf("%s:%d", pod.IP, lab.RedisPort), last.String()}}
			}},
		{lab.PostgresImage, lab.PostgresPort, []string{"pg_isready", "-h", "127.0.0.1"},
			func(pod *lab.Pod, last time.Duration) lab.ContainerConfig {
				script := fmt.Sprintf("pgbench -h %[1]s -i -q postgres && pgbench -h %[1]s -c 4 -T %.0f postgres", pod.IP, last.Seconds())
				return lab.ContainerConfig{Image: lab.PostgresImage, Command: []string{"/bin/sh", "-c", script}}
			}},
	}
}

// startServers runs each server in a pod of namespace data and waits until it answers.
func startServers(t *testing.T, r *rig.Rig, list []server) []*lab.Container {
	t.Helper()
	if err := r.Lab.Load(t.Context(), lab.Nginx, lab.Redis, lab.Postgres); err != nil {
		t.Fatal(err)
	}
	var running []*lab.Container
	for _, s := range list {
		probe, err := json.Marshal([][]string{s.probe})
		if err != nil {
			t.Fatal(err)
		}
		pod := runPod(t, r, lab.PodConfig{
			Namespace: "data", Name: s.name(), Annotations: map[string]string{"holdfast.dev/probes": string(probe)},
		})
		running = append(running, run(t, pod, lab.ContainerConfig{Name: s.name(), Image: s.image}))
		if err := pod.AwaitPort(t.Context(), s.port); err != nil {
			t.Fatal(err)
		}
	}
	return running
}

// putUnderLoad runs the clients and the probes for a while. All of them must be content. It returns how many probes there
// were.
func putUnderLoad(t *testing.T, r *rig.Rig, list []server, running []*lab.Container, round string, last time.Duration) int {
	t.Helper()
	began := time.Now()
	var clients []*lab.Container
	for i, s := range list {
		client := s.load(running[i].Pod, last)
		client.Name = "client"
		clients = append(clients, run(t, runPod(t, r, lab.PodConfig{Namespace: "load", Name: s.name() + "-" + round}), client))
	}
	probes := 0
	for end := time.Now().Add(last); time.Now().Before(end); time.Sleep(time.Second) {
		for i, c := range running {
			res, err := c.Exec(t.Context(), list[i].probe...)
			if err != nil || res.Code != 0 {
				noAlerts(t, r, began)
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
	return probes
}

// noAlerts fails the test for each alert of namespace data.
func noAlerts(t *testing.T, r *rig.Rig, began time.Time) {
	t.Helper()
	quiesce(t, r, 30*time.Second)
	alerts, err := r.Alerts(t.Context(), "--since", since(began), "--workload", "data/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		t.Errorf("%s: %s", a.Rule, a.Output)
	}
}

// TestServersAreQuiet runs nginx, Redis and Postgres under load, with probes as a kubelet does them. Nothing that they
// do is an attack, so there must be no alert.
func TestServersAreQuiet(t *testing.T) {
	r := startRig(t, rig.Config{})
	list := servers(attacker(t, r).Name)
	began, last := time.Now(), lasting(20*time.Second, 5*time.Minute)
	running := startServers(t, r, list)
	probes := putUnderLoad(t, r, list, running, "client", last)
	noAlerts(t, r, began)
	n := node(t, r)
	t.Logf("no alerts in %s of load and %d probes; events %v, only counted in the kernel %v", last, probes, n.Health.Events, n.Health.Counted)
}
