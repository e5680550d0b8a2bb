// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"/usr/bin/env", "/usr/bin/env"},
		{"worker12", "worker\x01"},
		{"12", "\x01"},
		{"7", "\x01"},
		{"a1b22c", "\x01"},
		{"a1b", "a\x01b"},
		{"abc", "abc"},
		{"cafe", "\x01"},
		{"CaFe", "\x01"},
		{"cafes", "cafes"},
		{"g12h34", "g\x01h\x01"},
		{"550e8400-e29b-41d4-a716-446655440000", "\x01-\x01-\x01-\x01-\x01"},
		{"2026-11-21T15:17:26Z", "\x01-\x01-\x01T\x01:\x01:\x01Z"},
		{"/tmp/x_12.log", "/tmp/x_\x01.log"},
		{"\x01", "\x02"},
		{"\x02", "\x02"},
		{"12\x0134", "\x01\x02\x01"},
		{"é12", "é\x01"},
		{"12\x0034\x00", "\x01\x00\x01\x00"},
	} {
		if got := Shape([]byte(c.text)); string(got) != c.want {
			t.Errorf("shape of %q is %q, want %q", c.text, got, c.want)
		}
	}
}

// reference is the definition of a shape with regular expressions.
func reference(text []byte) []byte {
	word := regexp.MustCompile(`^[0-9A-Za-z]+`)
	hex := regexp.MustCompile(`^[0-9A-Fa-f]{4,}$`)
	digits := regexp.MustCompile(`[0-9]+`)
	var shape []byte
	for len(text) > 0 {
		n := 1
		if at := word.FindIndex(text); at != nil {
			n = at[1]
		}
		switch part := text[:n]; {
		case hex.Match(part):
			shape = append(shape, 1)
		case part[0] == 1:
			shape = append(shape, 2)
		default:
			shape = append(shape, digits.ReplaceAll(part, []byte{1})...)
		}
		text = text[n:]
	}
	return shape
}

func FuzzShape(f *testing.F) {
	for _, text := range []string{"", "/var/log/app-2026-11-21.log", "deadbeef", "a1b2", "x\x01y\x02", "\xff12\x80", "ab0c"} {
		f.Add([]byte(text), []byte("/"+text))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		shape := Shape(a)
		if want := reference(a); !bytes.Equal(shape, want) {
			t.Fatalf("shape of %q is %q, want %q", a, shape, want)
		}
		if len(shape) > len(a) || bytes.ContainsAny(shape, "0123456789") {
			t.Fatalf("shape of %q is %q", a, shape)
		}
		// A shape is a shape of some text.
		if again := reshape(shape); !bytes.Equal(again, shape) {
			t.Fatalf("%q, the shape of %q, is reshaped to %q", shape, a, again)
		}
		joined := Shape(slices.Concat(a, []byte{'/'}, b))
		if want := slices.Concat(shape, []byte{'/'}, Shape(b)); !bytes.Equal(joined, want) {
			t.Fatalf("shape of %q/%q is %q, want %q", a, b, joined, want)
		}
		if in := bytes.Clone(a); !bytes.Equal(AppendShape(in[:0], in), shape) {
			t.Fatalf("shape of %q in place is not %q", a, shape)
		}
	})
}

func TestShapeAllocatesNothing(t *testing.T) {
	text := []byte("/srv/data/550e8400-e29b-41d4-a716-446655440000/part-0012.parquet")
	buffer := make([]byte, 0, len(text))
	if n := testing.AllocsPerRun(100, func() { buffer = AppendShape(buffer[:0], text) }); n != 0 {
		t.Errorf("AppendShape allocates %v times", n)
	}
	template, err := ParseTemplate("/srv/data/<n>-<n>-<n>-<n>-<n>/part-<n>.parquet")
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if !template.Matches(text) {
			t.Errorf("%s does not match", template)
		}
	}); n != 0 {
		t.Errorf("Matches allocates %v times", n)
	}
}

