// SPDX-License-Identifier: Apache-2.0

// Deeds does one thing that the agent must see, once per invocation, and ends: the attacks that the first detections
// are about, and the load under which nothing may be lost. It is one static program that needs nothing but itself in a
// container; where a deed needs a second program, it is a copy of this one. Run without arguments, it lists what it can
// do.
//
// It prints what it did on its standard output. It ends with 0 when the deed was done, with 3 when the kernel refused
// it, which for most detections is as much of a deed, and with 1 or 2 when it could not even be tried.
package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// deed is one thing to do.
type deed struct {
	name string
	// args names the arguments, optional ones in brackets; least and most are how many there are.
	args        string
	least, most int
	help        string
	do          func(args []string) error
}

// refused is a deed that was tried and that the kernel did not let through.
type refused struct {
	what string
	err  error
}

func (r refused) Error() string { return "refused: " + r.what + ": " + r.err.Error() }

// outcome is nil for a deed that was done, and tells a refusal by the kernel from an error of this program.
func outcome(what string, err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return refused{what, errno}
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func deeds() []deed {
	var all []deed
	for _, group := range [][]deed{processDeeds(), fileDeeds(), networkDeeds(), kernelDeeds(), loadDeeds(), steadyDeeds(), leakDeeds()} {
		all = append(all, group...)
	}
	return all
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		usage()
		return 2
	}
	for _, d := range deeds() {
		if d.name != args[0] {
			continue
		}
		args = args[1:]
		if len(args) < d.least || len(args) > d.most {
			fmt.Fprintf(os.Stderr, "deeds: usage: deeds %s %s\n", d.name, d.args)
			return 2
		}
		if err := d.do(args); err != nil {
			fmt.Fprintf(os.Stderr, "deeds: %s: %v\n", d.name, err)
			if errors.As(err, new(refused)) {
				return 3
			}
			return 1
		}
		return 0
	}
	fmt.Fprintf(os.Stderr, "deeds: there is no deed %q\n", args[0])
	return 2
}

func usage() {
	for _, d := range deeds() {
		fmt.Fprintf(os.Stderr, "%-40s %s\n", d.name+" "+d.args, d.help)
	}
}

// arg is the nth argument, or what stands for it when it was left out.
func arg(args []string, n int, otherwise string) string {
	if n < len(args) {
		return args[n]
	}
	return otherwise
}
