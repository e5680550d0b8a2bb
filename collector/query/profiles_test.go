// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
	"github.com/holdfast-project/holdfast/tests/wait"
)

const (
	webPath = "/api/v1/profiles/shop/Deployment/web/app"
	webYAML = `apiVersion: holdfast.dev/v1alpha1
kind: Profile
metadata:
  namespace: shop
  kind: Deployment
  name: web
  container: app
`
)

// webProfile is what a node has observed: a server, and a shell that somebody has run in a session.
func webProfile() *profile.Profile {
	seen := profile.Provenance{Origin: profile.Learned, First: querytest.Now(), Last: querytest.Now(), Count: 3, Replicas: map[string]uint32{"x": 2}}
	suspect := seen
	suspect.Origin, suspect.Suspect = profile.Candidate, profile.BySession
	runtime := []profile.Parent{{Path: profile.Runtime, Seen: seen}}
	return &profile.Profile{
		Key: profile.Key{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"},
		Processes: []profile.Process{
			{Path: "/usr/sbin/nginx", AnyArguments: true, Parents: runtime, Seen: seen, Egress: []profile.Egress{{Name: "api.example.com", Protocol: "tcp", Port: 443, Seen: seen}}},
			{Path: "/bin/sh", AnyArguments: true, Seen: suspect},
			{Path: "/bin/id", AnyArguments: true, Seen: suspect},
		},
	}
}

// send asks as an admin with a body and decodes a success into v.
func send(t *testing.T, api *querytest.API, method, path string, body, v any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	response, answer := ask(t, api, method, path, api.Admin, string(text))
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %s", method, path, response.Status, answer)
	}
	if err := json.Unmarshal(answer, v); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, answer)
	}
}

// startWeb serves an API with one node that runs web.
func startWeb(t *testing.T) (*querytest.API, *querytest.Agent) {
	t.Helper()
	api := querytest.Start(t, query.Config{})
	agent := api.Join(t, &apiv1.Hello{Node: "node-1"}, nil)
	agent.Observe(t, 7, webProfile())
	wait.Until(t, 10*time.Second, func() error {
		var list struct{ Profiles []view.Profile }
		get(t, api, "/api/v1/profiles", &list)
		if len(list.Profiles) != 1 || list.Profiles[0].Version != 1 {
			return fmt.Errorf("profiles: %+v", list)
		}
		return nil
	})
	return api, agent
}

func changeLines(changes []view.Change) string {
	var lines []string
	for _, c := range changes {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s", c.Change, c.Kind, c.Process, c.Entry))
	}
	return strings.Join(lines, "\n")
}

func TestProfiles(t *testing.T) {
	api, _ := startWeb(t)
	var one view.ProfileText
	get(t, api, webPath, &one)
	about := one.Profile
	if about.Workload.Name != "web" || about.Entries != 3 || about.Candidates != 2 || about.States["process"] != "stabilising" || about.Overlay != nil {
		t.Errorf("profile is %+v", about)
	}
	if n := about.Nodes; len(n) != 1 || n[0].Node != "node-1" || n[0].Version != 7 || !n[0].Announced || !n[0].Received.Equal(querytest.Now()) {
		t.Errorf("nodes are %+v", n)
	}
	if !strings.Contains(one.Text, "api.example.com") || strings.Contains(one.Text, "/bin/sh") || one.Layer != "effective" || one.LayerVersion != 1 {
		t.Errorf("effective: %+v", one)
	}
	for query, want := range map[string]string{"?layer=merged": "/bin/sh", "?layer=observed&node=node-1": "node-1", "?layer=overlay": ""} {
		get(t, api, webPath+query, &one)
		if !strings.Contains(one.Text, want) || (one.Text == "") != (want == "") {
			t.Errorf("%s: %q", query, one.Text)
		}
	}
	var none struct{ Profiles []view.Profile }
	get(t, api, "/api/v1/profiles?workload=bank/*", &none)
	if len(none.Profiles) != 0 {
		t.Errorf("profiles of another namespace: %+v", none)
	}
	for path, status := range map[string]int{
		"/api/v1/profiles/shop/Deployment/other/app": 404, "/api/v1/profiles/-/Deployment/web/app": 404, webPath + "?layer=observed": 400,
		webPath + "?layer=observed&node=none": 404, webPath + "?layer=nonsense": 400, webPath + "?layer=overlay&version=3": 404,
		webPath + "?version=1": 400, webPath + "/diff?from=nonsense": 400, webPath + "/history?x=1": 400,
		"/api/v1/profiles/shop/Deployment/other/app/candidates": 404, "/api/v1/profiles/shop/Deployment/other/app/history": 404,
		"/api/v1/profiles?workload=a/b/c/d": 400, "/api/v1/profiles/shop/Deployment/%00/app": 400,
	} {
		refused(t, api, http.MethodGet, path, api.Viewer, "", status)
	}
}

