// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// EntryKind is what an entry is about.
type EntryKind string

// The kinds of entries.
const (
	ProcessEntry    EntryKind = "process"
	ParentEntry     EntryKind = "parent"
	ArgumentEntry   EntryKind = "argument"
	LibraryEntry    EntryKind = "library"
	FileEntry       EntryKind = "file"
	EgressEntry     EntryKind = "egress"
	ListenEntry     EntryKind = "listen"
	SocketEntry     EntryKind = "socket"
	CapabilityEntry EntryKind = "capability"
)

// Signal is the signal that entries of the kind belong to.
func (k EntryKind) Signal() Signal {
	switch k {
	case FileEntry:
		return SignalFile
	case EgressEntry, ListenEntry, SocketEntry:
		return SignalEgress
	default:
		return SignalProcess
	}
}

// Entry is one entry of a profile by itself: what is listed, compared, confirmed and rejected.
type Entry struct {
	Kind EntryKind
	// Process is the path of the executable whose entry it is, escaped for people, or Any.
	Process string
	// Text is for people what the entry allows, without the process.
	Text string
	Seen Provenance

	// identity is that of the item in its list.
	identity string
	// part is a process that lists nothing but the entry.
	part Process
}

// ID names the entry within its profile, by what it is and not by what it allows in particular: 16 hexadecimal digits.
func (e Entry) ID() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{string(e.Kind), e.part.Path, e.identity}, "\x00\x00")))
	return hex.EncodeToString(sum[:8])
}

// Entries returns the entries of a profile, in canonical order: each process, then what it lists.
func (p *Profile) Entries() []Entry {
	entries := make([]Entry, 0, p.Len())
	for i := range p.Processes {
		q := &p.Processes[i]
		if q.Seen.Origin != Context && q.Path != Any {
			own := Process{Path: q.Path, Sources: q.Sources, AnyArguments: q.AnyArguments, Seen: q.Seen}
			entries = append(entries, Entry{
				Kind: ProcessEntry, Process: executableWords(q.Path), Text: own.words(), Seen: q.Seen,
				identity: class(q.Seen), part: own,
			})
		}
		entries = appendEntries(entries, ParentEntry, q, q.Parents)
		entries = appendEntries(entries, ArgumentEntry, q, q.Arguments)
		entries = appendEntries(entries, LibraryEntry, q, q.Libraries)
		entries = appendEntries(entries, FileEntry, q, q.Files)
		entries = appendEntries(entries, EgressEntry, q, q.Egress)
		entries = appendEntries(entries, ListenEntry, q, q.Listen)
		entries = appendEntries(entries, SocketEntry, q, q.Sockets)
		entries = appendEntries(entries, CapabilityEntry, q, q.Capabilities)
	}
	return entries
}

func appendEntries[T item[T]](entries []Entry, kind EntryKind, p *Process, items []T) []Entry {
	for _, x := range items {
		part := x.fragment(p.Path)
		part.Seen = Provenance{Origin: Context}
		entries = append(entries, Entry{
			Kind: kind, Process: executableWords(p.Path), Text: x.words(), Seen: x.provenance(),
			identity: x.identity() + class(p.Seen), part: part,
		})
	}
	return entries
}

// words are the executable and where it may come from, for people.
func (p *Process) words() string {
	text := executableWords(p.Path)
	if len(p.Sources) > 0 {
		list := make([]string, len(p.Sources))
		for i, s := range p.Sources {
			list[i] = string(s)
		}
		text += " from " + strings.Join(list, ", ")
	}
	if p.AnyArguments {
		text += " with any arguments"
	}
	return text
}
