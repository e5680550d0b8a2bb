// SPDX-License-Identifier: Apache-2.0

// Render is the second victim of the demo: the program that the web shop runs to make invoices from templates. Its
// template language can do more than anybody wanted. Nothing but the demo should ever run it.
//
// It reads a template from its standard input, a command a line, and writes what each gives:
//
//	item PRICE         add to the bill
//	total              what the bill comes to
//	read FILE          the file
//	save FILE          a copy of this program, as a file that can be run
//	run FILE ARG...    run a program
//	memory             run a copy of this program that is in no file
//	contact HOST:PORT  connect, and say hello
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "hello" {
		fmt.Println("hello from " + os.Args[0])
		return
	}
	var b bill
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if err := b.do(fields[0], fields[1:]); err != nil {
			fmt.Printf("%s: %v\n", lines.Text(), err)
			os.Exit(1)
		}
	}
}

type bill struct{ cents int }

func (b *bill) do(verb string, args []string) error {
	arg := func(i int) string {
		if i < len(args) {
			return args[i]
		}
		return ""
	}
	switch verb {
	case "item":
		cents, err := strconv.Atoi(arg(0))
		b.cents += cents
		return err
	case "total":
		fmt.Printf("Total: %d.%02d\n", b.cents/100, b.cents%100)
		return nil
	case "read":
		text, err := os.ReadFile(arg(0))
		fmt.Print(string(text))
		return err
	case "save":
		return save(arg(0))
	case "run":
		return run(arg(0), args[min(1, len(args)):])
	case "memory":
		return memory()
	case "contact":
		return contact(arg(0))
	}
	return fmt.Errorf("no command %q", verb)
}

// save writes a copy of this program.
func save(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	return errors.Join(copySelf(file), file.Close())
}

func copySelf(to io.Writer) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	_, err = io.Copy(to, self)
	return errors.Join(err, self.Close())
}

func run(path string, args []string) error {
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	return cmd.Run()
}

// memory runs a copy of this program from memory.
func memory() error {
	fd, err := unix.MemfdCreate("", 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), "memory")
	if err := copySelf(file); err != nil {
		return err
	}
	return run("/proc/self/fd/"+strconv.Itoa(fd), []string{"hello"})
}

func contact(address string) error {
	conn, err := net.DialTimeout("tcp", address, 2*time.Second)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(conn, "hello")
	return errors.Join(err, conn.Close())
}
