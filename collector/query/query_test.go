// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
)

const (
	alerts  = apiv1.Lane_LANE_ALERTS
	records = apiv1.Lane_LANE_RECORDS
)

// ask sends a request and returns the status and the body.
func ask(t *testing.T, api *querytest.API, method, path, token, body string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "https://"+api.Address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := api.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, text
}

// get asks for path as a viewer and decodes a success into v.
func get(t *testing.T, api *querytest.API, path string, v any) {
	t.Helper()
	response, text := ask(t, api, http.MethodGet, path, api.Viewer, "")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s %s", path, response.Status, text)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, text)
	}
}

// refused asks for something that is refused and returns the error that is told.
func refused(t *testing.T, api *querytest.API, method, path, token, body string, status int) (code, message string) {
	t.Helper()
	response, text := ask(t, api, method, path, token, body)
	var said struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(text, &said); err != nil || said.Error.Message == "" || said.Error.Code == "" {
		t.Fatalf("%s %s: the refusal is no error object: %s", method, path, text)
	}
	if response.StatusCode != status {
		t.Fatalf("%s %s: %s (%s), want %d", method, path, response.Status, said.Error.Message, status)
	}
	return said.Error.Code, said.Error.Message
}

// TestEveryRouteIsGuarded goes through all routes with every kind of token.
func TestEveryRouteIsGuarded(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	bodies := map[string]string{http.MethodPut: `{"workload":"shop/*","types":["exec"]}`}
	routes := query.Routes()
	if len(routes) < 9 {
		t.Fatalf("there are only %d routes", len(routes))
	}
	for _, rt := range append(routes, [3]string{http.MethodGet, "/nowhere", "viewer"}, [3]string{http.MethodPost, "/api/v1/nodes", "viewer"}) {
		method, path, role := rt[0], rt[1], rt[2]
		path = strings.NewReplacer("{id}", "node-1:1:1", "{node}", "node-1").Replace(path)
		if method == http.MethodDelete {
			path += "?all=true"
		}
		for _, c := range []struct {
			name, token string
			admitted    bool
			status      int
		}{
			{"no token", "", false, http.StatusUnauthorized},
			{"unknown token", "hfa_nobody_x", false, http.StatusUnauthorized},
			{"expired token", api.Expired, false, http.StatusUnauthorized},
			{"join token", api.JoinToken, false, http.StatusUnauthorized},
			{"viewer", api.Viewer, role == "viewer", http.StatusForbidden},
			{"admin", api.Admin, true, 0},
		} {
			t.Run(strings.Join([]string{method, path, c.name}, " "), func(t *testing.T) {
				response, text := ask(t, api, method, path, c.token, bodies[method])
				if c.admitted {
					if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden {
						t.Errorf("refused: %s %s", response.Status, text)
					}
				} else if response.StatusCode != c.status {
					t.Errorf("answered %s %s, want %d", response.Status, text, c.status)
				}
				kind := "application/json"
				if strings.HasSuffix(path, "/export") && response.StatusCode == http.StatusOK {
					kind = "application/x-ndjson"
				}
				for name, want := range map[string]string{
					"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Type": kind,
					"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
				} {
					if got := response.Header.Get(name); got != want {
						t.Errorf("header %s is %q, want %q", name, got, want)
					}
				}
			})
		}
	}
}

func TestTokenForms(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	for header, want := range map[string]int{
		"Bearer " + api.Viewer: 200, "bearer  " + api.Viewer: 200,
		"Basic " + api.Viewer: 401, api.Viewer: 401, "Bearer": 401, "Bearer ": 401,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+api.Address+"/api/v1/nodes", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", header)
		response, err := api.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("Authorization: %q: %s, want %d", header, response.Status, want)
		}
		if want == 401 && response.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("Authorization: %q: no challenge", header)
		}
	}
	if _, message := refused(t, api, http.MethodGet, "/api/v1/nodes?token="+api.Viewer, "", "", 401); message == "" {
		t.Error("a token in the address is taken")
	}
}