// TestDecide approves one candidate and rejects the rest.
func TestDecide(t *testing.T) {
	api, agent := startWeb(t)
	var waiting struct {
		OverlayVersion uint64 `json:"overlay_version"`
		Candidates     []view.ProfileEntry
	}
	get(t, api, webPath+"/candidates", &waiting)
	if len(waiting.Candidates) != 2 || waiting.OverlayVersion != 0 {
		t.Fatalf("candidates: %+v", waiting)
	}
	id := waiting.Candidates[0]
	if id.Process != "/bin/id" || id.Suspect != "exec session" || id.Replicas != 2 || !slices.Equal(id.Nodes, []string{"node-1"}) || id.Count != 3 {
		t.Errorf("candidate: %+v", id)
	}
	var changed view.ProfileChange
	send(t, api, http.MethodPost, webPath+"/approve", map[string]any{"entries": []string{id.ID}, "reason": "health checks"}, &changed)
	if changed.OverlayVersion != 1 || changed.Version != 2 || !strings.Contains(changeLines(changed.Changes), "added process /bin/id") {
		t.Errorf("approved: %+v", changed)
	}
	send(t, api, http.MethodPost, webPath+"/reject", map[string]any{"all": true, "reason": "that was me"}, &changed)
	if changed.OverlayVersion != 2 || changed.Version != 2 || len(changed.Changes) != 0 {
		t.Errorf("rejected: %+v", changed)
	}
	get(t, api, webPath+"/candidates", &waiting)
	if len(waiting.Candidates) != 0 {
		t.Errorf("candidates are left: %+v", waiting)
	}
	var one view.ProfileText
	get(t, api, webPath, &one)
	if strings.Contains(one.Text, "/bin/sh") || !strings.Contains(one.Text, "/bin/id") || !strings.Contains(one.Text, "health checks") {
		t.Errorf("effective:\n%s", one.Text)
	}
	if o := one.Overlay; o == nil || o.Version != 2 || o.Author != "ann" || o.Reason != "that was me" {
		t.Errorf("overlay: %+v", o)
	}
	// The agent sends it again, and it stays decided.
	agent.Observe(t, 8, webProfile())
	get(t, api, webPath+"/candidates", &waiting)
	if len(waiting.Candidates) != 0 {
		t.Errorf("candidates come back: %+v", waiting)
	}
	var history struct{ History []view.Overlay }
	get(t, api, webPath+"/history", &history)
	if h := history.History; len(h) != 2 || h[0].Action != "reject" || h[1].Action != "approve" || h[1].Reason != "health checks" || h[1].Author != "ann" {
		t.Errorf("history: %+v", h)
	}
	var diff view.ProfileDiff
	get(t, api, webPath+"/diff", &diff)
	if diff.From != "1" || diff.To != "overlay" || !strings.HasPrefix(changeLines(diff.Changes), "added process /bin/sh") {
		t.Errorf("diff: %+v", diff)
	}
	get(t, api, webPath+"/diff?from=merged&to=effective", &diff)
	if !strings.Contains(changeLines(diff.Changes), "removed process /bin/sh") {
		t.Errorf("diff of layers: %s", changeLines(diff.Changes))
	}
	for body, status := range map[string]int{
		`{"entries":["0123456789abcdef"],"reason":"x"}`: 404, `{"all":true,"reason":"x"}`: 404, `{"all":true,"entries":["x"],"reason":"x"}`: 400,
		`{"reason":"x"}`: 400, `{"all":true}`: 400, `{"all":true,"reason":" "}`: 400,
	} {
		refused(t, api, http.MethodPost, webPath+"/approve", api.Admin, body, status)
	}
}

