// SPDX-License-Identifier: Apache-2.0

package profile

// Part returns a profile of a key that holds nothing but the entry, with a provenance of its own: what an overlay gets when
// a person confirms the entry or takes it away.
func (e Entry) Part(key Key, seen Provenance) *Profile {
	p := (&Profile{Key: key, Processes: []Process{e.part}}).Clone()
	q := &p.Processes[0]
	if e.Kind == ProcessEntry {
		q.Seen = seen
		// What is taken away is the executable, however it is called.
		q.AnyArguments = q.AnyArguments && seen.Origin != Removed
		return p
	}
	q.provenances(func(s *Provenance) { *s = seen })
	q.Seen = Provenance{Origin: Context}
	return p
}
