// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/rig"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// namesPolicy lets a pod contact one name, and ask whom it wants: a prefix that is no single address names no resolver.
const namesPolicy = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: names, kind: Pod, name: client, container: client}
modes: {egress: enforce}
processes:
  - path: '*'
    egress:
      - {name: good.example, protocol: tcp, port: 8080}
      - {cidr: 203.0.113.52/30, protocol: udp, port: 53}
`

// resolve answers questions for addresses of any name with one address, on port 53 of a resolver, until the test ends.
func resolve(t *testing.T, r *rig.Rig, resolver, address string) {
	t.Helper()
	conn, err := r.Lab.ListenPacket(t.Context(), "udp", resolver+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			if answer, err := answerWith(buffer[:n], address); err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
}

func answerWith(question []byte, address string) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	for _, q := range m.Questions {
		if q.Type == dnsmessage.TypeA {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(address).As4()},
			})
		}
	}
	return m.Pack()
}

// TestOwnResolvers has a container that may contact a name ask its own resolver and another one, which says that the name
// stands for an address of its own. No entry of the profile names the resolver: it is the one that the runtime wrote into the
// container's resolv.conf. What it says is believed, what the other says is not.
func TestOwnResolvers(t *testing.T) {
	r := startRig(t, rig.Config{AgentArgs: []string{"--policy-file", writeFile(t, namesPolicy)}})
	const own, other, good, evil = "203.0.113.53", "203.0.113.54", "203.0.113.1", "203.0.113.2"
	addAddresses(t, r, own, other, good, evil)
	resolve(t, r, own, good)
	resolve(t, r, other, evil)
	listener, err := r.Lab.Listen(t.Context(), "tcp", "0.0.0.0:8080")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	image := attacker(t, r)
	pod := runPod(t, r, lab.PodConfig{Namespace: "names", Name: "client", Nameservers: []string{own}})
	c := run(t, pod, lab.ContainerConfig{Name: "client", Image: image.Name, Command: []string{"sleep", "100000"}})
	if err := wait.For(t.Context(), 20*time.Second, func() error { return r.InMode(t.Context(), "names/client", "enforce", profile.SignalEgress) }); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		resolver, address string
		reached           bool
	}{
		{other, evil, false}, {own, good, true}, {other, evil, false}, {own, good, true},
	} {
		script := fmt.Sprintf("nslookup good.example %s; deeds connect %s:8080 && echo reached", step.resolver, step.address)
		got, err := c.Exec(t.Context(), "sh", "-c", script)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got.Stdout, step.address) {
			t.Errorf("%s did not answer: %s%s", step.resolver, got.Stdout, got.Stderr)
		}
		if reached := strings.Contains(got.Stdout, "reached"); reached != step.reached {
			t.Errorf("%s, as %s says, was reached: %t, want %t: %s%s", step.address, step.resolver, reached, step.reached, got.Stdout, got.Stderr)
		}
	}
	// Asked without a name, the container's own resolv.conf is what counts.
	if got, err := c.Exec(t.Context(), "cat", "/etc/resolv.conf"); err != nil || !strings.Contains(got.Stdout, own) {
		t.Errorf("resolv.conf: %v: %s", err, got.Stdout)
	}
}