// putOverlay sends an overlay against a version.
func putOverlay(t *testing.T, api *querytest.API, path, match, text string) (int, []byte) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"text": text, "reason": "by hand"})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://"+api.Address+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+api.Admin)
	request.Header.Set("Content-Type", "application/json")
	if match != "" {
		request.Header.Set("If-Match", match)
	}
	response, err := api.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer bytes.Buffer
	if _, err := answer.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer.Bytes()
}

func TestOverlay(t *testing.T) {
	api, agent := startWeb(t)
	text := webYAML + "processes:\n  - path: /usr/bin/backup\n    anyArguments: true\n"
	for _, test := range []struct {
		path, match, text string
		status            int
		says              string
	}{
		{webPath, "", text, 428, "If-Match"},
		{webPath, "x", text, 400, "If-Match"},
		{webPath, `"1"`, text, 412, "version 0"},
		{webPath, `"0"`, "nonsense", 422, "overlay:1"},
		{webPath, `"0"`, webYAML + "processes:\n  - path: usr/bin/x\n", 422, "overlay:9"},
		{webPath, `"0"`, webYAML + "modes:\n  process: enforce\n", 422, "mode enforce"},
		{"/api/v1/profiles/shop/Deployment/other/app", `"0"`, text, 422, "shop/Deployment/web/app"},
		{webPath, `"0"`, text, 200, "/usr/bin/backup"},
		{webPath, `"0"`, text, 412, "version 1"},
		{webPath, `*`, text, 200, `"overlay_version":2`},
		{webPath, `"2"`, "", 200, "removed"},
		{webPath, `"3"`, text, 200, `"overlay_version":4`},
	} {
		status, answer := putOverlay(t, api, test.path+"/overlay", test.match, test.text)
		if status != test.status || !strings.Contains(string(answer), test.says) {
			t.Errorf("If-Match %s with %q: %d %s, expected %d with %q", test.match, test.text, status, answer, test.status, test.says)
		}
	}
	var one view.ProfileText
	get(t, api, webPath+"?layer=overlay&version=1", &one)
	if !strings.Contains(one.Text, "/usr/bin/backup") || one.LayerVersion != 1 {
		t.Errorf("version 1: %+v", one)
	}
	refused(t, api, http.MethodDelete, webPath+"?reason=old", api.Admin, "", http.StatusConflict)
	agent.Leave()
	refused(t, api, http.MethodDelete, webPath, api.Admin, "", http.StatusBadRequest)
	var forgotten view.ProfileChange
	send(t, api, http.MethodDelete, webPath+"?reason=old", nil, &forgotten)
	if forgotten.Version != 0 || !strings.Contains(changeLines(forgotten.Changes), "removed process /usr/sbin/nginx") {
		t.Errorf("forgotten: %+v", forgotten)
	}
	refused(t, api, http.MethodGet, webPath, api.Viewer, "", http.StatusNotFound)
	var history struct{ History []view.Overlay }
	get(t, api, webPath+"/history", &history)
	if len(history.History) != 5 || history.History[0].Action != "remove" {
		t.Errorf("history: %+v", history)
	}
}

