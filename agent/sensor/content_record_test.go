// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"log/slog"
	"os"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/wire"
)

// contentCount counts what it is handed.
type contentCount struct{ records, bytes int }

func (c *contentCount) Settle(int64) {}

func (c *contentCount) Content(_ *wire.Content, text []byte) {
	c.records++
	c.bytes += len(text)
}

// contentRecord is one as the kernel makes it.
func contentRecord(seq uint64, text string) []byte {
	size := int(unsafe.Sizeof(wire.Content{}))
	words := make([]uint64, (size+len(text)+7)/8)
	raw := bytesOf(words)[:size+len(text)]
	record := (*wire.Content)(unsafe.Pointer(unsafe.SliceData(words)))
	record.Head.Type, record.Head.Size, record.Head.Ring = uint16(wire.TypeContent), uint16(len(raw)), ringContent
	record.Head.Seq, record.Length = seq, uint16(len(text))
	copy(raw[size:], text)
	return raw
}

// TestContentRecords hands records out without an allocation, counts those that are missing, and refuses those that are not as
// they say.
func TestContentRecords(t *testing.T) {
	content := &Content{files: newFiles(1, slog.New(slog.DiscardHandler), nil)}
	r := &contentReader{next: make([]uint64, slots)}
	got := &contentCount{}
	raw := contentRecord(0, "text")
	if n := testing.AllocsPerRun(100, func() { r.hand(raw, got, content) }); n > 0 {
		t.Errorf("%v allocations a record", n)
	}
	if got.bytes != 4*got.records || r.counts.records.Load() != uint64(got.records) || r.counts.bytes.Load() != uint64(got.bytes) {
		t.Errorf("handed out %+v, counted %d records", got, r.counts.records.Load())
	}
	r.hand(contentRecord(5, "text"), got, content)
	if gaps := r.counts.gaps.Load(); gaps != 4 {
		t.Errorf("%d gaps, want 4", gaps)
	}
	before := got.records
	for name, change := range map[string]func(*wire.Content){
		"another type":      func(c *wire.Content) { c.Head.Type = uint16(wire.TypeExec) },
		"another ring":      func(c *wire.Content) { c.Head.Ring = 0 },
		"another slot":      func(c *wire.Content) { c.Head.Slot = slots },
		"another processor": func(c *wire.Content) { c.Head.Cpu = 1 },
		"another size":      func(c *wire.Content) { c.Head.Size++ },
		"another length":    func(c *wire.Content) { c.Length++ },
		"a refusal's text":  func(c *wire.Content) { c.Head.Type = uint16(wire.TypeContentRefused) },
		"no text":           func(c *wire.Content) { c.Head.Type = uint16(wire.TypeContentExec) },
	} {
		bad := r.counts.bad.Load()
		raw := slices.Clone(contentRecord(6, "text"))
		change((*wire.Content)(unsafe.Pointer(unsafe.SliceData(raw))))
		r.hand(raw, got, content)
		if r.counts.bad.Load() != bad+1 || got.records != before {
			t.Errorf("%s is taken", name)
		}
	}
	for size := range 64 {
		r.hand(make([]byte, size), got, content)
	}
	if got.records != before {
		t.Error("a short record is taken")
	}
}

// TestExecutablePath reads lines of /proc/PID/maps.
func TestExecutablePath(t *testing.T) {
	for line, want := range map[string]string{
		"7f00-7f10 r-xp 00001000 fe:00 12345                      /usr/lib/libssl.so.3":           "/usr/lib/libssl.so.3",
		"7f00-7f10 r--p 00001000 fe:00 12345                      /usr/lib/libssl.so.3":           "",
		"7f00-7f10 r-xp 00001000 fe:00 12345                      /usr/lib/libssl.so.3 (deleted)": "",
		"7f00-7f10 r-xp 00000000 00:00 0                          [vdso]":                         "",
		"7f00-7f10 r-xp 00000000 00:00 0 ":                                                        "",
		`7f00-7f10 r-xp 00001000 fe:00 12345                      /a\012b c`:                      "/a\nb c",
		"":   "",
		"zz": "",
	} {
		if got := executablePath(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// TestOpenIn opens nothing outside of a root, and no devices.
func TestOpenIn(t *testing.T) {
	root := t.TempDir()
	outside := t.TempDir()
	must(t, os.WriteFile(outside+"/secret", nil, 0o600))
	must(t, os.WriteFile(root+"/inside", nil, 0o600))
	must(t, os.Symlink("/inside", root+"/absolute"))
	must(t, os.Symlink(outside+"/secret", root+"/escape"))
	must(t, os.Symlink("../../../../../../etc/passwd", root+"/up"))
	must(t, unix.Mkfifo(root+"/pipe", 0o600))
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(dir)
	for path, want := range map[string]bool{
		"/inside": true, "/absolute": true, "/escape": false, "/up": false, "/pipe": false, "/../../etc/passwd": false, "/": true,
	} {
		file, err := openIn(dir, path)
		if (err == nil) != want {
			t.Errorf("%s: %v, want opened %t", path, err, want)
		}
		if file != nil {
			file.Close()
		}
	}
}

// FuzzContentRecord has a record be any bytes: what is handed out is what its head says, and all else is counted.
func FuzzContentRecord(f *testing.F) {
	f.Add(contentRecord(0, "text"), uint8(1))
	f.Add(contentRecord(7, ""), uint8(4))
	f.Add([]byte{}, uint8(0))
	content := &Content{files: newFiles(1, slog.New(slog.DiscardHandler), nil)}
	f.Fuzz(func(t *testing.T, data []byte, cpus uint8) {
		if len(data) > 1<<16 {
			return
		}
		raw := bytesOf(make([]uint64, len(data)/8+1))[:len(data):len(data)]
		copy(raw, data)
		var typ wire.Type
		if len(raw) >= int(unsafe.Sizeof(wire.Head{})) {
			typ = wire.Type((*wire.Head)(unsafe.Pointer(unsafe.SliceData(raw))).Type)
		}
		if typ == wire.TypeContentRefused {
			// It would end the connection that it names.
			return
		}
		r := &contentReader{next: make([]uint64, int(cpus)*slots)}
		got := &contentCount{}
		r.hand(raw, got, content)
		if got.bytes > len(data) || uint64(got.records) != r.counts.records.Load() || uint64(got.bytes) != r.counts.bytes.Load() {
			t.Errorf("of %d bytes %d were handed out, counted %d", len(data), got.bytes, r.counts.bytes.Load())
		}
		if got.records == 0 && r.counts.bad.Load() == 0 && typ != wire.TypeContentExec {
			t.Error("a record is neither handed out nor counted")
		}
	})
}

// FuzzExecutablePath has a line of /proc/PID/maps name any file: programs choose the names of what they map.
func FuzzExecutablePath(f *testing.F) {
	f.Add("7f00-7f10 r-xp 00001000 fe:00 12345                      /usr/lib/libssl.so.3")
	f.Add(`7f00-7f10 r-xp 00001000 fe:00 12345                      /a\012b c`)
	f.Fuzz(func(t *testing.T, line string) {
		if path := executablePath(line); path != "" && path[0] != '/' || len(path) > len(line) {
			t.Errorf("%q is the path of %q", path, line)
		}
	})
}
