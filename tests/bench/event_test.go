// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-project/holdfast/agent/container"
	"github.com/holdfast-project/holdfast/agent/detect"
	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/report"
	"github.com/holdfast-project/holdfast/agent/wire"
)

const (
	eventRound  = 100_000 // events in a round of one contender
	eventRounds = 9
)

// BenchmarkEvent compares what the agent does with the record of an opened file, step by step, with a plain decoder of
// the same record. The contenders take turns within each round; the figures are medians of rounds and ratios of medians.
func BenchmarkEvent(b *testing.B) {
	raw := openRecord("/var/lib/app/data/segment-000017.log")
	table := proc.New(proc.Config{})
	head := (*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw)))
	process := table.Exec(head, proc.Kin{}, &proc.Image{Exe: "/usr/bin/app", Argv: "app\x00serve\x00"})
	engine := detect.New(detect.Config{})
	known := &container.Container{ID: "c0ffee", Name: "app", Pod: "app-1", Namespace: "shop"}
	var ev event.Event
	var fixed wire.FileOp
	decode := func() {
		if err := ev.Decode(raw); err != nil {
			b.Fatal(err)
		}
	}
	contenders := []struct {
		name string
		run  func()
	}{
		{"binary.Read", func() {
			if err := binary.Read(bytes.NewReader(raw), binary.LittleEndian, &fixed); err != nil {
				b.Fatal(err)
			}
		}},
		{"decode", decode},
		{"decode, find the process", func() { decode(); ev.Process = table.Find(ev.Head) }},
		{"decode, find, match the rules", func() {
			decode()
			ev.Process, ev.Container = table.Find(ev.Head), known
			if len(engine.Match(&ev)) != 0 {
				b.Fatal("a rule matched")
			}
		}},
		{"describe and encode for the collector", func() {
			decode()
			ev.Process, ev.Container = process, known
			if _, err := proto.Marshal(report.Event(&ev)); err != nil {
				b.Fatal(err)
			}
		}},
	}
	for b.Loop() {
		times := make([][]float64, len(contenders))
		for range eventRounds {
			for i, c := range contenders {
				start := time.Now()
				for range eventRound {
					c.run()
				}
				times[i] = append(times[i], float64(time.Since(start))/eventRound)
			}
		}
		base := median(times[0])
		b.Logf("%-40s %10s %8s", "", "ns/event", "ratio")
		for i, c := range contenders {
			b.Logf("%-40s %10.1f %8.3f", c.name, median(times[i]), median(times[i])/base)
		}
	}
}

// openRecord is the record of a file that was opened for reading.
func openRecord(path string) []byte {
	body := wire.FileOp{PathLen: uint16(len(path))}
	body.Head.Type, body.Head.Tgid, body.Head.Start = uint16(wire.TypeOpen), 7, 70
	return append(append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(&body)), unsafe.Sizeof(body))...), path...)
}
