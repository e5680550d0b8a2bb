// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Bounds of what an agent may send.
const (
	// maxMessage is the largest message, in bytes.
	maxMessage = 4 << 20
	// maxRecord is the largest record, in bytes.
	maxRecord = 1 << 20
	// maxRecords and maxLosses are for one batch.
	maxRecords = 10000
	maxLosses  = 1000
	// maxName is the longest rule or type, in bytes.
	maxName = 512
)

// decode checks a batch and decodes its records. An error is a breach of protocol; a record that makes no sense is none.
func decode(b *apiv1.Batch) (entries []store.Entry, losses []store.Loss, bytes int64, err error) {
	records := b.GetRecords()
	switch {
	case b.GetLane() != apiv1.Lane_LANE_ALERTS && b.GetLane() != apiv1.Lane_LANE_RECORDS:
		return nil, nil, 0, fmt.Errorf("batch of lane %d, which there is not", b.GetLane())
	case len(records) > maxRecords:
		return nil, nil, 0, fmt.Errorf("batch of %d records, more than %d", len(records), maxRecords)
	case len(b.GetLosses()) > maxLosses:
		return nil, nil, 0, fmt.Errorf("batch of %d losses, more than %d", len(b.GetLosses()), maxLosses)
	case len(records) > 0 && b.GetFirst() == 0:
		return nil, nil, 0, fmt.Errorf("batch begins at sequence 0; sequences begin at 1")
	case len(records) > 0 && b.GetFirst() > math.MaxUint64-uint64(len(records)):
		return nil, nil, 0, fmt.Errorf("sequences from %d on leave no room for %d records", b.GetFirst(), len(records))
	}
	for _, l := range b.GetLosses() {
		if l.GetFirst() == 0 || l.GetLast() < l.GetFirst() || l.GetLast() == math.MaxUint64 {
			return nil, nil, 0, fmt.Errorf("loss of sequences %d to %d", l.GetFirst(), l.GetLast())
		}
		losses = append(losses, store.Loss{First: l.GetFirst(), Last: l.GetLast(), Cause: l.GetCause()})
	}
	entries = make([]store.Entry, len(records))
	for i, raw := range records {
		bytes += int64(len(raw))
		entries[i] = store.Entry{Sequence: b.GetFirst() + uint64(i), Raw: raw}
		if record, err := decodeRecord(b.GetLane(), raw); err != nil {
			entries[i].Refused = err.Error()
		} else {
			entries[i].Record = record
		}
	}
	return entries, losses, bytes, nil
}

// decodeRecord decodes a record of a lane; the error says why it cannot be stored as one.
func decodeRecord(lane apiv1.Lane, raw []byte) (*apiv1.Record, error) {
	if len(raw) > maxRecord {
		return nil, fmt.Errorf("record of %d bytes, more than %d", len(raw), maxRecord)
	}
	record := new(apiv1.Record)
	if err := proto.Unmarshal(raw, record); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	switch kind := record.GetRecord().(type) {
	case *apiv1.Record_Alert:
		if lane != apiv1.Lane_LANE_ALERTS {
			return nil, fmt.Errorf("an alert in the lane of records")
		}
		return record, checkAlert(kind.Alert)
	case *apiv1.Record_Event:
		if lane != apiv1.Lane_LANE_RECORDS {
			return nil, fmt.Errorf("an event in the lane of alerts")
		}
		return record, checkType(kind.Event.GetType())
	}
	return nil, fmt.Errorf("neither an alert nor an event")
}

func checkAlert(a *apiv1.Alert) error {
	if a.GetRule() == "" {
		return fmt.Errorf("an alert without a rule")
	}
	if len(a.GetRule()) > maxName {
		return fmt.Errorf("a rule name of %d bytes, more than %d", len(a.GetRule()), maxName)
	}
	if a.GetPriority() < 0 || a.GetPriority() > apiv1.Priority_PRIORITY_EMERGENCY {
		return fmt.Errorf("priority %d, which there is not", a.GetPriority())
	}
	if a.GetEvent() == nil {
		return nil
	}
	return checkType(a.GetEvent().GetType())
}

func checkType(kind string) error {
	if kind == "" {
		return fmt.Errorf("an event without a type")
	}
	if len(kind) > maxName {
		return fmt.Errorf("an event type of %d bytes, more than %d", len(kind), maxName)
	}
	return nil
}
