// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"path"
	"slices"
	"time"

	"github.com/holdfast-project/holdfast/agent/fifo"
)

// LineageConfig has the bounds of a Lineage. Zero values stand for the defaults.
type LineageConfig struct {
	// Within is how long a read counts: 15 minutes.
	Within time.Duration
	// Processes is how many are followed: 16,384. Files is how many written by tainted lineages: 4,096. Reads is how many
	// reads one process remembers: 8.
	Processes, Files, Reads int
	// Depth is how many ancestors share in what a process read: 6.
	Depth int
	// Bytes is how much must be sent before it counts, so that a greeting is no leak: 64.
	Bytes uint64
	// Quiet is how long a process's further sends to the same destination are folded: 10 minutes.
	Quiet time.Duration
}

func (c LineageConfig) withDefaults() LineageConfig {
	if c.Within == 0 {
		c.Within = 15 * time.Minute
	}
	if c.Quiet == 0 {
		c.Quiet = 10 * time.Minute
	}
	c.Processes = orInt(c.Processes, 16384)
	c.Files = orInt(c.Files, 4096)
	c.Reads = orInt(c.Reads, 8)
	c.Depth = orInt(c.Depth, 6)
	if c.Bytes == 0 {
		c.Bytes = 64
	}
	return c
}

// uploadServices are hosts, or suffixes with a leading dot, that take files and texts from anybody and give them to anybody, or
// pass them on.
var uploadServices = [...]string{
	"transfer.sh", "file.io", ".file.io", "gofile.io", ".gofile.io", "0x0.st", "pastebin.com", "paste.ee", "dpaste.com", "dpaste.org",
	"hastebin.com", "ghostbin.com", "ix.io", "sprunge.us", "termbin.com", "paste.rs", "bashupload.com", "temp.sh", "oshi.at", "anonfiles.com",
	".anonfiles.com", "catbox.moe", ".catbox.moe", "mega.nz", ".mega.nz", ".mega.co.nz", "wetransfer.com", ".wetransfer.com", "sendspace.com",
	"mediafire.com", ".mediafire.com", "ufile.io", "webhook.site", ".webhook.site", "requestbin.com", ".requestbin.net", ".pipedream.net",
	".ngrok.io", ".ngrok-free.app", ".ngrok.app", ".trycloudflare.com", ".serveo.net", ".loca.lt", "api.telegram.org", "discord.com",
	"discordapp.com", "content.dropboxapi.com", ".interactsh.com", ".oast.fun", ".oast.pro", ".oast.live", ".oast.me", ".burpcollaborator.net",
	".oastify.com", ".requestrepo.com", ".dnslog.cn", ".beeceptor.com", "rentry.co", "controlc.com", "pixeldrain.com", "litterbox.catbox.moe",
}

// Read is a file that was read.
type Read struct {
	Time       int64
	Process    Process
	Executable string
	File       string
	// Label says why the file matters: the user's label, or what makes it sensitive.
	Label string

	// copied is the file that held the content when it was read, if it was not File; before is how it came there.
	copied string
	before []Step
}

// steps are what led to the read, and the read.
func (r *Read) steps() []Step {
	step := Step{Time: r.Time, What: "read", Process: r.Process, Executable: r.Executable, Object: r.File}
	if r.copied != "" {
		step.Object = r.copied
	}
	return append(append([]Step(nil), r.before...), step)
}

// copied is what a file holds that a tainted process wrote.
type copied struct {
	read  Read
	wrote Step
}

// maxBefore bounds Read.before: copies of copies.
const maxBefore = 6

// Send is bytes that a process sent. The caller may sum up what goes to one destination.
type Send struct {
	Time                 int64
	Tag                  uint64
	Process              Process
	Executable, Workload string
	Peer                 Peer
	Inbound              bool
	Bytes                uint64
	Join                 uint64
}

// step is the sending, to the host where it has a name.
func (s *Send) step() Step {
	to := s.Peer.Host
	if to == "" {
		to = s.Peer.Addr.String()
	}
	return Step{Time: s.Time, What: "sent", Process: s.Process, Executable: s.Executable, Object: to}
}

// LineageStats is what a Lineage gave up: processes and files forgotten while they may have mattered, reads dropped.
type LineageStats struct {
	EvictedProcesses, EvictedFiles, DroppedReads, Findings, Folded uint64
}

// Lineage follows reads of labelled files to where the same lineage sends. What a process reads, its ancestors share in,
// and so do their other children: gzip reads, curl sends, and the shell above is what they have in common. The caller
// tells of processes and of labelled reads; of an executable, Exec tells that it packs.
type Lineage struct {
	cfg       LineageConfig
	processes map[Process]*member
	order     []Process
	files     fifo.Table[string, copied] // written by a tainted lineage
	stats     LineageStats
}

