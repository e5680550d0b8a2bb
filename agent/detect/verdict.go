// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Explainer says in words which entry of the profile comes nearest to a deed that is not in it; empty when none does. It
// is asked for alerts only.
type Explainer func(ev *event.Event) string

// verdictRules name what a policy does not allow, by its reasons. Unlike the other rules they decide nothing: the kernel
// has, and says so in the head of the event. The last one is for reasons that this agent does not know.
func verdictRules() []Rule {
	return slices.Concat(executionVerdicts(), fileVerdicts(), networkVerdicts(), []Rule{
		{
			Name:        "Deed not in profile",
			Description: "The policy of the workload does not allow what was done, for a reason that this agent has no name for.",
			Priority:    warningPriority, Tags: []string{"container", "profile"},
			reasons: because(wire.ReasonNone),
		},
	})
}

// executionVerdicts are about what runs.
func executionVerdicts() []Rule {
	return []Rule{
		{
			Name: "Executable not in profile",
			Description: "A program ran, or was to run, that the workload's profile does not list, or not as started by this " +
				"parent.",
			Priority: criticalPriority, Tags: []string{"T1059", "container", "process", "profile"},
			reasons: because(wire.ReasonExecutable, wire.ReasonParent),
		},
		{
			Name: "Arguments not in profile",
			Description: "A program of the profile was given arguments of a shape that it was never seen with: an interpreter " +
				"that runs another script, a tool that is put to another use.",
			Priority: warningPriority, Tags: []string{"T1059", "T1202", "container", "process", "profile"},
			reasons: because(wire.ReasonArguments),
		},
		{
			Name: "Drifted executable",
			Description: "A program ran, or was to run, whose file is not the image's: it was written after the container " +
				"started. The name may be one of the profile; the file is another one.",
			Priority: criticalPriority, Tags: []string{"T1036", "T1105", "container", "process", "drift", "profile"},
			reasons: because(wire.ReasonDrift),
		},
		{
			Name:        "Fileless executable",
			Description: "A program ran, or was to run, from memory or from a file that was deleted.",
			Priority:    criticalPriority, Tags: []string{"T1620", "container", "process", "profile"},
			reasons: because(wire.ReasonFileless),
		},
		{
			Name: "Library not in profile",
			Description: "A file outside the image was mapped for execution, or was to be: a preloaded library, a plug-in, a " +
				"native add-on that the profile does not list.",
			Priority: criticalPriority, Tags: []string{"T1574.006", "T1129", "container", "process", "profile"},
			reasons: because(wire.ReasonLibrary),
		},
	}
}

// fileVerdicts are about what is read and changed.
func fileVerdicts() []Rule {
	return []Rule{
		{
			Name:        "File access not in profile",
			Description: "A file was changed, made or removed, or was to be, that the profile does not list for this program.",
			Priority:    warningPriority, Tags: []string{"T1565.001", "container", "filesystem", "profile"},
			reasons: because(wire.ReasonFile),
		},
		{
			Name: "Protected file not in profile",
			Description: "A file that holds credentials or that decides what runs was opened, or was to be, by a program that " +
				"the profile does not list it for.",
			Priority: criticalPriority, Tags: []string{"T1552.001", "T1003.008", "container", "filesystem", "profile"},
			reasons: because(wire.ReasonProtectedFile),
		},
		{
			Name:        "Mount not in profile",
			Description: "A file system was mounted or moved in a container, or was to be: a step of most escapes.",
			Priority:    criticalPriority, Tags: []string{"T1611", "container", "filesystem", "profile"},
			reasons: because(wire.ReasonMount),
		},
	}
}

// networkVerdicts are about who is talked to, and how.
func networkVerdicts() []Rule {
	return []Rule{
		{
			Name: "Contact not in profile",
			Description: "A program contacted, or was to contact, an address that the profile does not list for it and that no " +
				"listed name stands for now.",
			Priority: warningPriority, Tags: []string{"T1071", "T1041", "container", "network", "profile"},
			reasons: because(wire.ReasonAddress),
		},
		{
			Name: "Metadata service not in profile",
			Description: "A program contacted, or was to contact, the instance metadata service, which hands out the node's cloud " +
				"credentials, and the profile does not list it.",
			Priority: criticalPriority, Tags: []string{"T1552.005", "container", "network", "profile"},
			reasons: because(wire.ReasonMetadata),
		},
		{
			Name: "Domain not in profile",
			Description: "A domain name was asked for that the profile does not list. Names carry data out as well as they find " +
				"whom to send it to.",
			Priority: warningPriority, Tags: []string{"T1071.004", "T1048.003", "container", "network", "profile"},
			reasons: because(wire.ReasonDomain),
		},
		{
			Name:        "Port not in profile",
			Description: "A program listened, or was to listen, on a port that the profile does not list: a back door waits so.",
			Priority:    warningPriority, Tags: []string{"T1571", "container", "network", "profile"},
			reasons: because(wire.ReasonListen),
		},
		{
			Name: "Socket not in profile",
			Description: "A socket of a family or kind was made, or was to be, that the profile does not list: raw and packet " +
				"sockets, which see and forge what others send; families that reach parts of the kernel little used.",
			Priority: warningPriority, Tags: []string{"T1040", "T1095", "container", "network", "profile"},
			reasons: because(wire.ReasonSocket, wire.ReasonRawSocket),
		},
		{
			Name: "Passed socket not in profile",
			Description: "A process sent, or was to send, through a socket that was opened in another container or on the host, " +
				"past the network policy of its own.",
			Priority: criticalPriority, Tags: []string{"T1090.001", "T1055", "container", "network", "profile"},
			reasons: because(wire.ReasonPassedSocket),
		},
		{
			Name: "Sensitive data held back",
			Description: "A program sent, or was to send, values of a detector of sensitive data, more than its threshold lets leave " +
				"by one connection.",
			Priority: criticalPriority, Tags: []string{"T1048", "T1567", "container", "network", "dlp"},
			reasons: because(wire.ReasonContent),
		},
	}
}

