// SPDX-License-Identifier: Apache-2.0

package policy

import "github.com/holdfast-project/holdfast/agent/wire"

// Running is the part of a set that can still be asked of a program that runs already: by its subject, where its file may
// come from, whoever started it, as bits of wire.Source. Who started it and with which arguments is not asked any more.
type Running map[uint64]uint16

// anySource is every place that a program may come from.
const anySource = uint32(wire.SourceImage | wire.SourceUpper | wire.SourceMemory | wire.SourceVolume)

// Running gives that part of the set.
func (s *Set) Running() Running {
	r := Running{}
	for key, bits := range s.Allow {
		if key.Class == wire.AllowExec {
			r[max(key.Object[0], RuntimeExe+1)] |= bits
		}
	}
	return r
}

// Judge says why a process may not run; wire.ReasonNone when it may, or while it is still the runtime's. Of one whose file
// could not be placed, the path alone counts.
func (r Running) Judge(p *wire.Process) wire.Reason {
	if p.Exe == AnyExe || p.Exe == RuntimeExe {
		return wire.ReasonNone
	}
	bits, source := uint32(r[p.Exe]), p.Flags&anySource
	switch {
	case bits&source != 0, bits != 0 && source == 0:
		return wire.ReasonNone
	case source&uint32(wire.SourceMemory) != 0:
		return wire.ReasonFileless
	case source&uint32(wire.SourceUpper) != 0 || bits != 0:
		return wire.ReasonDrift
	default:
		return wire.ReasonExecutable
	}
}
