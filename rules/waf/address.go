// SPDX-License-Identifier: Apache-2.0

package waf

import (
	"bytes"
	"net/netip"
)

// addresses reports values that are URLs, or hosts, that a server should not be made to ask.
func (f *Filter) addresses(t *text) {
	b := bytes.TrimRight(bytes.TrimLeft(t.b, " \t\r\n\"'<("), " \t\r\n")
	if len(b) < 4 || len(b) > 4096 || bytes.IndexByte(b, ' ') >= 0 {
		return
	}
	host, scheme := authority(b)
	if scheme != nil && unusual(scheme) && len(b) > len(scheme)+3 {
		f.report(t, ruleScheme, 0, len(b))
		return
	}
	if len(host) == 0 || len(host) > 255 {
		return
	}
	if scheme == nil && !lone(b, host) {
		return
	}
	if named := metadataName(host); named {
		f.report(t, ruleMetadata, 0, len(b))
		return
	}
	if clusterName(host) {
		f.report(t, ruleCluster, 0, len(b))
		return
	}
	addr, plain, ok := address(host)
	switch {
	case !ok:
		if scheme != nil && (equalFold(host, "localhost") || suffixFold(host, ".localhost")) {
			f.report(t, ruleLoopback, 0, len(b))
		}
	case metadataAddress(addr):
		f.report(t, ruleMetadata, 0, len(b))
	case addr.IsLoopback() || addr.IsUnspecified() || addr.IsLinkLocalUnicast():
		if !plain {
			f.report(t, ruleHiddenAddress, 0, len(b))
		} else if scheme != nil {
			f.report(t, ruleLoopback, 0, len(b))
		}
	}
}

