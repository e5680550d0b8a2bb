// SPDX-License-Identifier: Apache-2.0

package sensor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/holdfast-project/holdfast/agent/event"
	"github.com/holdfast-project/holdfast/agent/probe"
	"github.com/holdfast-project/holdfast/agent/wire"
	"github.com/holdfast-project/holdfast/tests/rig/uring"
)

// wantFile is what a test says of a file event. Paths are below the folder of the test.
type wantFile struct {
	typ          wire.Type
	path, target string
	flags        uint32
	mode         uint32
	uid, gid     uint32
	length       uint64
	// text says that a system call names the file by text, so that the inode is not known of it.
	text bool
	// result names what the process said of the descriptor that it got.
	result string
	head   wire.Flag
	// inode names what the process said of the file's inode; empty when it does not exist yet. made names it for a file
	// that exists once the call has returned.
	inode, made string
	// callFlags are flags that only the system call tells.
	callFlags uint32
}

// largeFile is O_LARGEFILE of x86, which the kernel sets in the flags of a file and no caller need give.
const largeFile = 0o100000

// line describes a file event for comparison, one family like the other where they know the same.
func (r *rig) line(dir string, e *event.Event) string {
	f := e.File()
	return fmt.Sprintf("%s %s > %s flags %#o mode %#o ids %d,%d length %d inode %d result %d head %#x",
		event.Name(e.Type), strings.TrimPrefix(string(e.Path()), dir+"/"), strings.TrimPrefix(string(e.Target()), dir+"/"),
		f.Flags&^(largeFile|unix.O_CLOEXEC), f.Mode, int32(f.Uid), int32(f.Gid), int64(f.Length), f.File.Inode, e.Head.Result,
		e.Head.Flags)
}

// wantLine is the same of what is wanted.
func (r *rig) wantLine(w wantFile, d done) string {
	head, inode, result := w.head, d.said[w.inode], int64(0)
	if w.typ == wire.TypeTruncate && !r.byCall(w.typ) {
		w.length = ^uint64(0)
	}
	if r.byCall(w.typ) {
		head |= wire.FlagResult
		w.flags |= w.callFlags
		if w.made != "" {
			inode = d.said[w.made]
		}
		if w.text {
			head |= wire.FlagUserText
			inode = 0
		}
		if w.result != "" {
			result = d.said[w.result]
		}
	}
	return fmt.Sprintf("%s %s > %s flags %#o mode %#o ids %d,%d length %d inode %d result %d head %#x",
		event.Name(w.typ), w.path, w.target, w.flags, w.mode, int32(w.uid), int32(w.gid), int64(w.length), inode, result, head)
}

// below gives the file events of a process with a path in the folder.
func (r *rig) below(t *testing.T, dir string, pid int) []*event.Event {
	t.Helper()
	return r.settled(t, func(e *event.Event) bool {
		return int(e.Head.Tgid) == pid && e.File() != nil && strings.HasPrefix(string(e.Path()), dir+"/")
	})
}

// compare wants exactly these events, in this order, and checks what all have.
func (b *box) compare(t *testing.T, r *rig, dir string, d done, wanted []wantFile, urgent func(*event.Event) bool) {
	t.Helper()
	got := r.below(t, dir, d.pid)
	var have, want []string
	for _, e := range got {
		have = append(have, r.line(dir, e))
		b.checkHead(t, e, d.pid, wire.Flag(e.Head.Flags), urgent(e))
	}
	for _, w := range wanted {
		want = append(want, r.wantLine(w, d))
	}
	if strings.Join(have, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
	}
}

func never(*event.Event) bool { return false }

// inodes notes the inode of each name.
func inodes(s say, names ...string) error {
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return fmt.Errorf("stat %s: %w", name, err)
		}
		s["inode "+name] = int64(st.Ino)
	}
	return nil
}

// opened notes a descriptor and closes it.
func opened(s say, name string, fd int, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s[name] = int64(fd)
	return unix.Close(fd)
}

// actFiles does one of each, after each a call of the same kind that fails.
func actFiles(s say) error {
	unix.Umask(0)
	dir, err := unix.Open(".", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fd, err := unix.Open("made", unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC|unix.O_CLOEXEC, 0o640)
	if err := opened(s, "creat", fd, err); err != nil {
		return err
	}
	if err := inodes(s, "made"); err != nil {
		return err
	}
	fd, err = unix.Open("made", unix.O_RDONLY, 0)
	if err := opened(s, "open", fd, err); err != nil {
		return err
	}
	fd, err = unix.Openat(dir, "made", unix.O_RDWR|unix.O_APPEND, 0)
	if err := opened(s, "openat", fd, err); err != nil {
		return err
	}
	fd, err = unix.Openat2(dir, "made", &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK})
	if err := opened(s, "openat2", fd, err); err != nil {
		return err
	}
	if err := openByHandle(s); err != nil {
		return err
	}
	for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY} {
		if _, err := unix.Open("absent", flags, 0); !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("open absent: %w", err)
		}
	}
	return actNames(s, dir)
}

