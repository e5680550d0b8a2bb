// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"testing"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store/storetest"
)

// FuzzDecode decodes whatever a client with a certificate may send as a batch.
func FuzzDecode(f *testing.F) {
	for _, r := range []*apiv1.Record{storetest.Alert(1, "r", 4), storetest.Event(1, "exec"), {}} {
		raw, err := proto.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		for lane := range apiv1.Lane_LANE_RECORDS + 1 {
			batch, err := proto.Marshal(&apiv1.Batch{Lane: lane, First: 1, Records: [][]byte{raw, raw[:len(raw)/2]}, Losses: []*apiv1.SpoolLoss{{First: 9, Last: 12}}})
			if err != nil {
				f.Fatal(err)
			}
			f.Add(batch)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b := new(apiv1.Batch)
		if proto.Unmarshal(data, b) != nil {
			return
		}
		entries, losses, bytes, err := decode(b)
		if err != nil {
			return
		}
		if len(entries) != len(b.GetRecords()) || len(losses) != len(b.GetLosses()) || bytes < 0 {
			t.Fatalf("%d entries of %d records, %d losses of %d", len(entries), len(b.GetRecords()), len(losses), len(b.GetLosses()))
		}
		for i, e := range entries {
			if (e.Record == nil) == (e.Refused == "") {
				t.Fatalf("entry %d has record %v and refusal %q", i, e.Record, e.Refused)
			}
			if e.Record != nil && (e.Record.GetAlert() != nil) != (b.GetLane() == apiv1.Lane_LANE_ALERTS) {
				t.Fatalf("entry %d is in the wrong lane", i)
			}
			if e.Sequence != b.GetFirst()+uint64(i) || e.Sequence < b.GetFirst() {
				t.Fatalf("entry %d has sequence %d after %d", i, e.Sequence, b.GetFirst())
			}
		}
	})
}

func TestLimits(t *testing.T) {
	l := newLimits()
	for range failureBurst {
		if !l.allow("192.0.2.1") {
			t.Fatal("an address is put off before it has failed often enough")
		}
		l.failed("192.0.2.1")
	}
	if l.allow("192.0.2.1") {
		t.Error("an address that fails again and again is not put off")
	}
	if !l.allow("192.0.2.2") {
		t.Error("another address is put off")
	}
	for i := range 3 * maxAddresses {
		l.failed(string(rune(i)))
	}
	if len(l.failures) > maxAddresses {
		t.Errorf("%d addresses are told apart", len(l.failures))
	}
	for range 2 * attemptBurst {
		l.allow("192.0.2.3")
	}
	if l.allow("192.0.2.4") {
		t.Error("all together may try without bound")
	}
}
