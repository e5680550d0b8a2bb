// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Alert describes a match: the event with the ancestry of its process, and a line for people. Of a deed that the policy
// does not allow, it says what was done about it, what of the profile it goes against and what comes nearest.
func Alert(m Match, ev *event.Event) *apiv1.Alert {
	described := report.Event(ev)
	report.WithAncestors(described, ev.Process)
	if m.Rule.reasons != 0 {
		return verdictAlert(m, ev, described)
	}
	return &apiv1.Alert{
		Rule: m.Rule.Name, Priority: m.Rule.Priority, Tags: m.Rule.Tags,
		Output: m.Rule.output(ev) + " by " + who(ev),
		Action: apiv1.Action_ACTION_ALERTED, Event: described, Count: m.Count,
	}
}

func verdictAlert(m Match, ev *event.Event, described *apiv1.Event) *apiv1.Alert {
	tags, priority := verdictTags(m)
	violation := report.Violation(ev)
	fields := map[string]string{"holdfast.signal": violation.Signal, "holdfast.reason": violation.Reason}
	nearest := ""
	if m.explain != nil {
		nearest = m.explain(ev)
	}
	if nearest != "" {
		fields["holdfast.nearest"] = nearest
	}
	return &apiv1.Alert{
		Rule: m.Rule.Name, Priority: priority, Tags: tags, Fields: fields, Output: verdictOutput(m, ev, nearest),
		Action: report.Action(ev), Event: described, Count: m.Count, Violation: violation,
	}
}

// who names the process, its parent and where it runs.
func who(ev *event.Event) string {
	p := ev.Process
	text := clean(program(p)) + " (pid " + strconv.Itoa(int(p.PID)) + ", user " + strconv.Itoa(int(p.Image.Cred.Uid))
	if p.Parent != nil {
		text += ", child of " + clean(program(p.Parent))
	}
	text += ")"
	c := ev.Container
	switch {
	case c == nil:
		return text
	case c.Pod != "":
		return text + " in pod " + clean(c.Namespace+"/"+c.Pod) + ", container " + clean(c.Name)
	case c.ID != "":
		return text + " in container " + clean(c.Name)
	default:
		return text + " on the host"
	}
}

func program(p *proc.Process) string {
	if p.Image.Exe == "" {
		return "an unknown program"
	}
	return p.Image.Exe
}

// clean escapes what would not print as it is: control characters, direction marks, invalid UTF-8.
func clean(text string) string {
	const most = 512
	if len(text) > most {
		text = text[:most] + "…"
	}
	if strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) < 0 {
		return text
	}
	quoted := strconv.QuoteToGraphic(text)
	return quoted[1 : len(quoted)-1]
}

func command(ev *event.Event) string {
	return clean(strings.Join(report.Argv(ev.Process.Image.Argv), " "))
}

func driftOutput(ev *event.Event) string {
	return fmt.Sprintf("%s was run, which is not from the image: %s,", clean(string(ev.Exe())), command(ev))
}

func filelessOutput(ev *event.Event) string {
	return fmt.Sprintf("A program was run that is in no file (%s): %s,", clean(string(ev.Exe())), command(ev))
}

func shellOutput(ev *event.Event) string {
	return fmt.Sprintf("A shell was started with a network connection for its input: %s,", command(ev))
}

func readOutput(ev *event.Event) string {
	return fmt.Sprintf("%s was opened for reading", clean(string(ev.Path())))
}

// deeds say what a class did to its path.
var deeds = map[wire.Type]string{
	wire.TypeOpen: "opened for writing", wire.TypeCreate: "created", wire.TypeUnlink: "removed", wire.TypeRename: "renamed",
	wire.TypeLink: "linked", wire.TypeSymlink: "made a symbolic link", wire.TypeChmod: "given another mode",
	wire.TypeChown: "given another owner", wire.TypeTruncate: "truncated",
}

func writeOutput(ev *event.Event) string {
	text := clean(string(ev.Path())) + " was " + deeds[ev.Type]
	if len(ev.Target()) > 0 {
		text += " to " + clean(string(ev.Target()))
	}
	return text
}

func metadataOutput(ev *event.Event) string {
	n := ev.Net()
	return fmt.Sprintf("The metadata service %s port %d was contacted", report.Address(n.Family, n.Remote), n.RemotePort)
}

// spaceFlags are the CLONE_NEW* bits of include/uapi/linux/sched.h.
var spaceFlags = []struct {
	bit  uint64
	name string
}{
	{0x00020000, "mount"}, {0x02000000, "cgroup"}, {0x04000000, "uts"}, {0x08000000, "ipc"}, {0x10000000, "user"},
	{0x20000000, "pid"}, {0x40000000, "network"}, {0x00000080, "time"},
}

func namespaceOutput(ev *event.Event) string {
	var names []string
	for _, f := range spaceFlags {
		if ev.Security().Flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	what := strings.Join(names, ", ")
	if what != "" {
		what += " "
	}
	if ev.Type == wire.TypeSetns {
		return "Another " + what + "namespace was entered"
	}
	return "A new " + what + "namespace was made"
}

func moduleOutput(ev *event.Event) string {
	return fmt.Sprintf("The kernel module %s was loaded", clean(string(ev.Text())))
}

func tracedOutput(ev *event.Event) string {
	return fmt.Sprintf("Process %d was attached to or its memory opened for writing", ev.Security().TargetTgid)
}

func socketOutput(ev *event.Event) string {
	n := ev.Net()
	if n.Family == familyPacket {
		return "A packet socket was opened"
	}
	return fmt.Sprintf("A raw %s socket (%s) was opened", report.FamilyName(n.Family), report.ProtocolName(n.Family, n.Kind, n.Protocol))
}

func cgroupOutput(ev *event.Event) string {
	if ev.Fork() != nil {
		return fmt.Sprintf("Process %d was started outside its container's cgroup", ev.Fork().ChildTgid)
	}
	return fmt.Sprintf("Process %d was moved to the cgroup %d outside its container", ev.Cgroup().Tgid, ev.Cgroup().Id)
}

func passedOutput(ev *event.Event) string {
	n := ev.Net()
	return fmt.Sprintf("A socket of another container (cgroup %d) was used towards %s port %d",
		n.SocketCgroup, report.Address(n.Family, n.Remote), n.RemotePort)
}
