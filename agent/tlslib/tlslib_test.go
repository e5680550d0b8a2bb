// SPDX-License-Identifier: Apache-2.0

package tlslib

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// goClient is a program with crypto/tls.
const goClient = `package main

import "net/http"

func main() { _, _ = http.Get("https://localhost") }
`

// buildGo builds it for a machine, with flags of the linker.
func buildGo(tb testing.TB, arch, flags string) []byte {
	tb.Helper()
	dir := tb.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(goClient), 0o600); err != nil {
		tb.Fatal(err)
	}
	out := filepath.Join(dir, "client")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags", flags, "-o", out, source)
	cmd.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0", "GO111MODULE=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, said)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// TestGo compares what is found in a binary by its symbols with what is found in the same binary without them.
func TestGo(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		whole, stripped := one(t, buildGo(t, arch, ""), Go), one(t, buildGo(t, arch, "-s -w"), Go)
		count := map[Function]int{}
		for _, p := range whole.Probes {
			count[p.Function]++
		}
		if count[GoHandshake] != 1 || count[GoWrite] != 1 || count[GoRead] != 1 || count[GoReadEnd] < 2 {
			t.Errorf("%s: found %v", arch, count)
		}
		if !slices.Equal(whole.Probes, stripped.Probes) || whole.Version != stripped.Version || whole.Version == "" {
			t.Errorf("%s: stripped %+v, with symbols %+v", arch, stripped, whole)
		}
	}
}

// one reads a file that brings one library.
func one(t *testing.T, raw []byte, kind Kind) Library {
	t.Helper()
	list, err := Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Kind != kind {
		t.Fatalf("found %+v, want %s alone", list, kind)
	}
	return list[0]
}

// TestLibraries reads those of the machine.
func TestLibraries(t *testing.T) {
	for pattern, want := range map[string]struct {
		kind      Kind
		functions []Function
	}{
		"libssl.so.3":     {OpenSSL, []Function{OpenSSLWriteEx, OpenSSLReadEx, Handshake, Socket, Free}},
		"libgnutls.so.30": {GnuTLS, []Function{GnuTLSSend, GnuTLSReceive, Handshake, Socket, SocketThird, Free}},
		"libnspr4.so":     {NSS, []Function{NSSWrite, NSSRead, Free}},
	} {
		files, err := filepath.Glob("/usr/lib/*-linux-gnu/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Logf("%s is not installed", pattern)
			continue
		}
		raw, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		l := one(t, raw, want.kind)
		if l.Version != pattern {
			t.Errorf("%s: version %q", pattern, l.Version)
		}
		for _, f := range want.functions {
			if !slices.ContainsFunc(l.Probes, func(p Probe) bool { return p.Function == f }) {
				t.Errorf("%s: function %d is not found", pattern, f)
			}
		}
	}
}

// TestNothing gives what is no library of TLS.
func TestNothing(t *testing.T) {
	for _, name := range []string{"/bin/true", "/etc/passwd"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := Read(bytes.NewReader(raw)); err != nil || list != nil {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

// FuzzRead changes real files: every offset must be within the file's executable parts, whatever it says.
func FuzzRead(f *testing.F) {
	raw := buildGo(f, "amd64", "-s -w")
	f.Add(raw[:4096], uint32(0), uint64(0))
	f.Add([]byte("\x7fELF\x02\x01\x01"), uint32(40), uint64(1)<<63)
	for _, at := range []uint32{16, 24, 32, 40, 56, 58, 60, 62, 64, 72, 96, 104} {
		f.Add(raw[:256], at, ^uint64(0))
	}
	f.Fuzz(func(t *testing.T, head []byte, at uint32, value uint64) {
		changed := slices.Clone(raw)
		copy(changed, head)
		place := int(at) % (len(changed) - 8)
		for i := range 8 {
			changed[place+i] = byte(value >> (8 * i))
		}
		list, _ := Read(bytes.NewReader(changed))
		for _, l := range list {
			if len(l.Probes) == 0 {
				t.Fatalf("%+v has no probe", l)
			}
		}
	})
}
