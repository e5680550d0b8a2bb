// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/query"
	"github.com/holdfast-project/holdfast/collector/query/querytest"
	"github.com/holdfast-project/holdfast/collector/store"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/tests/wait"
)

// streamed is one line of a stream.
type streamed struct {
	Alert     *view.Alert
	Event     *view.Event
	Cursor    string
	Shed      uint64
	Heartbeat time.Time
	Error     string
}

// open begins a stream. next returns its next line but heartbeats, and false at its end; close ends it from this side.
func open(t *testing.T, api *querytest.API, path string) (next func() (streamed, bool), close func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+api.Address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+api.Viewer)
	response, err := api.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/x-ndjson" {
		text, _ := io.ReadAll(response.Body)
		t.Fatalf("GET %s: %s %s", path, response.Status, text)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	next = func() (streamed, bool) {
		for lines.Scan() {
			decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
			decoder.DisallowUnknownFields()
			var l streamed
			if err := decoder.Decode(&l); err != nil {
				t.Fatalf("line %s: %v", lines.Bytes(), err)
			}
			if l.Heartbeat.IsZero() {
				return l, true
			}
		}
		return streamed{}, false
	}
	close = func() {
		cancel()
		response.Body.Close()
	}
	t.Cleanup(close)
	return next, close
}

// expect reads alerts from a stream and holds their ids against want.
func expect(t *testing.T, next func() (streamed, bool), want ...string) (cursor string) {
	t.Helper()
	for _, id := range want {
		l, ok := next()
		if !ok || l.Alert == nil {
			t.Fatalf("the stream gives %+v, %v; want alert %s", l, ok, id)
		}
		if l.Alert.ID != id || l.Cursor == "" {
			t.Fatalf("the stream gives alert %s, cursor %q; want %s", l.Alert.ID, l.Cursor, id)
		}
		cursor = l.Cursor
	}
	return cursor
}

func TestFollow(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	all := querytest.AlertRecords(t)
	empty, _ := open(t, api, "/api/v1/alerts?follow=true&last=5")
	api.Append(t, alerts, "node-1", 1, 1, all[:3]...)
	expect(t, empty, "node-1:1:1", "node-1:1:2", "node-1:1:3")

	last, _ := open(t, api, "/api/v1/alerts?follow=true&last=2")
	cursor := expect(t, last, "node-1:1:2", "node-1:1:3")
	since, _ := open(t, api, "/api/v1/alerts?follow=true&since=100d&priority=warning")
	expect(t, since, "node-1:1:1", "node-1:1:2")

	api.Append(t, alerts, "node-1", 1, 4, all[3:]...)
	expect(t, last, "node-1:1:4", "node-1:1:5", "node-1:1:6")
	expect(t, since, "node-1:1:4")
	expect(t, empty, "node-1:1:4", "node-1:1:5", "node-1:1:6")

	resumed, _ := open(t, api, "/api/v1/alerts?follow=true&cursor="+url.QueryEscape(cursor))
	expect(t, resumed, "node-1:1:4", "node-1:1:5", "node-1:1:6")
}

// TestFollowAfterLateRows has old alerts stored after newer ones, as a spool does that was cut off: the backlog is in the
// order of time, what follows in the order of storing, and each alert comes once.
func TestFollowAfterLateRows(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	all := querytest.AlertRecords(t)
	api.Append(t, alerts, "node-1", 1, 1, all[5], all[4])
	api.Append(t, alerts, "node-2", 1, 1, all[0], all[1])
	next, _ := open(t, api, "/api/v1/alerts?follow=true&last=3")
	expect(t, next, "node-2:1:2", "node-1:1:2", "node-1:1:1")
	api.Append(t, alerts, "node-3", 1, 1, all[2])
	// node-2:1:1 was stored after the newest alert, and is older than the backlog.
	expect(t, next, "node-2:1:1", "node-3:1:1")
}

func TestFollowEvents(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	next, _ := open(t, api, "/api/v1/events?follow=true&since=100d&type=exec")
	api.Append(t, records, "node-1", 1, 1, querytest.EventRecords(t)...)
	l, ok := next()
	if !ok || l.Event == nil || l.Event.Type != "exec" || l.Cursor == "" {
		t.Errorf("the stream gives %+v, %v", l, ok)
	}
}

