// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// sources are the sources with their bits, enum hf_source in bpf/include/wire.h.
var sources = []struct {
	source Source
	bit    uint8
}{{FromImage, 1}, {FromUpper, 2}, {FromMemory, 4}, {FromVolume, 8}}

// Bit is the source as the kernel programs know it; 0 for an unknown one.
func (s Source) Bit() uint8 {
	for _, known := range sources {
		if known.source == s {
			return known.bit
		}
	}
	return 0
}

// sourceBits are the bits of sources: the image's when there are none.
func sourceBits(of []Source) uint8 {
	var bits uint8
	for _, s := range of {
		bits |= s.Bit()
	}
	if bits == 0 {
		bits = FromImage.Bit()
	}
	return bits
}

// sourcesOf are the sources of bits, in order; none for the image alone.
func sourcesOf(bits uint8) []Source {
	if bits == FromImage.Bit() {
		return nil
	}
	return sourceList(bits)
}

// sourceList are the sources of bits, in order.
func sourceList(bits uint8) []Source {
	var of []Source
	for _, known := range sources {
		if bits&known.bit != 0 {
			of = append(of, known.source)
		}
	}
	return of
}

var accesses = []struct {
	access Access
	word   string
}{{Read, "read"}, {Write, "write"}, {Create, "create"}, {Delete, "delete"}}

// Words are the kinds of access, in order.
func (a Access) Words() []string {
	var words []string
	for _, known := range accesses {
		if a&known.access != 0 {
			words = append(words, known.word)
		}
	}
	return words
}

// String lists the kinds of access for people.
func (a Access) String() string {
	return strings.Join(a.Words(), ", ")
}

// ParseAccess returns one kind of access by its word.
func ParseAccess(word string) (Access, error) {
	for _, known := range accesses {
		if known.word == word {
			return known.access, nil
		}
	}
	return 0, fmt.Errorf("unknown access %q: read, write, create or delete", word)
}

// AnyProtocol stands for every protocol.
const AnyProtocol = "any"

// protocols are the protocols that have names here, with their numbers (IANA), and whether they have ports.
var protocols = []struct {
	name   string
	number uint8
	ports  bool
}{
	{AnyProtocol, 0, false}, {"icmp", 1, false}, {"tcp", 6, true}, {"udp", 17, true}, {"dccp", 33, true},
	{"icmpv6", 58, false}, {"sctp", 132, true}, {"udplite", 136, true},
}

// ProtocolNumber returns the number of a protocol, 0 for AnyProtocol: by its name, or as a decimal number where it has
// none.
func ProtocolNumber(name string) (uint8, error) {
	for _, known := range protocols {
		if known.name == name {
			return known.number, nil
		}
	}
	n, err := strconv.ParseUint(name, 10, 8)
	if err != nil || ProtocolName(uint8(n)) != name {
		return 0, fmt.Errorf("unknown protocol %q: tcp, udp, icmp, icmpv6, sctp, dccp, udplite, any, or a number", name)
	}
	return uint8(n), nil
}

// ProtocolName is the inverse of ProtocolNumber.
func ProtocolName(number uint8) string {
	for _, known := range protocols {
		if known.number == number {
			return known.name
		}
	}
	return strconv.Itoa(int(number))
}

// hasPorts reports whether a protocol has ports.
func hasPorts(protocol string) bool {
	for _, known := range protocols {
		if known.name == protocol {
			return known.ports
		}
	}
	return false
}

// families are Linux's socket families (AF_*), by number; gaps have no name.
var families = [...]string{
	1: "unix", 2: "inet", 3: "ax25", 4: "ipx", 5: "appletalk", 6: "netrom", 7: "bridge", 8: "atmpvc", 9: "x25",
	10: "inet6", 11: "rose", 12: "decnet", 13: "netbeui", 14: "security", 15: "key", 16: "netlink", 17: "packet",
	18: "ash", 19: "econet", 20: "atmsvc", 21: "rds", 22: "sna", 23: "irda", 24: "pppox", 25: "wanpipe", 26: "llc",
	27: "ib", 28: "mpls", 29: "can", 30: "tipc", 31: "bluetooth", 32: "iucv", 33: "rxrpc", 34: "isdn", 35: "phonet",
	36: "ieee802154", 37: "caif", 38: "alg", 39: "nfc", 40: "vsock", 41: "kcm", 42: "qipcrtr", 43: "smc", 44: "xdp",
	45: "mctp",
}

