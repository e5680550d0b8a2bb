// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseTargets(t *testing.T) {
	for name, test := range map[string]struct {
		targets string
		want    mirror
	}{
		"after an update": {
			"http://a.test/debian/ bookworm main Debian\n" +
				"http://b.test/debian-security/ bookworm-security main Debian\n",
			mirror{"http://a.test/debian/", "http://b.test/debian-security/"},
		},
		"before the first update": {
			"http://a.test/debian/ trixie main $(ORIGIN)\n" +
				"http://a.test/debian-security/ trixie-security main $(ORIGIN)\n",
			mirror{"http://a.test/debian/", "http://a.test/debian-security/"},
		},
		"others that look like it": {
			"http://vendor.test/apt bookworm main Vendor\n" +
				"http://cloud.test/apt cloud-sdk-bookworm main Debian\n" +
				"http://pg.test/apt bookworm-pgdg main $(ORIGIN)\n" +
				"http://docker.test/linux/debian bookworm stable $(ORIGIN)\n" +
				"http://guess.test/apt bookworm main $(ORIGIN)\n" +
				"http://a.test/debian/ oldstable-updates main Debian\n",
			mirror{"http://a.test/debian/", ""},
		},
		"none":    {"http://a.test/ubuntu noble main Ubuntu\n", mirror{}},
		"garbage": {"a b c\n\n$(REPO_URI)\n", mirror{}},
	} {
		if got := parseTargets(test.targets); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
	if got, want := (mirror{archive: "http://a.test/debian/"}).complete(),
		(mirror{"http://a.test/debian", "http://a.test/debian-security"}); got != want {
		t.Errorf("completed %+v, want %+v", got, want)
	}
}

func TestNewest(t *testing.T) {
	const listed = `linux-image-6.1-cloud-amd64 - Linux for x86-64 cloud (meta-package)
linux-image-6.1.0-9-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)
linux-image-6.1.0-56-cloud-amd64 - Linux 6.1 for x86-64 cloud (signed)
linux-image-6.1.0-56-cloud-amd64-dbg - Debug symbols
linux-image-6.1.0-60-cloud-amd64-unsigned - Linux 6.1 for x86-64 cloud
linux-image-6.12.99+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
linux-image-6.12.117+deb12-cloud-amd64 - Linux 6.12 for x86-64 cloud (signed)
linux-modules-7.3.4+deb13-cloud-amd64 - Linux 7.3.4 for x86-64 cloud (modules)
linux-image-7.2.12+deb13-cloud-amd64 - Linux 7.2.12 for x86-64 cloud
linux-image-7.3.4+deb13-cloud-amd64 - Linux 7.3.4 for x86-64 cloud
linux-binary-7.3.4+deb13-cloud-amd64 - Linux 7.3.4 for x86-64 cloud (kernel image)
`
	for line, want := range map[string]struct {
		release  string
		packages []string
	}{
		"6.1":  {"6.1.0-56-cloud-amd64", []string{"linux-image-6.1.0-56-cloud-amd64"}},
		"6.12": {"6.12.117+deb12-cloud-amd64", []string{"linux-image-6.12.117+deb12-cloud-amd64"}},
		"7": {"7.3.4+deb13-cloud-amd64", []string{"linux-binary-7.3.4+deb13-cloud-amd64",
			"linux-image-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"}},
	} {
		release, packages, err := newest(listed, line)
		if err != nil || release != want.release || !slices.Equal(packages, want.packages) {
			t.Errorf("%s: %s %v, error %v; want %+v", line, release, packages, err, want)
		}
	}
	if _, _, err := newest(listed, "5.10"); !errors.Is(err, errNoKernel) {
		t.Errorf("5.10: error %v, want %v", err, errNoKernel)
	}
}

// TestSignature checks that a package list signed by others than the keys given is
// refused: with the keys that Debian no longer uses, its own list is one.
func TestSignature(t *testing.T) {
	if err := Require(); err != nil {
		t.Fatal(err)
	}
	from, err := findMirror(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = apt{t.TempDir(), from}.update(t.Context(), "trixie-backports", "/usr/share/keyrings/debian-archive-removed-keys.gpg")
	if err == nil || !strings.Contains(err.Error(), "is not signed") {
		t.Errorf("error %v, want that the list is not signed", err)
	}
}

func TestParseKernels(t *testing.T) {
	kernels, err := ParseKernels("7, 5.10,7")
	if err != nil || names(kernels) != "7, 5.10" {
		t.Errorf("%s, error %v", names(kernels), err)
	}
	for _, list := range []string{"", "5.11", "7,", "6"} {
		if _, err := ParseKernels(list); err == nil || !strings.Contains(err.Error(), "5.10, 6.1, 6.12, 7") {
			t.Errorf("%q: error %v, want one that lists the kernels", list, err)
		}
	}
}
