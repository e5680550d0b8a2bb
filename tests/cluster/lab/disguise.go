// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// settings are the kernel settings that a kubelet sets unless they have these
// values. They hold for the whole machine, which is not the cluster's to
// change, so that files with the values are put in their place.
var settings = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// bridgeFilter has what crosses the bridge pass the rules of Services too, for
// a pod that reaches another of the same bridge through one. It is the network
// namespace's own.
const bridgeFilter = "/proc/sys/net/bridge/bridge-nf-call-iptables"

// disguise gives the lab what a node has and hides what belongs to the machine.
func (c *Cluster) disguise(ctx context.Context) error {
	commands := [][]string{
		// What a kubelet mounts has to reach pods that ask for it.
		{"mount", "--make-rshared", "/"},
		{"mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/log"},
		{"touch", "/run/containerd/containerd.sock"},
		{"mount", "--bind", c.Node.Socket(), "/run/containerd/containerd.sock"},
		// The node's own network ends in the lab.
		{"ip", "link", "add", "eth0", "type", "veth", "peer", "name", "uplink"},
		{"ip", "address", "add", NodeAddress + "/24", "dev", "eth0"},
		{"ip", "link", "set", "eth0", "up"},
		{"ip", "link", "set", "uplink", "up"},
		{"ip", "route", "add", "default", "dev", "eth0"},
	}
	for name, value := range settings {
		file := c.file("settings", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("write kernel settings: %w", err)
		}
		commands = append(commands, []string{"mount", "--bind", file, "/proc/sys/" + name})
	}
	for _, command := range commands {
		if err := c.run(ctx, command...); err != nil {
			return err
		}
	}
	return c.filterBridge(ctx)
}

// filterBridge turns bridgeFilter on. Without it, Services would answer pods of
// the same node from the wrong address.
func (c *Cluster) filterBridge(ctx context.Context) error {
	if _, err := os.Stat(bridgeFilter); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("pass the bridge's packets to nftables: the kernel has no br_netfilter: %w", err)
	}
	return c.run(ctx, "sh", "-c", "echo 1 >"+bridgeFilter)
}

// run runs a command in the lab.
func (c *Cluster) run(ctx context.Context, command ...string) error {
	if out, err := c.Node.Command(ctx, command[0], command[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
