// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestQuarantine leaves out what is wrong, says where and why, and keeps the rest.
func TestQuarantine(t *testing.T) {
	for body, want := range map[string]string{
		"pattern: '[a-z]+'":                           "nothing cheap finds it",
		"pattern: '(a|b)+x'":                          "nothing cheap finds it",
		"pattern: '\\d+'":                             "nothing cheap finds it",
		"pattern: '\\b[0-9]{2}-[A-Z]{2}\\b'":          "no group of it holds three digits",
		"pattern: 'acme(['":                           "missing closing",
		"pattern: 'acme$'":                            "assertion",
		"pattern: 'ACMÉ-[0-9]'":                       "only ASCII",
		"pattern: 'acme[ab]*a[ab]{12}'":               "more than 4096 states",
		"number: 99-AA":                               "no group of it holds three digits",
		"number: '9{99}'":                             "want 1 to 64",
		"{number: '9{9}', check: nosuch}":             "unknown check",
		"{number: '9{9}', class: nosuch}":             "unknown class",
		"{number: '9{9}', severity: nosuch}":          "unknown severity",
		"{number: '9{9}', colour: red}":               "unknown key \"colour\"",
		"{number: '9{9}', pattern: 'acme-[0-9]'}":     "exactly one of",
		"title: nothing":                              "exactly one of",
		"{number: '9{9}', confidence: {near: 101}}":   "want 0 to 100",
		"{number: '9{9}', confidence: {near: 10}}":    "nothing is reported",
		"{number: '9{9}', threshold: {window: soon}}": "want a time",
		"{number: '9{9}', mask: {first: 9, last: 9}}": "mask",
		"{number: '9{9}', window: 1000}":              "window 1000",
		"{number: '9{9}', words: [x]}":                "want 2 to",
		"{after: [ab], pattern: '[0-9]{6}'}":          "want 3 letters",
		"{finder: nosuch}":                            "unknown finder",
		"{number: '9{9}', bulk: -1}":                  "bulk -1",
		"{after: [order], number: '9{9}'}":            "after needs one pattern",
	} {
		if !strings.HasPrefix(body, "{") {
			body = "{" + body + "}"
		}
		text := "detectors:\n  - {id: good, pattern: 'acme-[0-9]{4}'}\n  - {id: bad, " + body[1:] + "\n"
		set, problems, err := Parse("users.yaml", []byte(text))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if len(problems) != 1 || len(set.Detectors()) != 1 {
			t.Errorf("%s: %d problems, %d detectors", body, len(problems), len(set.Detectors()))
			continue
		}
		if got := problems[0].Error(); !strings.HasPrefix(got, "users.yaml:3: detector bad: ") || !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %q", body, got, want)
		}
	}
	for text, want := range map[string]string{
		"rules: []": "users.yaml:1: ", "detectors: {}": "users.yaml:1: ", "a: [": "users.yaml:1: ", "- x\n": "users.yaml:1: ",
	} {
		if _, _, err := Parse("users.yaml", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestUsersDetectors finds what users describe, in every form that a description has.
func TestUsersDetectors(t *testing.T) {
	set, problems, err := Parse("users.yaml", []byte(`
detectors:
  - id: project
    pattern: '\bPRJ-[0-9]{6}\b'
  - id: any-case
    pattern: '(?i)codename[ :]{1,3}[a-z]{4,12}'
  - id: suffix
    pattern: '[0-9]{4}/internal'
  - id: shape
    pattern: '\b\d{4}-\d{6}(?:-\d)?\b'
  - id: staff
    number: S-999_999
    words: [staff, badge number]
  - id: ticket
    after: [ticket code]
    pattern: '[A-Z]{3}[0-9]{3}'
`))
	if err != nil || problems != nil {
		t.Fatal(err, problems)
	}
	m, err := set.Compile(CompileConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"see PRJ-123456.":                   "project:PRJ-123456",
		"see XPRJ-123456":                   "",
		"PRJ-1234567":                       "",
		"12PRJ-123456 PRJ-654321":           "project:PRJ-654321",
		"CodeName: falcon, soon":            "any-case:CodeName: falcon",
		"a 1234/internal":                   "suffix:1234/internal",
		"id 1234-567890 x":                  "shape:1234-567890",
		"id 1234-567890-1 x":                "shape:1234-567890-1",
		"id 1234-56789 x":                   "",
		"badgeNumber: S-123/456":            "",
		"badgeNumber: S-123-456":            "staff:S-123-456",
		"S-123-456":                         "",
		`"ticket_code": "ABC123"`:           "ticket:ABC123",
		"ticket code of the day was ABC123": "",
		"name,badge number\n" + strings.Repeat("x,y\n", 40) + "z,S-123-456": "staff:S-123-456",
		"badge number,name\n" + strings.Repeat("x,y\n", 40) + "z,S-123-456": "",
	} {
		var got []string
		for _, x := range whole(m, []byte(text)) {
			got = append(got, m.detectors[x.Detector].ID+":"+text[x.Start:x.End])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("in %q found %q, want %q", text, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	m := builtinMatcher(t)
	for text, want := range map[string]string{
		"card 4111-1111" + "-1111-1111":                      "411111******1111",
		"ssn: 219-09" + "-1234":                              "*****1234",
		"to jane.doe@" + "example.org":                       "j***@example.org",
		"dob: 1980-02-03":                                    "[national-id]",
		"key=AKIA" + "Q3EGRZ5XK2VN7UTB ":                     "AKIA********TB",
		"IBAN DE89 3704 0044" + " 0532 0130 00":              "DE89********3000",
		"Authorization: Basic " + "YWxhZGRpbjpvcGVuc2VzYW1l": "[credential]",
	} {
		got := m.Scan(nil, []byte(text))
		if len(got) != 1 {
			t.Errorf("in %q found %v", text, got)
			continue
		}
		if mask := string(m.Mask(nil, got[0], []byte(text))); mask != want {
			t.Errorf("mask of %q is %q, want %q", text, mask, want)
		}
	}
}

// TestHash gives the same value the same hash however it is written, and another under another key.
func TestHash(t *testing.T) {
	m := builtinMatcher(t)
	set, err := Builtin()
	if err != nil {
		t.Fatal(err)
	}
	other, err := set.Compile(CompileConfig{Enabled: []string{"payment-card"}, Key: [32]byte{7}})
	if err != nil {
		t.Fatal(err)
	}
	plain, spaced := []byte("card=4111111111"+"111111"), []byte("card: 4111 1111"+" 1111 1111")
	a, b, c := m.Scan(nil, plain), m.Scan(nil, spaced), other.Scan(nil, plain)
	if len(a) != 1 || len(b) != 1 || len(c) != 1 || a[0].Hash != b[0].Hash || a[0].Hash == c[0].Hash {
		t.Fatalf("hashes of %v, %v, %v", a, b, c)
	}
}

// TestEvidence shows when a bare number is a card: by a word, a column's head, a field's name, or company of its kind.
func TestEvidence(t *testing.T) {
	m := builtinMatcher(t)
	g := newGen(41)
	bare := func() string { return luhnDigit("4" + g.of(decimal, 14)) }
	var list []string
	for range 12 {
		list = append(list, bare())
	}
	for text, want := range map[string]int{
		`{"id":` + bare() + `}`: 0, `{"cardNumber":` + bare() + `}`: 1, bare() + " is the card": 1,
		"a,pan,b\n" + strings.Repeat("1,2,3\n", 40) + "1," + bare() + ",3\n": 1, "pan,a,b\n" + strings.Repeat("1,2,3\n", 40) + "1," + bare() + ",3\n": 0,
		strings.Join(list, "\n"): 8,
	} {
		if got := m.Scan(nil, []byte(text)); len(got) != want {
			t.Errorf("in %q found %d, want %d", text, len(got), want)
		}
	}
	for text, want := range map[string]string{
		"name,passport no,city\nA,C01X00T47,B\nD,C01X00T48,E\n": "C01X00T47 C01X00T48",
		"name,passport no,city\nC01X00T47,A,B\nC01X00T47,A\n":   "",
		"mrn;dob\n12345678;1980-02-03\n":                        "12345678 1980-02-03",
		"name,dob\nA,\"Apr 3, 1980\"":                           "Apr 3, 1980",
	} {
		var got []string
		for _, x := range whole(m, []byte(text)) {
			got = append(got, text[x.Start:x.End])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("in the table %q found %q, want %q", text, got, want)
		}
		if in := parted(m.Stream(), []byte(text), func() int { return 3 }); !slices.Equal(in, whole(m, []byte(text))) {
			t.Errorf("in parts of the table %q found %v", text, in)
		}
	}
	named := m.Stream()
	named.Name([]byte("dateOfBirth"))
	found := named.Close(named.Write(named.Write(nil, []byte("1980-")), []byte("02-03")))
	if got := m.ScanNamed(nil, []byte("dateOfBirth"), []byte("1980-02-03")); len(got) != 1 || len(found) != 1 || found[0].Match != got[0] {
		t.Errorf("by the name of an announced field found %v and %v", got, found)
	}
	if got := m.ScanNamed(nil, []byte("card_number"), []byte(bare())); len(got) != 1 {
		t.Errorf("by the field's name found %v", got)
	}
}

// TestDocumented checks that the documentation lists every detector, with its title, and no other.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/dlp.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `") && strings.Count(line, "|") > 5 {
			rows++
		}
	}
	m := builtinMatcher(t)
	for _, d := range m.detectors {
		if !strings.Contains(string(page), "| `"+d.ID+"` | "+d.Title+" |") {
			t.Errorf("docs/dlp.md has no row of %s, %s", d.ID, d.Title)
		}
	}
	if rows != len(m.detectors) {
		t.Errorf("docs/dlp.md has %d rows of detectors, there are %d", rows, len(m.detectors))
	}
}
