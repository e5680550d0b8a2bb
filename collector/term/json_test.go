// SPDX-License-Identifier: Apache-2.0

package term_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/holdfast-project/holdfast/collector/term"
)

func TestEscapeJSON(t *testing.T) {
	for in, want := range map[string]string{
		`{"a":"plain"}` + "\n":    `{"a":"plain"}` + "\n",
		`"Zürich 東京 😀"`:           `"Zürich 東京 😀"`,
		"\"\u202e\u009b31m\x7f\"": `"\u202e\u009b31m\u007f"`,
		"\"\U000e0041\"":          `"\udb40\udc41"`,
		"\"\xff\"":                `"\ufffd"`,
	} {
		if got := string(term.EscapeJSON([]byte(in))); got != want {
			t.Errorf("EscapeJSON(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzEscapeJSON(f *testing.F) {
	f.Add([]byte(`{"a":["\u001b[2J",1e400,"` + "\u202e" + `"]}`))
	f.Add([]byte("\"\U000e0041\x7f\""))
	f.Fuzz(func(t *testing.T, in []byte) {
		if !json.Valid(in) {
			return
		}
		out := term.EscapeJSON(in)
		if a, b := decode(t, in), decode(t, out); !reflect.DeepEqual(a, b) {
			t.Fatalf("%q became %q", in, out)
		}
		if again := term.EscapeJSON(out); !bytes.Equal(out, again) {
			t.Fatalf("not idempotent: %q, then %q", out, again)
		}
	})
}

func decode(t *testing.T, text []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