func TestImportExport(t *testing.T) {
	api, _ := startWeb(t)
	db := strings.ReplaceAll(webYAML, "name: web", "name: db") + "processes:\n  - path: /usr/bin/postgres\n"
	web := webYAML + "processes:\n  - path: /usr/bin/backup\n"
	_, message := refused(t, api, http.MethodPost, "/api/v1/profiles/import", api.Admin,
		string(mustJSON(t, map[string]any{"profiles": []string{db, "x: y", db, web + "---\n" + web}, "reason": "from git"})), http.StatusUnprocessableEntity)
	for _, says := range []string{"profile 2:1", "profile 4:", "profile 3: shop/Deployment/db/app is there already"} {
		if !strings.Contains(message, says) {
			t.Errorf("the refusal does not say %q: %s", says, message)
		}
	}
	refused(t, api, http.MethodGet, strings.Replace(webPath, "web", "db", 1), api.Viewer, "", http.StatusNotFound)
	var imported struct{ Profiles []view.ProfileChange }
	send(t, api, http.MethodPost, "/api/v1/profiles/import", map[string]any{"profiles": []string{db + "---\n" + web}, "reason": "from git"}, &imported)
	if p := imported.Profiles; len(p) != 2 || p[0].OverlayVersion != 1 || p[0].Version != 1 || p[1].Version != 2 {
		t.Errorf("imported: %+v", imported)
	}
	for query, want := range map[string]string{
		"": "db effective 1, web effective 2", "?layer=overlay": "db overlay 1, web overlay 1", "?layer=merged": "web merged 0", "?workload=shop/db": "db effective 1",
	} {
		response, text := ask(t, api, http.MethodGet, "/api/v1/profiles/export"+query, api.Viewer, "")
		var lines []string
		scanner := bufio.NewScanner(bytes.NewReader(text))
		for scanner.Scan() {
			var line view.ProfileExport
			if err := json.Unmarshal(scanner.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			if !line.End {
				if _, err := profile.DecodeOne("export", []byte(line.Text)); err != nil {
					t.Error(err)
				}
				lines = append(lines, fmt.Sprintf("%s %s %d", line.Workload.Name, line.Layer, line.Version))
			}
		}
		if got := strings.Join(lines, ", "); got != want || response.StatusCode != 200 || !bytes.HasSuffix(text, []byte("{\"end\":true}\n")) {
			t.Errorf("export%s: %s, expected %s: %s", query, got, want, text)
		}
	}
	refused(t, api, http.MethodGet, "/api/v1/profiles/export?layer=observed", api.Viewer, "", http.StatusBadRequest)
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestSlowBody sends half of a body: the call ends all the same.
func TestSlowBody(t *testing.T) {
	api := querytest.Start(t, query.Config{Timeout: 200 * time.Millisecond})
	conn, err := tls.Dial("tcp", api.Address, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: api.Authority.Roots(), ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "POST /api/v1/modes HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", api.Admin); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusRequestTimeout {
		t.Errorf("answered %s", response.Status)
	}
}

func TestModes(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	set := func(body map[string]any) (c view.ModeChange) {
		t.Helper()
		body["reason"] = "ready"
		send(t, api, http.MethodPost, "/api/v1/modes", body, &c)
		return c
	}
	first := set(map[string]any{"workload": "shop/web", "signals": []string{"process", "egress", "process"}, "mode": "monitor"})
	if first.Version != 1 || first.Setting.ID != 1 || first.Setting.Author != "ann" || !slices.Equal(first.Setting.Signals, []string{"egress", "process"}) || !first.Setting.Until.IsZero() {
		t.Errorf("first: %+v", first)
	}
	if c := set(map[string]any{"workload": "shop/web", "signals": []string{"file"}, "mode": "learn"}); len(c.Replaced) != 0 {
		t.Errorf("another signal replaces: %+v", c)
	}
	if c := set(map[string]any{"workload": "shop/web", "mode": "enforce"}); len(c.Replaced) != 2 || c.Setting.ID != 3 {
		t.Errorf("all signals: %+v", c)
	}
	if c := set(map[string]any{"workload": "shop/web", "mode": "monitor", "for": "400d"}); len(c.Replaced) != 0 || c.Setting.Until.IsZero() {
		t.Errorf("break-glass: %+v", c)
	}
	var all struct {
		Version  uint64
		Settings []view.ModeSetting
	}
	get(t, api, "/api/v1/modes", &all)
	if all.Version != 4 || len(all.Settings) != 2 || all.Settings[0].ID != 4 || all.Settings[1].ID != 3 {
		t.Errorf("modes: %+v", all)
	}
	var ended view.ModeChange
	send(t, api, http.MethodDelete, "/api/v1/modes/4?reason=over", nil, &ended)
	if ended.Version != 5 || ended.Setting.ID != 4 {
		t.Errorf("ended: %+v", ended)
	}
	var history struct{ History []view.ModeSetting }
	get(t, api, "/api/v1/modes/history", &history)
	if h := history.History; len(h) != 4 || h[0].EndReason != "over" || h[0].EndedBy != "ann" || !h[1].Ended.IsZero() || !strings.HasPrefix(h[2].EndReason, "replaced") {
		t.Errorf("history: %+v", h)
	}
	for _, body := range []string{
		`{"workload":"shop/web","mode":"enforce"}`, `{"workload":"shop/web","mode":"kill","reason":"x"}`,
		`{"workload":"a/b/c/d","mode":"enforce","reason":"x"}`, `{"workload":"x","signals":["gpu"],"mode":"enforce","reason":"x"}`,
		`{"workload":"x","mode":"enforce","reason":"x","for":"soon"}`, `{"workload":"x","mode":"enforce","reason":"x","until":"2020-01-01T00:00:00Z"}`,
		`{"workload":"x","mode":"enforce","reason":"` + strings.Repeat("x", 1001) + `"}`,
	} {
		refused(t, api, http.MethodPost, "/api/v1/modes", api.Admin, body, http.StatusBadRequest)
	}
	refused(t, api, http.MethodDelete, "/api/v1/modes/4?reason=x", api.Admin, "", http.StatusNotFound)
	refused(t, api, http.MethodDelete, "/api/v1/modes/x?reason=x", api.Admin, "", http.StatusNotFound)
	refused(t, api, http.MethodDelete, "/api/v1/modes/3", api.Admin, "", http.StatusBadRequest)
	refused(t, api, http.MethodDelete, "/api/v1/modes/history", api.Admin, "", http.StatusMethodNotAllowed)
	refused(t, api, http.MethodGet, "/api/v1/modes/3", api.Viewer, "", http.StatusMethodNotAllowed)
}

// TestWorkloads shows what nodes say of modes.
func TestWorkloads(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	key := &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}
	api.Join(t, &apiv1.Hello{Node: "node-1"}, &apiv1.Health{
		Workloads: []*apiv1.WorkloadState{{
			Key: key, ProfileVersion: 7, Containers: 2, Known: 5, Blocked: 1,
			Signals: []*apiv1.SignalState{{Signal: "process", Mode: "enforce", Source: "collector: setting 1 by ann", State: "stable"}},
		}},
		Switches: []*apiv1.ModeSwitch{
			{TimeNs: 1e9, Key: key, Signal: "process", From: "monitor", To: "enforce", Author: "ann", Reason: "ready"},
			{TimeNs: 2e9, Key: key, Signal: "process", From: "enforce", To: "monitor", Author: "brake", Reason: "it restarts"},
		},
	})
	api.Join(t, &apiv1.Hello{Node: "node-2"}, nil)
	for query, want := range map[string]int{"": 1, "?node=node-2": 0, "?node=node-1&workload=shop/w*": 1, "?workload=bank": 0} {
		var workloads struct{ Workloads []view.WorkloadState }
		get(t, api, "/api/v1/workloads"+query, &workloads)
		if len(workloads.Workloads) != want {
			t.Fatalf("workloads%s: %+v", query, workloads)
		}
		if want == 1 {
			w := workloads.Workloads[0]
			if w.Node != "node-1" || !w.Connected || w.ProfileVersion != 7 || w.Blocked != 1 || w.Signals[0].Source != "collector: setting 1 by ann" {
				t.Errorf("workload: %+v", w)
			}
		}
		var switches struct{ Switches []view.ModeSwitch }
		get(t, api, "/api/v1/modes/switches"+query, &switches)
		if len(switches.Switches) != 2*want || want == 1 && switches.Switches[0].Author != "brake" {
			t.Errorf("switches%s: %+v", query, switches)
		}
	}
	refused(t, api, http.MethodGet, "/api/v1/workloads?node=none", api.Viewer, "", http.StatusNotFound)
}

// violation is an alert of a deed that is not in the profile of web.
func violation(v *apiv1.Violation) *apiv1.Record {
	v.Key = &apiv1.ProfileKey{Namespace: "shop", Kind: "Deployment", Name: "web", Container: "app"}
	v.Mode, v.ModeSource, v.ProfileVersion = "monitor", "collector: setting 1", 1
	return &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
		Rule: "profile", Priority: apiv1.Priority_PRIORITY_WARNING, Count: 1, Violation: v,
		Event: &apiv1.Event{Type: "exec", TimeNs: querytest.Now().UnixNano()},
	}}}
}

