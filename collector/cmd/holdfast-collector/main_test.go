// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// call runs the command.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), &out, &errs, args)
	return code, out.String(), errs.String()
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "collector.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for args, form := range map[string]string{
		"":                       `^hfj_[a-z2-7]{16}_[a-z2-7]{52}_[0-9a-f]{64}\n$`,
		"--node n1 --uses 3":     `^hfj_[a-z2-7]{16}_[a-z2-7]{52}_[0-9a-f]{64}\n$`,
		"--role admin":           `^hfa_[a-z2-7]{16}_[a-z2-7]{52}\n$`,
		"--role viewer --ttl 1h": `^hfa_[a-z2-7]{16}_[a-z2-7]{52}\n$`,
	} {
		code, out, errs := call(t, append([]string{"token", "create", "--data-dir", dir}, strings.Fields(args)...)...)
		if code != 0 || !regexp.MustCompile(form).MatchString(out) || errs != "" {
			t.Errorf("token create %s: %d %q %q", args, code, out, errs)
		}
	}
	_, out, _ := call(t, "token", "list", "--data-dir", dir)
	if strings.Count(out, "good") != 4 || !strings.Contains(out, "n1") {
		t.Errorf("tokens are listed as\n%s", out)
	}
	id := regexp.MustCompile(`(?m)^([a-z2-7]{16})  admin`).FindStringSubmatch(out)
	if id == nil {
		t.Fatalf("no admin token in\n%s", out)
	}
	if code, _, errs := call(t, "token", "revoke", "--data-dir", dir, id[1]); code != 0 {
		t.Error(errs)
	}
	if _, out, _ := call(t, "token", "list", "--data-dir", dir); !regexp.MustCompile(id[1] + ` +admin +revoked`).MatchString(out) {
		t.Errorf("after revoking:\n%s", out)
	}
	code, pem, _ := call(t, "ca", "show", "--data-dir", dir)
	stored, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if code != 0 || err != nil || pem != string(stored) || !strings.HasPrefix(pem, "-----BEGIN CERTIFICATE-----") {
		t.Errorf("ca show: %d %q %v", code, pem, err)
	}
	if code, _, errs := call(t, "node", "revoke", "--data-dir", dir, "n1"); code != 0 {
		t.Error(errs)
	}
}

func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	unknown := write(t, "data-dir: /x\nhtp-listen: :1\nalerts-keep-days: many\ndata-dir: /y\nhostname: {a: b}\n")
	for _, test := range []struct {
		args string
		want []string
	}{
		{"token create", []string{"no data directory", "--data-dir"}},
		{"serve", []string{"no data directory"}},
		{"serve --nonsense", []string{"unknown flag: --nonsense"}},
		{"serve extra", []string{"extra"}},
		{"nonsense", []string{"nonsense"}},
		{"token create --role root --data-dir " + dir, []string{`role "root" is none of join, viewer and admin`}},
		{"token create --role admin --uses 2 --data-dir " + dir, []string{"--uses is for join tokens alone"}},
		{"token create --node a/b --data-dir " + dir, []string{`node name "a/b"`}},
		{"token create --ttl soon --data-dir " + dir, []string{"ttl"}},
		{"token revoke --data-dir " + dir + " none", []string{`"none": not found`}},
		{"node revoke --data-dir " + dir + " ../x", []string{`node name "../x"`}},
		{"node allow --data-dir " + dir + " ../x", []string{`node name "../x"`}},
		{"node allow --data-dir " + dir + " never-revoked", []string{`"never-revoked"`, "not revoked"}},
		{"serve --data-dir " + dir + " --kubernetes-enrol a/b", []string{"--kubernetes-enrol", "--kubeconfig"}},
		{"serve --data-dir " + dir + " --kubernetes-enrol a/b --kubeconfig /nowhere", []string{"--kubernetes-enrol", "/nowhere"}},
		{"serve --alerts-max-bytes many --data-dir " + dir, []string{"512MiB"}},
		{"serve --alerts-keep-days -1 --data-dir " + dir, []string{"cannot be negative"}},
		{"serve --grpc-listen nowhere:99999 --data-dir " + dir, []string{"--grpc-listen", "nowhere:99999"}},
		{"serve --http-cert x.pem --data-dir " + dir, []string{"--http-key"}},
		{"serve --config /missing.yaml", []string{"--config", "/missing.yaml"}},
		{"serve --config " + unknown, []string{
			unknown + `:2: unknown key "htp-listen"`, unknown + ":3: alerts-keep-days", unknown + `:4: key "data-dir" is there twice`, unknown + ":5: hostname: neither a value nor a list",
		}},
		{"serve --config " + write(t, "- a\n"), []string{"not a mapping"}},
		{"serve --config " + write(t, "a: [\n"), []string{"yaml"}},
		{"serve --config " + write(t, "data-dir: [a, b]\n"), []string{"a list, where one value is wanted"}},
		{"serve --config " + write(t, "config: x\n"), []string{`unknown key "config"`}},
	} {
		code, out, errs := call(t, strings.Fields(test.args)...)
		if code == 0 || out != "" {
			t.Errorf("%s: exit %d, %q", test.args, code, out)
		}
		for _, want := range test.want {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: says %q, want %q in it", test.args, errs, want)
			}
		}
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "serve", "token", "token create", "token list", "token revoke", "ca show", "node revoke", "node allow"} {
		code, out, _ := call(t, append(strings.Fields(args), "--help")...)
		if code != 0 || len(out) < 200 || !strings.Contains(out, "--data-dir") {
			t.Errorf("help of %q is\n%s", args, out)
		}
	}
	if code, out, _ := call(t, "--version"); code != 0 || !strings.HasPrefix(out, "holdfast-collector ") {
		t.Errorf("version is %q", out)
	}
}

// TestServe runs serve from a configuration file that serves token create too, and stops it as a signal does.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	config := write(t, "data-dir: "+dir+"\nhttp-listen: 127.0.0.1:1\ngrpc-listen: 127.0.0.1:0\nalerts-max-bytes: 1GiB\nhostname: [a.example, b.example]\nrole: admin\nlog-level: debug\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	logs := &lines{found: make(chan string, 1), form: regexp.MustCompile(`"http":"([^"]+)"`)}
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, &bytes.Buffer{}, logs, []string{"serve", "--config", config, "--http-listen", "127.0.0.1:0"})
	}()
	address := <-logs.found
	code, pem, _ := call(t, "ca", "show", "--config", config)
	if code != 0 {
		t.Fatal("ca show")
	}
	if code, out, errs := call(t, "token", "create", "--config", config); code != 0 || !strings.HasPrefix(out, "hfa_") {
		t.Errorf("the role in the file has no effect: %q %q", out, errs)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(pem))
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "b.example"}}}
	response, err := client.Get("https://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("readyz answers %d, %v", response.StatusCode, err)
	}
	client.CloseIdleConnections()
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("serve ends with %d", code)
	}
}

// lines is a log that gives the first match of a form.
type lines struct {
	form  *regexp.Regexp
	found chan string
}

// Write is io.Writer.Write.
func (l *lines) Write(p []byte) (int, error) {
	if m := l.form.FindSubmatch(p); m != nil {
		select {
		case l.found <- string(m[1]):
		default:
		}
	}
	return len(p), nil
}
