// SPDX-License-Identifier: Apache-2.0

package effect

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// deed is something that the profile does not list.
type deed struct {
	name string
	// rows of the catalogue of attacks, those of its list of evasions with an e.
	rows string
	// The deed is a script of the shell, or else an act of the service.
	script, act string
	// files are what the act has from descriptor 3 on, and what stands ready for it.
	files func(*testing.T, *box) []*os.File
	// effect says what came of it: nothing, or what is there now. Where something must come, it may be waited for.
	effect func(t *testing.T, b *box, wait bool) string
	// by is the line of the table of capabilities that says whether it can be blocked, and why what is told.
	by  string
	why []wire.Reason
	// unseen is how that line says that such a deed is not seen; where it does, the deed is not told.
	unseen string
}

// class is a group of deeds, and the signals that judge them: what is not about these goes on as if nothing held, so that
// one signal does not hide what another lets through.
type class struct {
	name    string
	signals []profile.Signal
	deeds   []deed
}

func classes() []class {
	return []class{
		{"process", []profile.Signal{profile.SignalProcess, profile.SignalProtect}, processDeeds()},
		{"file", []profile.Signal{profile.SignalFile, profile.SignalProtect}, fileDeeds()},
		{"network", []profile.Signal{profile.SignalEgress, profile.SignalProtect}, networkDeeds()},
	}
}

func because(reasons ...wire.Reason) []wire.Reason { return reasons }

// marked is the effect of a program that ran.
func marked(_ *testing.T, b *box, _ bool) string {
	if b.has(ranMark) {
		return "it ran"
	}
	return ""
}

// made is the effect on a path that was not there.
func made(path string) func(*testing.T, *box, bool) string {
	return func(_ *testing.T, b *box, _ bool) string {
		if b.has(path) {
			return path + " is there"
		}
		return ""
	}
}

// gone is the effect on a path that was there.
func gone(path string) func(*testing.T, *box, bool) string {
	return func(_ *testing.T, b *box, _ bool) string {
		if !b.has(path) {
			return path + " is gone"
		}
		return ""
	}
}

// changed is the effect on the data.
func changed(_ *testing.T, b *box, _ bool) string {
	if text := b.text(dataFile); text != dataText {
		return fmt.Sprintf("%s is %q", dataFile, text)
	}
	return ""
}

// other is the effect on the mode and owner of the data.
func other(t *testing.T, b *box, _ bool) string {
	var st unix.Stat_t
	must(t, unix.Stat(b.path(dataFile), &st))
	if st.Mode&0o7777 != 0o755 || st.Uid != 0 {
		return fmt.Sprintf("%s has mode %o and owner %d", dataFile, st.Mode&0o7777, st.Uid)
	}
	return ""
}

// stolen is the effect on a secret.
func stolen(_ *testing.T, b *box, _ bool) string {
	if strings.Contains(b.text(stolenFile), secret) {
		return "the secret is read"
	}
	return ""
}

// arrived is the effect of what was sent: bytes at the sinks of all worlds.
func arrived(_ *testing.T, b *box, wait bool) string {
	sum := 0
	for _, w := range b.also {
		sum += w.arrived(wait)
	}
	if sum += b.world.arrived(wait && sum == 0); sum > 0 {
		return fmt.Sprintf("%d bytes at the sinks", sum)
	}
	return ""
}

// served is the effect of a back door: that it can be talked to.
func served(t *testing.T, b *box, _ bool) string {
	if !b.has(readyFile) {
		return ""
	}
	port, err := strconv.Atoi(b.text(readyFile))
	must(t, err)
	if n := b.world.connect(t, port); n > 0 {
		return fmt.Sprintf("port %d says %d bytes", port, n)
	}
	return ""
}

// elsewhere gives the folder of a cgroup that is no container's.
func elsewhere(t *testing.T, b *box) []*os.File {
	t.Helper()
	return []*os.File{newCgroup(t, b.rig, fmt.Sprintf("elsewhere-%d", b.id))}
}

// elsewhereList gives the list of processes of such a cgroup.
func elsewhereList(t *testing.T, b *box) []*os.File {
	t.Helper()
	return listOf(t, elsewhere(t, b)[0])
}

// nestedList gives that of a cgroup below the container's own.
func nestedList(t *testing.T, b *box) []*os.File {
	t.Helper()
	return listOf(t, newCgroup(t, b.rig, filepath.Join(filepath.Base(b.dir.Name()), "nested")))
}

func listOf(t *testing.T, cgroup *os.File) []*os.File {
	t.Helper()
	list, err := os.OpenFile(filepath.Join(cgroup.Name(), "cgroup.procs"), os.O_WRONLY, 0)
	must(t, err)
	t.Cleanup(func() { list.Close() })
	return []*os.File{list}
}

// visitor gives the mounts of the host, and a program there whose mark is made in the container.
func visitor(t *testing.T, b *box) []*os.File {
	t.Helper()
	mounts, err := os.Open("/proc/self/ns/mnt")
	must(t, err)
	path := filepath.Join(t.TempDir(), "visitor")
	must(t, os.WriteFile(path, program(b.path(ranMark)), 0o755))
	file, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { mounts.Close(); file.Close() })
	return []*os.File{mounts, file}
}

// passed has another container, for which nothing holds, pass a socket.
func passed(t *testing.T, b *box) []*os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	ends := []*os.File{os.NewFile(uintptr(pair[0]), "give"), os.NewFile(uintptr(pair[1]), "take")}
	t.Cleanup(func() { ends[0].Close(); ends[1].Close() })
	giver := newBox(t, b.rig, b.world, profile.ModeOff)
	p := giver.act(t, "give", ends[0])
	giver.wait(t, p)
	return ends[1:]
}

// another gives the network of another world.
func another(t *testing.T, b *box) []*os.File {
	t.Helper()
	w := newWorld(t)
	b.also = append(b.also, w)
	return []*os.File{w.ns}
}
