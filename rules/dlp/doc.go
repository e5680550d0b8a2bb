// SPDX-License-Identifier: Apache-2.0

// Package dlp finds sensitive values in text: payment cards, bank accounts, national and health ids, contacts, keys and
// tokens, the user's own patterns and the user's own records.
//
// A Set holds detectors: those of Builtin and those of the user's files (Parse). Compile makes a Matcher of them, which
// is immutable and safe for concurrent use. It looks at a text once: a filter over pairs of bytes finds the places where
// a literal of some detector or a group of digits may stand; a small automaton or a template then reads the value, a
// check (Luhn, mod 97, a check letter, a decoded header) judges it, and words nearby or the column of a table say how
// sure it is. A Stream does the same over parts, with the same result as over the whole. Inline is what a packet filter
// can walk by itself.
//
// The package is pure: no goroutines, no I/O, no clock. It is byte-oriented and safe on any input: the work that a text
// can cause is bounded by its length. It hands out offsets, keyed hashes and masked forms; values it never keeps, but
// for the end of a stream's last part, which the next part may continue.
package dlp
