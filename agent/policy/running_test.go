// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

func TestRunning(t *testing.T) {
	const text = `
apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata: {namespace: shop, kind: Deployment, name: web, container: web}
processes:
  - path: /usr/sbin/nginx
    parents: [{path: (runtime)}]
    arguments: [{argv: [nginx]}]
  - {path: /data/plugin, sources: [upper, memory]}
  - {path: /usr/bin/waits, seen: {origin: candidate, suspect: exec session}}
`
	p, err := profile.DecodeOne("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = profile.Effective(p, nil); err != nil {
		t.Fatal(err)
	}
	hasher := NewHasher(&wire.HashKey{Word: [1032]uint32{1, 2, 3, 4, 5, 6, 7}})
	set, err := Compile(p, Options{Hasher: hasher})
	if err != nil {
		t.Fatal(err)
	}
	running := set.Running()
	const image, upper, memory, volume = wire.SourceImage, wire.SourceUpper, wire.SourceMemory, wire.SourceVolume
	for _, c := range []struct {
		exe    string
		source wire.Source
		want   wire.Reason
	}{
		{"/usr/sbin/nginx", image, wire.ReasonNone},
		{"/usr/sbin/nginx", 0, wire.ReasonNone},
		{"/usr/sbin/nginx", upper, wire.ReasonDrift},
		{"/usr/sbin/nginx", memory, wire.ReasonFileless},
		{"/usr/sbin/nginx", volume, wire.ReasonDrift},
		{"/data/plugin", upper, wire.ReasonNone},
		{"/data/plugin", memory, wire.ReasonNone},
		{"/data/plugin", image, wire.ReasonDrift},
		{"/usr/bin/waits", image, wire.ReasonExecutable},
		{"/usr/bin/sh", image, wire.ReasonExecutable},
		{"/usr/bin/sh", 0, wire.ReasonExecutable},
		{"/tmp/x", upper, wire.ReasonDrift},
		{"/memfd:x", memory, wire.ReasonFileless},
	} {
		process := wire.Process{Exe: hasher.Exe(c.exe), Flags: uint32(c.source)}
		if got := running.Judge(&process); got != c.want {
			t.Errorf("%s from %d: reason %d, want %d", c.exe, c.source, got, c.want)
		}
	}
	for _, exe := range []uint64{AnyExe, RuntimeExe} {
		if got := running.Judge(&wire.Process{Exe: exe, Flags: uint32(memory)}); got != wire.ReasonNone {
			t.Errorf("what is the runtime's, %d, may not run: reason %d", exe, got)
		}
	}
}
