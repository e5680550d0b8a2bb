// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func exactMatcher(t testing.TB, key [32]byte, values ...string) *Matcher {
	t.Helper()
	var list [][]byte
	for _, v := range values {
		list = append(list, []byte(v))
	}
	data, err := BuildExact(key, "crm", list)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if strings.Contains(string(data), v) {
			t.Fatalf("the file holds %q", v)
		}
	}
	e, err := ReadExact(key, data)
	if err != nil {
		t.Fatal(err)
	}
	m, err := (&Set{}).Compile(CompileConfig{Key: key, Exact: []*ExactData{e}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestExact(t *testing.T) {
	key := [32]byte{4, 5}
	m := exactMatcher(t, key, "Jane Q. Roe", "CUST-0042-77", "jane.roe@example.org", "Łódź Główna")
	for text, want := range map[string]string{
		"name=JANE q roe;":                        "JANE q roe",
		`{"id":"cust004277"}`:                     "cust004277",
		"to: Jane.Roe@Example.ORG, others":        "Jane.Roe@Example.ORG",
		"jane, q, roe":                            "jane, q, roe",
		"x Łódź Główna y":                         "Łódź Główna",
		"Jane Roe":                                "",
		"Jane Quincy Roe":                         "",
		"cust00427":                               "",
		"jane    q    roe":                        "",
		"xcust004277":                             "",
		strings.Repeat("a", 5000) + " cust004277": "cust004277",
	} {
		got := m.Scan(nil, []byte(text))
		found := ""
		if len(got) > 0 {
			found = text[got[0].Start:got[0].End]
		}
		if found != want {
			t.Errorf("in %.40q found %q, want %q", text, found, want)
		}
		g := newGen(uint64(len(text)))
		if parts := parted(m.Stream(), []byte(text), func() int { return g.between(1, 9) }); !slices.Equal(parts, sorted(got)) {
			t.Errorf("in parts of %.40q found %v, want %v", text, parts, got)
		}
	}
}

func TestExactRefuses(t *testing.T) {
	key := [32]byte{4}
	data, err := BuildExact(key, "crm", [][]byte{[]byte("customer 17")})
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		bad := slices.Clone(data)
		bad[i] ^= 1
		if _, err := ReadExact(key, bad); err == nil {
			t.Errorf("a file with byte %d changed is taken", i)
		}
		if _, err := ReadExact(key, data[:i]); err == nil {
			t.Errorf("a file of %d bytes of %d is taken", i, len(data))
		}
	}
	if _, err := ReadExact([32]byte{5}, data); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("with another key: %v", err)
	}
	for _, v := range []string{"abc", "one two three four five", strings.Repeat("x", 200)} {
		if _, err := BuildExact(key, "crm", [][]byte{[]byte(v)}); err == nil {
			t.Errorf("the value %q is taken", v)
		}
	}
}

// TestExactMany finds each of many records, and none of as many others.
func TestExactMany(t *testing.T) {
	var values []string
	for i := range 5000 {
		values = append(values, fmt.Sprintf("customer-%06d", i*2))
	}
	m := exactMatcher(t, [32]byte{1}, values...)
	for i := range 10_000 {
		got := m.Scan(nil, fmt.Appendf(nil, "id=customer-%06d", i))
		if (len(got) == 1) != (i%2 == 0) {
			t.Fatalf("customer %d: %v", i, got)
		}
	}
}
