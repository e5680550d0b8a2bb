// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"

	"github.com/holdfast-project/holdfast/agent/probe"
)

// Capabilities says what the rights of the process let a Guard do of what the kernel programs do not: end what ran before
// its policy, read what a process runs, and find the executables of probes and hooks before they run.
func Capabilities(rights probe.Rights) []probe.Capability {
	late := probe.Capability{
		Signal: "late verdict", See: probe.Yes, Block: probe.Yes, Mechanism: "map process_by_tgid, pidfd_send_signal",
	}
	if lacks := rights.Lacks(probe.Kill); lacks != "" {
		late.Block = probe.No
		late.Reason = lacks + ": of what ran before its policy, only processes of the agent's own user are ended, the others are told of"
	}
	names := probe.Capability{Signal: "names from /proc", See: probe.Yes, Block: probe.No, Mechanism: "/proc/PID/exe"}
	if lacks := rights.Lacks(probe.SysPtrace); lacks != "" {
		names.See = probe.No
		names.Reason = lacks + ": which executable a process runs is not told, where no event told it"
	}
	return []probe.Capability{late, names, foreseeable(rights)}
}

// foreseeable says whether the executables of probes and hooks are found before they run.
func foreseeable(rights probe.Rights) probe.Capability {
	c := probe.Capability{Signal: "probes and hooks", See: probe.Yes, Block: probe.No, Mechanism: "/proc/PID/root, /proc/PID/environ"}
	var reasons []string
	if lacks := rights.Lacks(probe.SysPtrace); lacks != "" {
		c.See = probe.No
		reasons = append(reasons, lacks+": their executables are not looked for, and are learned when they run")
	}
	if lacks := rights.Lacks(probe.DACReadSearch); lacks != "" {
		reasons = append(reasons, lacks+": executables in folders that another user alone may enter are not found, and are learned when they run")
	}
	c.Reason = strings.Join(reasons, "; ")
	return c
}