func TestParametersAreStrict(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	long := strings.Repeat("x", 1025)
	for path, want := range map[string]string{
		"/api/v1/alerts?prioritty=warning": `unknown parameter "prioritty": this call takes cursor, follow, last, limit, ` +
			`node, order, priority, rule, since, text, until, workload`,
		"/api/v1/alerts/x:1:1?a=b":                        `unknown parameter "a": this call takes none`,
		"/api/v1/alerts?node=a&node=b":                    "parameter node: given 2 times, want once",
		"/api/v1/alerts?node=" + long:                     "parameter node: 1025 bytes, want at most 1024",
		"/api/v1/alerts?node=%zz":                         `query string: invalid URL escape "%zz"`,
		"/api/v1/alerts?a;b=c":                            "query string: invalid semicolon separator in query",
		"/api/v1/alerts?limit=0":                          `parameter limit: "0" is not a number from 1 to 1000`,
		"/api/v1/alerts?limit=1001":                       `parameter limit: "1001" is not a number from 1 to 1000`,
		"/api/v1/alerts?limit=ten":                        `parameter limit: "ten" is not a number from 1 to 1000`,
		"/api/v1/alerts?order=random":                     `parameter order: "random" is neither newest nor oldest`,
		"/api/v1/alerts?follow=yes":                       `parameter follow: "yes" is neither true nor false`,
		"/api/v1/alerts?follow=true&until=1h":             "parameter until: a stream does not take it",
		"/api/v1/alerts?follow=true&limit=5":              "parameter limit: a stream does not take it",
		"/api/v1/alerts?last=5":                           "parameter last: only a stream takes it: add follow=true, or use order=newest and limit",
		"/api/v1/alerts?since=-1h":                        `parameter since: "-1h" is neither an age such as 15m, 1h or 7d, nor a time such as 2026-01-31T08:00:00Z`,
		"/api/v1/alerts?since=yesterday":                  `parameter since: "yesterday" is neither an age such as 15m, 1h or 7d, nor a time such as 2026-01-31T08:00:00Z`,
		"/api/v1/alerts?since=99999d":                     `parameter since: "99999d" is neither an age such as 15m, 1h or 7d, nor a time such as 2026-01-31T08:00:00Z`,
		"/api/v1/alerts?since=1h&until=2h":                "since is not before until: nothing can match",
		"/api/v1/alerts?priority=high":                    `parameter priority: priority "high": want one of emergency, alert, critical, error, warning, notice, informational, debug`,
		"/api/v1/alerts?type=exec":                        `unknown parameter "type": this call takes cursor, follow, last, limit, node, order, priority, rule, since, text, until, workload`,
		"/api/v1/nodes?limit=1":                           `unknown parameter "limit": this call takes none`,
		"/api/v1/nodes/n/events?pid=0":                    `parameter pid: "0" is not a process id`,
		"/api/v1/nodes/n/events?pid=1,x":                  `parameter pid: "x" is not a process id`,
		"/api/v1/events?" + strings.Repeat("type=a&", 65): "parameter type: 65 values, want at most 64",
	} {
		code, message := refused(t, api, http.MethodGet, path, api.Viewer, "", http.StatusBadRequest)
		if code != "invalid" || message != want {
			t.Errorf("GET %s: %s: %s\nwant invalid: %s", path, code, message, want)
		}
	}
	for _, path := range []string{"/api/v1/alerts?workload=[", "/api/v1/alerts?rule=[", "/api/v1/alerts?cursor=nonsense"} {
		if code, message := refused(t, api, http.MethodGet, path, api.Viewer, "", http.StatusBadRequest); code != "invalid" {
			t.Errorf("GET %s: %s: %s", path, code, message)
		}
	}
}

func TestWhatIsNotThere(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	for _, c := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/api/v1/alerts/node-1:1:1", 404, "not_found"},
		{"GET", "/api/v1/alerts/..%2f..%2fstate.db", 404, "not_found"},
		{"GET", "/api/v1/nodes/node-9", 404, "not_found"},
		{"GET", "/api/v1/nodes/node-9/events", 404, "not_found"},
		{"GET", "/api/v1/nowhere", 404, "not_found"},
		{"GET", "/", 404, "not_found"},
		{"DELETE", "/api/v1/record?workload=shop", 404, "not_found"},
		{"POST", "/api/v1/alerts", 405, "method_not_allowed"},
		{"DELETE", "/api/v1/nodes/x", 405, "method_not_allowed"},
	} {
		if code, message := refused(t, api, c.method, c.path, api.Admin, "", c.status); code != c.code {
			t.Errorf("%s %s: %s: %s, want %s", c.method, c.path, code, message, c.code)
		}
	}
	response, _ := ask(t, api, http.MethodPost, "/api/v1/record", api.Admin, "")
	if allow := response.Header.Get("Allow"); allow != "GET, PUT, DELETE" {
		t.Errorf("Allow is %q", allow)
	}
}

type alertPage struct {
	Alerts []view.Alert
	Next   string
}

// pages reads a whole list and returns the ids and how many pages there were.
func pages(t *testing.T, api *querytest.API, query url.Values) (ids []string, count int) {
	t.Helper()
	for {
		var page alertPage
		get(t, api, "/api/v1/alerts?"+query.Encode(), &page)
		count++
		for _, a := range page.Alerts {
			ids = append(ids, a.ID)
		}
		if page.Next == "" || count > 100 {
			return ids, count
		}
		query.Set("cursor", page.Next)
	}
}