func TestShapeArguments(t *testing.T) {
	long := "/bin/x\x00" + strings.Repeat("y", MaxText)
	for _, c := range []struct {
		argv string
		want []string
	}{
		{"", nil},
		{"\x00", []string{""}},
		{"\x00\x00", []string{"", ""}},
		{"/usr/bin/python3\x00/srv/app.py\x00--port=8080\x00", []string{"/usr/bin/python<n>", "/srv/app.py", "--port=<n>"}},
		{"sh\x00-c\x00cat < *.txt \\ \n\x01\xff\x00", []string{"sh", "-c", `cat \< \*.txt \\ \x0a\x02\xff`}},
		{"sh\x00-c", []string{"sh", `-c\z`}},
		{long, []string{"/bin/x", strings.Repeat("y", MaxText-7) + `\z`}},
	} {
		got := ShapeArguments([]byte(c.argv))
		if !slices.Equal(got, c.want) {
			t.Errorf("arguments of %.40q are %.80q, want %.80q", c.argv, got, c.want)
		}
	}
}

func TestArgumentBytesRefuses(t *testing.T) {
	for _, c := range []struct {
		shape []string
		want  string
	}{
		{[]string{"app", "--port=8080"}, `write "--port=<n>"`},
		{[]string{"app", "deadbeef"}, `write "<n>"`},
		{[]string{"app", "abc<n>"}, `write "<n>"`},
		{[]string{"app", "<n><n>"}, `write "<n>"`},
		{[]string{"ls", "*"}, "no wildcards"},
		{[]string{"ls", `\x01`}, `no shape holds \x01`},
		{[]string{"ls", `\x00`}, "NUL"},
		{[]string{"ls", `\q`}, "backslash"},
		{[]string{"ls", `\x4`}, "backslash"},
		{[]string{"ls", `\`}, "backslash"},
		{[]string{"ls", `<m>`}, "<n>"},
		{[]string{`ls\z`, `a`}, "backslash"},
		{[]string{strings.Repeat("y", MaxText+1)}, "4096"},
	} {
		if _, err := ArgumentBytes(c.shape); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: error %v, want %q", c.shape, err, c.want)
		}
	}
}

func FuzzArguments(f *testing.F) {
	f.Add([]byte("sh\x00-c\x00sleep 12 < /dev/null\x00"))
	f.Add([]byte("a\x00\x01\x02\\z"))
	f.Fuzz(func(t *testing.T, argv []byte) {
		want := Shape(argv[:min(len(argv), MaxText)])
		texts := ShapeArguments(argv)
		got, err := ArgumentBytes(texts)
		if err != nil {
			t.Fatalf("%q as %q: %v", argv, texts, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%q as %q is %q, want %q", argv, texts, got, want)
		}
	})
}

func TestParseTemplate(t *testing.T) {
	for _, c := range []struct {
		text string
		kind Kind
		raw  string
	}{
		{"/", KindExact, "/"},
		{"/etc/hosts", KindExact, "/etc/hosts"},
		{"/srv/v2/data", KindExact, "/srv/v2/data"},
		{`/tmp/a\*b\<n\>`[:12], KindExact, "/tmp/a*b<n"},
		{`/tmp/\x01\xff\\`, KindExact, "/tmp/\x01\xff\\"},
		{"/tmp/ü ", KindExact, "/tmp/ü "},
		{"/tmp/job-<n>.log", KindShaped, "/tmp/job-\x01.log"},
		{`/tmp/<n>\x02`, KindShaped, "/tmp/\x01\x02"},
		{"/tmp/*", KindFolder, "/tmp"},
		{"/*", KindFolder, ""},
		{"/srv/<n>/*", KindShapedFolder, "/srv/\x01"},
		{"/var/lib/app/**", KindTree, "/var/lib/app/"},
		{"/**", KindTree, "/"},
		{`/a/\**`, KindExact, ""},
	} {
		got, err := ParseTemplate(c.text)
		if c.raw == "" && c.kind == KindExact {
			if err == nil {
				t.Errorf("%q is accepted", c.text)
			}
			continue
		}
		if err != nil || got.Kind != c.kind || string(got.Raw) != c.raw {
			t.Errorf("%q is %s %q (%v), want %s %q", c.text, got.Kind, got.Raw, err, c.kind, c.raw)
			continue
		}
		if got.String() != c.text {
			t.Errorf("%q is written %q", c.text, got)
		}
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "absolute"},
		{"etc/hosts", "absolute"},
		{"*", "absolute"},
		{"/etc/", "shortest"},
		{"//etc", "shortest"},
		{"/etc/../x", "shortest"},
		{"/etc/./x", "shortest"},
		{"/etc/..", "shortest"},
		{"/etc//*", "shortest"},
		{"/etc//**", "shortest"},
		{"//", "shortest"},
		{"/etc/*.conf", "last segment"},
		{"/etc/a*", "last segment"},
		{"/etc/*/x", "last segment"},
		{"/etc/***", "last segment"},
		{"/srv/<n>/**", "without <n>"},
		{"/srv/v2/<n>", `write "/srv/v<n>/<n>"`},
		{"/srv/cafe/<n>", `write "/srv/<n>/<n>"`},
		{"/srv/v2/<n>/*", `write "/srv/v<n>/<n>"`},
		{"/tmp/<x>", "<n>"},
		{"/tmp/<", "<n>"},
		{`/tmp/\`, "backslash"},
		{`/tmp/\z`, "backslash"},
		{`/tmp/\x00`, "NUL"},
		{`/tmp/\x01<n>`, `\x01`},
		{"/" + strings.Repeat("x", MaxText), "4096"},
		{"/" + strings.Repeat("x", MaxTree) + "/**", "112"},
	} {
		if got, err := ParseTemplate(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %s %q, error %v, want %q", c.text, got.Kind, got.Raw, err, c.want)
		}
	}
}

func TestTemplateMatches(t *testing.T) {
	for _, c := range []struct {
		template, path string
		want           bool
	}{
		{"/etc/hosts", "/etc/hosts", true},
		{"/etc/hosts", "/etc/hosts2", false},
		{"/tmp/job-<n>", "/tmp/job-17", true},
		{"/tmp/job-<n>", "/tmp/job-deadbeef", true},
		{"/tmp/job-<n>", "/tmp/job-x", false},
		{"/tmp/job-<n>", "/tmp/job-\x01", false},
		{"/tmp/*", "/tmp/x", true},
		{"/tmp/*", "/tmp", false},
		{"/tmp/*", "/tmp/x/y", false},
		{"/*", "/x", true},
		{"/*", "/x/y", false},
		{"/srv/<n>/*", "/srv/12/x7", true},
		{"/srv/<n>/*", "/srv/x/x7", false},
		{"/var/lib/**", "/var/lib/a/b", true},
		{"/var/lib/**", "/var/lib", false},
		{"/var/lib/**", "/var/libx", false},
		{"/**", "/anything/at/all", true},
	} {
		template, err := ParseTemplate(c.template)
		if err != nil {
			t.Fatal(err)
		}
		if got := template.Matches([]byte(c.path)); got != c.want {
			t.Errorf("%s matches %q: %t", c.template, c.path, got)
		}
	}
	if (Template{}).Matches([]byte("/")) {
		t.Error("no template matches")
	}
}

func FuzzTemplate(f *testing.F) {
	for _, text := range []string{"/etc/hosts", "/tmp/<n>/*", "/a/**", `/\x01\*`, "/cafe", "/é\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "/") && !strings.Contains(text, "\x00") && len(text) <= MaxText && clean([]byte(text)) == nil {
			for _, s := range []string{ExactTemplate([]byte(text)), ShapedTemplate([]byte(text))} {
				template, err := ParseTemplate(s)
				if err != nil || !template.Matches([]byte(text)) || template.String() != s {
					t.Fatalf("%q of %q: %v", s, text, err)
				}
			}
		}
		template, err := ParseTemplate(text)
		if err != nil {
			return
		}
		again, err := ParseTemplate(template.String())
		if err != nil || again.Kind != template.Kind || !bytes.Equal(again.Raw, template.Raw) {
			t.Fatalf("%q is %s %q, written %q, read as %s %q (%v)",
				text, template.Kind, template.Raw, template, again.Kind, again.Raw, err)
		}
	})
}