// TestAllow explains alerts of every kind and allows them: exactly the deed, and it is allowed then.
func TestAllow(t *testing.T) {
	api, _ := startWeb(t)
	const nginx = "/usr/sbin/nginx"
	deeds := []struct {
		violation     *apiv1.Violation
		why, nearest  string
		missing, adds string
	}{
		{
			&apiv1.Violation{Signal: "process", Reason: "executable", Executable: "/bin/date", Parent: nginx, Source: "image", Shape: []string{"date", "-u"}},
			"/bin/date is not listed", "", "/bin/date", "added process /bin/date",
		},
		{
			&apiv1.Violation{Signal: "process", Reason: "parent", Executable: nginx, Parent: "/bin/date", Source: "image"},
			"is not started by /bin/date", "(runtime)", "/bin/date", "added parent /usr/sbin/nginx: /bin/date",
		},
		{
			&apiv1.Violation{Signal: "process", Reason: "drift", Executable: "/tmp/x", Parent: nginx, Source: "upper"},
			"/tmp/x comes from what the container has written itself", "", "upper", "added process /tmp/x",
		},
		{
			&apiv1.Violation{Signal: "file", Reason: "file", Executable: nginx, Path: "/var/cache/a1", Access: []string{"write", "create"}},
			"write, create /var/cache/a1", "", "/var/cache/a1", "added file /usr/sbin/nginx",
		},
		{
			&apiv1.Violation{Signal: "egress", Reason: "address", Executable: nginx, Address: "192.0.2.7", Protocol: "tcp", Port: 443},
			"192.0.2.7", "", "192.0.2.7/32", "added egress /usr/sbin/nginx: tcp 192.0.2.7 port 443",
		},
		{
			&apiv1.Violation{Signal: "egress", Reason: "domain", Executable: nginx, Name: "cdn.example.com", Protocol: "udp", Port: 53},
			"cdn.example.com", "tcp api.example.com port 443", "cdn.example.com", "added egress /usr/sbin/nginx",
		},
		{
			&apiv1.Violation{Signal: "egress", Reason: "listen", Executable: nginx, Protocol: "tcp", Port: 8080},
			"listen on tcp port 8080", "", "8080", "added listen /usr/sbin/nginx: tcp port 8080",
		},
	}
	for i, deed := range deeds {
		api.Append(t, alerts, "node-1", 1, uint64(i+1), violation(deed.violation))
		path := fmt.Sprintf("/api/v1/alerts/node-1:1:%d", i+1)
		var e view.Explanation
		get(t, api, path+"/explain", &e)
		if e.Allowed || !e.CanAllow || e.Reason != deed.violation.GetReason() || e.Mode != "monitor" || e.ProfileVersion != 1 || e.Workload.Name != "web" {
			t.Errorf("explain %s: %+v", deed.violation.GetReason(), e)
		}
		if !strings.Contains(e.Why, deed.why) || !strings.Contains(e.Missing, deed.missing) || !strings.Contains(changeLines(e.Changes), deed.adds) {
			t.Errorf("explain %s: why %q, expected %q; changes %s, expected %q; missing\n%s", e.Reason, e.Why, deed.why, changeLines(e.Changes), deed.adds, e.Missing)
		}
		if deed.nearest != "" && (e.Nearest == nil || e.Nearest.Entry != deed.nearest) {
			t.Errorf("explain %s: nearest %+v, expected %q", e.Reason, e.Nearest, deed.nearest)
		}
		var changed view.ProfileChange
		send(t, api, http.MethodPost, path+"/allow", map[string]string{"reason": "it may"}, &changed)
		if changed.Already || changed.OverlayVersion != uint64(i+1) || changeLines(changed.Changes) != changeLines(e.Changes) {
			t.Errorf("allow %s: %+v", e.Reason, changed)
		}
		get(t, api, path+"/explain", &e)
		if !e.Allowed || e.CanAllow {
			t.Errorf("explain %s after it was allowed: %+v", e.Reason, e)
		}
		send(t, api, http.MethodPost, path+"/allow", map[string]string{"reason": "again"}, &changed)
		if !changed.Already || changed.OverlayVersion != uint64(i+1) || len(changed.Changes) != 0 {
			t.Errorf("allow %s again: %+v", e.Reason, changed)
		}
	}
	var overlay view.ProfileText
	get(t, api, webPath+"?layer=overlay", &overlay)
	if n := strings.Count(overlay.Text, "it may"); n < len(deeds) || !strings.Contains(overlay.Text, "ann") {
		t.Errorf("the overlay does not say who allowed what and why:\n%s", overlay.Text)
	}
}

