// SPDX-License-Identifier: Apache-2.0

package redact_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/agent/redact"
)

func TestArgv(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{[]string{"app", "--password=hunter2", "x"}, []string{"app", "--password=[redacted]", "x"}},
		{[]string{"app", "--db-password", "hunter2", "x"}, []string{"app", "--db-password", "[redacted]", "x"}},
		{[]string{"app", "--token", "--verbose"}, []string{"app", "--token", "--verbose"}},
		{[]string{"env", "AWS_SECRET_ACCESS_KEY=abc/def", "ls"}, []string{"env", "AWS_SECRET_ACCESS_KEY=[redacted]", "ls"}},
		{[]string{"/usr/bin/mysql", "-phunter2", "-h", "db"}, []string{"/usr/bin/mysql", "-p[redacted]", "-h", "db"}},
		{[]string{"redis-cli", "-a", "hunter2", "PING"}, []string{"redis-cli", "-a", "[redacted]", "PING"}},
		{[]string{"curl", "-H", "Authorization: Bearer abc.def", "http://x"}, []string{"curl", "-H", "Authorization: [redacted]", "http://x"}},
		{[]string{"curl", "https://user:hunter2@example.com/p"}, []string{"curl", "https://user:[redacted]@example.com/p"}},
		{[]string{"sh", "-c", "PGPASSWORD=hunter2 psql -h db"}, []string{"sh", "-c", "PGPASSWORD=[redacted] psql -h db"}},
		{[]string{"curl", "-d", `{"password": "hunter2", "user": "bob"}`}, []string{"curl", "-d", `{"password": [redacted], "user": "bob"}`}},
		{[]string{"x", "AKIAIOSFODNN7EXAMPLE"}, []string{"x", "[redacted]"}},
		{[]string{"ls", "-l", "/etc/passwd", "token.txt"}, []string{"ls", "-l", "/etc/passwd", "token.txt"}},
		{[]string{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"}, []string{"cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"}},
	} {
		if got := redact.Argv(slices.Clone(c.in)); !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestTextHidesPrivateKey(t *testing.T) {
	text := "echo '-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----' > k"
	if got := redact.Text(text); strings.Contains(got, "MIIE") {
		t.Error(got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a=b --password=c")
	f.Fuzz(func(t *testing.T, text string) {
		once := redact.Text(text)
		if redact.Text(once) != once && len(redact.Text(redact.Text(once))) > 4*len(once)+64 {
			t.Errorf("grows: %q", once)
		}
	})
}

func TestName(t *testing.T) {
	const body = "0123456789abcdefghijABCDEFGHIJ012345"
	for name, want := range map[string]string{
		"api.example.com": "api.example.com",
		"d111111abcdef8-very-long-label.cloudfront.net":          "d111111abcdef8-very-long-label.cloudfront.net",
		"ghp_" + body + ".drop.example":                          "[redacted].drop.example",
		"a.ghp_" + body[:10] + "." + body[10:] + ".drop.example": "[redacted].drop.example",
		"ghp_" + body[:10] + "." + body[10:] + ".drop.example":   "[redacted].drop.example",
		"GHP_" + body[:10] + "." + body[10:] + ".drop.example":   "[redacted].drop.example",
		"akia0123456789abcdef.drop.example":                      "[redacted].drop.example",
		"ghp_" + body + ".example":                               "[redacted]",
		"ghp_" + body:                                            "[redacted]",
	} {
		if got := redact.Name(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}
