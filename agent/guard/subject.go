// SPDX-License-Identifier: Apache-2.0

package guard

import "github.com/holdfast-project/holdfast/rules/profile"

// Executable gives the path of the executable that the kernel programs know by a subject (policy.Hasher.Exe): the guess, if
// that is it, else the one that the policy of the container, by its cgroup, lists. False when neither is.
func (g *Guard) Executable(cgroup, subject uint64, guess string) (string, bool) {
	hasher := g.cfg.Enforcer.Hasher()
	if guess != "" && hasher.Exe(guess) == subject {
		return guess, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	m := g.members[cgroup]
	if m == nil {
		return "", false
	}
	w := m.workload
	if w.subjects == nil {
		w.subjects = make(map[uint64]string, len(w.executables))
		for _, path := range w.executables {
			w.subjects[hasher.Exe(path)] = path
		}
	}
	path, ok := w.subjects[subject]
	return path, ok
}

// lists notes the executables of what is put in force. mu is held.
func (w *workload) lists(allowed *profile.Profile) {
	w.executables, w.subjects = make([]string, len(allowed.Processes)), nil
	for i := range allowed.Processes {
		w.executables[i] = allowed.Processes[i].Path
	}
}
