// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/agent/fifo"
	"github.com/holdfast-project/holdfast/agent/inspect"
)

// Threshold is how much of what a detector finds makes a finding.
type Threshold struct {
	// Count is how many matches, Distinct of how many different values; 0 asks for none.
	Count, Distinct int
	// Window is the time within which a process and destination have to reach them.
	Window time.Duration
}

// Detector is what the counter has to know of one.
type Detector struct {
	ID, Class string
	Severity  Severity
	Threshold Threshold
	// Confidence below which matches do not count.
	Confidence uint8
}

// Exception is what may be sent: the detector's values by the executable to the destination. Empty is any.
type Exception struct {
	// Executable is a path, Host a name, or a suffix of names if it begins with a dot.
	Executable, Host, Detector string
}

// CounterConfig has the bounds of a Counter and what it counts. Zero values stand for the defaults.
type CounterConfig struct {
	Detectors  []Detector
	Exceptions []Exception
	// Windows is how many processes, destinations and detectors are counted at the same time: 4,096.
	Windows int
	// Values is how many different values one of them remembers: 64. Beyond, values count but are not told apart.
	Values int
	// InternalFactor and ServedFactor multiply the thresholds of what goes to internal peers, and of what a server
	// answers: 4 and 10, since sending records is what many servers are for.
	InternalFactor, ServedFactor int
	// Quiet is how long further findings of the same are folded after one: 5 minutes.
	Quiet time.Duration
}

func (c CounterConfig) withDefaults() CounterConfig {
	c.Windows = orInt(c.Windows, 4096)
	c.Values = orInt(c.Values, 64)
	c.InternalFactor = orInt(c.InternalFactor, 4)
	c.ServedFactor = orInt(c.ServedFactor, 10)
	if c.Quiet == 0 {
		c.Quiet = 5 * time.Minute
	}
	return c
}

