// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/metrics"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// Where the agent serves its metrics, on the lab's loopback device.
const metricsAddress = "127.0.0.1:7481"

const (
	steadyName     = "api.steady.example"
	steadyWorkload = "calm/*"
)

// steady is a container that does what it is ordered to, the same again and again.
type steady struct {
	t *testing.T
	r *rig.Rig
	c *lab.Container
	// orders is the file that says what is to be done, given how often something was.
	orders string
	given  int
}

// TestSteadyState learns a container, and then has it do 50,000 times (in short runs fewer) what was learned: it starts a
// program, opens a file for writing, connects to another pod by its address, and to one by a name that it was told the address
// of before it was kept to its profile. Nothing of that may reach user space, in enforce and in monitor mode. Then a
// descendant of it, of whom nobody has heard, runs what is not listed: that is told with the whole line.
func TestSteadyState(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--metrics-listen", metricsAddress}})
	s := startSteady(t, r)
	s.learn()
	for _, mode := range []string{"enforce", "monitor"} {
		setMode(t, r, steadyWorkload, mode)
		s.calm(mode)
		s.attack(mode)
	}
}

// startSteady runs the container, and the pod that it connects to.
func startSteady(t *testing.T, r *rig.Rig) *steady {
	t.Helper()
	image := attacker(t, r)
	server := runPod(t, r, lab.PodConfig{Namespace: "calm-peers", Name: "server"})
	run(t, server, lab.ContainerConfig{Name: "server", Image: image.Name, Args: []string{"serve", ":8080"}})
	named := runPod(t, r, lab.PodConfig{Namespace: "calm-peers", Name: "named"})
	run(t, named, lab.ContainerConfig{Name: "named", Image: image.Name, Args: []string{"serve", ":8443"}})
	if err := errors.Join(server.AwaitPort(t.Context(), 8080), named.AwaitPort(t.Context(), 8443)); err != nil {
		t.Fatal(err)
	}
	answerName(t, r, steadyName, named.IP)
	dir := filepath.Join(r.Dir, "orders")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &steady{t: t, r: r, orders: filepath.Join(dir, "orders")}
	s.write(0, "/bin/true")
	s.c = run(t, runPod(t, r, lab.PodConfig{Namespace: "calm", Name: "steady"}), lab.ContainerConfig{
		Name: "steady", Image: image.Name, Mounts: []lab.Mount{{HostPath: dir, ContainerPath: "/orders", ReadOnly: true}},
		Args: []string{"steady", "/orders/orders", "/tmp/steady", net.JoinHostPort(server.IP.String(), "8080"), steadyName + ":8443"},
	})
	return s
}

// answerName answers questions for the addresses of a name at the pods' gateway, where pods ask. They hold for an hour.
func answerName(t *testing.T, r *rig.Rig, name string, addr netip.Addr) {
	t.Helper()
	questions, err := r.Lab.ListenPacket(t.Context(), "udp", netip.AddrPortFrom(r.Lab.Gateway(), 53).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = questions.Close() })
	go func() {
		message := make([]byte, 1500)
		for {
			n, from, err := questions.ReadFrom(message)
			if err != nil {
				return
			}
			if answer := dnsAnswer(message[:n], name, addr); answer != nil {
				_, _ = questions.WriteTo(answer, from)
			}
		}
	}()
}

