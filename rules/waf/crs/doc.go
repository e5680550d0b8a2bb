// SPDX-License-Identifier: Apache-2.0

// Package crs is the thorough stage behind the filter of rules/waf: the OWASP core rule set, run by Coraza. It knows far
// more attacks, cross-site scripting among them, and scores what is odd about a request; it also takes hundreds of
// times as long as the filter, and 12 MiB, so that workloads have to ask for it.
//
// Nothing is built before New, which takes a second or two. Only the rules about requests are loaded, in the mode that
// detects and interferes with nothing. An Engine starts no goroutine, writes no file and no log, and is safe for
// concurrent use.
package crs
