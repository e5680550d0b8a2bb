// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/cli"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/tests/golden"
)

// The lanes, by shorter names.
const (
	alertsLane  = apiv1.Lane_LANE_ALERTS
	recordsLane = apiv1.Lane_LANE_RECORDS
)

// world is what a command runs in; its zero value knows no collector.
type world struct {
	environment map[string]string
	terminal    bool
	columns     int
	// stdin is what is piped in, typed what a person at a terminal types.
	stdin string
	typed *os.File
}

// of is a world in which the environment names the API, for a viewer.
func of(api *querytest.API) world {
	return world{environment: map[string]string{
		"HOLDFAST_ADDRESS": api.Address, "HOLDFAST_CA": api.CA, "HOLDFAST_TOKEN": api.Viewer,
	}}
}

// with returns the world with one more variable.
func (w world) with(name, value string) world {
	environment := map[string]string{name: value}
	for n, v := range w.environment {
		if n != name {
			environment[n] = v
		}
	}
	w.environment = environment
	return w
}

func (w world) env(stdout, stderr io.Writer) cli.Env {
	var stdin io.Reader = strings.NewReader(w.stdin)
	if w.typed != nil {
		stdin = w.typed
	}
	return cli.Env{
		Stdin: stdin, Interactive: w.typed != nil, Stdout: stdout, Stderr: stderr, Terminal: w.terminal, Columns: w.columns,
		Getenv:   func(name string) string { return w.environment[name] },
		Location: time.FixedZone("CET", 3600),
		Now:      func() time.Time { return time.Date(2026, 11, 18, 12, 30, 0, 0, time.UTC) },
	}
}

func (w world) run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(t.Context(), w.env(&out, &errs), args)
	return code, out.String(), errs.String()
}

