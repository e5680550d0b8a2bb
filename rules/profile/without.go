// SPDX-License-Identifier: Apache-2.0

package profile

// Without returns the entries of a profile that another, which may be nil, has not: what came since the other was taken.
// Entries are told apart by what they are (Entry.ID), not by how often they were seen. A process that both have stays as
// context for what only the first lists of it.
func (p *Profile) Without(other *Profile) *Profile {
	have := map[string]bool{}
	if other != nil {
		for _, e := range other.Entries() {
			have[e.ID()] = true
		}
	}
	rest := &Profile{Key: p.Key}
	var parts []Process
	for _, e := range p.Entries() {
		if !have[e.ID()] {
			parts = append(parts, e.part)
		}
	}
	rest.Processes = joinedProcesses(parts, nil)
	return rest
}
