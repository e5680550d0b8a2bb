// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	unsupported  = regexp.MustCompile(`\bunsupported: (.+?) needs (\S.*)$`)
	needsVersion = regexp.MustCompile(`\bv?([0-9]+\.[0-9]+)\b`)
)

// checkSkip decides whether a test may have been skipped: only with a line
// "unsupported: FEATURE needs WHAT", where the machine has not all of what is
// needed. WHAT is a first version ("5.11"), "lsm=bpf", both, or something that is
// not checked, a configuration option for example. The feature is returned as the
// reason, with what it needs.
func checkSkip(output []string, release string, lsms string) (reason string, err error) {
	for _, line := range slices.Backward(output) {
		match := unsupported.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		feature, needs := match[1], strings.TrimSpace(match[2])
		checked, has := 0, 0
		for _, version := range needsVersion.FindAllStringSubmatch(needs, -1) {
			checked++
			if compareVersions(release, version[1]) >= 0 {
				has++
			}
		}
		if strings.Contains(needs, "lsm=bpf") {
			checked++
			if slices.Contains(strings.Split(lsms, ","), "bpf") {
				has++
			}
		}
		if checked > 0 && has == checked {
			return "", fmt.Errorf("skipped since %s needs %s, which this kernel has", feature, needs)
		}
		return feature + " needs " + needs, nil
	}
	return "", fmt.Errorf("skipped without a line \"unsupported: FEATURE needs VERSION\": %s", lastLog(output))
}
