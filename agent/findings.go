// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/exfil"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// readLabels reads the file of labels, if there is to be one, and joins it with the files that are protected anyhow.
func readLabels(path string) (*exfil.Labels, error) {
	labels := &exfil.Labels{}
	if path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read the labels: %w", err)
		}
		if labels, err = exfil.ParseLabels(path, text); err != nil {
			return nil, fmt.Errorf("labels: %w", err)
		}
	}
	labels.Protect(detect.Watch().ReadNames)
	return labels, nil
}

// foundAt is a finding that waits for what was done before it: content comes another way than deeds, and may be quicker.
type foundAt struct {
	content.Found
	// at is when it came, boot clock.
	at uint64
}

// findingPatience is how long a finding waits for a record that is younger, nanoseconds: where nothing is done, none comes.
const findingPatience = 100e6

// tellFindings takes the findings that came, and tells those that need wait no longer.
func (p *pipeline) tellFindings(now uint64) {
	for len(p.awaiting) < maxFindings {
		select {
		case f := <-p.found:
			p.awaiting = append(p.awaiting, foundAt{f, now})
			continue
		default:
		}
		break
	}
	left := p.awaiting[:0]
	for i := range p.awaiting {
		f := &p.awaiting[i]
		switch {
		case !p.due(f, now):
			left = append(left, *f)
		case !p.acceptors.hold(&f.Found):
			p.finding(&f.Found)
		}
	}
	clear(p.awaiting[len(left):])
	p.awaiting = left
	p.acceptors.release(now, p.finding)
}

// due reports whether what was done before a finding has been read, the begin of its process too, or does not come.
func (p *pipeline) due(f *foundAt, now uint64) bool {
	head, age := &f.Piece.Head, now-f.at
	if p.reached < head.Time && age < findingPatience {
		return false
	}
	process := p.table.Lookup(head.Tgid, head.Start)
	return head.Tgid == 0 || process != nil && !process.Stub || age >= latePatience
}

// finding takes one about content.
func (p *pipeline) finding(f *content.Found) {
	ev := &p.event
	ev.SetContent(&f.Piece)
	ev.Time = int64(ev.Head.Time) + p.offset
	ev.Container, _ = p.registry.Lookup(ev.Head.Origin)
	if ev.Head.Tgid == 0 && ev.Container != nil {
		p.serves(ev)
	}
	ev.Process = p.process(ev.Head)
	ev.Peer = p.peer(f.Peer.Addr.Addr())
	f.Process, f.Executable = dlp.Process{PID: ev.Head.Tgid, Start: ev.Head.Start}, ev.Process.Image.Exe
	for i := range f.Chain {
		if s := &f.Chain[i]; s.Executable == "" && s.Process == f.Process {
			s.Executable = f.Executable
		}
	}
	if p.excepted(f) {
		p.counts.excepted.Add(1)
		return
	}
	if f.Reason == dlp.FileMatch && !p.exfil.Matched(&f.Finding, ev) {
		return
	}
	p.tellFinding(f, ev)
	if f.Reason != dlp.Attack {
		return
	}
	for _, followed := range p.exfil.Attacked(&f.Finding) {
		p.story(&followed, ev)
	}
}

// excepted reports whether the executable may send what was found.
func (p *pipeline) excepted(f *content.Found) bool {
	if f.Reason != dlp.Content {
		return false
	}
	for i := range p.exceptions {
		if p.exceptions[i].Covers(f.Executable, f.Peer.Host, f.Detector) {
			return true
		}
	}
	return false
}

// story takes a finding about deeds, the last of which is the event.
func (p *pipeline) story(f *dlp.Finding, ev *event.Event) {
	p.tellFinding(&content.Found{Finding: *f, Host: f.Peer.Host}, ev)
}

// tellFinding makes an alert of a finding where the mode is to tell; else it is counted.
func (p *pipeline) tellFinding(f *content.Found, ev *event.Event) {
	p.counts.findings.Add(1)
	signal := profile.SignalDLP
	if f.Reason == dlp.Attack || f.Reason == dlp.AttackFollowed {
		signal = profile.SignalWAF
	}
	if mode := p.guard.Mode(ev.Head.Origin, signal); mode == profile.ModeMonitor || mode == profile.ModeEnforce {
		p.tell(p.engine.FindingAlert(f, ev), ev)
	}
}

// serves takes the first process of its container for the one that is about to accept a connection.
func (p *pipeline) serves(ev *event.Event) {
	if first, ok := p.running(ev.Container.InitPID); ok {
		ev.Head.Tgid, ev.Head.Tid, ev.Head.Start = ev.Container.InitPID, ev.Container.InitPID, first.Start
	}
}
