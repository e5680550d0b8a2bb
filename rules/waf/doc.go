// SPDX-License-Identifier: Apache-2.0

// Package waf recognises attacks in HTTP requests on their way in. It is the cheap stage that always runs for a workload
// whose inbound requests are looked at; rules/waf/crs is the thorough and dear one behind it.
//
// A text (a path, the value of a parameter, a header, a body) is first brought to the form that a server would act on:
// percent encoding undone twice, overlong UTF-8, escapes of JSON. One pass of an automaton over it then tells which
// families of attack could be meant at all. For nearly all requests there are none, and that is the end of it: no
// memory is taken. Where there are candidates, a family's own evaluator decides what the text means: nested lookups of
// Log4j are evaluated, SQL is cut into tokens and must break out of a literal, shell words are read as a shell reads
// them, addresses are parsed in all forms that inet_aton takes. No family is a list of regular expressions.
//
// What decides is the place as much as the words. Injections begin where a value begins, since the program puts its
// own text before them; people who write about SQL or shells put words there. So nearly all rules ask that what comes
// before the attack is what can stand in front of one: nothing, a number, a short token, the end of a quotation.
//
// Not here: cross-site scripting, which attacks browsers and not the workload, and anything that needs more than one
// request to be seen.
//
// The package is pure: no goroutine, no input or output, no clock. A Filter is for one goroutine at a time; Clone gives
// another one, which shares the tables.
package waf
