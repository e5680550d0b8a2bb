// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
)

// write writes a file of the test and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// plain listens without TLS and returns its address.
func plain(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// stranger is a TLS server that is no collector; it returns its address and its certificate.
func stranger(t *testing.T, handler http.Handler) (address, ca string) {
	t.Helper()
	server := httptest.NewTLSServer(handler)
	t.Cleanup(server.Close)
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server.Listener.Addr().String(), write(t, "stranger.pem", string(block))
}

// closedPort returns an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestErrorsSayWhatToDo runs into everything that can be wrong between a person and an answer.
func TestErrorsSayWhatToDo(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	good := of(api)
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>\x1b[2J")) })
	web, webCA := stranger(t, page)
	broken, brokenCA := stranger(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	moved, movedCA := stranger(t, http.RedirectHandler("https://"+api.Address+"/api/v1/nodes", http.StatusFound))
	other, err := tls.Listen("tcp", "127.0.0.2:0", api.Authority.ServerTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake() // It fails: the client does not like the name.
			conn.Close()
		}
	}()
	for _, c := range []struct {
		name  string
		world world
		args  string
		code  int
		// error and advice must stand in what is said.
		error, advice string
	}{
		{"no address", world{}, "nodes", cli.ExitUsage, "no collector named", "HOLDFAST_ADDRESS=HOST:PORT"},
		{"address without port", good.with("HOLDFAST_ADDRESS", "host"), "nodes", cli.ExitUsage, `address "host" is not HOST:PORT`, "with its port"},
		{"address is a URL", good.with("HOLDFAST_ADDRESS", "https://host:1"), "nodes", cli.ExitUsage, "is not HOST:PORT", "without https://"},
		{"unknown host", good.with("HOLDFAST_ADDRESS", "no.such.host.invalid:1"), "nodes", cli.ExitUnreachable, "no.such.host.invalid", "HOLDFAST_ADDRESS"},
		{"nothing listens", good.with("HOLDFAST_ADDRESS", closedPort(t)), "nodes", cli.ExitUnreachable, "connection refused", "Check that the collector runs"},
		{"no TLS", good.with("HOLDFAST_ADDRESS", plain(t)), "nodes", cli.ExitUnreachable, "", "does not speak TLS"},
		{"no CA file", good.with("HOLDFAST_CA", "/no/such/file"), "nodes", cli.ExitUsage, "/no/such/file", "HOLDFAST_CA"},
		{"CA file is none", good.with("HOLDFAST_CA", write(t, "ca.pem", "hello")), "nodes", cli.ExitUsage, "holds no certificate in PEM", "BEGIN CERTIFICATE"},
		{"CA of another", good.with("HOLDFAST_CA", webCA), "nodes", cli.ExitUnreachable, "unknown authority", "did not sign the collector's certificate"},
		{"system's CAs", good.with("HOLDFAST_CA", ""), "nodes", cli.ExitUnreachable, "unknown authority", "HOLDFAST_CA or --ca"},
		{"other name", good.with("HOLDFAST_ADDRESS", other.Addr().String()), "nodes", cli.ExitUnreachable, "127.0.0.2", "for other names"},
		{"no token", good.with("HOLDFAST_TOKEN", ""), "nodes", cli.ExitRefused, "no token", "token create"},
		{"unknown token", good.with("HOLDFAST_TOKEN", "hfa_x_y"), "nodes", cli.ExitRefused, "token refused", "does not accept this token"},
		{"expired token", good.with("HOLDFAST_TOKEN", api.Expired), "nodes", cli.ExitRefused, "expired at", "token create"},
		{"join token", good.with("HOLDFAST_TOKEN", api.JoinToken), "nodes", cli.ExitRefused, "token refused", "--role viewer"},
		{"broken token", good.with("HOLDFAST_TOKEN", "a\nb"), "nodes", cli.ExitUsage, "characters that no token has", "token create"},
		{"no token file", good, "nodes --token-file /no/such/file", cli.ExitUsage, "/no/such/file", "--token-file"},
		{"empty token file", good, "nodes --token-file " + write(t, "empty", "\n"), cli.ExitUsage, "is empty", "token create"},
		{"viewer changes", good, "record clear --all", cli.ExitRefused, "has the role viewer; this call needs admin", "--role admin"},
		{"unknown node", good, "nodes show nobody", cli.ExitNotFound, "nobody", "'holdfast nodes' lists"},
		{"unknown alert", good, "alerts show nothing", cli.ExitNotFound, "nothing", "ids"},
		{"node with odd name", good, "nodes show a?b%2f#c", cli.ExitNotFound, "a?b%2f#c", "'holdfast nodes' lists"},
		{"node that leads elsewhere", good, "nodes show ../alerts", cli.ExitNotFound, "../alerts", "'holdfast nodes' lists"},
		{"alert that leads elsewhere", good, "alerts show ..", cli.ExitNotFound, "..", "'holdfast nodes' lists"},
		{"live node with odd name", good, "events --node a/b", cli.ExitNotFound, "a/b", "'holdfast nodes' lists"},
		{"bad priority", good, "alerts -p high", cli.ExitUsage, `priority "high": want one of`, "--help"},
		{"bad time", good, "alerts --since never", cli.ExitUsage, `"never" is neither an age`, "--help"},
		{"bad pattern", good, "alerts -w [", cli.ExitUsage, "workload", "--help"},
		{"negative limit", good, "alerts --limit -1", cli.ExitUsage, "--limit -1 is negative", "'holdfast alerts --help'"},
		{"follow until", good, "alerts -f --until 1h", cli.ExitUsage, "exclude each other", "--help"},
		{"pid recorded", good, "events --since 1h --pid 1", cli.ExitUsage, "--pid is for live events", "--help"},
		{"text live", good, "events --text x", cli.ExitUsage, "--since", "--help"},
		{"no node connected", good, "events", cli.ExitNotFound, "no node is connected", "--since"},
		{"record what", good, "record", cli.ExitUsage, "list, set or clear", "--help"},
		{"record set without", good, "record set", cli.ExitUsage, "--workload and --type not given", "--help"},
		{"record clear without", good, "record clear", cli.ExitUsage, "--workload PATTERN or --all", "--help"},
		{"mode set without reason", good, "mode set shop/web enforce", cli.ExitUsage, "--reason not given", "--help"},
		{"mode set unknown mode", good, "mode set shop/web block --reason x", cli.ExitUsage, `mode "block" is none of learn, monitor, enforce, off`, "--help"},
		{"mode set unknown signal", good, "mode set shop/web learn -s dns --reason x", cli.ExitUsage, `signal "dns" is none of`, "--help"},
		{"mode set without mode", good, "mode set shop/web --reason x", cli.ExitUsage, "accepts 2 arg(s)", "--help"},
		{"viewer sets a mode", good, "mode set shop/web learn --reason x", cli.ExitRefused, "needs admin", "--role admin"},
		{"break-glass for ever", good, "mode break-glass --reason x", cli.ExitUsage, "--for not given", "--help"},
		{"break-glass for how long", good.with("HOLDFAST_TOKEN", api.Admin), "mode break-glass --for soon --reason x", cli.ExitUsage, "soon", "--help"},
		{"bad mode pattern", good, "mode show a/b/c/d", cli.ExitUsage, "workload", "--help"},
		{"mode clear what", good, "mode clear --reason x", cli.ExitUsage, "either WORKLOAD or --id", "--help"},
		{"mode clear nothing", good, "mode clear shop/web --reason x", cli.ExitNotFound, `no mode is set for "shop/web"`, "'holdfast mode list'"},
		{"mode clear unknown id", good.with("HOLDFAST_TOKEN", api.Admin), "mode clear --id 7 --reason x", cli.ExitNotFound, "7", "'holdfast mode list'"},
		{"profile what", good, "profile", cli.ExitUsage, "say list, show", "--help"},
		{"unknown profile", good, "profile show shop/web", cli.ExitNotFound, `no profile matches "shop/web"`, "NAMESPACE/KIND/NAME/CONTAINER"},
		{"unknown profile by key", good, "profile show /Deployment/web/app", cli.ExitNotFound, "/Deployment/web/app", "'holdfast profile list'"},
		{"profile key without name", good, "profile show shop/Deployment//app", cli.ExitUsage, "name is missing", "NAMESPACE/KIND/NAME/CONTAINER"},
		{"profile key that leads elsewhere", good, "profile show shop/Deployment/../app", cli.ExitNotFound, "..", "'holdfast profile list'"},
		{"no profile named", good, "profile diff", cli.ExitUsage, "accepts 1 arg(s)", "--help"},
		{"profile of nothing", good, "profile show", cli.ExitUsage, "either WORKLOAD or --file", "--help"},
		{"profile of both", good, "profile show x --file y", cli.ExitUsage, "either WORKLOAD or --file", "--help"},
		{"file of a layer", good, "profile show --file y --layer merged", cli.ExitUsage, "--layer is of the collector's", "--help"},
		{"version of no overlay", good, "profile show x --version 3", cli.ExitUsage, "--layer overlay", "--help"},
		{"observed by nobody", good, "profile show x --layer observed", cli.ExitUsage, "--node", "--help"},
		{"no such file", good, "profile show --file /no/such/file", cli.ExitUsage, "/no/such/file", "Profiles are read from files"},
		{"yaml of a list", good, "profile list -o yaml", cli.ExitUsage, `--output "yaml" is none of table, wide, json`, "--help"},
		{"approve what", good, "profile approve shop/web --reason x", cli.ExitUsage, "either the IDs", "--help"},
		{"approve both", good, "profile approve shop/web 1 --all --reason x", cli.ExitUsage, "either the IDs", "--help"},
		{"approve why", good, "profile approve shop/web --all", cli.ExitUsage, "--reason not given", "--help"},
		{"export unknown layer", good, "profile export --layer observed", cli.ExitUsage, "layer", "--help"},
		{"import an empty folder", good, "profile import " + t.TempDir() + " --reason x", cli.ExitUsage, "holds no .yaml", "Profiles are read from files"},
		{"viewer imports", good, "profile import testdata/profiles-import.yaml --reason x", cli.ExitRefused, "needs admin", "--role admin"},
		{"test against nothing", good, "profile test testdata/profiles-two.yaml", cli.ExitUsage, "--events not given", "--help"},
		{"explain unknown alert", good, "explain nothing", cli.ExitNotFound, "nothing", "ids"},
		{"explain elsewhere", good, "explain ../alerts", cli.ExitNotFound, "../alerts", "ids"},
		{"allow unknown alert", good, "allow nothing --yes", cli.ExitNotFound, "nothing", "ids"},
		{"allow unasked", good, "allow node-1:1:1", cli.ExitUsage, "nobody can be asked here: look at 'holdfast explain', then say --yes", "--help"},
		{"unknown flag", good, "nodes --wide", cli.ExitUsage, "unknown flag: --wide", "'holdfast nodes --help'"},
		{"unknown command", good, "pods", cli.ExitUsage, `unknown command "pods"`, "--help"},
		{"unknown command below", good, "record drop", cli.ExitUsage, `unknown command "drop"`, "--help"},
		{"missing argument", good, "nodes show", cli.ExitUsage, "accepts 1 arg(s), received 0", "--help"},
		{"bad format", good, "nodes -o yaml", cli.ExitUsage, `--output "yaml" is none of table, wide, json`, "--help"},
		{"bad colour", good, "nodes --color red", cli.ExitUsage, `--color "red"`, "--help"},
		{"not a collector", good.with("HOLDFAST_ADDRESS", web).with("HOLDFAST_CA", webCA), "nodes", cli.ExitUnreachable, "", "does not look like a Holdfast collector"},
		{"broken proxy", good.with("HOLDFAST_ADDRESS", broken).with("HOLDFAST_CA", brokenCA), "nodes", cli.ExitUnreachable, "502", "does not look like"},
		{"redirected", good.with("HOLDFAST_ADDRESS", moved).with("HOLDFAST_CA", movedCA), "nodes", cli.ExitUnreachable, "302", "does not look like"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := c.world.run(t, strings.Fields(c.args)...)
			if code != c.code || stdout != "" {
				t.Errorf("exit %d, stdout %q; want exit %d", code, stdout, c.code)
			}
			said, advice, _ := strings.Cut(stderr, "\n")
			if !strings.HasPrefix(said, "holdfast: ") || !strings.Contains(said, c.error) {
				t.Errorf("the error is %q, want %q in it", said, c.error)
			}
			if !strings.Contains(advice, c.advice) {
				t.Errorf("the advice is %q, want %q in it", advice, c.advice)
			}
			if strings.Contains(stderr, "\x1b") || strings.Contains(stderr, api.Viewer) {
				t.Errorf("stderr holds what it must not: %q", stderr)
			}
		})
	}
}

// TestRefusedTexts has a collector refuse a text for one and for several reasons.
func TestRefusedTexts(t *testing.T) {
	for message, want := range map[string]string{
		"line 4: \x1b[31mred":  "holdfast: line 4: \\x1b[31mred\n\nNothing was changed.\n",
		"line 4: a\nline 5: b": "holdfast: the collector refuses this for 2 reasons; nothing was changed\n\nline 4: a\nline 5: b\n",
	} {
		address, ca := stranger(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnprocessableEntity)
			if err := json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": "refused", "message": message}}); err != nil {
				t.Error(err)
			}
		}))
		w := world{environment: map[string]string{"HOLDFAST_ADDRESS": address, "HOLDFAST_CA": ca, "HOLDFAST_TOKEN": "x"}}
		code, stdout, stderr := w.run(t, "profile", "import", "testdata/profiles-import.yaml", "--reason", "x")
		if code != cli.ExitUsage || stdout != "" || stderr != want {
			t.Errorf("exit %d, %s%s", code, stdout, stderr)
		}
	}
}