// must runs a command that is expected to go well.
func (w world) must(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := w.run(t, args...)
	if code != cli.ExitOK {
		t.Fatalf("holdfast %s: exit %d: %s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

// golden runs a command and holds everything it says against a file.
func (w world) golden(t *testing.T, api *querytest.API, name string, args ...string) {
	t.Helper()
	code, stdout, stderr := w.run(t, args...)
	got := fmt.Sprintf("$ holdfast %s\n%s", strings.Join(args, " "), stdout)
	if stderr != "" {
		got += "--- stderr\n" + stderr
	}
	got += fmt.Sprintf("--- exit %d\n", code)
	if api != nil {
		got = strings.NewReplacer(api.Address, "ADDRESS", filepath.Dir(api.CA), "DIR").Replace(got)
	}
	golden.Compare(t, filepath.Join("testdata", name+".golden"), []byte(got))
}

// filled starts an API that has alerts, recorded events and three nodes.
func filled(t *testing.T) (*querytest.API, *querytest.Agent) {
	t.Helper()
	api := querytest.Start(t, query.Config{})
	api.Append(t, alertsLane, "node-1", 0xe90c, 1, querytest.AlertRecords(t)...)
	api.Append(t, recordsLane, "node-1", 0xe90c, 1, querytest.EventRecords(t)...)
	seen := querytest.Now()
	hello := &apiv1.Hello{
		Node:         "node-1",
		AgentVersion: "v0.1.0", KernelRelease: "6.12.9-amd64", Machine: "x86_64", BootId: "5c1f0d0e-0000-4000-8000-000000000001",
		Capabilities: []*apiv1.Capability{{Signal: "exec", See: apiv1.Support_SUPPORT_YES, Block: apiv1.Support_SUPPORT_NO,
			Mechanism: "tp_btf/sched_process_exec", Reason: "bpf is not in the lsm= list"}},
	}
	health := &apiv1.Health{
		TimeNs: seen.UnixNano(), StartNs: seen.Add(-3 * time.Hour).UnixNano(),
		Events:  map[string]uint64{"exec": 123456, "open": 7890123, "connect": 42},
		Counted: map[string]uint64{"open": 1000}, Losses: map[string]uint64{"kernel_ring_bulk_full": 3, "ring_bulk_gap": 3, "kernel_user_read": 12, "record_malformed": 0, "content_skipped_bytes": 4096},
		LagP50Ns: 4_200_000, LagP99Ns: 18_700_000, Containers: 31, Processes: 612, RssBytes: 54 << 20,
		Opaque: []*apiv1.OpaqueProcess{{Pid: 4711, Container: "shop/Deployment/orders/app", Executable: "/opt/\x1b[31mjava", Reason: "no functions of TLS are known"}},
		Spools: []*apiv1.SpoolState{
			{Lane: apiv1.Lane_LANE_ALERTS, Records: 12, Bytes: 8192, Last: 900, Acked: 888, Epoch: 1},
			{Lane: apiv1.Lane_LANE_RECORDS, Epoch: 2},
		},
		Capabilities: []*apiv1.Capability{
			{Signal: "exec", See: apiv1.Support_SUPPORT_YES, Block: apiv1.Support_SUPPORT_YES, Mechanism: "lsm/bprm_check_security"},
			{Signal: "open", See: apiv1.Support_SUPPORT_YES, Block: apiv1.Support_SUPPORT_NO, Mechanism: "fanotify", Reason: "no trampolines on this kernel"},
			{Signal: "tls", See: apiv1.Support_SUPPORT_UNKNOWN, Block: apiv1.Support_SUPPORT_NO, Reason: "the probe was refused: \x1b[31mEPERM"},
		},
	}
	agent := api.Join(t, hello, health)
	api.Put(t, store.Node{Name: "node-2", FirstSeen: seen, LastSeen: seen.Add(-26 * time.Hour), Hello: hello})
	api.Put(t, store.Node{Name: "node-3", FirstSeen: seen})
	api.Lose(t, "node-1", 0xbad, 2000, "evicted")
	// So long ago that lists of nodes do not tell of it.
	refused(t, api, "worker-7", seen.AddDate(-3, 0, 0))
	return api, agent
}

// refused has somebody refused who said to be a node.
func refused(t *testing.T, api *querytest.API, node string, last time.Time) {
	t.Helper()
	err := api.Store.AddRefusals(t.Context(), store.Refusal{
		Node: node, Host: "10.1.2.3", Credential: "service_account", Cause: "other_node", Count: 1234, First: last.Add(-time.Hour), Last: last,
		Reason: `the ServiceAccount token is of pod "holdfast-system/holdfast-agent-x" on node "worker-1", and no good for node "` + node + `": denied`,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRefusedOfLate checks that a list of nodes tells of those that were refused within a day.
func TestRefusedOfLate(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	w := of(api)
	if code, _, stderr := w.run(t, "nodes", "refused"); code != 0 || !strings.Contains(stderr, "nobody was refused") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	refused(t, api, "worker-7", time.Now())
	code, _, stderr := w.run(t, "nodes")
	if code != 0 || !strings.Contains(stderr, "nodes were refused 1,234 times in the last day; 'holdfast nodes refused' says which") {
		t.Errorf("exit %d, %q", code, stderr)
	}
	if _, _, stderr := w.run(t, "nodes", "-o", "json"); strings.Contains(stderr, "refused") {
		t.Errorf("programs are told, too: %q", stderr)
	}
}

func TestOutput(t *testing.T) {
	api, _ := filled(t)
	viewer := of(api)
	narrow, wide := viewer, viewer
	narrow.terminal, narrow.columns = true, 100
	wide.terminal, wide.columns = true, 160
	admin := viewer.with("HOLDFAST_TOKEN", api.Admin)
	for _, c := range []struct {
		name  string
		world world
		args  string
	}{
		{"alerts", viewer, "alerts"},
		{"alerts-terminal", narrow, "alerts"},
		{"alerts-no-color", narrow.with("NO_COLOR", "1"), "alerts --limit 2"},
		{"alerts-dumb", narrow.with("TERM", "dumb"), "alerts --limit 2"},
		{"alerts-color", viewer, "alerts --limit 2 --color always"},
		{"alerts-wide", wide.with("NO_COLOR", "1"), "alerts -o wide"},
		{"alerts-json", viewer, "alerts -o json"},
		{"alerts-filtered", viewer, "alerts --since 2026-11-18T11:06:00Z --priority warning --workload shop/* --node node-1"},
		{"alerts-text", viewer, "alerts --text SHADOW"},
		{"alerts-none", viewer, "alerts --rule nothing*"},
		{"alerts-none-json", viewer, "alerts --rule nothing* -o json"},
		{"show", viewer, "alerts show node-1:e90c:1"},
		{"show-terminal", narrow, "alerts show node-1:e90c:1"},
		{"show-wide", viewer, "alerts show node-1:e90c:2 -o wide"},
		{"show-json", viewer, "alerts show node-1:e90c:3 -o json"},
		{"show-host", viewer, "alerts show node-1:e90c:3"},
		{"show-target", viewer, "alerts show node-1:e90c:4"},
		{"nodes", viewer, "nodes"},
		{"nodes-terminal", wide, "nodes"},
		{"nodes-wide", viewer, "nodes -o wide"},
		{"nodes-json", viewer, "nodes -o json"},
		{"nodes-refused", viewer, "nodes refused"},
		{"nodes-refused-json", viewer, "nodes refused -o json"},
		{"node", viewer, "nodes show node-1"},
		{"node-away", viewer, "nodes show node-2"},
		{"node-json", viewer, "nodes show node-2 -o json"},
		{"events", viewer, "events --since 2026-11-18T00:00:00Z"},
		{"events-wide", viewer, "events --since 2026-11-18T00:00:00Z -o wide"},
		{"events-json", viewer, "events --since 2026-11-18T00:00:00Z --type exit,open -o json"},
		{"events-newest", viewer, "events --until 2026-11-18T23:00:00Z --limit 2"},
		{"events-none", viewer, "events --since 2026-11-18T00:00:00Z --type fork"},
		{"record-list-none", viewer, "record list"},
		{"record-set", admin, "record set --workload shop/* --type exec,connect"},
		{"record-set-all", admin, "record set --workload= --type exit"},
		{"record-list", viewer, "record list"},
		{"record-list-json", viewer, "record list -o json"},
		{"record-clear", admin, "record clear --workload shop/*"},
		{"record-clear-unknown", admin, "record clear --workload shop/*"},
		{"record-clear-all", admin, "record clear --all"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.golden(t, api, c.name, strings.Fields(c.args)...)
		})
	}
}

// TestNothingReachesTheTerminal gives every text field an escape sequence and looks for it in every output.
func TestNothingReachesTheTerminal(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	const nasty = "\x1b]0;owned\x07\u202e\u009b2J\n\rnext"
	for i, name := range querytest.AlertNames() {
		alert := querytest.Alert(t, name)
		poison(alert.ProtoReflect(), nasty)
		api.Append(t, alertsLane, "node-1", 1, uint64(i+1), &apiv1.Record{Record: &apiv1.Record_Alert{Alert: alert}})
		api.Append(t, recordsLane, "node-1", 1, uint64(i+1), &apiv1.Record{Record: &apiv1.Record_Event{Event: alert.GetEvent()}})
	}
	hello, health := &apiv1.Hello{Capabilities: []*apiv1.Capability{{}}}, &apiv1.Health{
		Spools:    []*apiv1.SpoolState{{}},
		Workloads: []*apiv1.WorkloadState{{Key: &apiv1.ProfileKey{}, Containers: 1, Signals: []*apiv1.SignalState{{}}}},
		Switches:  []*apiv1.ModeSwitch{{Key: &apiv1.ProfileKey{}}},
	}
	poison(hello.ProtoReflect(), nasty)
	poison(health.ProtoReflect(), nasty)
	health.Losses = map[string]uint64{nasty: 1}
	hello.Node = "node-1"
	api.Join(t, hello, health)
	refused(t, api, nasty, querytest.Now())
	w := of(api)
	for _, args := range []string{
		"alerts", "events --since 100d", "nodes", "nodes refused", "nodes show node-1", "alerts show node-1:1:1", "alerts show node-1:1:2",
		"workloads", "mode show", "mode switches", "explain node-1:1:1", "alerts show node-1:1:3", "alerts show node-1:1:4", "alerts show node-1:1:5", "alerts show node-1:1:6",
	} {
		for _, format := range []string{"table", "wide", "json"} {
			stdout := w.must(t, append(strings.Fields(args), "-o", format)...)
			if at := strings.IndexAny(stdout, "\x1b\x07\r\u202e\u009b"); at >= 0 {
				t.Errorf("%s -o %s lets %q through", args, format, stdout[max(0, at-20):min(len(stdout), at+20)])
			}
			if strings.Contains(stdout, "\nnext") {
				t.Errorf("%s -o %s lets a line break through", args, format)
			}
			if !strings.Contains(stdout, "owned") {
				t.Errorf("%s -o %s shows nothing of the text:\n%s", args, format, stdout)
			}
		}
	}
}

// TestJSONIsExact holds what the command prints against what the API said.
func TestJSONIsExact(t *testing.T) {
	api, _ := filled(t)
	lines := strings.Split(strings.TrimSpace(of(api).must(t, "alerts", "-o", "json")), "\n")
	if len(lines) != len(querytest.AlertNames()) {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		var alert struct {
			Rule         string
			OutputFields map[string]any `json:"output_fields"`
			Process      struct{ Args []string }
		}
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.UseNumber()
		if err := decoder.Decode(&alert); err != nil {
			t.Fatalf("line %d: %v", i, err)
		}
		want := querytest.Alert(t, querytest.AlertNames()[i])
		if alert.Rule != want.GetRule() {
			t.Errorf("line %d is rule %q, want %q", i, alert.Rule, want.GetRule())
		}
		if got, want := fmt.Sprint(alert.OutputFields["evt.time"]), fmt.Sprint(want.GetEvent().GetTimeNs()); got != want {
			t.Errorf("line %d has evt.time %s, want %s", i, got, want)
		}
		if got, want := fmt.Sprint(alert.Process.Args), fmt.Sprint(want.GetEvent().GetProcess().GetArgv()); got != want {
			t.Errorf("line %d has arguments %q, want %q", i, got, want)
		}
	}
}

// TestPages reads more alerts than a page holds, both ways.
func TestPages(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	const total = 1234
	var many []*apiv1.Record
	for i := range total {
		many = append(many, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
			Rule: fmt.Sprint(i), Event: &apiv1.Event{TimeNs: 1795000000000000000 + int64(i)}}}})
	}
	api.Append(t, alertsLane, "node-1", 1, 1, many...)
	for _, c := range []struct {
		args        string
		count       int
		first, last string
	}{
		{"--limit 0", total, "0", "1233"},
		{"--since 2026-11-01T00:00:00Z", total, "0", "1233"},
		{"--limit 700", 700, "534", "1233"},
		{"", 100, "1134", "1233"},
		{"--since 2026-11-01T00:00:00Z --limit 3", 3, "1231", "1233"},
	} {
		lines := strings.Split(strings.TrimSpace(of(api).must(t, append([]string{"alerts", "-o", "json"}, strings.Fields(c.args)...)...)), "\n")
		rule := func(line string) string {
			var alert struct{ Rule string }
			if err := json.Unmarshal([]byte(line), &alert); err != nil {
				t.Fatal(err)
			}
			return alert.Rule
		}
		if len(lines) != c.count || rule(lines[0]) != c.first || rule(lines[len(lines)-1]) != c.last {
			t.Errorf("alerts %s: %d lines from %s to %s, want %d from %s to %s", c.args, len(lines), rule(lines[0]),
				rule(lines[len(lines)-1]), c.count, c.first, c.last)
		}
	}
	table := of(api).must(t, "alerts", "--limit", "0")
	if got := strings.Count(table, "\n"); got != total+1 {
		t.Errorf("the table has %d lines", got)
	}
}

func TestEveryCommandHelps(t *testing.T) {
	for _, args := range [][]string{
		nil, {"--help"}, {"alerts", "--help"}, {"alerts", "show", "--help"}, {"events", "--help"}, {"nodes", "--help"},
		{"nodes", "show", "--help"}, {"nodes", "refused", "--help"}, {"record", "--help"}, {"record", "set", "--help"}, {"record", "clear", "--help"},
		{"mode", "--help"}, {"mode", "list", "--help"}, {"mode", "history", "--help"}, {"mode", "set", "--help"},
		{"mode", "clear", "--help"}, {"mode", "break-glass", "--help"}, {"mode", "show", "--help"}, {"mode", "switches", "--help"},
		{"profile", "--help"}, {"profile", "list", "--help"}, {"profile", "show", "--help"}, {"profile", "history", "--help"},
		{"profile", "diff", "--help"}, {"profile", "candidates", "--help"}, {"profile", "approve", "--help"},
		{"profile", "reject", "--help"}, {"profile", "edit", "--help"}, {"profile", "remove", "--help"},
		{"profile", "export", "--help"}, {"profile", "import", "--help"}, {"profile", "check", "--help"},
		{"profile", "test", "--help"}, {"explain", "--help"}, {"allow", "--help"},
	} {
		stdout := world{}.must(t, args...)
		if !strings.Contains(stdout, "Examples:\n  holdfast ") {
			t.Errorf("holdfast %s --help has no examples:\n%s", strings.Join(args, " "), stdout)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if stdout := (world{}).must(t, "completion", shell); !strings.Contains(stdout, "holdfast") {
			t.Errorf("completion for %s is %q", shell, stdout)
		}
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if stdout := (world{}).must(t, args...); !strings.HasPrefix(stdout, "holdfast ") || strings.Count(stdout, "\n") != 1 {
			t.Errorf("%v prints %q", args, stdout)
		}
	}
}

func TestNodesComplete(t *testing.T) {
	api, _ := filled(t)
	w := of(api)
	for _, args := range [][]string{
		{"__complete", "nodes", "show", ""}, {"__complete", "alerts", "--node", ""}, {"__complete", "events", "-n", ""},
	} {
		if stdout := w.must(t, args...); !strings.HasPrefix(stdout, "node-1\nnode-2\nnode-3\n:") {
			t.Errorf("%v gives %q", args, stdout)
		}
	}
	if stdout := w.must(t, "__complete", "alerts", "--priority", ""); !strings.HasPrefix(stdout, "emergency\nalert\ncritical\n") {
		t.Errorf("priorities are %q", stdout)
	}
}

// live is a command that runs until it is stopped.
type live struct {
	stdout, stderr *lines
	stop           context.CancelFunc
	code           chan int
}

// lines is a writer whose lines can be waited for.
type lines struct {
	reader *io.PipeReader
	*io.PipeWriter
	got chan string
}

func newLines() *lines {
	r, w := io.Pipe()
	l := &lines{reader: r, PipeWriter: w, got: make(chan string, 1000)}
	go func() {
		var text bytes.Buffer
		buffer := make([]byte, 4096)
		for {
			n, err := r.Read(buffer)
			text.Write(buffer[:n])
			for {
				i := bytes.IndexByte(text.Bytes(), '\n')
				if i < 0 {
					break
				}
				l.got <- string(text.Next(i + 1)[:i])
			}
			if err != nil {
				close(l.got)
				return
			}
		}
	}()
	return l
}

// next returns the next line that contains a text.
func (l *lines) next(t *testing.T, contains string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line, ok := <-l.got:
			if !ok {
				t.Fatalf("the output ends without %q", contains)
			}
			if strings.Contains(line, contains) {
				return line
			}
			t.Logf("passed over: %s", line)
		case <-deadline:
			t.Fatalf("no line with %q comes", contains)
		}
	}
}

func (w world) start(t *testing.T, args ...string) *live {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &live{stdout: newLines(), stderr: newLines(), stop: cancel, code: make(chan int, 1)}
	go func() {
		l.code <- cli.Run(ctx, w.env(l.stdout, l.stderr), args)
		l.stdout.Close()
		l.stderr.Close()
	}()
	t.Cleanup(cancel)
	return l
}

// interrupt does what Ctrl-C does, and checks that the command ends well.
func (l *live) interrupt(t *testing.T) {
	t.Helper()
	l.stop()
	select {
	case code := <-l.code:
		if code != cli.ExitOK {
			t.Errorf("an interrupted stream exits with %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("an interrupted stream goes on")
	}
}

func TestFollow(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	all := querytest.AlertRecords(t)
	api.Append(t, alertsLane, "node-1", 1, 1, all[:2]...)
	table := of(api).start(t, "alerts", "--follow")
	table.stdout.next(t, "PRIORITY")
	table.stdout.next(t, "Shell reads from a socket")
	table.stdout.next(t, "(12 times)")
	warnings := of(api).start(t, "alerts", "-f", "-p", "warning", "-o", "json", "--since", "2026-11-01T00:00:00Z")
	warnings.stdout.next(t, `"id":"node-1:1:1"`)
	warnings.stdout.next(t, `"id":"node-1:1:2"`)
	api.Append(t, alertsLane, "node-1", 1, 3, all[2:]...)
	table.stdout.next(t, "/etc/shadow")
	warnings.stdout.next(t, `"id":"node-1:1:4"`)
	table.interrupt(t)
	warnings.interrupt(t)
}

// TestFollowSurvivesTheCollector stops the collector, stores alerts while it is away, and starts it again.
func TestFollowSurvivesTheCollector(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	all := querytest.AlertRecords(t)
	api.Append(t, alertsLane, "node-1", 1, 1, all[:1]...)
	follow := of(api).start(t, "alerts", "--follow", "-o", "json")
	follow.stdout.next(t, `"id":"node-1:1:1"`)
	api.Stop()
	follow.stderr.next(t, "trying again in 1s")
	api.Append(t, alertsLane, "node-1", 1, 2, all[1:3]...)
	api.Restart(t)
	for _, want := range []string{`"id":"node-1:1:2"`, `"id":"node-1:1:3"`} {
		if line := <-follow.stdout.got; !strings.Contains(line, want) {
			t.Errorf("line is %s, want %s", line, want)
		}
	}
	follow.interrupt(t)
}

func TestLiveEvents(t *testing.T) {
	api, agent := filled(t)
	event := querytest.Alert(t, "exec").GetEvent()
	// The only connected node needs no name.
	live := of(api).start(t, "events", "--type", "exec", "--workload", "shop/*", "--pid", "4242")
	live.stdout.next(t, "TYPE")
	filter := agent.Asked(t)
	agent.Send(0, event)
	live.stdout.next(t, "sh -i")
	agent.Send(1500, event)
	live.stderr.next(t, "1,500 events were shed")
	if fmt.Sprintf("%v %s %v", filter.GetTypes(), filter.GetWorkload(), filter.GetPids()) != "[exec] shop/* [4242]" {
		t.Errorf("the agent was asked for %v", filter)
	}
	live.stop()
	live.stderr.next(t, "2 events shown, 1,500 shed in all")
	live.interrupt(t)

	some := of(api).start(t, "events", "--node", "node-1", "--limit", "2", "-o", "json")
	agent.Asked(t)
	agent.Send(0, event, event, event)
	some.stdout.next(t, `"type":"exec"`)
	some.stdout.next(t, `"type":"exec"`)
	if line, more := <-some.stdout.got; more {
		t.Errorf("after the limit comes %s", line)
	}
	if code := <-some.code; code != cli.ExitOK {
		t.Errorf("exit %d", code)
	}
}
