// SPDX-License-Identifier: Apache-2.0

// Package ruleset puts requests that containers serve to the OWASP core rule set (rules/waf/crs), the stage behind the filter of
// rules/waf that workloads have to ask for.
//
// The rules take 200 to 1,150 times as long as the filter (docs/waf.md), so requests wait for them: in bounded queues, one for each container, from
// which they are taken in turn. One goroutine, Run's, evaluates them, and rests when it has used its share of a processor. What
// finds no room is not evaluated, and counted. Nothing of the rules is built before the first request comes.
package ruleset
