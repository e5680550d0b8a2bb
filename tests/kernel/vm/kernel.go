// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"strings"
)

// Kernel is a line of kernels that tests run on. Which release of the line is
// used is decided when it is fetched: the newest.
type Kernel struct {
	// Name is what users call it: "5.10", or "7" for the newest of 7.x.
	Name string
	// Suites are the Debian suites that carry it, the first that has one wins.
	Suites []string
}

// Kernels returns the kernels that tests run on, oldest first.
func Kernels() []Kernel {
	return []Kernel{
		{Name: "5.10", Suites: []string{"bullseye-security", "bullseye"}},
		{Name: "6.1", Suites: []string{"bookworm-security", "bookworm"}},
		{Name: "6.12", Suites: []string{"bookworm-security", "trixie"}},
		{Name: "7", Suites: []string{"trixie-backports"}},
	}
}

// ParseKernels returns the kernels of a comma-separated list of names, in the
// order of the list. The error of an unknown name lists those that exist.
func ParseKernels(list string) ([]Kernel, error) {
	known := Kernels()
	var chosen []Kernel
	for name := range strings.SplitSeq(list, ",") {
		kernel, ok := find(known, strings.TrimSpace(name))
		if !ok {
			return nil, fmt.Errorf("kernel %q: not known, choose from %s", name, names(known))
		}
		if _, twice := find(chosen, kernel.Name); !twice {
			chosen = append(chosen, kernel)
		}
	}
	return chosen, nil
}

func find(kernels []Kernel, name string) (Kernel, bool) {
	for _, kernel := range kernels {
		if kernel.Name == name {
			return kernel, true
		}
	}
	return Kernel{}, false
}

func names(kernels []Kernel) string {
	all := make([]string, len(kernels))
	for i, kernel := range kernels {
		all[i] = kernel.Name
	}
	return strings.Join(all, ", ")
}

// LSM is a choice of Linux security modules at boot.
type LSM string

// The two choices: with BPF programs as a security module, and as many
// distributions boot, without.
const (
	LSMBPF LSM = "bpf"
	LSMNo  LSM = "nobpf"
)

// ParseLSM returns the choices that "bpf", "nobpf" or "both" stands for.
func ParseLSM(text string) ([]LSM, error) {
	switch text {
	case string(LSMBPF), string(LSMNo):
		return []LSM{LSM(text)}, nil
	case "both":
		return []LSM{LSMBPF, LSMNo}, nil
	}
	return nil, fmt.Errorf("security modules %q: not known, choose from bpf, nobpf, both", text)
}

// parameter is the value of the kernel's lsm= parameter. It is given to kernels
// that have bpf by default as well, so that all of them run with the same list.
func (l LSM) parameter() string {
	if l == LSMBPF {
		return "lockdown,yama,apparmor,bpf"
	}
	return "lockdown,yama,apparmor"
}