// dnsAnswer makes the answer to a question (RFC 1035): the address where it is asked for one of IPv4, else nothing.
func dnsAnswer(question []byte, name string, addr netip.Addr) []byte {
	const header, typeA, ttl = 12, 1, 3600
	if len(question) < header {
		return nil
	}
	end := header
	for end < len(question) && question[end] != 0 {
		end += int(question[end]) + 1
	}
	end += 5
	if end > len(question) {
		return nil
	}
	var labels []byte
	for label := range strings.SplitSeq(name, ".") {
		labels = append(append(labels, byte(len(label))), label...)
	}
	answer := slices.Clone(question[:end])
	copy(answer[2:header], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	known := strings.EqualFold(string(answer[header:end-5]), string(labels))
	if !known {
		answer[3] |= 3
	} else if binary.BigEndian.Uint16(answer[end-4:]) == typeA {
		answer[7] = 1
		answer = append(answer, 0xc0, header, 0, typeA, 0, 1)
		answer = binary.BigEndian.AppendUint32(answer, ttl)
		answer = append(append(answer, 0, 4), addr.AsSlice()...)
	}
	return answer
}

// write leaves an order, whole.
func (s *steady) write(count int, program string) {
	s.t.Helper()
	text := fmt.Sprintf("%d %d %s\n", s.given, count, program)
	if err := errors.Join(os.WriteFile(s.orders+".new", []byte(text), 0o644), os.Rename(s.orders+".new", s.orders)); err != nil {
		s.t.Fatal(err)
	}
}

// order has the container do something and gives what it says of it.
func (s *steady) order(count int, program string) string {
	s.t.Helper()
	s.given++
	s.write(count, program)
	var said string
	err := wait.For(s.t.Context(), 10*time.Minute, func() error {
		log, err := s.c.Logs()
		if err != nil {
			return err
		}
		for line := range strings.Lines(log) {
			if rest, ok := strings.CutPrefix(line, fmt.Sprintf("order %d: ", s.given)); ok {
				said = strings.TrimSpace(rest)
				return nil
			}
		}
		if status, err := s.c.Status(s.t.Context()); err == nil && !status.Finished.IsZero() {
			s.t.Fatalf("it has ended: %s", log)
		}
		return errors.New("not done yet")
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return said
}

// learn has the container do the same until it is known.
func (s *steady) learn() {
	s.t.Helper()
	err := wait.For(s.t.Context(), 30*time.Second, func() error {
		before := s.told()
		if said := s.order(5, "/bin/true"); !strings.HasPrefix(said, "<nil>") {
			s.t.Fatal(said)
		}
		// What was learned is in force a moment later, and what was read is counted.
		time.Sleep(time.Second)
		if after := s.told(); sum(after) != sum(before) {
			return fmt.Errorf("still told of: %v", minus(after, before))
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// calm has the container do what is known, many times, and wants to hear nothing of it.
func (s *steady) calm(mode string) {
	s.t.Helper()
	count := 2500
	if long() {
		count = 50_000
	}
	before := s.settled()
	counted, lost, known := s.metric("holdfast_agent_kernel_counted_total", `class="exec"`), s.lost(), s.known()
	began := time.Now()
	said := s.order(count, "/bin/true")
	took := time.Since(began)
	if !strings.HasPrefix(said, "<nil>") {
		s.t.Errorf("%s: %s", mode, said)
	}
	quiesce(s.t, s.r, 30*time.Second)
	after := s.told()
	counted = minus(s.metric("holdfast_agent_kernel_counted_total", `class="exec"`), counted)
	lost = minus(s.lost(), lost)
	s.t.Logf("%s: %d execs, opens for writing and connects to each of two peers in %s (%s): %d events reached user space, %d deeds were known, %d execs counted",
		mode, count, took.Round(time.Millisecond), said, sum(after)-sum(before), s.known()-known, sum(counted))
	if sum(after) != sum(before) {
		s.t.Errorf("%s: told of: %v", mode, minus(after, before))
	}
	if sum(lost) != 0 {
		s.t.Errorf("%s: lost: %v", mode, lost)
	}
	if grown := s.known() - known; grown < uint64(4*count) {
		s.t.Errorf("%s: %d deeds were known, want at least %d", mode, grown, 4*count)
	}
	if sum(counted) < uint64(count) {
		s.t.Errorf("%s: %d execs were counted in the kernel, want at least %d", mode, sum(counted), count)
	}
}

// attack has a descendant of the container that nobody has heard of run what is not listed.
func (s *steady) attack(mode string) {
	s.t.Helper()
	began := time.Now()
	said := s.order(1, "/bin/ls")
	if blocked := mode == "enforce"; blocked == strings.HasPrefix(said, "<nil>") {
		s.t.Errorf("%s: the program that is not listed: %s", mode, said)
	}
	var alerts []view.Alert
	err := wait.For(s.t.Context(), 15*time.Second, func() (err error) {
		alerts, err = s.r.Alerts(s.t.Context(), "--since", since(began), "--workload", steadyWorkload)
		if err == nil && len(alerts) == 0 {
			err = errors.New("no alert")
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	var line []string
	for _, a := range alerts[0].Process.Ancestors {
		line = append(line, a.Cmdline)
	}
	s.t.Logf("%s: %s; its line: %q", alerts[0].Action, alerts[0].Output, line)
	actions := map[string][]string{"enforce": {"blocked", "killed"}, "monitor": {"would_block"}}
	if !slices.Contains(actions[mode], alerts[0].Action) || len(alerts) != 1 {
		s.t.Errorf("%s: %d alerts, the first says %s", mode, len(alerts), alerts[0].Action)
	}
	at := 0
	for _, want := range []string{"deeds relay 0 ", "deeds relay 1 ", "deeds relay 2 ", "deeds steady ", "containerd-shim"} {
		i := slices.IndexFunc(line[at:], func(cmdline string) bool { return strings.Contains(cmdline, want) })
		if i < 0 {
			s.t.Errorf("%s: %q does not stand in the line of the process", mode, want)
			continue
		}
		at += i + 1
	}
}

// known is how many deeds of the container were in its profile, as the agent has told last.
func (s *steady) known() uint64 {
	s.t.Helper()
	var known uint64
	for _, w := range workloads(s.t, s.r, steadyWorkload) {
		known += w.Known
	}
	return known
}

// told is how many events of the container reached user space, by class.
func (s *steady) told() map[string]uint64 {
	s.t.Helper()
	return s.metric("holdfast_agent_workload_events_total", `workload="calm/`)
}

// settled is told, once all that was done before has been read.
func (s *steady) settled() map[string]uint64 {
	s.t.Helper()
	var now map[string]uint64
	err := wait.For(s.t.Context(), 20*time.Second, func() error {
		before := s.told()
		time.Sleep(500 * time.Millisecond)
		if now = s.told(); sum(now) != sum(before) {
			return fmt.Errorf("told of: %v", minus(now, before))
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return now
}

// lost counts events that were lost, by cause. What else the agent could not do may be about others on this machine.
func (s *steady) lost() map[string]uint64 {
	s.t.Helper()
	lost := map[string]uint64{}
	for cause, n := range s.metric("holdfast_agent_losses_total", "") {
		if strings.Contains(cause, "ring_") || slices.Contains([]string{
			`cause="kernel_scratch_busy"`, `cause="kernel_process_map_full"`, `cause="record_malformed"`, `cause="process_table_full"`,
		}, cause) {
			lost[cause] = n
		}
	}
	return lost
}

// metric reads from the agent the series of a name that have a label, by their labels.
func (s *steady) metric(name, label string) map[string]uint64 {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: s.r.Lab.DialContext, DisableKeepAlives: true}}
	all, err := metrics.Read(s.t.Context(), client, "http://"+metricsAddress+"/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	found := map[string]uint64{}
	for series, n := range all {
		labels, ok := strings.CutPrefix(strings.TrimSuffix(series, "}"), name+"{")
		if ok && strings.Contains(labels, label) {
			found[labels] = uint64(n)
		}
	}
	return found
}

func sum(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// minus gives what was counted since.
func minus(after, before map[string]uint64) map[string]uint64 {
	grown := map[string]uint64{}
	for series, n := range after {
		if n > before[series] {
			grown[series] = n - before[series]
		}
	}
	return grown
}
