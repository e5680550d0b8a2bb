// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: 'https://192.0.2.1:6443'}}]
users: [{name: u, user: {token: t}}]
contexts: [{name: x, context: {cluster: c, user: u, namespace: guard}}]
current-context: x
`

func TestConnect(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(kubeconfig), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		at     Switch
		file   string
		server string
		err    string
	}{
		{at: Off},
		{at: Off, file: file, err: "kubernetes is off"},
		{at: Auto},
		{at: Auto, file: file, server: "https://192.0.2.1:6443"},
		{at: Auto, file: file + "2", err: "no such file"},
		{at: On, err: "--kubeconfig"},
		{at: On, file: file, server: "https://192.0.2.1:6443"},
	} {
		c, err := Connect(test.at, test.file)
		switch {
		case test.err != "":
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%s with %q: %v", test.at, test.file, err)
			}
		case err != nil:
			t.Errorf("%s with %q: %v", test.at, test.file, err)
		case test.server == "":
			if c != nil {
				t.Errorf("%s with %q finds %s", test.at, test.file, c.Config.Host)
			}
		case c == nil || c.Config.Host != test.server || c.Namespace != "guard" || c.Config.QPS != requestsPerSecond:
			t.Errorf("%s with %q finds %+v", test.at, test.file, c)
		}
	}
	var s Switch
	if err := s.Set("maybe"); err == nil {
		t.Error("a switch takes maybe")
	}
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"all is well": "all is well", "a\nb\x00c\xff\u202e": "a?b?c??", "0123456789abcdef": "0123456789abcdef", "0123456789abcdefg": "0123456789abc…",
		"üüüüüüüü": "üüüüüüüü", "üüüüüüüüü": "üüüüüü…",
	} {
		if got := plain(text, 16); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}
