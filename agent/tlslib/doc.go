// SPDX-License-Identifier: Apache-2.0

// Package tlslib finds out of an ELF file whether it brings a TLS implementation, and at which offsets of the file its
// functions are that take and give plain text: OpenSSL, BoringSSL, GnuTLS and NSS by the symbols that they export or that were
// left in the file, Go's crypto/tls by symbols or, in stripped binaries, by the table of functions that every Go binary carries.
//
// The files come from containers and may be hostile: every read is bounded, no more than a few hundred kilobytes are held at a
// time, and a file that does not hold together is an error or brings nothing. An offset is always within what the file says is
// executable. The package reads and computes, no more.
package tlslib