func orInt(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// Sighting is one value in one message.
type Sighting struct {
	Time int64
	Tag  uint64
	// Who sent it where.
	Process              Process
	Executable, Workload string
	Peer                 Peer
	// Inbound says that the peer had connected: the process is a server, and this an answer.
	Inbound bool
	// Detector is the index in CounterConfig.Detectors.
	Detector   int
	Hash       uint64
	Confidence uint8
	// Masked is what may be shown of the value. It, Path and Layers are read during the call only.
	Masked    []byte
	App, Part string
	Layers    []inspect.Layer
	Path      []byte
	Join      uint64
}

// CounterStats is what a Counter did and gave up.
type CounterStats struct {
	Counted, Excepted, Unsure, Findings, Folded, Evicted uint64
}

// Counter holds matches against thresholds, within a sliding window of a process and destination: a message that has
// enough by itself, a flow, and values that are sent one by one over many flows all add up there.
type Counter struct {
	cfg     CounterConfig
	windows fifo.Table[windowKey, window]
	stats   CounterStats
}

type windowKey struct {
	process  Process
	host     string
	addr     [16]byte
	detector int
	inbound  bool
}

// sections is how many parts a window slides in.
const sections = 8

// window counts one detector's matches of one process to one destination.
type window struct {
	at       int64 // the slice that is being filled: its number since time 0
	count    [sections]int
	values   []seen
	masked   []string
	hashes   []uint64
	quietEnd int64
	folded   int
	since    int // matches since the last finding
	sure     uint8
	last     int64
}

type seen struct {
	hash uint64
	at   int64
}

// NewCounter returns a counter.
func NewCounter(cfg CounterConfig) *Counter {
	return &Counter{cfg: cfg.withDefaults()}
}

// class is that of a detector, by its index.
func (c *Counter) class(detector int) string {
	if detector < 0 || detector >= len(c.cfg.Detectors) {
		return ""
	}
	return c.cfg.Detectors[detector].Class
}

// Stats returns the counts so far.
func (c *Counter) Stats() CounterStats { return c.stats }

// Sighting counts a value and appends the finding that it completes, if it does.
func (c *Counter) Sighting(dst []Finding, s *Sighting) []Finding {
	if s.Detector < 0 || s.Detector >= len(c.cfg.Detectors) {
		return dst
	}
	d := &c.cfg.Detectors[s.Detector]
	if s.Confidence < d.Confidence {
		c.stats.Unsure++
		return dst
	}
	if c.excepted(s, d) {
		c.stats.Excepted++
		return dst
	}
	c.stats.Counted++
	w := c.window(s)
	span := int64(d.Threshold.Window)
	if span <= 0 {
		span = int64(10 * time.Minute)
	}
	w.add(s, span, c.cfg.Values)
	count, distinct := w.totals()
	factor := 1
	if s.Inbound {
		factor = c.cfg.ServedFactor
	}
	if s.Peer.Internal {
		factor = max(factor, c.cfg.InternalFactor)
	}
	if count < max(1, d.Threshold.Count)*factor || distinct < min(d.Threshold.Distinct*factor, c.cfg.Values) {
		return dst
	}
	if s.Time < w.quietEnd {
		w.folded++
		c.stats.Folded++
		return dst
	}
	c.stats.Findings++
	return append(dst, w.finding(s, d, distinct, int64(c.cfg.Quiet)))
}

func (c *Counter) excepted(s *Sighting, d *Detector) bool {
	for i := range c.cfg.Exceptions {
		if c.cfg.Exceptions[i].Covers(s.Executable, s.Peer.Host, d.ID) {
			return true
		}
	}
	return false
}

// Covers reports whether the executable may send the detector's values to the host.
func (e *Exception) Covers(executable, host, detector string) bool {
	return (e.Executable == "" || e.Executable == executable) && (e.Detector == "" || e.Detector == detector) && hostMatches(e.Host, host)
}

// hostMatches reports whether a host is the one, or one below it where the pattern begins with a dot, in any case. Empty is any.
func hostMatches(pattern, host string) bool {
	if pattern == "" || strings.EqualFold(pattern, host) {
		return true
	}
	return pattern[0] == '.' && len(host) > len(pattern) && strings.EqualFold(host[len(host)-len(pattern):], pattern)
}

// window finds or makes the window of a sighting; the oldest goes where there are too many.
func (c *Counter) window(s *Sighting) *window {
	key := windowKey{process: s.Process, host: s.Peer.Host, detector: s.Detector, inbound: s.Inbound}
	if key.host == "" || s.Inbound {
		key.host, key.addr = "", s.Peer.Addr.Addr().As16()
	}
	if w := c.windows.Get(key); w != nil {
		return w
	}
	w := &window{}
	if c.windows.Put(key, w, c.cfg.Windows) {
		c.stats.Evicted++
	}
	return w
}

// add counts a sighting in its slice of the window and forgets the slices that have passed.
func (w *window) add(s *Sighting, span int64, values int) {
	slice := s.Time / (span / sections)
	if slice > w.at {
		for n := min(slice-w.at, sections); n > 0; n-- {
			w.count[(slice-n+1)%sections] = 0
		}
		w.at = slice
		kept := w.values[:0]
		for _, v := range w.values {
			if v.at > s.Time-span {
				kept = append(kept, v)
			}
		}
		w.values = kept
	}
	w.count[w.at%sections]++
	w.since++
	w.last = s.Time
	w.sure = max(w.sure, s.Confidence)
	for i := range w.values {
		if w.values[i].hash == s.Hash {
			w.values[i].at = s.Time
			return
		}
	}
	if len(w.values) < values {
		w.values = append(w.values, seen{s.Hash, s.Time})
	}
	if len(w.masked) < maxExamples && len(s.Masked) > 0 {
		w.masked = append(w.masked, string(s.Masked))
		w.hashes = append(w.hashes, s.Hash)
	}
}

// totals are the matches and different values in the window.
func (w *window) totals() (count, distinct int) {
	for _, n := range w.count {
		count += n
	}
	return count, len(w.values)
}

func (w *window) finding(s *Sighting, d *Detector, distinct int, quiet int64) Finding {
	f := Finding{
		Reason: Content, Severity: d.Severity, Time: s.Time, Tag: s.Tag, Process: s.Process, Executable: s.Executable,
		Workload: s.Workload, Peer: s.Peer, Inbound: s.Inbound, Detector: d.ID, Class: d.Class, App: s.App, Part: s.Part,
		Layers: layers(s.Layers), Path: clean(string(s.Path)), Count: w.since, Distinct: distinct, Repeats: w.folded,
		Confidence: w.sure, Masked: w.masked, Hashes: w.hashes, Join: s.Join,
	}
	w.quietEnd = s.Time + quiet
	w.folded, w.since, w.sure = 0, 0, 0
	w.masked, w.hashes = nil, nil
	return f
}

func layers(all []inspect.Layer) []string {
	var names []string
	for _, l := range all {
		names = append(names, l.String())
	}
	return names
}

// clean is a request's path without its query, at most 256 bytes.
func clean(path string) string {
	for i := range len(path) {
		if path[i] == '?' || path[i] == '#' || path[i] == ';' {
			path = path[:i]
			break
		}
	}
	return path[:min(len(path), 256)]
}

// Advance forgets windows in which nothing has happened for an hour.
func (c *Counter) Advance(now int64) {
	c.windows.Forget(func(w *window) bool { return w.last < now-int64(time.Hour) })
}
