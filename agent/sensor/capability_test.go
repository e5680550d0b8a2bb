// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"os"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
)

// families gives those that the kernel has, the best first.
func families(t *testing.T) (*probe.Kernel, []probe.Family) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	kernel, err := probe.Run()
	if err != nil {
		t.Fatal(err)
	}
	var list []probe.Family
	for f := kernel.Best(); ; f-- {
		if f == kernel.Best() || f != probe.FamilyModifyReturn || kernel.ModifyReturn.Support == probe.Yes {
			list = append(list, f)
		}
		if f == probe.FamilySyscalls {
			return kernel, list
		}
	}
}

// TestEverySignalIsSeen starts the sensor with each family that the kernel has: every signal is seen by some hook, and
// those that can be denied are on a hook that can.
func TestEverySignalIsSeen(t *testing.T) {
	kernel, list := families(t)
	for _, family := range list {
		t.Run(family.String(), func(t *testing.T) {
			s, err := New(Config{CgroupRoot: cgroupRoot(t), Family: family, LimitFamily: true}, kernel)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			if err := s.Start(func() error { return nil }); err != nil {
				t.Fatal(err)
			}
			for _, c := range s.Capabilities() {
				t.Logf("%-14s see %-7s block %-7s %s; %s", c.Signal, c.See, c.Block, c.Mechanism, c.Reason)
				if c.Signal == "module" && !hasModules() {
					t.Log("unsupported: kernel modules needs CONFIG_MODULES")
					continue
				}
				if c.See != probe.Yes {
					t.Errorf("%s is not seen: %s", c.Signal, c.Reason)
				}
				atHook := strings.Contains(c.Mechanism, "lsm ")
				if _, file := fileSignalNames()[c.Signal]; file && (c.Block == probe.Yes) != atHook {
					t.Errorf("%s: block is %s by %s", c.Signal, c.Block, c.Mechanism)
				}
				if _, ok := event.Parse(c.Signal); !ok && c.Signal != "cgroup" && c.Signal != "connect_unix" {
					t.Errorf("signal %s is no class of events", c.Signal)
				}
			}
		})
	}
}

func hasModules() bool {
	_, err := os.Stat("/proc/modules")
	return err == nil
}

func fileSignalNames() map[string]bool {
	names := map[string]bool{}
	for _, sig := range fileSignals {
		names[sig.name] = true
	}
	return names
}
