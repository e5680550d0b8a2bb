// SPDX-License-Identifier: Apache-2.0

package profile

import "testing"

// TestPart confirms and takes away each entry of profiles by itself: either is valid, and does what it is for.
func TestPart(t *testing.T) {
	p := &Profile{
		Key: Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"},
		Processes: []Process{
			{
				Path: "/bin/a", Sources: []Source{FromUpper}, AnyArguments: true, Seen: Provenance{Origin: Candidate, Suspect: FromDrift},
				Parents: []Parent{{Path: Runtime, Seen: Provenance{Origin: Candidate, Suspect: FromDrift}}},
			},
			{
				Path: "/bin/b", Seen: Provenance{Origin: Learned},
				Arguments: []Argument{{Shape: []string{"b", "-x"}, Seen: Provenance{Origin: Learned}}},
				Files:     []File{{Path: "/data/x", Access: Write, Seen: Provenance{Origin: Learned}}},
				Egress:    []Egress{{Name: "example.com", Protocol: "tcp", Port: 443, Seen: Provenance{Origin: Learned}}},
			},
		},
	}
	p.Normalise()
	for _, e := range p.Entries() {
		written := e.Part(p.Key, Provenance{Origin: Written, Author: "ann"})
		removed := e.Part(p.Key, Provenance{Origin: Removed, Author: "ann"})
		for _, part := range []*Profile{written, removed} {
			if got, err := DecodeOne("part", Encode(part)); err != nil || got.Len() != part.Len() {
				t.Errorf("part of %s %s: %v\n%s", e.Kind, e.Text, err, Encode(part))
			}
		}
		effective, err := Effective(p, removed)
		if err != nil {
			t.Fatal(err)
		}
		for _, left := range effective.Entries() {
			if left.Kind == e.Kind && left.Process == e.Process && left.Text == e.Text {
				t.Errorf("%s %s of %s is left after it was taken away", e.Kind, e.Text, e.Process)
			}
		}
		if effective, err = Effective(p, written); err != nil {
			t.Fatal(err)
		}
		found := e.Kind == ParentEntry // The process that it would start is a candidate still.
		for _, left := range effective.Entries() {
			found = found || left.Kind == e.Kind && left.Process == e.Process && left.Text == e.Text
		}
		if !found {
			t.Errorf("%s %s of %s is not there after it was confirmed:\n%s", e.Kind, e.Text, e.Process, Encode(effective))
		}
	}
	if p.Processes[0].Seen.Origin != Candidate {
		t.Error("the profile was changed")
	}
}