// member is a process and what it, or a descendant, has done.
type member struct {
	// up are its ancestors, the parent first, kept here so that one that has ended breaks no line.
	up     []Process
	exited bool
	reads  []Read
	packed Step
	sent   []sent
}

// sent is a destination that a process's sends were reported for.
type sent struct {
	host  string
	addr  string
	until int64
	bytes uint64
}

// NewLineage returns a Lineage.
func NewLineage(cfg LineageConfig) *Lineage {
	return &Lineage{cfg: cfg.withDefaults(), processes: make(map[Process]*member)}
}

// Stats returns the counts so far.
func (l *Lineage) Stats() LineageStats { return l.stats }

// Fork tells that a process began.
func (l *Lineage) Fork(parent, child Process) {
	var above []Process
	if m := l.processes[parent]; m != nil {
		above = m.up
	}
	m := l.member(child)
	m.up = append(append(m.up[:0], parent), above[:min(len(above), l.cfg.Depth-1)]...)
}

// Knows reports whether a process is followed.
func (l *Lineage) Knows(p Process) bool { return l.processes[p] != nil }

// line calls the function for the process and those of its ancestors that are known.
func (l *Lineage) line(p Process, visit func(*member)) {
	m := l.processes[p]
	if m == nil {
		return
	}
	visit(m)
	for _, above := range m.up {
		if a := l.processes[above]; a != nil {
			visit(a)
		}
	}
}

func (l *Lineage) member(p Process) *member {
	m := l.processes[p]
	if m != nil {
		return m
	}
	if len(l.processes) >= l.cfg.Processes {
		l.evict()
	}
	m = &member{}
	l.processes[p] = m
	l.order = append(l.order, p)
	return m
}

// evict forgets the oldest process that has read nothing, among the first few, or else the oldest.
func (l *Lineage) evict() {
	at := 0
	for i := range min(64, len(l.order)) {
		if m := l.processes[l.order[i]]; m.exited && len(m.reads) == 0 {
			at = i
			break
		}
	}
	if len(l.processes[l.order[at]].reads) > 0 {
		l.stats.EvictedProcesses++
	}
	delete(l.processes, l.order[at])
	copy(l.order[at:], l.order[at+1:])
	l.order = l.order[:len(l.order)-1]
}

// Exit tells that a process ended. What it read stays with its ancestors.
func (l *Lineage) Exit(p Process) {
	if m := l.processes[p]; m != nil {
		m.exited = true
	}
}

// Exec tells that a process runs another program; one that packs or encrypts is remembered by those above it.
func (l *Lineage) Exec(p Process, executable string, now int64) {
	l.member(p)
	if packer(path.Base(executable)) {
		step := Step{Time: now, What: "packed", Process: p, Executable: executable}
		l.line(p, func(m *member) { m.packed = step })
	}
}

// packer reports whether a program is one that makes data unrecognisable: by compression, encryption or encoding.
func packer(name string) bool {
	switch name {
	case "gzip", "pigz", "bzip2", "xz", "zstd", "lz4", "lzma", "zip", "7z", "7za", "7zr", "rar", "tar", "cpio", "gpg", "gpg2", "age", "openssl", "ccrypt",
		"base64", "base32", "xxd", "uuencode", "bsdtar", "split", "brotli":
		return true
	}
	return false
}

// Read tells that a labelled file was read.
func (l *Lineage) Read(r Read) {
	l.member(r.Process)
	l.line(r.Process, func(m *member) { l.keep(m, r) })
}

func (l *Lineage) keep(m *member, r Read) {
	for i := range m.reads {
		if m.reads[i].File == r.File {
			m.reads[i].Time = r.Time
			return
		}
	}
	if len(m.reads) < l.cfg.Reads {
		m.reads = append(m.reads, r)
		return
	}
	l.stats.DroppedReads++
	oldest := 0
	for i := range m.reads {
		if m.reads[i].Time < m.reads[oldest].Time {
			oldest = i
		}
	}
	m.reads[oldest] = r
}

// Wrote tells that a process opened a file for writing. If it is tainted, reading that file counts as reading what the
// process had read.
func (l *Lineage) Wrote(p Process, executable, file string, now int64) {
	r, _, ok := l.taint(p, now)
	if !ok {
		return
	}
	c := l.files.Get(file)
	if c == nil {
		c = &copied{}
		if l.files.Put(file, c, l.cfg.Files) {
			l.stats.EvictedFiles++
		}
	}
	*c = copied{r, Step{Time: now, What: "wrote", Process: p, Executable: executable, Object: file}}
}

// Opened tells that a process opened any file for reading, labelled or not: one that a tainted lineage wrote counts. It
// reports whether it did.
func (l *Lineage) Opened(p Process, executable, file string, now int64) bool {
	c := l.files.Get(file)
	if c == nil || now-c.read.Time > int64(l.cfg.Within) {
		return false
	}
	r := Read{Time: now, Process: p, Executable: executable, File: c.read.File, Label: c.read.Label, copied: file}
	if r.before = append(c.read.steps(), c.wrote); len(r.before) > maxBefore {
		r.before = r.before[:maxBefore]
	}
	l.Read(r)
	return true
}

