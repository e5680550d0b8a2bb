// SPDX-License-Identifier: Apache-2.0

package spool

// counters are the monotonic part of Stats.
type counters struct {
	appended, durable, delivered uint64
	lost                         [NumCauses]uint64
	syncs, diskErrors            uint64
	damaged                      uint64
}

// Stats is a snapshot for metrics. Counters start at zero when the spool is
// opened; losses that were found on open are included.
type Stats struct {
	Epoch   uint64 // current epoch
	Next    uint64 // sequence of the next record
	Durable uint64 // last sequence of the epoch whose fate is durable
	Acked   uint64 // last acknowledged sequence of AckedEpoch
	Sent    uint64 // last delivered sequence of SentEpoch

	AckedEpoch uint64
	SentEpoch  uint64

	Backlog     uint64 // durable sequences that are not acknowledged, lost ones included
	Buffered    uint64 // records in memory that are not durable yet
	Bytes       int64  // of all files
	MaxBytes    int64  // bound of Bytes
	BufferBytes int64  // of memory in use for records that are not durable yet
	Segments    int    // segment files
	Quarantined int    // damaged files kept aside

	Appended  uint64            // records accepted by Append
	Written   uint64            // records that became durable
	Delivered uint64            // records given out by Next, repetitions included
	Lost      [NumCauses]uint64 // lost sequences, indexed by Cause
	Damaged   uint64            // damaged places found in the files

	Syncs      uint64 // fsync and fdatasync calls that succeeded on segments and state
	DiskErrors uint64 // operations that the disk refused
	DiskErr    error  // why the disk refuses now; nil if it does not
}

// LostTotal returns the sum over all causes.
func (st Stats) LostTotal() uint64 {
	var sum uint64
	for _, n := range st.Lost {
		sum += n
	}
	return sum
}

// Stats returns a snapshot.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		Epoch: s.epoch, Next: s.next, Durable: s.durable(),
		Acked: s.acked.seq, AckedEpoch: s.acked.epoch,
		Sent: s.sent.seq, SentEpoch: s.sent.epoch,
		Buffered:    uint64(s.pending.records + s.writing.records),
		Bytes:       s.used,
		MaxBytes:    s.cfg.MaxBytes,
		BufferBytes: int64(len(s.pending.data) + len(s.writing.data)),
		Segments:    len(s.segments),
		Quarantined: len(s.quarant),
		Appended:    s.n.appended,
		Written:     s.n.durable,
		Delivered:   s.n.delivered,
		Lost:        s.n.lost,
		Damaged:     s.n.damaged,
		Syncs:       s.n.syncs,
		DiskErrors:  s.n.diskErrors,
		DiskErr:     s.diskErr,
	}
	for i := max(s.order(s.acked.epoch), 0); i < len(s.spans); i++ {
		st.Backlog += s.spans[i].last
		if s.spans[i].epoch == s.acked.epoch {
			st.Backlog -= s.acked.seq
		}
	}
	return st
}
