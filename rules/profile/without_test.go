// SPDX-License-Identifier: Apache-2.0

package profile

import "testing"

func TestWithout(t *testing.T) {
	learned := Provenance{Origin: Learned}
	before := &Profile{Processes: []Process{{
		Path: "/bin/a", Seen: learned, Parents: []Parent{{Path: Runtime, Seen: learned}}, AnyArguments: true,
	}}}
	after := before.Clone()
	after.Processes[0].Files = []File{{Path: "/data/x", Access: Write, Seen: learned}}
	after.Processes = append(after.Processes, Process{Path: "/bin/b", Seen: learned, AnyArguments: true})
	after.Normalise()

	rest := after.Without(before)
	var got []string
	for _, e := range rest.Entries() {
		got = append(got, string(e.Kind)+" "+e.Process)
	}
	if len(got) != 2 || got[0] != "file /bin/a" || got[1] != "process /bin/b" {
		t.Errorf("got %q", got)
	}
	joined, err := Merge(before, rest)
	if err != nil {
		t.Fatal(err)
	}
	if string(Encode(joined)) != string(Encode(after)) {
		t.Errorf("with what it lacked, the earlier profile is\n%s, not\n%s", Encode(joined), Encode(after))
	}
	if n := len(after.Without(after).Processes); n != 0 {
		t.Errorf("%d processes are left of a profile without itself", n)
	}
	if n := len(after.Without(nil).Entries()); n != len(after.Entries()) {
		t.Errorf("%d entries without nothing", n)
	}
}
