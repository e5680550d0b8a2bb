// SPDX-License-Identifier: Apache-2.0

package container

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// FuzzRegistry drives a registry with any sequence of births, ends, records, losses and walks, and checks after each
// step that its books agree with one another.
func FuzzRegistry(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 0, 2, 1, 1, 0, 3, 2, 2, 4, 2, 0, 0, 1, 3, 9, 9})
	f.Add([]byte{3, 5, 0, 0, 0, 6, 5, 2, 8, 0, 0, 0, 7, 200, 0, 0, 9, 0, 0, 0})
	f.Add([]byte{0, 1, 0, 0, 0, 2, 1, 3, 0, 4, 2, 4, 4, 4, 3, 3, 6, 4, 0, 0, 5, 4, 0, 0, 7, 255, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		now := time.Unix(1000, 0)
		var tree []Birth
		r := newRegistry(t, Config{
			Deadline: 3 * time.Second, Grace: 10 * time.Second, MaxCgroups: 40, MaxRecords: 10,
			Now:  func() time.Time { return now },
			Walk: func(context.Context) ([]Birth, error) { return tree, nil },
		})
		feeds := [2]*Feed{newFeed(t, r, "containerd", RankRuntime), newFeed(t, r, "cri", RankCRI)}
		for len(script) >= 4 {
			op, a, b, c := script[0], script[1], script[2], script[3]
			script = script[4:]
			step(r, feeds, &now, &tree, op, a, b, c)
			check(t, r)
		}
		now = now.Add(time.Hour)
		r.Advance(now)
		check(t, r)
		if s := r.Stats(); s.Pending != 0 || s.Retained != 0 {
			t.Fatalf("an hour later: %+v", s)
		}
	})
}

// dirName makes names of all kinds, containers' and pods' included, from a byte.
func dirName(n byte) string {
	switch n % 5 {
	case 0:
		return "pod" + uidA
	case 1, 2:
		return fmt.Sprintf("%064x", n%16)
	case 3:
		return "default"
	default:
		return fmt.Sprintf("c%d", n%16)
	}
}

func step(r *Registry, feeds [2]*Feed, now *time.Time, tree *[]Birth, op, a, b, c byte) {
	feed := feeds[c%2]
	key := Key{[]string{"k8s.io", "default"}[b%2], dirName(a)}
	switch op % 12 {
	case 0, 1:
		r.Born(Birth{Cgroup: uint64(a%64) + 1, Parent: uint64(b % 64), Name: dirName(c), At: *now})
	case 2:
		r.Gone(uint64(a%64) + 1)
	case 3:
		r.Missing(uint64(a % 64))
	case 4, 5:
		feed.Put(Record{
			Key: key, Pod: []string{"", "web"}[b%2], PodUID: []string{"", uidA}[c%2], CgroupsPath: "/default/" + key.ID,
			HasSpec: c%3 == 0, Created: now.Add(-time.Duration(c%4) * time.Second), PodLabels: map[string]string{"a": "b"},
		})
	case 6:
		feed.Drop(key)
	case 7:
		*now = now.Add(time.Duration(a) * 100 * time.Millisecond)
		r.Advance(*now)
	case 8:
		*tree = append(*tree, Birth{Cgroup: uint64(a%64) + 1, Parent: uint64(b % 64), Name: dirName(c), At: *now})
	case 9:
		_ = r.Scan(context.Background())
	case 10:
		feed.Started(key, uint32(c), "/default/"+dirName(b))
		feed.Absent(Query{Cgroup: uint64(a % 64)})
	case 11:
		r.SetOwner(uidA, Owner{Kind: []string{"", "Deployment"}[a%2]})
		feed.BeginSync()
		feed.EndSync()
	}
	for _, f := range feeds {
		for len(f.queries) > 0 {
			<-f.queries
		}
	}
}

// check compares the registry's stores.
func check(t *testing.T, r *Registry) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	unknown := 0
	for id, n := range r.nodes {
		if n.id != id || n.entry == nil || r.table.get(id) != n.entry {
			t.Fatalf("cgroup %d: %+v", id, n)
		}
		if n.place == PlaceUnknown && n.entry.cgroup == id {
			unknown++
		}
		if (n.place == PlaceHost || n.place == PlacePod) != (n.entry == r.host) {
			t.Fatalf("cgroup %d: %+v", id, n)
		}
	}
	if unknown != r.unknown {
		t.Fatalf("%d cgroups without a place, counted %d", unknown, r.unknown)
	}
	for id, e := range r.entries {
		if n := r.nodes[id]; n == nil || n.entry != e || e.cgroup != id {
			t.Fatalf("entry %d: node %+v", id, n)
		}
	}
	for id, e := range r.open {
		if r.entries[id] != e || e.state() == StateResolved {
			t.Fatalf("open entry %d is %s", id, e.state())
		}
	}
	checkRecords(t, r)
}

func checkRecords(t *testing.T, r *Registry) {
	t.Helper()
	held, leaves := 0, 0
	for id, records := range r.byID {
		for _, rec := range records {
			held++
			if rec.key.ID != id || (!rec.dropped && r.records[rec.key] != rec) {
				t.Fatalf("record %v: %+v", rec.key, rec)
			}
			if rec.entry != nil && (rec.entry.rec != rec || r.entries[rec.entry.cgroup] != rec.entry) {
				t.Fatalf("record %v belongs to a cgroup that is not there", rec.key)
			}
		}
	}
	for _, records := range r.byLeaf {
		leaves += len(records)
	}
	if held != r.held || leaves > held || len(r.records) > held || held > r.cfg.MaxRecords {
		t.Fatalf("%d records, counted %d, %d paths, %d live", held, r.held, leaves, len(r.records))
	}
	if len(r.nodes) > r.cfg.MaxCgroups {
		t.Fatalf("%d cgroups", len(r.nodes))
	}
	for key, p := range r.pods {
		if len(p.members) == 0 && p.owner == (Owner{}) {
			t.Fatalf("pod %s is empty", key)
		}
	}
}
