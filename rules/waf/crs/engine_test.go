// SPDX-License-Identifier: Apache-2.0

package crs_test

import (
	"cmp"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"
	"go.yaml.in/yaml/v3"

	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/rules/waf/crs"
)

// suite is a file of the rule set's own tests, as far as they are read here.
type suite struct {
	Rule  int `yaml:"rule_id"`
	Tests []struct {
		ID     int `yaml:"test_id"`
		Stages []struct {
			Input struct {
				Headers yaml.Node `yaml:"headers"`
				Method  string    `yaml:"method"`
				URI     string    `yaml:"uri"`
				Data    string    `yaml:"data"`
				Version string    `yaml:"version"`
				Encoded string    `yaml:"encoded_request"`
				Auto    *bool     `yaml:"autocomplete_headers"`
			} `yaml:"input"`
			Output struct {
				Log struct {
					Expect   []int `yaml:"expect_ids"`
					NoExpect []int `yaml:"no_expect_ids"`
				} `yaml:"log"`
			} `yaml:"output"`
		} `yaml:"stages"`
	} `yaml:"tests"`
}

func engine(t testing.TB, cfg crs.Config) *crs.Engine {
	t.Helper()
	e, err := crs.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func ids(r crs.Result) []int {
	var all []int
	for _, m := range r.Rules {
		all = append(all, m.ID)
	}
	return all
}

// TestMemory prints what an engine holds, and checks that it is within what the documentation says. It stands first, since
// Coraza keeps compiled expressions for engines to come.
func TestMemory(t *testing.T) {
	var before, after runtime.MemStats
	collect(&before)
	e := engine(t, crs.Config{})
	if _, err := e.Inspect(browse("/")); err != nil {
		t.Fatal(err)
	}
	collect(&after)
	held := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("an engine holds %.1f MiB", float64(held)/(1<<20))
	if held < 1<<20 || held > 64<<20 {
		t.Error("not between 1 and 64 MiB")
	}
	runtime.KeepAlive(e)
}

// collect reads the heap's size when nothing is left to collect, pools of objects included.
func collect(m *runtime.MemStats) {
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(m)
}

// TestRegression runs the rule set's own tests, at the paranoia level that they are written for, and demands the part of
// them that a stage gets right which is given requests as they were parsed: tests of bytes that no parser lets through,
// and of what a proxy answers, are not met.
func TestRegression(t *testing.T) {
	e := engine(t, crs.Config{Paranoia: 4, MaxRules: 1000})
	files, err := fs.Glob(tests.FS, "REQUEST-*/*.yaml")
	if err != nil || len(files) < 100 {
		t.Fatalf("%d files of tests: %v", len(files), err)
	}
	families := make(map[string][2]int)
	found, silent := [2]int{}, [2]int{}
	for i, name := range files {
		if testing.Short() && i%10 != 0 {
			continue
		}
		data, err := fs.ReadFile(tests.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		var s suite
		if err := yaml.Unmarshal(data, &s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		family, _, _ := strings.Cut(strings.TrimPrefix(name, "REQUEST-"), "/")
		for _, test := range s.Tests {
			for _, stage := range test.Stages {
				if stage.Input.Encoded != "" {
					continue
				}
				in := stage.Input
				r := &waf.Request{
					Method: []byte(cmp.Or(in.Method, "GET")), Target: []byte(cmp.Or(in.URI, "/")), Version: []byte(cmp.Or(in.Version, "HTTP/1.1")), Body: []byte(in.Data),
				}
				headers(r, &in.Headers, in.Auto == nil || *in.Auto)
				result, err := e.Inspect(r)
				if err != nil {
					t.Fatalf("%s %d: %v", name, test.ID, err)
				}
				got := ids(result)
				for _, id := range stage.Output.Log.Expect {
					n := families[family]
					n[1]++
					found[1]++
					if slices.Contains(got, id) {
						n[0]++
						found[0]++
					} else if testing.Verbose() {
						t.Logf("not found: %d test %d", id, test.ID)
					}
					families[family] = n
				}
				for _, id := range stage.Output.Log.NoExpect {
					silent[1]++
					if !slices.Contains(got, id) {
						silent[0]++
					} else if testing.Verbose() {
						t.Logf("found without need: %d test %d", id, test.ID)
					}
				}
			}
		}
	}
	for _, name := range slices.Sorted(mapKeys(families)) {
		t.Logf("%-45s %5d of %5d", name, families[name][0], families[name][1])
	}
	t.Logf("%-45s %5d of %5d, and %d of %d stay silent", "all that is to be found", found[0], found[1], silent[0], silent[1])
	if found[0]*100 < found[1]*97 || silent[0]*100 < silent[1]*97 {
		t.Error("less than 97 of 100")
	}
}

func mapKeys(m map[string][2]int) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// headers adds a test's headers in their order, and those that a client would add.
func headers(r *waf.Request, n *yaml.Node, complete bool) {
	seen := make(map[string]bool)
	add := func(name, value string) {
		seen[strings.ToLower(name)] = true
		r.Headers = append(r.Headers, waf.Pair{Name: []byte(name), Value: []byte(value)})
	}
	if n.Kind == yaml.SequenceNode {
		for _, h := range n.Content {
			var pair struct{ Name, Value string }
			if h.Decode(&pair) == nil {
				add(pair.Name, pair.Value)
			}
		}
	}
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		add(n.Content[i].Value, n.Content[i+1].Value)
	}
	if !complete || len(r.Body) == 0 {
		return
	}
	if !seen["content-type"] {
		add("Content-Type", "application/x-www-form-urlencoded")
	}
	if !seen["content-length"] {
		add("Content-Length", fmt.Sprint(len(r.Body)))
	}
}

// browse is an ordinary request.
func browse(target string) *waf.Request {
	r := &waf.Request{Method: []byte("GET"), Target: []byte(target), Host: []byte("shop.example.com")}
	for _, h := range [][2]string{
		{"User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"}, {"Accept", "text/html,*/*;q=0.8"}, {"Accept-Language", "en"}, {"Cookie", "session=abc; theme=dark"},
	} {
		r.Headers = append(r.Headers, waf.Pair{Name: []byte(h[0]), Value: []byte(h[1])})
	}
	return r
}

func TestInspect(t *testing.T) {
	e := engine(t, crs.Config{Exclusions: []crs.Exclusion{
		{Rule: 942100, Path: "/forum"}, {Rule: 941100, Path: "/cms/", Target: "ARGS:html"}, {Rule: 930120, Target: "ARGS:file"}, {Rule: 913100},
	}})
	for _, c := range []struct {
		target string
		rule   int
		want   bool
	}{
		{"/?q=1'%20or%20'1'='1", 942100, true}, {"/forum/post?q=1'%20or%20'1'='1", 942100, false}, {"/?q=<script>alert(1)</script>", 941100, true},
		{"/cms/edit?html=<script>alert(1)</script>", 941100, false}, {"/cms/edit?other=<script>alert(1)</script>", 941100, true},
		{"/?file=/etc/passwd", 930120, false}, {"/?f=/etc/passwd", 930120, true},
	} {
		r, err := e.Inspect(browse(c.target))
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(ids(r), c.rule) != c.want {
			t.Errorf("%s: %v, want %d: %v", c.target, ids(r), c.rule, c.want)
		}
		if c.want && (r.Score < 5 || !r.Attack) {
			t.Errorf("%s: score %d", c.target, r.Score)
		}
	}
	r, err := e.Inspect(browse("/item?id=5&q=green+tea&name=O'Brien"))
	if err != nil || r.Attack || r.Score != 0 || len(r.Rules) != 0 {
		t.Errorf("an ordinary request: %+v, %v", r, err)
	}
	r, _ = e.Inspect(browse("/?q=-1+union+select+password%3d'hunter2'+from+users--%1b[31m"))
	for _, m := range r.Rules {
		if len(m.Evidence) > 120 || strings.Contains(m.Evidence, "hunter2") || strings.Contains(m.Evidence, "\x1b") || m.Message == "" {
			t.Errorf("%+v shows what it must not", m)
		}
	}
	body := browse("/upload")
	body.Method, body.ContentType = []byte("POST"), []byte("application/json")
	body.Body = []byte(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`)
	if _, err := e.Inspect(body); err != nil {
		t.Errorf("a body beyond the bound: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for _, cfg := range []crs.Config{
		{Paranoia: 5}, {Threshold: -1}, {Exclusions: []crs.Exclusion{{Rule: 1}}}, {Exclusions: []crs.Exclusion{{Rule: 942100, Path: "x"}}},
		{Exclusions: []crs.Exclusion{{Rule: 942100, Path: "/a\"\nSecRuleEngine Off"}}}, {Exclusions: []crs.Exclusion{{Rule: 942100, Target: "ARGS,pass"}}},
	} {
		if _, err := crs.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// processor is how long this process has run, in nanoseconds: on a machine that does other things, the figure to look at.
func processor(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkInspect is the cost of ordinary requests at two levels.
func BenchmarkInspect(b *testing.B) {
	for _, paranoia := range []int{1, 2} {
		e := engine(b, crs.Config{Paranoia: paranoia})
		for name, r := range map[string]*waf.Request{"small": browse("/item?id=5&q=green+tea"), "form": form()} {
			b.Run(fmt.Sprintf("paranoia=%d/%s", paranoia, name), func(b *testing.B) {
				b.ReportAllocs()
				start := processor(b)
				for b.Loop() {
					if _, err := e.Inspect(r); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(processor(b)-start)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

func form() *waf.Request {
	r := browse("/comment")
	r.Method, r.ContentType = []byte("POST"), []byte("application/x-www-form-urlencoded")
	r.Body = []byte("name=Ann&comment=" + strings.Repeat("it+was+a+very+good+book+and+I+read+it+twice+", 90))
	return r
}

func TestParse(t *testing.T) {
	cfg, err := crs.Parse("crs.yaml", []byte("paranoia: 2\nthreshold: 10\nexclusions:\n  - {rule: 942100, path: /forum}\n  - {rule: 941100, target: \"ARGS:html\"}\n"))
	if err != nil || cfg.Paranoia != 2 || cfg.Threshold != 10 || len(cfg.Exclusions) != 2 || cfg.Exclusions[1] != (crs.Exclusion{Rule: 941100, Target: "ARGS:html"}) {
		t.Errorf("%+v, %v", cfg, err)
	}
	if cfg, err := crs.Parse("crs.yaml", nil); err != nil || cfg.Paranoia != 0 || len(cfg.Exclusions) != 0 {
		t.Errorf("an empty file: %+v, %v", cfg, err)
	}
	for text, want := range map[string]string{"paranoia: 5": "crs.yaml", "level: 1": "line 1", "exclusions: [{rule: 5}]": "exclusion 1", "paranoia: x": "line 1"} {
		if _, err := crs.Parse("crs.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", text, err, want)
		}
	}
}