// TestCannotAllow asks to allow what no profile can, and what was taken away.
func TestCannotAllow(t *testing.T) {
	api, _ := startWeb(t)
	api.Append(t, alerts, "node-1", 1, 1,
		querytest.AlertRecords(t)[0],
		violation(&apiv1.Violation{Signal: "process", Reason: "mount"}),
		violation(&apiv1.Violation{Signal: "egress", Reason: "address", Executable: "/x", Address: "nobody"}),
		violation(&apiv1.Violation{Signal: "process", Reason: "executable", Executable: "/bin/sh", Parent: "/usr/sbin/nginx", Source: "image"}),
	)
	for i, says := range []string{"of the rule", "mount", "who was contacted"} {
		path := fmt.Sprintf("/api/v1/alerts/node-1:1:%d", i+1)
		var e view.Explanation
		get(t, api, path+"/explain", &e)
		if e.CanAllow || !strings.Contains(e.Cannot, says) {
			t.Errorf("explain %d: %+v", i+1, e)
		}
		_, message := refused(t, api, http.MethodPost, path+"/allow", api.Admin, `{"reason":"x"}`, http.StatusUnprocessableEntity)
		if !strings.Contains(message, says) {
			t.Errorf("allow %d: %s", i+1, message)
		}
	}
	refused(t, api, http.MethodPost, "/api/v1/alerts/node-1:1:4/allow", api.Admin, `{}`, http.StatusBadRequest)
	refused(t, api, http.MethodPost, "/api/v1/alerts/node-1:1:9/allow", api.Admin, `{"reason":"x"}`, http.StatusNotFound)
	// What a person took away, a person may give back.
	var changed view.ProfileChange
	send(t, api, http.MethodPost, webPath+"/reject", map[string]any{"all": true, "reason": "no shells"}, &changed)
	send(t, api, http.MethodPost, "/api/v1/alerts/node-1:1:4/allow", map[string]string{"reason": "one shell"}, &changed)
	if !strings.Contains(changeLines(changed.Changes), "added process /bin/sh") {
		t.Errorf("allowed: %+v", changed)
	}
}
