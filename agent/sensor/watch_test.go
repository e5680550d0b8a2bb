// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/wire"
)

// actWatch reads and changes what is watched and what is not.
func actWatch(s say) error {
	for _, dir := range []string{"plain", "secrets", "bin"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"plain/file", "plain/shadow-of-test", "plain/tls.key", "plain/certificate.key", "secrets/key", "bin/tool"} {
		if err := os.WriteFile(name, nil, 0o755); err != nil {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		f.Close()
	}
	if err := os.Rename("plain/file", "bin/moved"); err != nil {
		return err
	}
	return unix.Unlink("bin/moved")
}

func testWatch(t *testing.T, r *rig) {
	dir := t.TempDir()
	watched := Bit(wire.TypeOpen, wire.TypeCreate, wire.TypeRename, wire.TypeUnlink)
	b := r.container(t, Interest{Watched: watched})
	must(t, r.sensor.WatchName("shadow-of-test", wire.WatchRead))
	must(t, r.sensor.WatchName("secrets", wire.WatchRead))
	must(t, r.sensor.WatchName("*.key", wire.WatchRead))
	must(t, r.sensor.WatchPath(dir+"/bin/", wire.WatchWrite))
	t.Cleanup(func() {
		must(t, r.sensor.UnwatchName("shadow-of-test"))
		must(t, r.sensor.UnwatchName("secrets"))
		must(t, r.sensor.UnwatchName("*.key"))
		must(t, r.sensor.UnwatchPath(dir+"/bin/"))
	})
	before, err := r.sensor.Counted()
	must(t, err)
	d := b.act(t, "watch", dir)
	var got []string
	for _, e := range r.below(t, dir, d.pid) {
		b.checkHead(t, e, d.pid, wire.Flag(e.Head.Flags)|wire.FlagWatched, true)
		got = append(got, event.Name(e.Type)+" "+strings.TrimPrefix(string(e.Path()), dir+"/"))
	}
	want := []string{
		"open plain/shadow-of-test", "open plain/tls.key", "open plain/certificate.key", "open secrets/key", "create bin/tool", "open bin/tool", "rename plain/file", "unlink bin/moved",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	after, err := r.sensor.Counted()
	must(t, err)
	if after[wire.TypeOpen] < before[wire.TypeOpen]+5 {
		t.Errorf("opens that nothing asked for: %d counted before, %d after", before[wire.TypeOpen], after[wire.TypeOpen])
	}
	t.Run("refused", func(t *testing.T) { testWatchRefused(t, r) })
}

func testWatchRefused(t *testing.T, r *rig) {
	for _, name := range []string{"", "a/b", strings.Repeat("n", 48), "a\x00b", "*.pem5", "*"} {
		if err := r.sensor.WatchName(name, wire.WatchRead); err == nil {
			t.Errorf("watched name %q", name)
		}
	}
	for _, path := range []string{"", "relative", "/" + strings.Repeat("n", 124)} {
		if err := r.sensor.WatchPath(path, wire.WatchWrite); err == nil {
			t.Errorf("watched path %q", path)
		}
	}
	if err := r.sensor.WatchName("name", 0); err == nil {
		t.Error("watched a name for nothing")
	}
}