// taint is the newest read that a process shares in, and whether the process itself did it.
func (l *Lineage) taint(p Process, now int64) (newest Read, own, ok bool) {
	l.line(p, func(m *member) {
		for _, r := range m.reads {
			if now-r.Time <= int64(l.cfg.Within) && (!ok || r.Time > newest.Time) {
				newest, own, ok = r, r.Process == p, true
			}
		}
	})
	return newest, own, ok
}

// Shares reports whether a process shares in a read of the file that counts: what it sends is a matter of Sent.
func (l *Lineage) Shares(p Process, file string, now int64) (shares bool) {
	l.line(p, func(m *member) {
		for _, r := range m.reads {
			shares = shares || r.File == file && now-r.Time <= int64(l.cfg.Within)
		}
	})
	return shares
}

// Sent tells that a process sent something, and appends a finding if its lineage had read something labelled and the
// destination is none that its profile holds. Bytes add up until there are enough.
func (l *Lineage) Sent(dst []Finding, s *Send) []Finding {
	upload := uploads(s.Peer.Host)
	if s.Inbound || s.Peer.Known && !upload {
		return dst
	}
	read, own, tainted := l.taint(s.Process, s.Time)
	if !tainted {
		return dst
	}
	m := l.member(s.Process)
	d := m.destination(s)
	d.bytes += s.Bytes
	if d.bytes < l.cfg.Bytes {
		return dst
	}
	if s.Time < d.until {
		l.stats.Folded++
		return dst
	}
	d.until = s.Time + int64(l.cfg.Quiet)
	l.stats.Findings++
	return append(dst, l.finding(s, read, own, upload, d.bytes))
}

// uploads reports whether a host is one of uploadServices.
func uploads(host string) bool {
	return host != "" && slices.ContainsFunc(uploadServices[:], func(of string) bool { return hostMatches(of, host) })
}

// maxDestinations is how many destinations one process is folded for.
const maxDestinations = 16

func (m *member) destination(s *Send) *sent {
	addr := s.Peer.Addr.Addr().String()
	for i := range m.sent {
		if m.sent[i].host == s.Peer.Host && m.sent[i].addr == addr {
			return &m.sent[i]
		}
	}
	if len(m.sent) == maxDestinations {
		m.sent = append(m.sent[:0], m.sent[1:]...)
	}
	m.sent = append(m.sent, sent{host: s.Peer.Host, addr: addr})
	return &m.sent[len(m.sent)-1]
}

func (l *Lineage) finding(s *Send, read Read, own, upload bool, bytes uint64) Finding {
	f := Finding{
		Reason: Taint, Severity: High, Time: s.Time, Tag: s.Tag, Process: s.Process, Executable: s.Executable, Workload: s.Workload,
		Peer: s.Peer, Bytes: bytes, File: read.File, Label: read.Label, Confidence: 70, Join: s.Join,
	}
	if own {
		f.Confidence = 90
	}
	f.Chain = read.steps()
	if packed, ok := l.packed(s.Process, read.Time, s.Time); ok {
		f.Reason, f.Confidence = ArchiveSend, max(f.Confidence, 85)
		if packed.Time < read.Time {
			f.Chain = append([]Step{packed}, f.Chain...)
		} else {
			f.Chain = append(f.Chain, packed)
		}
	}
	if upload {
		f.Reason, f.Severity, f.Confidence = Upload, Critical, 95
	}
	f.Chain = append(f.Chain, s.step())
	return f
}

// packing is how long before its read a packer may have begun.
const packing = int64(5 * time.Second)

// packed is the packing that the process's lineage did around or after the read.
func (l *Lineage) packed(p Process, read, now int64) (step Step, found bool) {
	l.line(p, func(m *member) {
		if s := m.packed; !found && s.What != "" && s.Time >= read-packing && s.Time <= now {
			step, found = s, true
		}
	})
	return step, found
}

// Advance forgets reads that no longer count and processes that have ended.
func (l *Lineage) Advance(now int64) {
	kept := l.order[:0]
	for _, p := range l.order {
		m := l.processes[p]
		reads := m.reads[:0]
		for _, r := range m.reads {
			if now-r.Time <= int64(l.cfg.Within) {
				reads = append(reads, r)
			}
		}
		m.reads = reads
		if m.exited && len(m.reads) == 0 {
			delete(l.processes, p)
			continue
		}
		kept = append(kept, p)
	}
	l.order = kept
	l.files.Forget(func(c *copied) bool { return now-c.read.Time > int64(l.cfg.Within) })
}
