// SPDX-License-Identifier: Apache-2.0

// Package heard keeps what a sensor tells, for tests that ask afterwards what
// it told of a deed.
package heard

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// Log is a sensor's handler that keeps every event, in the order in which they come. It may be used concurrently.
type Log struct {
	mu   sync.Mutex
	more chan struct{}
	all  []*event.Event
}

// New makes an empty log.
func New() *Log { return &Log{more: make(chan struct{}, 1)} }

// Settle is for the sensor.
func (l *Log) Settle() {}

// Record is for the sensor: it keeps a copy of the record.
func (l *Log) Record(raw []byte) {
	// Through words, since records are viewed in place.
	words := make([]uint64, (len(raw)+7)/8)
	own := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), len(raw))
	copy(own, raw)
	e := &event.Event{}
	if err := e.Decode(own); err != nil {
		panic(err)
	}
	l.mu.Lock()
	l.all = append(l.all, e)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// Find gives the events so far that fit, in the order of time.
func (l *Log) Find(fits func(*event.Event) bool) []*event.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []*event.Event
	for _, e := range l.all {
		if fits(e) {
			found = append(found, e)
		}
	}
	return found
}

// Forget drops the events so far that fit.
func (l *Log) Forget(fits func(*event.Event) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = slices.DeleteFunc(l.all, fits)
}

// Wait waits until all that has happened so far has come: until an event has that it brings about below the cgroup folder
// that the sensor watches.
func (l *Log) Wait(t *testing.T, cgroups string) {
	t.Helper()
	name := fmt.Sprintf("settle-%d-%d", os.Getpid(), time.Now().UnixNano())
	path := filepath.Join(cgroups, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(time.Minute)
	mine := func(e *event.Event) bool { return e.Type == wire.TypeCgroupMkdir && string(e.Text()) == name }
	for len(l.Find(mine)) == 0 {
		select {
		case <-l.more:
		case <-deadline:
			t.Fatal("the sensor's own event did not come")
		}
	}
}
