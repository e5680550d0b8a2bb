// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"strings"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/inspect"
	"github.com/holdfast-project/holdfast/agent/redact"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// findingRules name what is found in what containers send and get. They decide nothing: the detectors of rules/dlp and the
// rules of rules/waf have.
func findingRules() []Rule {
	return []Rule{
		{
			Name: "Sensitive data sent",
			Description: "A container sent values of a detector of sensitive data, as many as its threshold asks for. The finding names " +
				"the detector, how many there were and how they look masked, and where in which message they stood.",
			Priority: warningPriority, Tags: []string{"T1048", "T1567", "container", "network", "dlp"},
		},
		{
			Name: "Sensitive data served",
			Description: "A container answered somebody who had connected to it with values of a detector of sensitive data. To answer " +
				"with records is what many servers are for, so the thresholds are ten times those of what is sent.",
			Priority: warningPriority, Tags: []string{"T1048", "T1213", "container", "network", "dlp"},
		},
		{
			Name: "Attack in a request",
			Description: "A request that a container serves holds an attack, such as an injection, a traversal or a lookup that loads " +
				"code. It says that somebody tried; whether it worked shows in what the server does next.",
			Priority: warningPriority, Tags: []string{"T1190", "container", "network", "waf"},
		},
		{
			Name: "Labelled data sent",
			Description: "A container read a file that has a label, and the same process, or one that shares an ancestor with it, then " +
				"sent to a destination that the profile does not hold. The finding names the file and the bytes; the alert tells in order " +
				"who read, who packed and who sent. To a service from which anybody can fetch what was sent it is critical.",
			Priority: apiv1.Priority_PRIORITY_ERROR, Tags: []string{"T1005", "T1560", "T1041", "container", "filesystem", "network", "dlp"},
		},
		{
			Name: "Labelled file in what is sent",
			Description: "What a container sent to a destination that the profile does not hold has pieces of a file with a label in it, " +
				"whole or in part, also after its content was encoded or packed in a way that is undone here, and another process had read the " +
				"file. Where it was the sender, or one that shares an ancestor with it, \"Labelled data sent\" tells it.",
			Priority: criticalPriority, Tags: []string{"T1048", "T1567", "container", "network", "dlp"},
		},
		{
			Name: "Unusual amount sent",
			Description: "A program sent far more in a minute or a day than is usual for it and this destination or, without a baseline, than " +
				"to a destination that the profile does not hold; or more than a little to a service that takes uploads from anybody.",
			Priority: warningPriority, Tags: []string{"T1030", "T1041", "container", "network", "dlp"},
		},
		{
			Name: "Tunnel in DNS or ICMP",
			Description: "Names that a container asks for, or what its pings carry, hold data: many different long names below one domain, " +
				"more payload than pings have.",
			Priority: apiv1.Priority_PRIORITY_ERROR, Tags: []string{"T1048.003", "T1071.004", "T1095", "container", "network", "dlp"},
		},
		{
			Name: "Attack followed",
			Description: "Soon after a request with an attack had come to a container, one of its processes did something that its profile " +
				"does not list: the attack seems to have worked. Look at the container now; the alert names the request and what was done.",
			Priority: criticalPriority, Tags: []string{"T1190", "T1059", "container", "network", "waf"},
		},
	}
}

// Places of findingRules.
const (
	findingSent = iota
	findingServed
	findingAttack
	findingLabelled
	findingFile
	findingVolume
	findingTunnel
	findingFollowed
)

// findingPlace is the place of a finding's rule.
func findingPlace(f *content.Found) int {
	switch f.Reason {
	case dlp.Attack:
		return findingAttack
	case dlp.AttackFollowed:
		return findingFollowed
	case dlp.FileMatch:
		return findingFile
	case dlp.VolumeUnusual, dlp.SlowLeak:
		return findingVolume
	case dlp.DNSTunnel, dlp.ICMPVolume:
		return findingTunnel
	case dlp.Taint, dlp.ArchiveSend, dlp.Upload:
		if f.File == "" {
			return findingVolume
		}
		return findingLabelled
	}
	if f.Inbound {
		return findingServed
	}
	return findingSent
}

// Findings lists the rules about what is sent and received.
func (e *Engine) Findings() []Rule { return e.findings }

