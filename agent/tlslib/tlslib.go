// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Kind is an implementation of TLS.
type Kind uint8

// The implementations that are known.
const (
	None Kind = iota
	OpenSSL
	BoringSSL
	GnuTLS
	NSS
	Go
)

// String gives the name that people read.
func (k Kind) String() string {
	names := [...]string{None: "none", OpenSSL: "openssl", BoringSSL: "boringssl", GnuTLS: "gnutls", NSS: "nss", Go: "go"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Function is a function that is probed; several with the same arguments share one.
type Function uint8

// The functions, by what is done at them.
const (
	OpenSSLWrite Function = iota + 1
	OpenSSLWriteEx
	OpenSSLWriteEx2
	OpenSSLRead
	OpenSSLReadEx
	GnuTLSSend
	GnuTLSReceive
	NSSWrite
	NSSRead
	// Handshake has the object as its first argument, as have the next three.
	Handshake
	// Socket is given a descriptor as the second argument, SocketThird as the third.
	Socket
	SocketThird
	// Free ends the object.
	Free
	GoHandshake
	GoWrite
	GoRead
	// GoReadEnd is an instruction at which GoRead returns.
	GoReadEnd
)

// Probe is a place in the file: where a function begins, or near, where a probe costs less, and the arguments and the
// address to return to are the same.
type Probe struct {
	Function Function
	// Offset in the file, in bytes.
	Offset uint64
}

// Library is an implementation that a file brings.
type Library struct {
	Kind Kind
	// Version as far as the file tells: the name that libraries are linked by, or the version of Go.
	Version string
	// Probes in the order of their offsets; never empty.
	Probes []Probe
}

// errSize says that a file claims more than is looked at.
var errSize = errors.New("it claims more than is looked at")

// Read looks what a file brings. A file that is no ELF file of this machine's byte order, or brings nothing, gives nothing and no
// error. An error says what of the file does not hold together, beside what was found until then.
func Read(from io.ReaderAt) ([]Library, error) {
	f, err := open(from)
	if err != nil || f == nil {
		return nil, err
	}
	found := newSymbols()
	for _, table := range f.symbolTables() {
		if err := f.readSymbols(table, found); err != nil {
			return nil, fmt.Errorf("read the symbols: %w", err)
		}
	}
	var list []Library
	for _, family := range families {
		if l, ok := f.library(family, found); ok {
			list = append(list, l)
		}
	}
	l, err := f.goLibrary(found)
	if err == nil && l != nil {
		list = append(list, *l)
	}
	if err != nil {
		err = fmt.Errorf("read the functions of Go: %w", err)
	}
	return list, err
}

// family is an implementation in C, by the symbols of its functions.
type family struct {
	kind      Kind
	functions map[string]Function
	// needs are those of which one must be there.
	needs []string
}

// families are those that are looked for.
var families = []family{
	{OpenSSL, map[string]Function{
		"SSL_write": OpenSSLWrite, "SSL_write_ex": OpenSSLWriteEx, "SSL_write_ex2": OpenSSLWriteEx2,
		"SSL_read": OpenSSLRead, "SSL_read_ex": OpenSSLReadEx, "SSL_do_handshake": Handshake,
		"SSL_set_fd": Socket, "SSL_set_wfd": Socket, "SSL_free": Free,
	}, []string{"SSL_write", "SSL_read"}},
	{GnuTLS, map[string]Function{
		"gnutls_record_send": GnuTLSSend, "gnutls_record_send2": GnuTLSSend,
		"gnutls_record_recv": GnuTLSReceive, "gnutls_record_recv_seq": GnuTLSReceive, "gnutls_handshake": Handshake,
		"gnutls_transport_set_ptr": Socket, "gnutls_transport_set_ptr2": SocketThird, "gnutls_transport_set_int2": SocketThird,
		"gnutls_deinit": Free,
	}, []string{"gnutls_record_send", "gnutls_record_recv"}},
	{NSS, map[string]Function{
		"PR_Write": NSSWrite, "PR_Send": NSSWrite, "PR_Read": NSSRead, "PR_Recv": NSSRead, "PR_Close": Free,
	}, []string{"PR_Send", "PR_Recv"}},
}

// boring are functions that BoringSSL has and OpenSSL has not.
var boring = []string{"SSL_get_curve_id", "SSL_CTX_set_custom_verify"}

// The functions of Go, by the names of the linker.
const (
	goHandshake = "crypto/tls.(*Conn).handshakeContext"
	goWrite     = "crypto/tls.(*Conn).Write"
	goRead      = "crypto/tls.(*Conn).Read"
)

// library gives what of a family the file has.
func (f *file) library(of family, found *symbols) (Library, bool) {
	l := Library{Kind: of.kind, Version: f.soname}
	var within map[string]place
	if of.kind == OpenSSL {
		within = f.inward(found)
	}
	for name, function := range of.functions {
		symbol, ok := found.at[name]
		if !ok {
			continue
		}
		at, ok := within[name]
		if !ok {
			at = place{function, f.cheap(symbol.address, function)}
		}
		offset, ok := f.offsetOf(at.address)
		if ok && !slices.Contains(l.Probes, Probe{at.function, offset}) {
			l.Probes = append(l.Probes, Probe{at.function, offset})
		}
	}
	if !slices.ContainsFunc(of.needs, func(name string) bool { return f.holds(found, name) }) {
		return Library{}, false
	}
	if of.kind == OpenSSL && slices.ContainsFunc(boring, func(name string) bool { return f.holds(found, name) }) {
		l.Kind = BoringSSL
	}
	sortProbes(l.Probes)
	return l, true
}

// holds reports whether the file has the code of a function.
func (f *file) holds(found *symbols, name string) bool {
	symbol, ok := found.at[name]
	if !ok {
		return false
	}
	_, ok = f.offsetOf(symbol.address)
	return ok
}

func sortProbes(probes []Probe) {
	slices.SortFunc(probes, func(a, b Probe) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Function, b.Function))
	})
}
