// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/tests/golden"
)

func TestFormatRoundTrip(t *testing.T) {
	for seed := range uint64(200) {
		r := newRandom(seed)
		for layer, p := range map[string]*Profile{"observed": r.observed("node-a"), "overlay": r.overlay()} {
			if err := p.Validate(); err != nil {
				t.Fatalf("seed %d: %s: %v", seed, layer, err)
			}
			text := Encode(p)
			again, err := DecodeOne("p.yaml", text)
			if err != nil {
				t.Fatalf("seed %d: %s: %v\n%s", seed, layer, err, text)
			}
			if !bytes.Equal(Encode(again), text) {
				t.Fatalf("seed %d: %s:\n%s\nread and written again:\n%s", seed, layer, text, Encode(again))
			}
			if len(p.Signals) == 0 {
				p.Signals, again.Signals = nil, nil
			}
			if !reflect.DeepEqual(again, p) {
				t.Fatalf("seed %d: %s:\n%s\nis read as %+v\nfor         %+v", seed, layer, text, again, p)
			}
			if _, err := DecodeOne("p.yaml", EncodeBare(p)); err != nil {
				t.Fatalf("seed %d: %s bare: %v", seed, layer, err)
			}
		}
	}
}

func TestDecodeDocuments(t *testing.T) {
	r := newRandom(1)
	a, b := r.observed("a"), r.observed("b")
	b.Key.Name = "other"
	text := EncodeDocuments([]Document{
		{Profile: a, Modes: Modes{SignalProcess: ModeOff, SignalProtect: ModeEnforce}},
		{Profile: b},
	})
	documents, err := Decode("p.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(documents) != 2 || documents[0].Modes[SignalProcess] != ModeOff || documents[0].Modes[SignalProtect] != ModeEnforce ||
		documents[1].Modes != nil || documents[1].Line <= documents[0].Line {
		t.Errorf("documents %+v", documents)
	}
	if !bytes.Equal(EncodeDocuments(documents), text) {
		t.Error("the file is not what it was")
	}
}

// TestDecodeTranscripts reads the files in testdata/decode and compares with what is beside them: the canonical form, or
// why they are refused.
func TestDecodeTranscripts(t *testing.T) {
	golden.Each(t, "testdata/decode/*.yaml", func(t *testing.T, file, text string) {
		documents, err := Decode(filepath.Base(file), []byte(text))
		got := []byte(nil)
		if err != nil {
			got = []byte("refused:\n" + err.Error() + "\n")
		} else {
			got = EncodeDocuments(documents)
		}
		golden.Compare(t, strings.TrimSuffix(file, ".yaml")+".out", got)
	})
}

const head = "apiVersion: holdfast.dev/v1alpha1\nkind: Profile\nmetadata: {kind: Pod, name: %s, container: c}\n"

func TestDecodeLimits(t *testing.T) {
	var file strings.Builder
	for i := range MaxProfiles + 1 {
		fmt.Fprintf(&file, "---\n"+head, fmt.Sprintf("p%d", i))
	}
	refused(t, file.String(), "more than 1000 profiles")

	file.Reset()
	fmt.Fprintf(&file, head+"processes:\n- path: /x\n  files:\n", "p")
	for i := range MaxEntries - 1 {
		fmt.Fprintf(&file, "  - {path: /f/%d, access: [write]}\n", i)
	}
	if _, err := Decode("p.yaml", []byte(file.String())); err != nil {
		t.Errorf("%d entries: %v", MaxEntries, err)
	}
	file.WriteString("  - {path: /f/x, access: [write]}\n")
	refused(t, file.String(), "p.yaml:65542: more than 65536 entries")

	refused(t, strings.Repeat(" ", MaxFile+1), "bytes, at most")
	long := fmt.Sprintf(head, "p") + "processes:\n- path: /" + strings.Repeat("x", MaxText)
	refused(t, long, "longer than 4096 bytes")
	refused(t, long+strings.Repeat("x", 4*MaxText), "a value of")
}

func refused(t *testing.T, text, want string) {
	t.Helper()
	_, err := Decode("p.yaml", []byte(text))
	var invalid *InvalidError
	if !errors.As(err, &invalid) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestDecodeTellsBoundedProblems(t *testing.T) {
	text := fmt.Sprintf(head, "p") + "processes:\n" + strings.Repeat("- path: x\n", 50)
	_, err := Decode("p.yaml", []byte(text))
	var invalid *InvalidError
	if !errors.As(err, &invalid) || len(invalid.Problems) != MaxProblems || invalid.More != 50-MaxProblems {
		t.Fatalf("error %v", err)
	}
	if p := invalid.Problems[2]; p.Line != 7 || !strings.Contains(p.Reason, "absolute") {
		t.Errorf("third problem %+v", p)
	}
	if !strings.HasSuffix(err.Error(), "and 30 more problems") {
		t.Errorf("error %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/decode/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		documents, err := Decode("p.yaml", data)
		if err != nil {
			var invalid *InvalidError
			if !errors.As(err, &invalid) || len(invalid.Problems) == 0 {
				t.Fatalf("error %v", err)
			}
			return
		}
		text := EncodeDocuments(documents)
		again, err := Decode("p.yaml", text)
		if err != nil {
			t.Fatalf("%q is written %q: %v", data, text, err)
		}
		if !bytes.Equal(EncodeDocuments(again), text) {
			t.Fatalf("%q is written %q, then %q", data, text, EncodeDocuments(again))
		}
		for _, d := range documents {
			if err := d.Profile.Validate(); err != nil {
				t.Fatalf("%q is not valid: %v", data, err)
			}
			if _, err := Effective(d.Profile, d.Profile); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestKey(t *testing.T) {
	for _, k := range []Key{
		{"shop", "Deployment", "web", "nginx"},
		{"", "Container", "a/b%c", "é x"},
	} {
		again, err := ParseKey(k.String())
		if err != nil || again != k {
			t.Errorf("%+v is written %q, read %+v (%v)", k, k, again, err)
		}
	}
	for _, text := range []string{"", "a/b/c", "a/b/c/d/e", "a//c/d", "a/b//d", "a/b/c/", "a/b/c/%zz", "a/b/c/%0a", "a/b/c/\xff",
		"a/b/c/" + strings.Repeat("x", 600)} {
		if k, err := ParseKey(text); err == nil {
			t.Errorf("%.40q is read as %+v", text, k)
		}
	}
}

// TestKeyIsCheap holds the text of a key to the one string that it is: it is made for many workloads at a time.
func TestKeyIsCheap(t *testing.T) {
	k := Key{"shop", "Deployment", "web", "nginx"}
	if n := testing.AllocsPerRun(100, func() { _ = k.String() }); n > 1 {
		t.Errorf("the text of a key takes %v allocations", n)
	}
}

func TestCompareKeys(t *testing.T) {
	ordered := []Key{
		{"", "Container", "b", "x"}, {"shop", "Deployment", "web", "app"}, {"shop", "Deployment", "web", "nginx"},
		{"shop", "Deployment", "web-2", "app"}, {"shop", "Job", "a", "a"}, {"shop-2", "Deployment", "a", "a"},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := a.Compare(b); got != cmp.Compare(i, j) {
				t.Errorf("%v against %v: %d", a, b, got)
			}
		}
	}
}

// TestDocumentedFile reads the file that docs/profile.md shows.
func TestDocumentedFile(t *testing.T) {
	data, err := os.ReadFile("../../docs/profile.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "```yaml\n")
	text, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/profile.md shows no file")
	}
	documents, err := Decode("profile.md", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(EncodeDocuments(documents)); got != text {
		t.Errorf("the file is written\n%s\nnot\n%s", got, text)
	}
}
