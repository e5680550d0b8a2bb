// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MirrorVariable names the environment variable with the address of a Debian
// mirror, for machines whose apt configuration has none.
const MirrorVariable = "HOLDFAST_DEBIAN_MIRROR"

// mirror is where Debian's packages come from: the archive, and the archive of
// security updates.
type mirror struct{ archive, security string }

// suite matches what Debian's own sources name, with or without a pocket.
var suite = regexp.MustCompile(`^(sid|testing|unstable|(old)*stable|bullseye|bookworm|trixie|forky)(-updates|-backports|-security|/updates)?$`)

// findMirror takes the mirror from the environment variable or else from the
// machine's apt configuration, so that a machine which may reach only its own
// mirror works without being told.
func findMirror(ctx context.Context) (mirror, error) {
	if address := os.Getenv(MirrorVariable); address != "" {
		return mirror{archive: address}.complete(), nil
	}
	targets, err := output(ctx, "apt-get", "indextargets", "--format",
		"$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)", "Created-By: Packages")
	if err != nil {
		return mirror{}, fmt.Errorf("read apt's sources: %w", err)
	}
	found := parseTargets(targets)
	if found.archive == "" {
		return mirror{}, fmt.Errorf("apt's sources name no Debian mirror; set %s to the address of one", MirrorVariable)
	}
	return found.complete(), nil
}

// parseTargets picks the mirror from lines of address, suite, component and
// origin. The origin is known to apt only after an update; without it, the suite
// decides, and the signature check later.
func parseTargets(targets string) mirror {
	var known, guessed mirror
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[2] != "main" || !suite.MatchString(fields[1]) {
			continue
		}
		into := &guessed
		switch fields[3] {
		case "Debian":
			into = &known
		case "$(ORIGIN)":
		default:
			continue
		}
		security := strings.HasSuffix(fields[1], "-security") || strings.HasSuffix(fields[1], "/updates")
		if security && into.security == "" {
			into.security = fields[0]
		} else if !security && into.archive == "" {
			into.archive = fields[0]
		}
	}
	return mirror{
		archive:  cmp.Or(known.archive, guessed.archive),
		security: cmp.Or(known.security, guessed.security),
	}
}

// complete adds the address of the security archive, which is beside the archive
// on every full mirror.
func (m mirror) complete() mirror {
	m.archive = strings.TrimRight(m.archive, "/")
	if m.security == "" {
		m.security = m.archive + "-security"
	}
	return m
}

// apt runs apt with sources, lists and cache of its own in a folder, so that
// neither the machine's packages nor its package lists are touched. The rest of
// the machine's configuration (proxies, credentials) applies.
type apt struct {
	folder string
	mirror mirror
}

// options are the arguments that direct apt to the folder. They also put back what
// a machine's configuration may have relaxed: nothing unsigned is accepted.
func (a apt) options() []string {
	settings := []string{
		"Dir::Etc::sourcelist=" + filepath.Join(a.folder, "sources.list"),
		"Dir::Etc::sourceparts=/dev/null",
		"Dir::State=" + filepath.Join(a.folder, "state"),
		"Dir::State::lists=" + filepath.Join(a.folder, "lists"),
		"Dir::State::status=" + filepath.Join(a.folder, "status"),
		"Dir::Cache=" + filepath.Join(a.folder, "cache"),
		"APT::Architecture=amd64",
		"APT::Architectures=amd64",
		"APT::Sandbox::User=",
		"APT::Update::Error-Mode=any",
		"APT::Get::AllowUnauthenticated=false",
		"Acquire::AllowInsecureRepositories=false",
		"Acquire::AllowWeakRepositories=false",
		"Acquire::AllowDowngradeToInsecureRepositories=false",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Acquire::Languages=none",
		"Acquire::Retries=3",
	}
	args := []string{"-q"}
	for _, setting := range settings {
		args = append(args, "-o", setting)
	}
	return args
}

// update fetches the package list of one suite, and only that.
func (a apt) update(ctx context.Context, suite, keyring string) error {
	address := a.mirror.archive
	if strings.HasSuffix(suite, "-security") {
		address = a.mirror.security
	}
	for _, folder := range []string{"lists/partial", "cache/archives/partial", "state"} {
		if err := os.MkdirAll(filepath.Join(a.folder, folder), 0o755); err != nil {
			return err
		}
	}
	source := fmt.Sprintf("deb [arch=amd64 signed-by=%s] %s %s main\n", keyring, address, suite)
	if err := writeFile(filepath.Join(a.folder, "sources.list"), []byte(source), 0o644); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(a.folder, "status"), nil, 0o644); err != nil {
		return err
	}
	if err := run(ctx, "apt-get", append(a.options(), "update")...); err != nil {
		return fmt.Errorf("fetch the signed package list of %s: %w", suite, err)
	}
	return nil
}

// packagesOf returns the release that the suite's newest kernel of a line has, and
// the packages that hold it: one with everything before 7, then one with the image
// and one with the modules. No release is errNoKernel.
func (a apt) packagesOf(ctx context.Context, line string) (release string, packages []string, err error) {
	listed, err := output(ctx, "apt-cache", append(a.options(), "search", "--names-only",
		"^linux-(image|binary|modules)-[0-9].*-cloud-amd64$")...)
	if err != nil {
		return "", nil, fmt.Errorf("list kernels: %w", err)
	}
	return newest(listed, line)
}

var (
	errNoKernel = errors.New("no such kernel")
	kernelName  = regexp.MustCompile(`^linux-(image|binary|modules)-([0-9]+\.[0-9]+.*-cloud-amd64)$`)
)

// newest picks the newest release of a line from a list of package names.
func newest(listed, line string) (release string, packages []string, err error) {
	found := make(map[string][]string)
	for entry := range strings.Lines(listed) {
		name, _, _ := strings.Cut(strings.TrimSpace(entry), " ")
		match := kernelName.FindStringSubmatch(name)
		// 6.1-cloud-amd64 is a package that only points to another.
		if match == nil || !strings.HasPrefix(match[2], line+".") {
			continue
		}
		found[match[2]] = append(found[match[2]], name)
		if release == "" || compareVersions(match[2], release) > 0 {
			release = match[2]
		}
	}
	if release == "" {
		return "", nil, errNoKernel
	}
	return release, slices.Sorted(slices.Values(found[release])), nil
}

var number = regexp.MustCompile(`[0-9]+`)

// compareVersions compares the numbers in two releases of the same scheme.
func compareVersions(a, b string) int {
	numbers := func(text string) []int {
		var all []int
		for _, digits := range number.FindAllString(text, -1) {
			// Release numbers are short; one that overflows sorts as the largest.
			n, _ := strconv.Atoi(digits)
			all = append(all, n)
		}
		return all
	}
	return slices.Compare(numbers(a), numbers(b))
}

// download fetches packages into a folder. Their checksums are checked against the
// signed list.
func (a apt) download(ctx context.Context, folder string, packages []string) error {
	cmd, err := command(ctx, "apt-get", append(append(a.options(), "download"), packages...)...)
	if err != nil {
		return err
	}
	cmd.Dir = folder
	if printed, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("download %s: %w: %s", strings.Join(packages, " "), err, tail(string(printed), 4))
	}
	return nil
}
