// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Right is one of the parts that Linux divides root's power into, by its number (capabilities(7)). It is called a
// capability there; here Capability is what the agent can do for a signal.
type Right uint8

// The rights that the agent has a use for.
const (
	DACOverride   Right = unix.CAP_DAC_OVERRIDE
	DACReadSearch Right = unix.CAP_DAC_READ_SEARCH
	Kill          Right = unix.CAP_KILL
	NetAdmin      Right = unix.CAP_NET_ADMIN
	SysPtrace     Right = unix.CAP_SYS_PTRACE
	SysAdmin      Right = unix.CAP_SYS_ADMIN
	SysResource   Right = unix.CAP_SYS_RESOURCE
	Perfmon       Right = unix.CAP_PERFMON
	BPF           Right = unix.CAP_BPF
)

// String gives the right's name with CAP_, or CAP_ and its number if the agent has no use for it.
func (r Right) String() string {
	switch r {
	case DACOverride:
		return "CAP_DAC_OVERRIDE"
	case DACReadSearch:
		return "CAP_DAC_READ_SEARCH"
	case Kill:
		return "CAP_KILL"
	case NetAdmin:
		return "CAP_NET_ADMIN"
	case SysPtrace:
		return "CAP_SYS_PTRACE"
	case SysAdmin:
		return "CAP_SYS_ADMIN"
	case SysResource:
		return "CAP_SYS_RESOURCE"
	case Perfmon:
		return "CAP_PERFMON"
	case BPF:
		return "CAP_BPF"
	default:
		return fmt.Sprintf("CAP_%d", uint8(r))
	}
}

// inPlaceOf are the rights that include another (include/linux/capability.h: bpf_capable, perfmon_capable; fs/namei.c,
// generic_permission).
var inPlaceOf = [...]struct{ right, larger Right }{
	{BPF, SysAdmin}, {Perfmon, SysAdmin}, {DACReadSearch, DACOverride},
}

// Rights is a set of rights, a bit each, as capget(2) has them.
type Rights uint64

// RightsOf makes a set of the given rights.
func RightsOf(list ...Right) Rights {
	var set Rights
	for _, r := range list {
		set |= 1 << r
	}
	return set
}

// ReadRights asks which rights this process has in effect.
func ReadRights() (Rights, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	// The first 32 rights stand in the first, the others in the second.
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("read which capabilities the process has: %w", err)
	}
	return Rights(data[0].Effective) | Rights(data[1].Effective)<<32, nil
}

// Has reports whether a right is in the set, itself or within a larger one.
func (r Rights) Has(right Right) bool {
	if r&(1<<right) != 0 {
		return true
	}
	for _, other := range inPlaceOf {
		if other.right == right && r&(1<<other.larger) != 0 {
			return true
		}
	}
	return false
}

// Missing gives those of the rights that the set has not, in their order.
func (r Rights) Missing(needed ...Right) []Right {
	var missing []Right
	for _, right := range needed {
		if !r.Has(right) {
			missing = append(missing, right)
		}
	}
	return missing
}

// Lacks says which of the rights the set has not, as the reason for something that is off; empty if it has all.
func (r Rights) Lacks(needed ...Right) string {
	missing := r.Missing(needed...)
	if len(missing) == 0 {
		return ""
	}
	names := make([]string, len(missing))
	for i, right := range missing {
		names[i] = right.String()
	}
	if len(names) == 1 {
		return names[0] + " is missing"
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1] + " are missing"
}

// Explain says of the kernel's refusal (EPERM) which of the rights that the deed needs are missing, first and in the place
// of what else is said of it: that a limit of memory may be in the way is a guess. Other errors are returned as they are.
func (r Rights) Explain(err error, needed ...Right) error {
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	reason := r.Lacks(needed...)
	if reason == "" {
		reason = "no capability is missing: it is forbidden by a seccomp filter, a security module, kernel lockdown, " +
			"a user namespace, or a program that does not share its cgroup"
	}
	return fmt.Errorf("%w: %s", unix.EPERM, reason)
}

// Needs gives the rights that it takes to load and attach a program (kernel/bpf/syscall.c, is_net_admin_prog_type and
// is_perfmon_prog_type; programs of cgroup_skb take CAP_NET_ADMIN when they are attached).
func Needs(program ebpf.ProgramType) []Right {
	switch program {
	case ebpf.CGroupSKB, ebpf.CGroupSock, ebpf.CGroupSockAddr, ebpf.SockOps:
		return []Right{BPF, NetAdmin}
	case ebpf.LSM, ebpf.Tracing, ebpf.RawTracepoint, ebpf.Kprobe:
		return []Right{BPF, Perfmon}
	default:
		return []Right{BPF}
	}
}