func openByHandle(s say) error {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "made", 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return err
	}
	at, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(at, handle, unix.O_RDONLY)
	return opened(s, "by handle", fd, err)
}

// actNames changes names, modes, owners and lengths.
func actNames(s say, dir int) error {
	fd, err := unix.Open("made", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	s["kept"] = int64(fd)
	steps := []struct {
		name string
		do   func() error
	}{
		{"mkdir", func() error { return unix.Mkdirat(dir, "folder", 0o750) }},
		{"mknod", func() error { return unix.Mknodat(dir, "pipe", unix.S_IFIFO|0o600, 0) }},
		{"inodes", func() error { return inodes(s, "folder", "pipe") }},
		{"unlink", func() error { return unix.Unlinkat(dir, "pipe", 0) }},
		{"rmdir", func() error { return unix.Unlinkat(dir, "folder", unix.AT_REMOVEDIR) }},
		{"link", func() error { return unix.Linkat(dir, "made", dir, "linked", 0) }},
		{"rename", func() error { return unix.Renameat(dir, "linked", dir, "renamed") }},
		{"renameat2", func() error { return unix.Renameat2(dir, "renamed", dir, "again", unix.RENAME_NOREPLACE) }},
		{"symlink", func() error { return unix.Symlinkat("/no/such\nfile", dir, "symbolic") }},
		{"chmod", func() error { return unix.Fchmodat(dir, "made", 0o4711, 0) }},
		{"chown", func() error { return unix.Fchownat(dir, "made", 1234, -1, 0) }},
		{"truncate", func() error { return unix.Truncate("made", 1<<33) }},
		{"path only", func() error { fd, err := unix.Open("made", unix.O_PATH, 0); return opened(s, "path", fd, err) }},
		{"fchmod", func() error { return unix.Fchmod(fd, 0o600) }},
		{"fchown", func() error { return unix.Fchown(fd, -1, 4321) }},
		{"ftruncate", func() error { return unix.Ftruncate(fd, 77) }},
		{"absent unlink", fails(func() error { return unix.Unlinkat(dir, "absent", 0) })},
		{"absent rename", fails(func() error { return unix.Renameat(dir, "absent", dir, "new") })},
		{"absent chmod", fails(func() error { return unix.Fchmodat(dir, "absent", 0o600, 0) })},
		{"absent truncate", fails(func() error { return unix.Truncate("absent", 1) })},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// fails turns a call that does not find its file into one that worked.
func fails(do func() error) func() error {
	return func() error {
		if err := do(); !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("want ENOENT, got: %w", err)
		}
		return nil
	}
}

func testFiles(t *testing.T, r *rig) {
	b := r.container(t, everything)
	t.Run("each", func(t *testing.T) { testEachFile(t, r, b) })
	t.Run("ring", func(t *testing.T) { testUringOpen(t, r, b, "open by ring") })
	t.Run("polled ring", func(t *testing.T) { testUringOpen(t, r, b, "open by polled ring") })
	t.Run("ia32", func(t *testing.T) { testIA32(t, r, b) })
	t.Run("mounts", func(t *testing.T) { testMounts(t, r, b) })
	t.Run("map", func(t *testing.T) { testMap(t, r, b) })
}

func testEachFile(t *testing.T, r *rig, b *box) {
	dir := t.TempDir()
	d := b.act(t, "files", dir)
	const made = "inode made"
	want := []wantFile{
		{typ: wire.TypeCreate, path: "made", mode: unix.S_IFREG | 0o640, made: made},
		{typ: wire.TypeOpen, path: "made", flags: unix.O_CREAT | unix.O_WRONLY | unix.O_TRUNC, inode: made, result: "creat"},
		{typ: wire.TypeOpen, path: "made", inode: made, result: "open"},
		{typ: wire.TypeOpen, path: "made", flags: unix.O_RDWR | unix.O_APPEND, inode: made, result: "openat"},
		{typ: wire.TypeOpen, path: "made", flags: unix.O_NONBLOCK, inode: made, result: "openat2"},
	}
	if d.said["by handle"] != 0 {
		want = append(want, wantFile{typ: wire.TypeOpen, path: "made", inode: made, result: "by handle"})
	}
	want = append(want, []wantFile{
		{typ: wire.TypeOpen, path: "made", flags: unix.O_RDWR, inode: made, result: "kept"},
		{typ: wire.TypeCreate, path: "folder", mode: unix.S_IFDIR | 0o750, text: true},
		{typ: wire.TypeCreate, path: "pipe", mode: unix.S_IFIFO | 0o600, text: true},
		{typ: wire.TypeUnlink, path: "pipe", inode: "inode pipe", text: true},
		{typ: wire.TypeUnlink, path: "folder", inode: "inode folder", text: true},
		{typ: wire.TypeLink, path: "made", target: "linked", inode: made, text: true},
		{typ: wire.TypeRename, path: "linked", target: "renamed", inode: made, text: true},
		{typ: wire.TypeRename, path: "renamed", target: "again", inode: made, text: true, callFlags: unix.RENAME_NOREPLACE},
		{typ: wire.TypeSymlink, path: "symbolic", target: "/no/such\nfile", text: true},
		{typ: wire.TypeChmod, path: "made", mode: 0o4711, inode: made, text: true},
		{typ: wire.TypeChown, path: "made", uid: 1234, gid: ^uint32(0), inode: made, text: true},
		{typ: wire.TypeTruncate, path: "made", length: 1 << 33, inode: made, text: true},
		{typ: wire.TypeChmod, path: "made", mode: 0o600, inode: made},
		{typ: wire.TypeChown, path: "made", uid: ^uint32(0), gid: 4321, inode: made},
		{typ: wire.TypeTruncate, path: "made", length: 77, inode: made},
	}...)
	b.compare(t, r, dir, d, want, never)
	checkIdentity(t, r.below(t, dir, d.pid), filepath.Join(dir, "made"))
}

// checkIdentity compares what opens say of the file, beside its inode.
func checkIdentity(t *testing.T, events []*event.Event, path string) {
	t.Helper()
	var st unix.Stat_t
	var fs unix.Statfs_t
	must(t, unix.Stat(path, &st))
	must(t, unix.Statfs(path, &fs))
	for _, e := range events {
		f := e.File().File
		if e.Type != wire.TypeOpen {
			continue
		}
		same(t, "open", []pair{
			// Kernel device numbers: the minor has 20 bits.
			{"device", f.Device, unix.Major(st.Dev)<<20 | unix.Minor(st.Dev)},
			{"magic", f.Magic, uint32(fs.Type)},
			{"links", f.Nlink > 0, true},
			{"kind", f.Mode & unix.S_IFMT, uint16(unix.S_IFREG)},
		})
	}
}

// actUringOpen opens a file by io_uring, and one that is not there.
func actUringOpen(s say) error { return uringOpen(s, 0) }

// actPolledOpen does it without a system call: a thread of the kernel takes the requests.
func actPolledOpen(s say) error { return uringOpen(s, uring.Polled) }

func uringOpen(s say, flags uint32) error {
	u, err := newUring(flags)
	if err != nil {
		return err
	}
	if err := os.WriteFile("target", nil, 0o600); err != nil {
		return err
	}
	if err := inodes(s, "target"); err != nil {
		return err
	}
	name := append([]byte("target"), 0)
	defer runtime.KeepAlive(name)
	fd, err := u.Do(uring.Request{
		Op: uring.OpenAt, FD: unix.AT_FDCWD, Addr: uint64(uintptr(unsafe.Pointer(&name[0]))), Flags: unix.O_RDWR,
	})
	if err != nil || fd < 0 {
		return fmt.Errorf("open: %d, %w", fd, err)
	}
	s["by ring"] = int64(fd)
	absent := append([]byte("absent"), 0)
	defer runtime.KeepAlive(absent)
	fd, err = u.Do(uring.Request{Op: uring.OpenAt, FD: unix.AT_FDCWD, Addr: uint64(uintptr(unsafe.Pointer(&absent[0])))})
	if err != nil || fd != -int32(unix.ENOENT) {
		return fmt.Errorf("open absent: %d, %w", fd, err)
	}
	return nil
}

// uringUnseen says why opens through io_uring are not seen; nil when they are.
func (r *rig) uringUnseen(t *testing.T) error {
	t.Helper()
	if !r.bySyscall() {
		return nil
	}
	kernel, err := btf.LoadKernelSpec()
	must(t, err)
	err = uringNamesRequests(kernel)
	var missing *probe.Unsupported
	if err != nil && !errors.As(err, &missing) {
		t.Fatal(err)
	}
	return err
}

func testUringOpen(t *testing.T, r *rig, b *box, act string) {
	if err := r.uringUnseen(t); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	d := b.act(t, act, dir)
	var got []*event.Event
	for _, e := range r.below(t, dir, d.pid) {
		if e.Type == wire.TypeOpen && e.File().Flags&unix.O_ACCMODE == unix.O_RDWR {
			got = append(got, e)
		}
	}
	if len(got) != 1 {
		t.Fatalf("%d opens by the ring, want 1", len(got))
	}
	// Whether a worker of the ring did it is the kernel's choice, and only then do the hooks tell.
	flags := wire.Flag(got[0].Head.Flags) & wire.FlagUring
	var result int64
	if r.bySyscall() {
		flags = wire.FlagUring | wire.FlagResult
		result = d.said["by ring"]
	}
	b.checkHead(t, got[0], d.pid, flags, false)
	same(t, "open", []pair{
		{"path", string(got[0].Path()), filepath.Join(dir, "target")},
		{"inode", int64(got[0].File().File.Inode), d.said["inode target"]},
		{"result", int64(got[0].Head.Result), result},
	})
}

// actIA32 runs a program of 32-bit calls.
func actIA32(s say) error {
	if runtime.GOARCH != "amd64" {
		return &missing{"int 0x80", "an x86 kernel"}
	}
	if err := os.WriteFile("program", ia32Calls([]ia32Call{
		{number: 8, args: []any{"made", 0o600}},
		{number: 5, args: []any{"made", unix.O_RDWR}},
		{number: 5, args: []any{"absent", unix.O_RDWR}},
		{number: 15, args: []any{"made", 0o444}},
		{number: 10, args: []any{"made"}},
	}), 0o755); err != nil {
		return err
	}
	cmd := exec.Command("./program")
	err := cmd.Run()
	if errors.Is(err, unix.ENOEXEC) {
		return &missing{"32-bit programs", "a kernel with CONFIG_IA32_EMULATION"}
	}
	if err != nil {
		return err
	}
	s["pid"] = int64(cmd.Process.Pid)
	return nil
}

// ia32Call is a system call of a 32-bit program, with numbers and texts.
type ia32Call struct {
	number byte
	args   []any
}

// ia32Calls is a static ELF of 32-bit code that makes the calls and exits with 0.
func ia32Calls(calls []ia32Call) []byte {
	const base, codeAt, textAt = 0x08048000, 0x54, 0x400
	file := make([]byte, textAt, 0x1000)
	var code []byte
	word := func(v uint32) []byte { return []byte{byte(v), byte(v >> 8), byte(v >> 16), byte(v >> 24)} }
	for _, call := range append(calls, ia32Call{number: 1, args: []any{0}}) {
		// mov ebx, ecx, edx: the arguments.
		for i, arg := range call.args {
			value, ok := arg.(int)
			if text, isText := arg.(string); isText {
				value, ok = base+len(file), true
				file = append(append(file, text...), 0)
			}
			if !ok {
				panic(arg)
			}
			code = append(append(code, []byte{0xbb, 0xb9, 0xba}[i]), word(uint32(value))...)
		}
		// mov eax, number; int 0x80
		code = append(append(append(code, 0xb8), word(uint32(call.number))...), 0xcd, 0x80)
	}
	copy(file, "\x7fELF\x01\x01\x01")
	copy(file[codeAt:], code)
	put := func(at int, v uint32) { copy(file[at:], word(v)) }
	// Executable for the 386, version, entry, program header after this header, sizes, one header.
	put(16, 2|3<<16)
	put(20, 1)
	put(24, base+codeAt)
	put(28, 0x34)
	put(40, 0x34|0x20<<16)
	put(44, 1)
	// One segment, all of the file, readable and executable.
	for i, v := range []uint32{1, 0, base, base, uint32(len(file)), uint32(len(file)), 5, 0x1000} {
		put(0x34+4*i, v)
	}
	return file
}

func testIA32(t *testing.T, r *rig, b *box) {
	dir := t.TempDir()
	d := b.act(t, "ia32", dir)
	d.pid = int(d.said["pid"])
	const compat = wire.FlagCompat
	var got []string
	for _, e := range r.below(t, dir, d.pid) {
		if e.Type == wire.TypeMmapExec || strings.HasSuffix(string(e.Path()), "program") {
			continue
		}
		f := e.File()
		got = append(got, fmt.Sprintf("%s %s flags %#o mode %#o compat %v", event.Name(e.Type), strings.TrimPrefix(string(e.Path()), dir+"/"),
			f.Flags&^largeFile, f.Mode&0o777, e.Has(compat)))
	}
	want := []string{
		"create made flags 0 mode 0600 compat true", "open made flags 01101 mode 0 compat true",
		"open made flags 02 mode 0 compat true", "chmod made flags 0 mode 0444 compat true",
		"unlink made flags 0 mode 0 compat true",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