// authority is the host that a value names and its scheme, which is nil where it has none.
func authority(b []byte) (host, scheme []byte) {
	rest := b
	i := 0
	for i < len(b) && i < 16 && (letter(b[i]) || i > 0 && (digit(b[i]) || b[i] == '+' || b[i] == '-' || b[i] == '.')) {
		i++
	}
	switch {
	case i > 0 && i+2 < len(b) && b[i] == ':' && slash(b[i+1]):
		scheme = b[:i]
		rest = bytes.TrimLeft(b[i+1:], `/\`)
	case len(b) > 2 && slash(b[0]) && slash(b[1]):
		scheme = b[:0]
		rest = bytes.TrimLeft(b, `/\`)
	case i > 0 && i+1 < len(b) && b[i] == ':' && equalFold(b[:i], "jar"):
		return nil, b[:i]
	}
	end := bytes.IndexAny(rest, "/\\?# \r\n\"'<>")
	if end < 0 {
		end = len(rest)
	}
	rest = rest[:end]
	if at := bytes.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	if len(rest) > 0 && rest[0] == '[' {
		if end := bytes.IndexByte(rest, ']'); end > 0 {
			return rest[:end+1], scheme
		}
		return nil, scheme
	}
	if colon := bytes.IndexByte(rest, ':'); colon >= 0 {
		rest = rest[:colon]
	}
	return bytes.TrimRight(rest, "."), scheme
}

func slash(c byte) bool { return c == '/' || c == '\\' }

// lone reports whether a value without a scheme is a host and perhaps a path, not a number or a sentence.
func lone(b, host []byte) bool {
	return bytes.IndexByte(b, ' ') < 0 && (bytes.IndexByte(host, '.') > 0 || host[0] == '[')
}

// unusual reports whether a scheme is one by which servers are made to speak other protocols.
func unusual(scheme []byte) bool {
	for _, s := range [...]string{"gopher", "dict", "ldap", "ldaps", "tftp", "jar", "netdoc", "sftp", "rmi", "php", "expect", "phar"} {
		if equalFold(scheme, s) {
			return true
		}
	}
	return false
}

func suffixFold(b []byte, s string) bool { return len(b) >= len(s) && equalFold(b[len(b)-len(s):], s) }

// metadataName reports whether a name is a metadata service's, or one of the public names that resolve to the address
// within them.
func metadataName(host []byte) bool {
	for _, s := range [...]string{"metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal", "metadata.tencentyun.com"} {
		if equalFold(host, s) {
			return true
		}
	}
	for _, s := range [...]string{".nip.io", ".sslip.io", ".xip.io", ".localtest.me"} {
		if suffixFold(host, s) {
			return holds(host, "169.254.169.254") || holds(host, "169-254-169-254") || holds(host, "a9fea9fe")
		}
	}
	return false
}

func clusterName(host []byte) bool {
	return equalFold(host, "kubernetes.default.svc") || equalFold(host, "kubernetes.default") ||
		equalFold(host, "kubernetes.default.svc.cluster.local")
}

// metadataAddress reports whether an address is one at which clouds tell instances about themselves, credentials
// included: AWS, Azure, Google and OpenStack, ECS and EKS, Alibaba, Oracle, Azure's host.
func metadataAddress(a netip.Addr) bool {
	switch a {
	case netip.AddrFrom4([4]byte{169, 254, 169, 254}), netip.AddrFrom4([4]byte{169, 254, 170, 2}),
		netip.AddrFrom4([4]byte{169, 254, 170, 23}), netip.AddrFrom4([4]byte{100, 100, 100, 200}),
		netip.AddrFrom4([4]byte{192, 0, 0, 192}), netip.AddrFrom4([4]byte{168, 63, 129, 16}),
		netip.AddrFrom16([16]byte{0xfd, 0, 0x0e, 0xc2, 14: 2, 15: 0x54}):
		return true
	}
	return false
}

// address reads a host as an address in any of the notations that resolvers take. Plain says that it was in the usual
// one.
func address(host []byte) (addr netip.Addr, plain, ok bool) {
	if host[0] == '[' && host[len(host)-1] == ']' {
		return address6(host[1 : len(host)-1])
	}
	return address4(host)
}

// address6 reads an IPv6 address; one that stands for an IPv4 address, mapped, compatible or by NAT64, is that.
func address6(b []byte) (addr netip.Addr, plain, ok bool) {
	if i := bytes.IndexByte(b, '%'); i >= 0 {
		b = b[:i]
	}
	addr, err := netip.ParseAddr(string(b))
	if err != nil {
		return addr, false, false
	}
	a := addr.As16()
	low := netip.AddrFrom4([4]byte(a[12:]))
	zero := func(from, to int) bool { return bytes.Count(a[from:to], []byte{0}) == to-from }
	switch {
	case addr.Is4In6():
		return low, false, true
	case zero(0, 12) && a[12] != 0:
		return low, false, true
	case a[0] == 0 && a[1] == 0x64 && a[2] == 0xff && a[3] == 0x9b && zero(4, 12):
		return low, false, true
	}
	return addr, true, true
}

// address4 reads one to four numbers, each decimal, octal or hexadecimal, the last of which fills the rest, as inet_aton
// does.
func address4(b []byte) (addr netip.Addr, plain, ok bool) {
	var parts [4]uint64
	n := 0
	plain = true
	for rest := b; ; {
		if n == 4 {
			return addr, false, false
		}
		part, after, more := bytes.Cut(rest, []byte{'.'})
		v, usual, ok := numeral(part)
		if !ok {
			return addr, false, false
		}
		plain = plain && usual
		parts[n] = v
		n++
		if !more {
			break
		}
		rest = after
	}
	value := parts[n-1]
	if value >= 1<<(8*(5-n)) {
		return addr, false, false
	}
	for i := range n - 1 {
		if parts[i] > 255 {
			return addr, false, false
		}
		value |= parts[i] << (24 - 8*i)
	}
	return netip.AddrFrom4([4]byte{byte(value >> 24), byte(value >> 16), byte(value >> 8), byte(value)}), plain && n == 4, true
}

// numeral reads a number as C does; usual says that it is decimal.
func numeral(b []byte) (v uint64, usual, ok bool) {
	base := uint64(10)
	switch {
	case len(b) == 0 || len(b) > 14:
		return 0, false, false
	case len(b) > 2 && b[0] == '0' && b[1]|0x20 == 'x':
		base, b = 16, b[2:]
	case len(b) > 1 && b[0] == '0':
		base = 8
	}
	for _, c := range b {
		d := hex(c)
		if d < 0 || uint64(d) >= base {
			return 0, false, false
		}
		v = v*base + uint64(d)
	}
	return v, base == 10, true
}