// kinds are Linux's socket kinds (SOCK_*), by number; gaps have no name.
var kinds = [...]string{1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}

// FamilyNumber returns the number of a socket family by its name, or its number in decimal where it has none.
func FamilyNumber(name string) (uint16, error) {
	return numberOf(families[:], "socket family", name)
}

// FamilyName is the inverse of FamilyNumber.
func FamilyName(number uint16) string {
	return nameOf(families[:], number)
}

// SocketKindNumber returns the number of a socket kind by its name, or its number in decimal where it has none.
func SocketKindNumber(name string) (uint16, error) {
	return numberOf(kinds[:], "socket kind", name)
}

// SocketKindName is the inverse of SocketKindNumber.
func SocketKindName(number uint16) string {
	return nameOf(kinds[:], number)
}

func numberOf(names []string, what, name string) (uint16, error) {
	if i := slices.Index(names, name); i > 0 && name != "" {
		return uint16(i), nil
	}
	n, err := strconv.ParseUint(name, 10, 16)
	if err != nil || n == 0 || nameOf(names, uint16(n)) != name {
		return 0, fmt.Errorf("unknown %s %q", what, name)
	}
	return uint16(n), nil
}

func nameOf(names []string, number uint16) string {
	if int(number) < len(names) && names[number] != "" {
		return names[number]
	}
	return strconv.Itoa(int(number))
}

// capabilities are Linux's capabilities, by number.
var capabilities = [...]string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
	"linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// Signals are the signals, in the order in which people see them.
func Signals() []Signal {
	return append(Deeds(), SignalDLP, SignalWAF)
}

// LearnedSignals are the signals that are learned, and have a learning state.
func LearnedSignals() []Signal {
	return []Signal{SignalProcess, SignalFile, SignalEgress}
}

// Deeds are the signals about what processes do. A mode that names no signal is about them: what is sent is read only where
// that is asked for by name.
func Deeds() []Signal {
	return append(LearnedSignals(), SignalProtect)
}

// Learned reports whether the signal is learned.
func (s Signal) Learned() bool { return slices.Contains(LearnedSignals(), s) }

// Content reports whether the signal is about what is sent.
func (s Signal) Content() bool { return s == SignalDLP || s == SignalWAF }

// ParseMode returns a mode by its word.
func ParseMode(word string) (Mode, error) {
	switch m := Mode(word); m {
	case ModeOff, ModeLearn, ModeMonitor, ModeEnforce:
		return m, nil
	}
	return "", fmt.Errorf("unknown mode %q: off, learn, monitor or enforce", word)
}

// CheckMode refuses a mode that a signal cannot have: what is received is told, and goes on.
func CheckMode(s Signal, m Mode) error {
	if s == SignalWAF && m == ModeEnforce {
		return fmt.Errorf("%s cannot be enforced: monitor tells what is found", s)
	}
	return nil
}

// ParseSignal returns a signal by its word.
func ParseSignal(word string) (Signal, error) {
	if s := Signal(word); slices.Contains(Signals(), s) {
		return s, nil
	}
	return "", fmt.Errorf("unknown signal %q: process, file, egress, protect, dlp or waf", word)
}

// origins are the origins, weakest first: of two for the same entry the stronger one holds.
var origins = []Origin{Context, Candidate, "", Inherited, Learned, Probe, Written, Removed}

// Allows reports whether an entry of this origin allows what it stands for, rather than waiting for a person, taking
// something away, or being there for what it lists.
func (p Provenance) Allows() bool {
	return p.Origin != Candidate && p.Origin != Removed && p.Origin != Context
}

// Executable reports whether the entry lets the executable run. If it does not, the executable may still be named for what
// it may do while it runs: a process of origin Context, and Any.
func (p *Process) Executable() bool {
	return p.Path != Any && p.Seen.Allows()
}
