// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"math"
	"time"
)

// VolumeConfig has the bounds of a Volume. Zero values stand for the defaults.
type VolumeConfig struct {
	// Flows is how many processes and destinations have a baseline: 8,192, each of about 250 bytes.
	Flows int
	// Minutes is how many minutes with traffic a baseline needs before it says what is usual: 60.
	Minutes int
	// Floor is how much in a minute is never unusual: 16 MiB. DayFloor the same for a day: 256 MiB.
	Floor, DayFloor uint64
	// Cold is how much in a minute is unusual without a baseline, if the profile does not hold the destination: 64 MiB.
	// ColdDay the same for a day: 512 MiB.
	Cold, ColdDay uint64
	// Factor is how many times the largest usual minute or day is unusual: 4.
	Factor float64
	// UploadBytes is how much in a minute to a service that takes uploads from anybody is a finding: 64 KiB.
	UploadBytes uint64
}

func (c VolumeConfig) withDefaults() VolumeConfig {
	c.Flows = orInt(c.Flows, 8192)
	c.Minutes = orInt(c.Minutes, 60)
	for _, d := range []struct {
		field *uint64
		value uint64
	}{{&c.Floor, 16 << 20}, {&c.DayFloor, 256 << 20}, {&c.Cold, 64 << 20}, {&c.ColdDay, 512 << 20}, {&c.UploadBytes, 64 << 10}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if c.Factor == 0 {
		c.Factor = 4
	}
	return c
}

// VolumeStats is what a Volume did and gave up.
type VolumeStats struct {
	Findings, Evicted uint64
}

// Volume learns how much a workload's executable sends to a destination, and finds minutes and days that are far beyond.
// What is beyond is not learned from, but as if it were at the limit, so that a leak does not become usual by going on
// and a change that is meant does in time.
type Volume struct {
	cfg   VolumeConfig
	flows map[flowKey]*flow
	order []flowKey
	stats VolumeStats
}

type flowKey struct {
	workload, executable, host string
	inbound                    bool
}

// flow is the baseline of one executable of a workload and a destination.
type flow struct {
	minute, day       int64
	bytes, today      uint64
	toldMin, toldDay  bool
	minutes, days     int
	mean, dev         float64 // of the bytes of minutes with traffic, exponentially weighted
	dayMean, dayWorst float64
	sketch            sketch
	last              int64
}

// sketch counts values in classes of half a power of two, so that a quantile is known within a factor of 1.42 in 160
// bytes. When a class is full all are halved, which makes what is old count less.
type sketch struct {
	classes [80]uint16
	total   uint32
}

func (s *sketch) add(v uint64) {
	i := 0
	if v > 0 {
		i = min(int(2*math.Log2(float64(v))), len(s.classes)-1)
	}
	if s.classes[i] == math.MaxUint16 {
		s.total = 0
		for j := range s.classes {
			s.classes[j] /= 2
			s.total += uint32(s.classes[j])
		}
	}
	s.classes[i]++
	s.total++
}

// quantile is a value that is not below the given part of the values.
func (s *sketch) quantile(q float64) uint64 {
	need := uint32(math.Ceil(q * float64(s.total)))
	sum := uint32(0)
	for i, n := range s.classes {
		if sum += uint32(n); sum >= need && n > 0 {
			return uint64(math.Exp2(float64(i+1) / 2))
		}
	}
	return 0
}

const (
	minute = int64(time.Minute)
	day    = int64(24 * time.Hour)
	// weight is that of a new minute in the mean: the last few hundred count.
	weight = 1.0 / 128
)

// NewVolume returns a Volume that knows nothing yet.
func NewVolume(cfg VolumeConfig) *Volume {
	return &Volume{cfg: cfg.withDefaults(), flows: make(map[flowKey]*flow)}
}

// Stats returns the counts so far.
func (v *Volume) Stats() VolumeStats { return v.stats }

// Sent adds bytes, and appends a finding the first time in a minute or day that they are more than usual.
func (v *Volume) Sent(dst []Finding, s *Send) []Finding {
	f := v.flow(s)
	f.roll(s.Time, &v.cfg)
	f.bytes += s.Bytes
	f.today += s.Bytes
	f.last = s.Time
	known := s.Peer.Known || s.Inbound || s.Peer.Internal
	if limit := f.limit(&v.cfg, known); !f.toldMin && f.bytes > limit {
		f.toldMin = true
		dst = v.report(dst, s, Finding{Reason: VolumeUnusual, Severity: Medium, Bytes: f.bytes, Confidence: f.sure(&v.cfg)}, limit)
	}
	if limit := f.dayLimit(&v.cfg, known); !f.toldDay && f.today > limit {
		f.toldDay = true
		dst = v.report(dst, s, Finding{Reason: SlowLeak, Severity: Medium, Bytes: f.today, Confidence: 60}, limit)
	}
	if !f.toldMin && !s.Peer.Known && f.bytes > v.cfg.UploadBytes && uploads(s.Peer.Host) {
		f.toldMin = true
		dst = v.report(dst, s, Finding{Reason: Upload, Severity: High, Bytes: f.bytes, Confidence: 75}, v.cfg.UploadBytes)
	}
	return dst
}

func (v *Volume) report(dst []Finding, s *Send, f Finding, usual uint64) []Finding {
	v.stats.Findings++
	f.Time, f.Tag, f.Process, f.Executable, f.Workload = s.Time, s.Tag, s.Process, s.Executable, s.Workload
	f.Peer, f.Inbound, f.Usual, f.Join = s.Peer, s.Inbound, usual, s.Join
	return append(dst, f)
}

func (v *Volume) flow(s *Send) *flow {
	key := flowKey{s.Workload, s.Executable, s.Peer.Host, s.Inbound}
	switch {
	case s.Inbound:
		key.host = "" // who asks is not the server's choice
	case key.host == "":
		key.host = s.Peer.Addr.Addr().String()
	}
	if f := v.flows[key]; f != nil {
		return f
	}
	if len(v.flows) >= v.cfg.Flows {
		v.evict()
	}
	f := &flow{minute: s.Time / minute, day: s.Time / day}
	v.flows[key] = f
	v.order = append(v.order, key)
	return f
}

// evict forgets, of the first few baselines, the one that was used longest ago, so that those in use stay.
func (v *Volume) evict() {
	at := 0
	for i := range min(32, len(v.order)) {
		if v.flows[v.order[i]].last < v.flows[v.order[at]].last {
			at = i
		}
	}
	delete(v.flows, v.order[at])
	// The others of the few go to the end, so that another few are looked at next time.
	n := min(32, len(v.order))
	few := append([]flowKey(nil), v.order[:at]...)
	few = append(few, v.order[at+1:n]...)
	v.order = append(append(v.order[:0], v.order[n:]...), few...)
	v.stats.Evicted++
}

// roll closes the minute and the day that have passed.
func (f *flow) roll(now int64, cfg *VolumeConfig) {
	if m := now / minute; m > f.minute {
		if f.bytes > 0 {
			f.learn(min(f.bytes, f.limit(cfg, true)))
		}
		f.minute, f.bytes, f.toldMin = m, 0, false
	}
	if d := now / day; d > f.day {
		if f.today > 0 {
			total := float64(min(f.today, f.dayLimit(cfg, true)))
			f.days++
			f.dayMean += (total - f.dayMean) / float64(min(f.days, 14))
			f.dayWorst = max(f.dayWorst*0.97, total)
		}
		f.day, f.today, f.toldDay = d, 0, false
	}
}

func (f *flow) learn(bytes uint64) {
	f.minutes++
	w := max(weight, 1/float64(f.minutes))
	off := float64(bytes) - f.mean
	f.mean += w * off
	f.dev += w * (math.Abs(off) - f.dev)
	f.sketch.add(bytes)
}

// limit is how much in a minute is usual: several times what 99 of 100 minutes had, or far beyond the mean.
func (f *flow) limit(cfg *VolumeConfig, known bool) uint64 {
	if f.minutes < cfg.Minutes {
		if !known {
			return cfg.Cold
		}
		return math.MaxUint64
	}
	usual := max(cfg.Factor*float64(f.sketch.quantile(0.99)), f.mean+8*f.dev)
	return max(cfg.Floor, uint64(usual))
}

// dayLimit is the same for a day; three days make a baseline.
func (f *flow) dayLimit(cfg *VolumeConfig, known bool) uint64 {
	if f.days < 3 {
		if !known {
			return cfg.ColdDay
		}
		return math.MaxUint64
	}
	return max(cfg.DayFloor, uint64(max(cfg.Factor*f.dayMean, 2*f.dayWorst)))
}

// sure is how much a finding about a minute is worth: less without a baseline.
func (f *flow) sure(cfg *VolumeConfig) uint8 {
	if f.minutes < cfg.Minutes {
		return 50
	}
	return 70
}
