// SPDX-License-Identifier: Apache-2.0

// Package detect holds the first detections: a table of rules, each a predicate over an enriched event, and an engine
// that runs those of an event's class. It is pure: no goroutines, no I/O, no clock; matching allocates nothing. The rule
// engine for the Falco language takes this place later, with the same Engine.
package detect

import (
	"slices"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Rule is one detection.
type Rule struct {
	Name string
	// Description says what it means and what to do; docs/rules.md has it for people.
	Description string
	Priority    apiv1.Priority
	// Tags are ATT&CK ids (of both numberings where they differ) and where the rule looks.
	Tags []string

	types uint64
	// reasons are those of a verdict that the rule stands for, as bits 1 << reason; of rules about verdicts only.
	reasons uint32
	// host says that the rule holds for the host too; all hold for containers.
	host  bool
	match func(*Engine, *event.Event) bool
	// subject gives what the deed was done to, so that several records of one deed are one alert.
	subject func(*event.Event) uint64
	// output is the line for people, without who did it.
	output func(*event.Event) string
}

// Types gives the classes that the rule looks at, as bits 1 << type.
func (r *Rule) Types() uint64 { return r.types }

func on(types ...wire.Type) uint64 {
	var bits uint64
	for _, t := range types {
		bits |= 1 << t
	}
	return bits
}

const (
	noticePriority   = apiv1.Priority_PRIORITY_NOTICE
	warningPriority  = apiv1.Priority_PRIORITY_WARNING
	criticalPriority = apiv1.Priority_PRIORITY_CRITICAL
)

// writes are the classes in which a file changes or gets a name.
var writes = on(wire.TypeOpen, wire.TypeCreate, wire.TypeUnlink, wire.TypeRename, wire.TypeLink, wire.TypeSymlink,
	wire.TypeChmod, wire.TypeChown, wire.TypeTruncate)

// rules is the table. Order is the order of alerts for one event.
func rules() []Rule {
	return slices.Concat(processRules(), fileRules(), networkRules(), kernelRules())
}

// processRules tell what ran, and what processes did to each other and to their bounds.
func processRules() []Rule {
	return []Rule{
		{
			Name: "Executable not from the image",
			Description: "A program ran whose file was written after the container started: it lies in the writable layer, " +
				"not in the image. Rebuild the image with the program in it, or look for how it was dropped.",
			Priority: criticalPriority, Tags: []string{"T1036", "T1105", "container", "process", "drift"},
			types: on(wire.TypeExec), match: (*Engine).drift, subject: exeSubject, output: driftOutput,
		},
		{
			Name: "Fileless execution",
			Description: "A program ran from memory or from a file that was deleted: nothing on disk can be examined. " +
				"Packers and droppers do this; few honest programs do.",
			Priority: criticalPriority, Tags: []string{"T1620", "container", "host", "process"},
			types: on(wire.TypeExec), host: true, match: (*Engine).fileless, subject: exeSubject, output: filelessOutput,
		},
		{
			Name: "Shell with a socket for its input",
			Description: "A shell was started with a network connection as standard input: a reverse or bind shell. " +
				"Somebody at the other end types commands.",
			Priority: criticalPriority, Tags: []string{"T1059.004", "container", "process"},
			types: on(wire.TypeExec), match: (*Engine).socketShell, subject: exeSubject, output: shellOutput,
		},
		{
			Name: "Namespace changed",
			Description: "A process in a container entered or made another namespace, a step of most escapes. Container " +
				"runtimes do it before the container's first program runs, and are not reported.",
			Priority: warningPriority, Tags: []string{"T1611", "container", "process"},
			types: on(wire.TypeSetns, wire.TypeUnshare), match: always, subject: flagsSubject, output: namespaceOutput,
		},
		{
			Name: "Process traced",
			Description: "A process attached to another one, or wrote to its memory: a debugger, or an injection of code " +
				"into a process that is allowed more.",
			Priority: warningPriority, Tags: []string{"T1055.008", "T1055.009", "container", "process"},
			types: on(wire.TypePtrace), match: (*Engine).traced, subject: targetSubject, output: tracedOutput,
		},
		{
			Name: "Process left its container's cgroup",
			Description: "A process moved itself or a child out of the cgroup that its container was given, to escape its " +
				"limits or to pass for another workload. It stays attributed to its container.",
			Priority: criticalPriority, Tags: []string{"T1564", "T1611", "container", "process"},
			types: on(wire.TypeCgroupAttach, wire.TypeFork), match: (*Engine).leftCgroup, subject: cgroupSubject, output: cgroupOutput,
		},
	}
}

// fileRules tell what was read and changed.
func fileRules() []Rule {
	return []Rule{
		{
			Name: "Sensitive file read",
			Description: "A process other than the container's own service read a file that holds credentials: password " +
				"hashes, private keys, cloud or cluster credentials, the service-account token.",
			Priority: warningPriority, Tags: []string{"T1552", "T1552.001", "T1003.008", "T1528", "container", "filesystem"},
			types: on(wire.TypeOpen), match: (*Engine).sensitiveRead, subject: pathSubject, output: readOutput,
		},
		{
			Name: "Write below a binary directory",
			Description: "A file was written, created, renamed or linked where programs are installed. In a container, " +
				"programs come with the image.",
			Priority: warningPriority, Tags: []string{"T1554", "T1543", "container", "filesystem"},
			types: writes, match: (*Engine).binaryWrite, subject: pathSubject, output: writeOutput,
		},
	}
}

// networkRules tell who was talked to, and how.
func networkRules() []Rule {
	return []Rule{
		{
			Name: "Cloud metadata service contacted",
			Description: "A process addressed the instance metadata service, which hands out the node's cloud credentials " +
				"to whoever asks.",
			Priority: warningPriority, Tags: []string{"T1552.005", "container", "network"},
			types: on(wire.TypeConnect, wire.TypeSendto), match: (*Engine).metadata, subject: remoteSubject, output: metadataOutput,
		},
		{
			Name: "Raw or packet socket opened",
			Description: "A process can read or forge packets below the transport layer: a sniffer, a scanner, a spoofer. " +
				"ping and DHCP clients do it too.",
			Priority: noticePriority, Tags: []string{"T1040", "T1095", "container", "network"},
			types: on(wire.TypeSocket), match: (*Engine).rawSocket, subject: socketSubject, output: socketOutput,
		},
		{
			Name: "Socket of another container used",
			Description: "A process sent through a socket that was opened in another container or on the host, and got " +
				"past the network policy of its own.",
			Priority: criticalPriority, Tags: []string{"T1090.001", "T1055", "container", "network"},
			types: on(wire.TypePassedSocket), match: always, subject: cookieSubject, output: passedOutput,
		},
	}
}

// kernelRules tell what was done to the kernel.
func kernelRules() []Rule {
	return []Rule{
		{
			Name:        "Kernel module loaded",
			Description: "Code was added to the kernel. From a container it means that the node is no longer yours.",
			Priority:    criticalPriority, Tags: []string{"T1547.006", "container", "host", "kernel"},
			types: on(wire.TypeModule), host: true, match: always, subject: textSubject, output: moduleOutput,
		},
	}
}
