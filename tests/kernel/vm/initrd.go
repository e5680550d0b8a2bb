// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"bufio"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed init.sh
var initScript []byte

// File is a file or folder of the host that goes into the machine.
type File struct {
	From string // path on the host
	To   string // absolute path in the machine
}

// Program is a program that the machine runs, as root, with /dev/null as its
// standard input and the folder Dir of the machine as its working folder.
type Program struct {
	Name string   // as reports call it
	Path string   // path of the statically linked binary on the host
	Args []string // arguments after the name
	Dir  string   // absolute path in the machine, made if need be
}

// Payload is what a machine runs.
type Payload struct {
	Programs []Program // run one after the other
	Files    []File    // placed before the first program runs
	Env      []string  // KEY=VALUE, added to the environment of the programs
}

// writeInitrd writes the initial RAM file system for an image and a payload.
func writeInitrd(path string, image Image, payload Payload) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := file.Close(); err == nil {
			err = closeErr
		}
	}()
	buffered := bufio.NewWriterSize(file, 1<<20)
	into := newArchive(buffered)
	if err := addSystem(into, image); err != nil {
		return err
	}
	if err := addPayload(into, payload); err != nil {
		return err
	}
	if err := into.close(); err != nil {
		return err
	}
	return buffered.Flush()
}

// addSystem adds what is the same for all payloads.
func addSystem(into *archive, image Image) error {
	if err := into.copy(busybox, "/bin/busybox"); err != nil {
		return err
	}
	if err := into.copy(filepath.Join(image.modules, "lib"), "/lib"); err != nil {
		return err
	}
	if err := into.file("/init", 0o755, initScript); err != nil {
		return err
	}
	// read in the init script returns false for a last line without its end.
	loaded := strings.Join(image.loaded, "\n") + "\n"
	if err := into.file("/vm/modules", 0o644, []byte(loaded)); err != nil {
		return err
	}
	for _, file := range etc() {
		if err := into.file(file[0], 0o644, []byte(file[1])); err != nil {
			return err
		}
	}
	return nil
}

// etc are the few files that the C library, Go and tests expect.
func etc() [][2]string {
	return [][2]string{
		{"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/tmp:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"},
		{"/etc/group", "root:x:0:\ntty:x:5:\napp:x:1000:\nnogroup:x:65534:\n"},
		{"/etc/shadow", "root:*:1::::::\napp:*:1::::::\n"},
		{"/etc/hosts", "127.0.0.1 localhost vm\n::1 localhost\n"},
		{"/etc/nsswitch.conf", "hosts: files dns\n"},
		{"/etc/resolv.conf", "nameserver 127.0.0.1\n"},
		{"/etc/os-release", "ID=vm\nNAME=\"Test machine\"\n"},
	}
}

// addPayload adds the programs, the files and the script that runs the programs.
func addPayload(into *archive, payload Payload) error {
	var script strings.Builder
	for _, variable := range payload.Env {
		name, value, _ := strings.Cut(variable, "=")
		fmt.Fprintf(&script, "export %s=%s\n", name, quote(value))
	}
	for i, program := range payload.Programs {
		if linker, err := hasLinker(program.Path); err != nil {
			return fmt.Errorf("add program %s: %w", program.Name, err)
		} else if linker {
			return fmt.Errorf("add program %s: linked dynamically, and the machine has no libraries; build it with CGO_ENABLED=0", program.Name)
		}
		path := fmt.Sprintf("/vm/%d/%s", i, filepath.Base(program.Path))
		if err := into.copy(program.Path, path); err != nil {
			return fmt.Errorf("add program %s: %w", program.Name, err)
		}
		if err := into.folder(program.Dir); err != nil {
			return fmt.Errorf("add program %s: %w", program.Name, err)
		}
		words := []string{quote(path)}
		for _, arg := range program.Args {
			words = append(words, quote(arg))
		}
		fmt.Fprintf(&script, "echo %s\n", quote(fmt.Sprintf("HFVM run %d %s", i, program.Name)))
		fmt.Fprintf(&script, "(cd %s && exec %s)\n", quote(filepath.Join("/", program.Dir)), strings.Join(words, " "))
		// A program may stop in the middle of a line.
		fmt.Fprintf(&script, "printf '\\nHFVM exit %d %%d\\n' $?\n", i)
	}
	for _, file := range payload.Files {
		if err := into.copy(file.From, file.To); err != nil {
			return fmt.Errorf("add file %s: %w", file.To, err)
		}
	}
	return into.file("/vm/run", 0o644, []byte(script.String()))
}

// quote makes a word of the shell from any text.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