func because(reasons ...wire.Reason) uint32 {
	var bits uint32
	for _, r := range reasons {
		bits |= 1 << r
	}
	return bits
}

// verdict finds the rule for what the policy said of a deed. It allocates nothing.
func (e *Engine) verdict(ev *event.Event) *Rule {
	if reason := ev.Head.Reason; int(reason) < len(e.byReason) && e.byReason[reason] != nil {
		return e.byReason[reason]
	}
	return e.byReason[wire.ReasonNone]
}

// judged gives the one match of a deed that the policy did not allow: what the other rules find in it goes with it.
func (e *Engine) judged(ev *event.Event) []Match {
	rule := e.verdict(ev)
	count, fresh := e.foldAt(verdictKey(ev), ev.Time)
	e.also = e.also[:0]
	for _, other := range e.byType[ev.Type] {
		if e.sees(other, ev) {
			// Records that follow of the same deed are no news, although they bear no verdict.
			e.foldAt(foldKey(other, ev), ev.Time)
			e.also = append(e.also, other)
		}
	}
	if fresh {
		e.matches = append(e.matches, Match{Rule: rule, Count: count, Also: e.also, explain: e.cfg.Explain})
	}
	return e.matches
}

// verdictKey names a deed that the policy does not allow. Other than with the rules, it is not the process that counts but
// its executable and the session that it belongs to: who tries the same again and again, from ever new processes, is told
// of once in a while, with a count.
func verdictKey(ev *event.Event) uint64 {
	p := ev.Process
	h := hashWord(hashSeed, uint64(ev.Head.Reason)<<16|uint64(ev.Head.Flags)&uint64(report.VerdictFlags))
	h = hashText(hashWord(h, ev.Head.Origin), p.Image.Exe)
	if p.Root != nil {
		h = hashWord(hashWord(h, p.Root.Start), uint64(p.Root.PID))
	}
	switch {
	case ev.Exec() != nil:
		return hashWord(hashText(h, ev.Exe()), p.Image.ArgvHash)
	case ev.File() != nil:
		h = hashText(hashText(h, ev.Path()), ev.Target())
		return hashWord(h, accessClass(ev))
	case ev.DNS() != nil:
		return hashText(h, ev.Text()[min(dnsHeader, len(ev.Text())):])
	case ev.Net() != nil:
		return netKey(h, ev)
	default:
		return hashText(h, ev.Text())
	}
}

// dnsHeader is the length of a DNS message's header, which differs each time that the same is asked.
const dnsHeader = 12

func netKey(h uint64, ev *event.Event) uint64 {
	n := ev.Net()
	h = hashWord(h, uint64(n.Family)<<32|uint64(n.Kind)<<16|uint64(n.Protocol))
	if ev.Type == wire.TypeBind || ev.Type == wire.TypeListen {
		return hashWord(h, uint64(n.LocalPort))
	}
	return hashWord(hashText(h, n.Remote[:]), uint64(n.RemotePort))
}

// accessClass makes of a file that is made and then opened for writing one deed; reading and removing are others.
func accessClass(ev *event.Event) uint64 {
	path, target := report.Access(ev)
	switch access := path | target; {
	case access == 0:
		return uint64(ev.Type)
	case access&profile.Delete != 0:
		return 1
	case access&(profile.Write|profile.Create) != 0:
		return 2
	default:
		return 3
	}
}