func TestConfigurationFile(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	token := write(t, "token", api.Viewer+"\n")
	good := "# where it is\naddress: " + api.Address + "\nca: " + api.CA + "\ntoken-file: " + token + "\noutput: json\n"
	file := write(t, "config.yaml", good)
	if code, _, stderr := (world{}).run(t, "nodes", "--config", file); code != cli.ExitOK || stderr != "" {
		t.Errorf("--config: exit %d, %s", code, stderr)
	}
	w := world{environment: map[string]string{"HOLDFAST_CONFIG": file}}
	w.must(t, "nodes")
	if code, _, stderr := w.run(t, "nodes", "-o", "table"); code != cli.ExitOK || !strings.Contains(stderr, "no node has enrolled") {
		t.Errorf("a flag is weaker than the file: exit %d, %s", code, stderr)
	}
	if code, _, stderr := w.with("HOLDFAST_TOKEN", "hfa_x_y").run(t, "nodes"); code != cli.ExitRefused {
		t.Errorf("the environment is weaker than the file: exit %d, %s", code, stderr)
	}
	if code, _, stderr := w.with("HOLDFAST_TOKEN", "hfa_x_y").run(t, "nodes", "--token-file", token); code != cli.ExitOK {
		t.Errorf("a flag is weaker than the environment: exit %d, %s", code, stderr)
	}

	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".config", "holdfast"), 0o700); err != nil {
		t.Fatal(err)
	}
	usual := filepath.Join(home, ".config", "holdfast", "config.yaml")
	if err := os.WriteFile(usual, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	world{environment: map[string]string{"HOME": home}}.must(t, "nodes")
	world{environment: map[string]string{"XDG_CONFIG_HOME": filepath.Join(home, ".config"), "HOME": "/nowhere"}}.must(t, "nodes")

	for name, c := range map[string]struct{ text, want string }{
		"unknown keys":  {"addres: x\nca: y\ntoken: z\n", `line 1: unknown key "addres"; line 3: unknown key "token"`},
		"not a mapping": {"- a\n", "line 1: not a mapping"},
		"list":          {"address: [a]\n", "line 1: address wants a text"},
		"null":          {"ca:\n", "line 1: ca wants a text"},
		"twice":         {"ca: a\nca: b\n", "line 2: ca is given twice"},
		"no YAML":       {"a: b: c\n", "mapping values are not allowed"},
		"huge":          {strings.Repeat("#", 70000), "larger than"},
		"escapes":       {"\"\\e[2J\": x\n", `unknown key "\x1b[2J"`},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := world{}.run(t, "nodes", "--config", write(t, "c.yaml", c.text))
			if code != cli.ExitUsage || !strings.Contains(stderr, c.want) {
				t.Errorf("exit %d, %s; want %s", code, stderr, c.want)
			}
		})
	}
	if code, _, stderr := (world{}).run(t, "nodes", "--config", "/no/such/file"); code != cli.ExitUsage || !strings.Contains(stderr, "/no/such/file") {
		t.Errorf("a configuration that is not there: exit %d, %s", code, stderr)
	}
}
