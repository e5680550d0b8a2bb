// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// Bounds of looking for a command's executable.
const (
	// maxLinks is how many symbolic links are followed, as the kernel does (include/linux/namei.h, MAXSYMLINKS).
	maxLinks = 40
	// maxInterpreters is how many scripts may be the interpreters of each other (fs/exec.c, exec_binprm).
	maxInterpreters = 5
	// scriptHead is as much of a file as is looked at for its interpreter (include/uapi/linux/binfmts.h, BINPRM_BUF_SIZE).
	scriptHead = 256
	// maxEnvironment is as much as is read of a process's environment.
	maxEnvironment = 128 << 10
)

// defaultPath is where runtimes look for commands of containers whose image does not say (runc, libcontainer).
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// command is what the kernel will see when a command is run.
type command struct {
	// exe is the canonical path of the executable in the container's root, argv its arguments: a script's are its
	// interpreter's, with the script among them.
	exe  string
	argv []string
}

// findCommand says what the kernel will see when an argument vector is run in a container whose root is a directory here.
// Links are followed within the root. search is the variable PATH there.
func findCommand(root, search string, argv []string) (command, error) {
	if len(argv) == 0 || argv[0] == "" {
		return command{}, errors.New("there is no command")
	}
	file := argv[0]
	if !strings.Contains(file, "/") {
		found, err := lookUp(root, search, file)
		if err != nil {
			return command{}, err
		}
		file = found
	}
	argv = slices.Clone(argv)
	for range maxInterpreters {
		if !path.IsAbs(file) {
			return command{}, fmt.Errorf("%q is looked for from the container's working directory, which is not known", file)
		}
		exe, err := canonical(root, file)
		if err != nil {
			return command{}, err
		}
		interpreter, argument, err := interpreterOf(root + exe)
		if err != nil {
			return command{}, err
		}
		if interpreter == "" {
			return command{exe, argv}, nil
		}
		vector := []string{interpreter}
		if argument != "" {
			vector = append(vector, argument)
		}
		argv = append(append(vector, file), argv[1:]...)
		file = interpreter
	}
	return command{}, fmt.Errorf("%q: more than %d interpreters", argv[0], maxInterpreters)
}

// lookUp finds a command by its name.
func lookUp(root, search, name string) (string, error) {
	for _, dir := range strings.Split(search, ":") {
		if !path.IsAbs(dir) {
			continue
		}
		file := path.Join(dir, name)
		exe, err := canonical(root, file)
		if err != nil {
			continue
		}
		if info, err := os.Lstat(root + exe); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%q is in no directory of %q", name, search)
}

// canonical gives the path of a file without links. It asks for nothing outside the root.
func canonical(root, file string) (string, error) {
	done, rest, links := "/", strings.Split(file, "/"), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		info, err := os.Lstat(root + next)
		if err != nil {
			return "", fmt.Errorf("look for %q in the container: %w", file, err)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("look for %q in the container: more than %d links", file, maxLinks)
		}
		target, err := os.Readlink(root + next)
		if err != nil {
			return "", fmt.Errorf("look for %q in the container: %w", file, err)
		}
		if path.IsAbs(target) {
			done = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// interpreterOf reads which program runs a script, and with what argument (fs/binfmt_script.c); empty for what is none.
func interpreterOf(file string) (interpreter, argument string, err error) {
	info, err := os.Lstat(file)
	if err != nil {
		return "", "", fmt.Errorf("read a command: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", "", fmt.Errorf("%q is no file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return "", "", fmt.Errorf("read a command: %w", err)
	}
	head := make([]byte, scriptHead)
	n, err := io.ReadFull(f, head)
	if closed := f.Close(); closed != nil || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return "", "", errors.Join(err, closed)
	}
	line, found := bytes.CutPrefix(head[:n], []byte("#!"))
	if !found {
		return "", "", nil
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	text := strings.Trim(string(line), " \t")
	interpreter, argument = text, ""
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		interpreter, argument = text[:i], strings.Trim(text[i:], " \t")
	}
	return interpreter, argument, nil
}

// searchPath is the variable PATH of a process.
func searchPath(pid uint32) string {
	f, err := os.Open(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return defaultPath
	}
	text, err := io.ReadAll(io.LimitReader(f, maxEnvironment))
	if err = errors.Join(err, f.Close()); err != nil {
		return defaultPath
	}
	for variable := range strings.SplitSeq(string(text), "\x00") {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok && value != "" {
			return value
		}
	}
	return defaultPath
}