func TestStreamsBeat(t *testing.T) {
	api := querytest.Start(t, query.Config{Heartbeat: 10 * time.Millisecond})
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+api.Address+"/api/v1/alerts?follow=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+api.Viewer)
	response, err := api.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for range 3 {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), `{"heartbeat":"20`) {
			t.Fatalf("line is %s", lines.Text())
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	api := querytest.Start(t, query.Config{MaxStreams: 2, Heartbeat: 5 * time.Millisecond})
	_, closeFirst := open(t, api, "/api/v1/alerts?follow=true")
	open(t, api, "/api/v1/events?follow=true")
	code, _ := refused(t, api, http.MethodGet, "/api/v1/alerts?follow=true", api.Viewer, "", http.StatusTooManyRequests)
	if code != "too_many" {
		t.Errorf("code is %s", code)
	}
	closeFirst()
	wait.True(t, 10*time.Second, "the place of a closed stream is given back", func() bool {
		response, _ := ask(t, api, http.MethodHead, "/api/v1/alerts?follow=true", api.Viewer, "")
		return response.StatusCode == http.StatusOK
	})
}

// TestStreamsCutOffWhoDoesNotRead opens the only stream there may be and never reads it.
func TestStreamsCutOffWhoDoesNotRead(t *testing.T) {
	api := querytest.Start(t, query.Config{MaxStreams: 1, Timeout: 300 * time.Millisecond})
	var large []*apiv1.Record
	for range 256 {
		large = append(large, &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{Output: strings.Repeat("x", 64<<10)}}})
	}
	api.Append(t, alerts, "node-1", 1, 1, large...)
	open(t, api, "/api/v1/alerts?follow=true&since=2000-01-01T00:00:00Z")
	wait.True(t, 20*time.Second, "a stream that nobody reads is cut off", func() bool {
		response, _ := ask(t, api, http.MethodHead, "/api/v1/alerts?follow=true", api.Viewer, "")
		return response.StatusCode == http.StatusOK
	})
}

func TestTail(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	agent := api.Join(t, &apiv1.Hello{Node: "node-1"}, nil)
	api.Put(t, store.Node{Name: "node-2"})
	if code, message := refused(t, api, http.MethodGet, "/api/v1/nodes/node-2/events", api.Viewer, "", http.StatusConflict); code != "not_connected" {
		t.Errorf("node-2: %s: %s", code, message)
	}
	next, _ := open(t, api, "/api/v1/nodes/node-1/events?type=exec,open&workload=shop/*&pid=7,8&pid=9")
	filter := agent.Asked(t)
	if !slices.Equal(filter.GetTypes(), []string{"exec", "open"}) || filter.GetWorkload() != "shop/*" || !slices.Equal(filter.GetPids(), []uint32{7, 8, 9}) {
		t.Errorf("filter is %v", filter)
	}
	event := querytest.Alert(t, "exec").GetEvent()
	agent.Send(12, event, event)
	agent.Send(0, event)
	var events int
	var shed uint64
	for range 4 {
		l, ok := next()
		if !ok {
			t.Fatal("the stream ends")
		}
		if l.Event != nil && l.Event.Node == "node-1" && l.Event.ID == "" && l.Event.Process.PID == 4242 {
			events++
		}
		shed += l.Shed
	}
	if events != 3 || shed != 12 {
		t.Errorf("%d events, %d shed", events, shed)
	}
	agent.Leave()
	if l, ok := next(); !ok || l.Error != "node node-1 went away" {
		t.Errorf("the last line is %+v, %v", l, ok)
	}
	if l, ok := next(); ok {
		t.Errorf("after the last line comes %+v", l)
	}
}

// TestStreamsEndWithTheServer makes sure that a shutdown waits for no reader.
func TestStreamsEndWithTheServer(t *testing.T) {
	api := querytest.Start(t, query.Config{})
	next, _ := open(t, api, "/api/v1/alerts?follow=true")
	api.Stop()
	if l, ok := next(); ok {
		t.Errorf("a stopped server sends %+v", l)
	}
	api.Restart(t)
}
