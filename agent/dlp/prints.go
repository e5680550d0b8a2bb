// SPDX-License-Identifier: Apache-2.0

package dlp

import "math/bits"

// PrintsConfig has the bounds of Prints. Zero values stand for the defaults.
type PrintsConfig struct {
	// Files is how many labelled files are remembered: 256, of at most about 12 KiB each.
	Files int
	// Head is how many bytes of a file's beginning are: 8 KiB.
	Head int
	// Streams is how many texts are looked at at the same time: 4,096.
	Streams int
}

func (c PrintsConfig) withDefaults() PrintsConfig {
	c.Files = orInt(c.Files, 256)
	c.Head = orInt(c.Head, 8<<10)
	c.Streams = orInt(c.Streams, 4096)
	return c
}

const (
	// shingle is how many bytes a print is of.
	shingle = 48
	// sample is how many shingles give one print on average, a power of two: those whose hash ends in zeros, so that both
	// sides choose the same ones wherever they begin.
	sample = 32
	// maxPrints is how many prints a file keeps.
	maxPrints = 256
	// enough is how many prints must be met, of a file that has so many.
	enough = 4
)

// PrintsStats is what Prints did and gave up.
type PrintsStats struct {
	Files, Plain, Evicted, Matches uint64
}

// Prints finds labelled files again in what is sent, also in parts and shifted: the beginning of each file read is cut in
// overlapping shingles, a rolling hash chooses some of them, and the same is done with texts on their way out. What is
// kept are hashes under a key, no content.
type Prints struct {
	cfg     PrintsConfig
	key     uint64
	out     uint64 // key multiplied to the power of the shingle: what the byte that leaves weighs
	prints  map[uint64]int32
	files   []printed
	next    int
	streams map[uint64]*roll
	stats   PrintsStats
}

// printed is a file that was read.
type printed struct {
	read   Read
	prints []uint64
	serial uint64
}

// roll is the state of one text on its way.
type roll struct {
	hash   uint64
	tail   [shingle]byte
	n      uint64
	file   int32
	met    int
	serial uint64
	last   uint64
	told   bool
}

// NewPrints returns Prints; the key should be random and stay secret.
func NewPrints(cfg PrintsConfig, key uint64) *Prints {
	p := &Prints{cfg: cfg.withDefaults(), key: key | 1, prints: make(map[uint64]int32), streams: make(map[uint64]*roll)}
	p.out = 1
	for range shingle {
		p.out *= p.key
	}
	return p
}

// Stats returns the counts so far.
func (p *Prints) Stats() PrintsStats { return p.stats }

// step moves the window on by a byte and returns the print there, or 0.
func (p *Prints) step(r *roll, c byte) uint64 {
	at := r.n % shingle
	r.hash = r.hash*p.key + uint64(c) + 1
	if r.n >= shingle {
		r.hash -= (uint64(r.tail[at]) + 1) * p.out
	}
	r.tail[at] = c
	r.n++
	if r.n < shingle {
		return 0
	}
	mixed := bits.RotateLeft64(r.hash*0x9e3779b97f4a7c15, 31) * 0xbf58476d1ce4e5b9
	if mixed>>(64-bits.Len(sample-1)) != 0 {
		return 0
	}
	return mixed
}

// Read remembers the beginning of a labelled file. A file of which nothing can be told from others, such as an empty one,
// is not remembered; it reports whether it was.
func (p *Prints) Read(read Read, head []byte) bool {
	head = head[:min(len(head), p.cfg.Head)]
	var r roll
	var found []uint64
	for _, c := range head {
		if h := p.step(&r, c); h != 0 && len(found) < maxPrints {
			if _, other := p.prints[h]; !other {
				found = append(found, h)
			}
		}
	}
	if len(found) < enough {
		p.stats.Plain++
		return false
	}
	p.stats.Files++
	at := p.next % p.cfg.Files
	if at == len(p.files) {
		p.files = append(p.files, printed{})
	} else {
		for _, h := range p.files[at].prints {
			delete(p.prints, h)
		}
		p.stats.Evicted++
	}
	p.next++
	p.files[at] = printed{read: read, prints: found, serial: uint64(p.next)}
	for _, h := range found {
		p.prints[h] = int32(at)
	}
	return true
}

// Text looks at the next bytes of a text, told apart by a number, and reports the file that it turns out to be of, once.
// With last the text is forgotten.
func (p *Prints) Text(id uint64, part []byte, last bool) (Read, bool) {
	if len(p.prints) == 0 {
		return Read{}, false
	}
	r := p.streams[id]
	if r == nil {
		if len(p.streams) >= p.cfg.Streams {
			p.stats.Evicted++
			return Read{}, false
		}
		r = &roll{file: -1}
		p.streams[id] = r
	}
	if last {
		delete(p.streams, id)
	}
	if r.told {
		return Read{}, false
	}
	for _, c := range part {
		h := p.step(r, c)
		if h == 0 || h == r.last {
			continue
		}
		at, ok := p.prints[h]
		if !ok {
			continue
		}
		r.last = h
		if at != r.file || p.files[at].serial != r.serial {
			r.file, r.serial, r.met = at, p.files[at].serial, 0
		}
		if r.met++; r.met >= enough {
			r.told = true
			p.stats.Matches++
			return p.files[at].read, true
		}
	}
	return Read{}, false
}

// Forget forgets a text that is not looked at any further.
func (p *Prints) Forget(id uint64) { delete(p.streams, id) }

// ForgetAll forgets all texts.
func (p *Prints) ForgetAll() { clear(p.streams) }

// Matched is the finding for a file that Text recognised in what is sent.
func Matched(read Read, s *Send) Finding {
	f := Finding{
		Reason: FileMatch, Severity: High, Time: s.Time, Tag: s.Tag, Process: s.Process, Executable: s.Executable, Workload: s.Workload, Peer: s.Peer,
		Inbound: s.Inbound, Bytes: s.Bytes, File: read.File, Label: read.Label, Confidence: 95, Join: s.Join,
		Chain: append(read.steps(), s.step()),
	}
	if !s.Peer.Known && !s.Peer.Internal {
		f.Severity = Critical
	}
	return f
}