// FindingAlert describes what was found in what a container sends or gets, or does with its data. ev is the event that
// completed it: the piece, where it is about content.
func (e *Engine) FindingAlert(f *content.Found, ev *event.Event) *apiv1.Alert {
	described := report.Event(ev)
	report.WithAncestors(described, ev.Process)
	rule := &e.findings[findingPlace(f)]
	told := *f
	told.Host, told.Peer.Host, told.Path = redact.Name(f.Host), redact.Name(f.Peer.Host), redact.Text(f.Path)
	f = &told
	output := storyOutput(f)
	if output == "" {
		output = findingOutput(f, findingAction(ev), described.GetNetwork())
	}
	return &apiv1.Alert{
		Rule: rule.Name, Priority: severity(f.Severity), Tags: rule.Tags, Output: output + " by " + who(ev),
		Action: findingAction(ev), Event: described, Count: uint64(max(f.Repeats, 0)) + 1, Finding: finding(f, ev),
	}
}

// findingAction says what was done: of what the kernel has held back it says so in the piece.
func findingAction(ev *event.Event) apiv1.Action {
	if action := report.Action(ev); action != apiv1.Action_ACTION_UNSPECIFIED {
		return action
	}
	return apiv1.Action_ACTION_ALERTED
}

// attack reports whether a finding is one of the web application filter, or follows from one.
func attack(f *content.Found) bool { return f.Reason == dlp.Attack || f.Reason == dlp.AttackFollowed }

// severity is the priority of a finding.
func severity(s dlp.Severity) apiv1.Priority {
	switch s {
	case dlp.Low:
		return noticePriority
	case dlp.Critical:
		return criticalPriority
	case dlp.High:
		return apiv1.Priority_PRIORITY_ERROR
	default:
		return warningPriority
	}
}

// finding is what leaves the node of a finding: nothing of what was sent but what its detector shows of it.
func finding(f *content.Found, ev *event.Event) *apiv1.Finding {
	m := &apiv1.Finding{
		Signal: string(profile.SignalDLP), Reason: f.Reason.String(), Detector: f.Detector, Class: f.Class, Confidence: uint32(f.Confidence),
		Found: uint64(f.Count), Distinct: uint64(f.Distinct), Masked: f.Masked, Hashes: f.Hashes,
		Direction: "inbound", Accepted: f.Inbound,
		Application: f.App, Part: f.Part, Name: f.Name, Layers: f.Layers,
		Method: f.Method, Host: f.Host, Path: f.Path, Bytes: f.Bytes, File: f.File, Score: uint32(f.Score),
	}
	if c := ev.Content(); c != nil {
		m.Source = via(wire.Via(c.Via))
	}
	if !attack(f) {
		// What is looked at for data is what leaves.
		m.Direction = "outbound"
	} else {
		m.Signal, m.Masked, m.Hashes, m.Evidence = string(profile.SignalWAF), nil, nil, strings.Join(f.Masked, " ")
	}
	return m
}

// via names how content was read.
func via(v wire.Via) string {
	names := [...]string{
		wire.ViaPacket: "packet", wire.ViaOpenssl: "openssl", wire.ViaGnutls: "gnutls", wire.ViaNss: "nss", wire.ViaGo: "go",
	}
	if int(v) >= len(names) {
		return ""
	}
	return names[v]
}

// findingOutput is the line for people, without who it was.
func findingOutput(f *content.Found, action apiv1.Action, n *apiv1.Network) string {
	where := clean(f.App)
	if f.App == inspect.Unknown.String() {
		where = "a connection"
	}
	if f.Host != "" {
		where += " with " + clean(f.Host+f.Path)
	}
	peer := n.GetRemoteAddress()
	if port := n.GetRemotePort(); port != 0 {
		peer += fmt.Sprintf(" port %d", port)
	}
	if attack(f) {
		by := f.Detector
		if f.Score > 0 {
			by += fmt.Sprintf(", score %d", f.Score)
		}
		return fmt.Sprintf("%s (%s) in the %s of a request over %s from %s: %s,", f.Class, by, part(f), where, peer, clean(strings.Join(f.Masked, " ")))
	}
	found := fmt.Sprintf("%d matches of %s", f.Count, f.Detector)
	if f.Count == 1 {
		found = "A match of " + f.Detector
	}
	if len(f.Masked) > 0 {
		found += " (" + clean(strings.Join(f.Masked, ", ")) + ")"
	}
	verb := "sent to "
	if f.Inbound {
		verb = "served to "
	}
	if action == apiv1.Action_ACTION_BLOCKED {
		verb = "held back from "
	}
	text := fmt.Sprintf("%s: %s%s, in the %s of %s", found, verb, peer, part(f), where)
	if len(f.Layers) > 0 {
		text += ", in " + strings.Join(f.Layers, ", in ")
	}
	return text + ","
}

// part names where in a message something stood.
func part(f *content.Found) string {
	text := f.Part
	if f.Name != "" {
		text += " " + clean(f.Name)
	}
	return text
}