// verdictOutput is the line for people about a deed that the policy did not allow.
func verdictOutput(m Match, ev *event.Event, nearest string) string {
	text := deedText(ev) + ": " + reasonText(wire.Reason(ev.Head.Reason)) + ", by " + who(ev)
	switch report.Action(ev) {
	case apiv1.Action_ACTION_BLOCKED:
		text = "Blocked " + text
	case apiv1.Action_ACTION_KILLED:
		text = "Killed for " + text
	default:
		text = "Would have blocked " + text
	}
	for _, also := range m.Also {
		text += "; " + strings.ToLower(also.Name[:1]) + also.Name[1:]
	}
	if nearest != "" {
		text += "; nearest allowed: " + clean(nearest)
	}
	return text
}

// deedText says what was done, or was to be done.
func deedText(ev *event.Event) string {
	switch {
	case ev.Exec() != nil:
		return "running " + clean(string(ev.Exe())) + " (" + command(ev) + ")"
	case ev.File() != nil:
		return fileText(ev)
	case ev.DNS() != nil:
		return "asking for the name " + clean(report.Question(ev))
	case ev.Net() != nil:
		return netText(ev)
	default:
		return event.Name(ev.Type)
	}
}

func fileText(ev *event.Event) string {
	path, target := clean(string(ev.Path())), clean(string(ev.Target()))
	switch ev.Type {
	case wire.TypeExecute:
		if target != "" && target != path {
			path += " (as " + target + ")"
		}
		return "running " + path
	case wire.TypeMmapExec:
		return "mapping " + path + " for execution"
	case wire.TypeMount:
		return "mounting " + target + " on " + path
	case wire.TypeRename:
		return "renaming " + path + " to " + target
	case wire.TypeLink:
		return "linking " + path + " to " + target
	case wire.TypeSymlink:
		return "making the symbolic link " + path + " to " + target
	}
	access, _ := report.Access(ev)
	names := report.AccessNames(access)
	if ev.Type == wire.TypeOpen {
		return "opening " + path + " to " + strings.Join(names, ", ")
	}
	verbs := map[wire.Type]string{
		wire.TypeCreate: "creating ", wire.TypeUnlink: "removing ", wire.TypeChmod: "changing the mode of ",
		wire.TypeChown: "changing the owner of ", wire.TypeTruncate: "truncating ",
	}
	return verbs[ev.Type] + path
}

func netText(ev *event.Event) string {
	n := ev.Net()
	protocol := report.Transport(n.Protocol)
	if wire.Reason(ev.Head.Reason) == wire.ReasonContent {
		return "sending what the detector " + clean(string(ev.Path())) + " finds to " + remote(n, protocol)
	}
	switch ev.Type {
	case wire.TypeSocket:
		return "making a socket (" + profile.FamilyName(n.Family) + ", " + profile.SocketKindName(n.Kind) + ")"
	case wire.TypeListen, wire.TypeBind:
		return "listening on " + protocol + " port " + strconv.Itoa(int(n.LocalPort))
	case wire.TypePassedSocket:
		return "sending to " + remote(n, protocol) + " through a socket of another container"
	default:
		return "contacting " + remote(n, protocol)
	}
}

func remote(n *wire.Net, protocol string) string {
	return report.Address(n.Family, n.Remote) + " port " + strconv.Itoa(int(n.RemotePort)) + " (" + protocol + ")"
}

// reasonText says why a deed is not allowed.
func reasonText(r wire.Reason) string {
	texts := map[wire.Reason]string{
		wire.ReasonExecutable:    "the program is not in the profile",
		wire.ReasonParent:        "the profile has it started by others only",
		wire.ReasonDrift:         "its file is not the image's",
		wire.ReasonFileless:      "it is in memory or its file is deleted",
		wire.ReasonArguments:     "the profile has no arguments of this shape",
		wire.ReasonLibrary:       "the library is not in the profile",
		wire.ReasonFile:          "the profile does not list this access",
		wire.ReasonProtectedFile: "the file is protected",
		wire.ReasonAddress:       "neither the address nor a name that stands for it is in the profile",
		wire.ReasonMetadata:      "it hands out the node's credentials",
		wire.ReasonDomain:        "the name is not in the profile",
		wire.ReasonListen:        "the port is not in the profile",
		wire.ReasonSocket:        "sockets of this kind are not in the profile",
		wire.ReasonRawSocket:     "raw and packet sockets are not in the profile",
		wire.ReasonPassedSocket:  "the socket is not the container's own",
		wire.ReasonMount:         "mounting is not in the profile",
		wire.ReasonContent:       "it must not leave",
	}
	if text := texts[r]; text != "" {
		return text
	}
	return "the policy does not list it"
}

// verdictTags joins the tags of the verdict's rule and of the rules that see the same deed, and gives the higher priority.
func verdictTags(m Match) ([]string, apiv1.Priority) {
	tags, priority := slices.Clone(m.Rule.Tags), m.Rule.Priority
	for _, also := range m.Also {
		priority = max(priority, also.Priority)
		for _, tag := range also.Tags {
			if !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
	}
	return tags, priority
}
