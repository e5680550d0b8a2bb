// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"testing"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/proc"
	"github.com/holdfast-project/holdfast/agent/wire"
)

func TestRelearningIsOnceForEach(t *testing.T) {
	var r relearning
	if got := r.take(); len(got) != 0 {
		t.Errorf("%v at the beginning", got)
	}
	for _, cgroup := range []uint64{9, 7, 9} {
		r.put(cgroup)
	}
	if got := r.take(); !slices.Equal(got, []uint64{7, 9}) {
		t.Errorf("%v", got)
	}
	if got := r.take(); len(got) != 0 {
		t.Errorf("%v are given twice", got)
	}
}

// TestTaskRecord makes the record of a process that is there, which reads as what is known of it.
func TestTaskRecord(t *testing.T) {
	image := &proc.Image{Exe: "/usr/sbin/nginx", Argv: "nginx\x00", File: wire.File{Inode: 5, Device: 7}, Cred: wire.Cred{Uid: 33}}
	var ev event.Event
	err := ev.Decode(taskRecord(image, wire.Head{Tgid: 20, Start: 2000, Cgroup: testCgroup, Origin: testCgroup, Time: 9}))
	if err != nil {
		t.Fatal(err)
	}
	body := ev.Exec()
	if ev.Type != wire.TypeTask || body == nil || body.File.Inode != 5 || body.Cred.Uid != 33 || ev.Head.Origin != testCgroup || string(ev.Text()) != image.Exe {
		t.Errorf("%d %+v %q", ev.Type, body, ev.Text())
	}
}