func TestAlerts(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	api.Append(t, alerts, "node-1", 1, 1, querytest.AlertRecords(t)...)
	api.Append(t, alerts, "node-2", 7, 1, querytest.AlertRecords(t)[:2]...)

	ids, count := pages(t, api, url.Values{"limit": {"3"}, "order": {"oldest"}})
	if len(ids) != 8 || count != 3 {
		t.Errorf("%d alerts on %d pages: %v", len(ids), count, ids)
	}
	newest, _ := pages(t, api, url.Values{"limit": {"3"}})
	slices.Reverse(newest)
	if !slices.Equal(ids, newest) {
		t.Errorf("oldest first %v, newest first (reversed) %v", ids, newest)
	}
	for query, want := range map[string][]string{
		"node=node-2&order=oldest":                            {"node-2:7:1", "node-2:7:2"},
		"priority=critical":                                   {"node-1:1:1", "node-2:7:1"},
		"workload=shop&node=node-1&order=oldest":              {"node-1:1:1", "node-1:1:2"},
		"workload=shop/web/other":                             {},
		"rule=*shadow*":                                       {},
		"rule=*file*":                                         {"node-1:1:3"},
		"text=169.254&node=node-1":                            {"node-1:1:2"},
		"since=2026-11-18T11:06:44Z":                          {"node-1:1:6", "node-1:1:5"},
		"until=2026-11-18T11:06:41Z&node=node-1":              {"node-1:1:1"},
		"since=100d&until=2026-11-18T11:06:41Z&node=node-1":   {"node-1:1:1"},
		"since=2026-11-18T12:06:44%2B01:00&order=oldest":      {"node-1:1:5", "node-1:1:6"},
		"priority=info&node=node-1&workload=ops&order=newest": {"node-1:1:5"},
	} {
		var page alertPage
		get(t, api, "/api/v1/alerts?"+query, &page)
		got := []string{}
		for _, a := range page.Alerts {
			got = append(got, a.ID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	var one view.Alert
	get(t, api, "/api/v1/alerts/node-1:1:1", &one)
	if one.ID != "node-1:1:1" || one.Hostname != "node-1" || one.Rule == "" || len(one.Process.Ancestors) != 3 {
		t.Errorf("alert is %+v", one)
	}
	_, text := ask(t, api, http.MethodGet, "/api/v1/alerts?text=nothing+like+it", api.Viewer, "")
	if string(text) != `{"alerts":[]}`+"\n" {
		t.Errorf("an empty list is %s", text)
	}
}

// TestAlertsAreTextEverywhere checks that what an attacker wrote reaches the reader as it was, and leaves JSON valid.
func TestAlertsAreTextEverywhere(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	alert := querytest.Alert(t, "open")
	nasty := "\"},{\"rule\":\"x\n\x1b[2J</script>\u202e'; DROP TABLE alerts; --"
	alert.Output, alert.Rule = nasty, nasty
	alert.Event.Process.Argv = []string{nasty}
	api.Append(t, alerts, "node-1", 1, 1, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: alert}})
	var page alertPage
	get(t, api, "/api/v1/alerts?"+url.Values{"text": {nasty}, "rule": {"*DROP*"}}.Encode(), &page)
	if len(page.Alerts) != 1 || page.Alerts[0].Output != nasty || page.Alerts[0].Process.Args[0] != nasty {
		t.Errorf("alerts are %+v", page.Alerts)
	}
	refused(t, api, http.MethodGet, "/api/v1/alerts/"+url.PathEscape(nasty), api.Viewer, "", 404)
}

func TestEvents(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	api.Append(t, records, "node-1", 1, 1, querytest.EventRecords(t)...)
	var page struct{ Events []view.Event }
	get(t, api, "/api/v1/events?type=exec,open&type=dns_answer&order=oldest", &page)
	var types []string
	for _, e := range page.Events {
		types = append(types, e.Type)
		if e.Node != "node-1" || e.ID == "" || e.Sequence == 0 {
			t.Errorf("event is %+v", e)
		}
	}
	if !slices.Equal(types, []string{"exec", "open", "dns_answer"}) {
		t.Errorf("types are %v", types)
	}
	var alerts alertPage
	if get(t, api, "/api/v1/alerts", &alerts); len(alerts.Alerts) != 0 {
		t.Errorf("recorded events appear as alerts: %+v", alerts)
	}
}

func TestNodes(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	_, text := ask(t, api, http.MethodGet, "/api/v1/nodes", api.Viewer, "")
	if string(text) != `{"nodes":[]}`+"\n" {
		t.Errorf("no nodes are %s", text)
	}
	old := []*apiv1.Capability{{Signal: "exec", See: apiv1.Support_SUPPORT_NO}}
	now := []*apiv1.Capability{{Signal: "exec", See: apiv1.Support_SUPPORT_YES}, {Signal: "open"}}
	hello := &apiv1.Hello{Node: "node-1", AgentVersion: "v1", KernelRelease: "6.12", Machine: "x86_64", Capabilities: old}
	api.Join(t, hello, nil)
	api.Put(t, store.Node{Name: "node-2", FirstSeen: querytest.Now(), LastSeen: querytest.Now(), Hello: hello,
		Health: &apiv1.Health{Capabilities: now, Losses: map[string]uint64{"ring_full": 2}}})
	api.Lose(t, "node-2", 1, 5, "evicted")

	var list struct{ Nodes []view.Node }
	get(t, api, "/api/v1/nodes", &list)
	if len(list.Nodes) != 2 {
		t.Fatalf("nodes are %+v", list)
	}
	first, second := list.Nodes[0], list.Nodes[1]
	if !first.Connected || first.Health != nil || first.Kernel != "6.12" || len(first.Capabilities) != 1 || first.Capabilities[0].See != "no" {
		t.Errorf("node without health is %+v", first)
	}
	if second.Connected || second.Lost != 7 || len(second.Capabilities) != 2 || second.Capabilities[0].See != "yes" || second.Capabilities[1].See != "unknown" {
		t.Errorf("node with health is %+v", second)
	}
	var one view.Node
	if get(t, api, "/api/v1/nodes/node-2", &one); one.Node != "node-2" || !one.LastSeen.Equal(querytest.Now()) || one.Undelivered["alerts/evicted"] != 5 {
		t.Errorf("node-2 is %+v", one)
	}
}

func TestRecord(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	type policy struct {
		Version uint64
		Rules   []view.RecordRule
	}
	change := func(method, query, body string) policy {
		t.Helper()
		response, text := ask(t, api, method, "/api/v1/record"+query, api.Admin, body)
		var p policy
		if err := json.Unmarshal(text, &p); err != nil || response.StatusCode != 200 {
			t.Fatalf("%s %s: %s %s", method, query, response.Status, text)
		}
		return p
	}
	_, text := ask(t, api, http.MethodGet, "/api/v1/record", api.Viewer, "")
	if string(text) != `{"version":0,"rules":[]}`+"\n" {
		t.Errorf("nothing recorded is %s", text)
	}
	change("PUT", "", `{"workload":"shop/*","types":["exec"]}`)
	change("PUT", "", `{"workload":"","types":["exit"]}`)
	p := change("PUT", "", `{"workload":"shop/*","types":["open","connect","open"]}`)
	want := []view.RecordRule{{Workload: "shop/*", Types: []string{"connect", "open"}}, {Workload: "", Types: []string{"exit"}}}
	if !equalRules(p.Rules, want) || p.Version != 3 {
		t.Errorf("policy is %+v", p)
	}
	if p = change("DELETE", "?workload=", ""); !equalRules(p.Rules, want[:1]) {
		t.Errorf("policy is %+v", p)
	}
	var read policy
	if get(t, api, "/api/v1/record", &read); !equalRules(read.Rules, want[:1]) {
		t.Errorf("policy reads %+v", read)
	}
	if p = change("DELETE", "?all=true", ""); len(p.Rules) != 0 {
		t.Errorf("policy is %+v", p)
	}
	for body, want := range map[string]int{
		`{"workload":"shop/*"}`: 400, `{"workload":"[","types":["exec"]}`: 400, `{"workloads":"x","types":["exec"]}`: 400,
		`{"workload":"x","types":["exec"]} {}`: 400, `[]`: 400, `{`: 400,
		`{"workload":"` + strings.Repeat("x", 70000) + `"}`: 413,
	} {
		refused(t, api, http.MethodPut, "/api/v1/record", api.Admin, body, want)
	}
	for _, query := range []string{"", "?workload=x&all=true", "?all=maybe"} {
		refused(t, api, http.MethodDelete, "/api/v1/record"+query, api.Admin, "", 400)
	}
	refused(t, api, http.MethodPut, "/api/v1/record", api.Admin, "", 415)
}

func equalRules(a, b []view.RecordRule) bool {
	return slices.EqualFunc(a, b, func(a, b view.RecordRule) bool {
		return a.Workload == b.Workload && slices.Equal(a.Types, b.Types)
	})
}

func TestTailRefusesWhatMakesNoSense(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	api.Join(t, &apiv1.Hello{Node: "node-1"}, nil)
	for _, query := range []string{"workload=[", "workload=a/b/c/d", "pid=-1"} {
		refused(t, api, http.MethodGet, "/api/v1/nodes/node-1/events?"+query, api.Viewer, "", http.StatusBadRequest)
	}
}

func TestConfig(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	for _, cfg := range []query.Config{
		{}, {Store: api.Store}, {Store: api.Store, Fleet: api.Fleet, Log: slog.New(slog.DiscardHandler)},
	} {
		if _, err := query.New(cfg); err == nil {
			t.Errorf("%+v makes an API", cfg)
		}
	}
}
