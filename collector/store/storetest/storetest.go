// SPDX-License-Identifier: Apache-2.0

// Package storetest is the suite that every implementation of store.Store passes. Run calls it from the implementation's
// own tests. It holds no state and starts goroutines only within tests, which join them.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// Opener opens the store of one test. Opened again it holds what was stored before.
type Opener func(t *testing.T) store.Store

// Run runs the suite. fresh is called once for each test and returns how that test opens its store.
func Run(t *testing.T, fresh func(t *testing.T) Opener) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Opener)
	}{
		{"append once", testAppendOnce},
		{"losses and gaps", testLosses},
		{"quarantine", testQuarantine},
		{"filters", testFilters},
		{"bad queries", testBadQueries},
		{"pages", testPages},
		{"get", testGet},
		{"follow", testFollow},
		{"follow live", testFollowLive},
		{"epochs are bounded", testEpochs},
		{"nodes", testNodes},
		{"allowances", testAllowances},
		{"refusals", testRefusals},
		{"tokens", testTokens},
		{"record policy", testPolicy},
		{"observed profiles", testObserved},
		{"observed profiles are bounded", testObservedLimit},
		{"removed profiles", testRemovals},
		{"effective profiles", testEffective},
		{"overlays", testOverlays},
		{"modes", testModes},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

// Alert is an alert as an agent sends it, at a second of the tests' time.
func Alert(second int, rule string, priority apiv1.Priority) *apiv1.Record {
	return &apiv1.Record{Record: &apiv1.Record_Alert{Alert: &apiv1.Alert{
		Rule: rule, Priority: priority, Count: 1, Output: fmt.Sprintf("%s at %d", rule, second), Action: apiv1.Action_ACTION_ALERTED,
		Event: event(second, "exec"),
	}}}
}

// Event is a recorded event, at a second of the tests' time.
func Event(second int, kind string) *apiv1.Record {
	return &apiv1.Record{Record: &apiv1.Record_Event{Event: event(second, kind)}}
}

func event(second int, kind string) *apiv1.Event {
	return &apiv1.Event{
		Type: kind, TimeNs: At(second).UnixNano(), Cpu: 1, Seq: uint64(second),
		Process:   &apiv1.Process{Pid: uint32(1000 + second), Exe: "/usr/bin/id", Argv: []string{"id", fmt.Sprint("-", second)}},
		Container: &apiv1.Container{Id: "c0ffee", Name: "app", Namespace: "shop", Workload: "web", Pod: "web-0", Image: "nginx:1"},
	}
}

// At is a second of the tests' time.
func At(second int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(second) * time.Second)
}

// Batch is consecutive records of a node, received at one moment.
func Batch(node string, epoch, first uint64, records ...*apiv1.Record) store.Batch {
	b := store.Batch{Node: node, Epoch: epoch, Received: At(0)}
	for i, r := range records {
		b.Entries = append(b.Entries, store.Entry{Sequence: first + uint64(i), Record: r})
	}
	return b
}

func opened(t *testing.T, open Opener) store.Store {
	t.Helper()
	s := open(t)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func appendTo(t *testing.T, s store.Store, lane apiv1.Lane, batches ...store.Batch) []store.Outcome {
	t.Helper()
	out, err := s.Append(t.Context(), lane, batches)
	check(t, err)
	if len(out) != len(batches) {
		t.Fatalf("%d outcomes of %d batches", len(out), len(batches))
	}
	return out
}

func list(t *testing.T, s store.Store, q store.Query) []store.Row {
	t.Helper()
	page, err := s.List(t.Context(), q)
	check(t, err)
	return page.Rows
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, want %v", what, got, want)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error is %v, want %v", err, want)
	}
}

func ids(rows []store.Row) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r.ID)
	}
	return all
}

const (
	alerts  = apiv1.Lane_LANE_ALERTS
	records = apiv1.Lane_LANE_RECORDS
	warning = apiv1.Priority_PRIORITY_WARNING
)

func testAppendOnce(t *testing.T, open Opener) {
	s := open(t)
	a, b, c := Alert(1, "a", warning), Alert(2, "b", warning), Alert(3, "c", warning)
	out := appendTo(t, s, alerts, Batch("n1", 7, 1, a, b), Batch("n1", 7, 2, b, c), Batch("n2", 7, 1, a))
	equal(t, "first batch", out[0], store.Outcome{Stored: 2, Position: 2})
	equal(t, "overlapping batch", out[1], store.Outcome{Stored: 1, Duplicate: 1, Position: 3})
	equal(t, "other node", out[2], store.Outcome{Stored: 1, Position: 1})
	out = appendTo(t, s, alerts, Batch("n1", 7, 1, a, b, c))
	equal(t, "batch again", out[0], store.Outcome{Duplicate: 3, Position: 3})
	appendTo(t, s, records, Batch("n1", 7, 1, Event(1, "exec")))
	check(t, s.Close())

	s = opened(t, open)
	out = appendTo(t, s, alerts, Batch("n1", 7, 3, c), Batch("n1", 1<<63+5, 1, a))
	equal(t, "batch again after opening again", out[0], store.Outcome{Duplicate: 1, Position: 3})
	equal(t, "new epoch", out[1], store.Outcome{Stored: 1, Position: 1})
	rows := list(t, s, store.Query{Lane: alerts, Filter: store.Filter{Node: "n1"}})
	want := []string{"n1:7:1", "n1:8000000000000005:1", "n1:7:2", "n1:7:3"}
	if !slices.Equal(ids(rows), want) {
		t.Errorf("rows are %v, want %v", ids(rows), want)
	}
	if !proto.Equal(rows[0].Record, a) {
		t.Errorf("stored %v, want %v", rows[0].Record, a)
	}
	positions, err := s.Positions(t.Context(), "n1")
	check(t, err)
	positions = slices.DeleteFunc(positions, func(p store.Position) bool { return p.Lane == records })
	if len(positions) != 2 || positions[0].Epoch != 1<<63+5 || positions[0].Sequence != 1 || positions[1].Sequence != 3 {
		t.Errorf("positions are %v, want the epoch written last first", positions)
	}
	equal(t, "events stored", len(list(t, s, store.Query{Lane: records})), 1)
}

func testLosses(t *testing.T, open Opener) {
	s := open(t)
	b := Batch("n1", 1, 5, Alert(1, "a", warning))
	b.Losses = []store.Loss{{First: 8, Last: 9, Cause: "disk"}, {First: 1, Last: 3, Cause: "full"}}
	out := appendTo(t, s, alerts, b)
	equal(t, "outcome", out[0], store.Outcome{Stored: 1, Lost: 5, Gap: 3, Position: 9})
	out = appendTo(t, s, alerts, b)
	equal(t, "outcome again", out[0], store.Outcome{Duplicate: 1, Position: 9})
	alone := store.Batch{Node: "n1", Epoch: 1, Received: At(0), Losses: []store.Loss{{First: 10, Last: 10, Cause: "full"}, {First: 5, Last: 2}}}
	equal(t, "losses alone", appendTo(t, s, alerts, alone)[0], store.Outcome{Lost: 1, Position: 10})
	check(t, s.Close())

	s = opened(t, open)
	losses, err := s.Losses(t.Context(), alerts)
	check(t, err)
	got := map[string]uint64{}
	for _, l := range losses {
		equal(t, "node", l.Node, "n1")
		got[l.Cause] = l.Count
	}
	for cause, n := range map[string]uint64{"disk": 2, "full": 4, store.CauseGap: 3} {
		equal(t, "lost to "+cause, got[cause], n)
	}
	many := store.Batch{Node: "n2", Epoch: 1, Received: At(0)}
	for i := range uint64(500) {
		many.Losses = append(many.Losses, store.Loss{First: i + 1, Last: i + 1, Cause: fmt.Sprint("made up ", i)})
	}
	appendTo(t, s, alerts, many)
	losses, err = s.Losses(t.Context(), alerts)
	check(t, err)
	var total uint64
	for _, l := range losses {
		if l.Node == "n2" {
			total += l.Count
		}
	}
	equal(t, "losses of n2", total, 500)
	if len(losses) > 100 {
		t.Errorf("%d causes of loss are kept for two nodes", len(losses))
	}
}

func testQuarantine(t *testing.T, open Opener) {
	s := opened(t, open)
	b := Batch("n1", 1, 1, Alert(1, "a", warning), nil, Alert(3, "c", warning))
	b.Entries[1] = store.Entry{Sequence: 2, Refused: "no alert", Raw: []byte("\xff\x00garbage")}
	equal(t, "outcome", appendTo(t, s, alerts, b)[0], store.Outcome{Stored: 2, Quarantined: 1, Position: 3})
	equal(t, "outcome again", appendTo(t, s, alerts, b)[0], store.Outcome{Duplicate: 3, Position: 3})
	refused, err := s.Quarantined(t.Context(), alerts, 10)
	check(t, err)
	if len(refused) != 1 {
		t.Fatalf("%d records in quarantine, want 1", len(refused))
	}
	q := refused[0]
	if q.Node != "n1" || q.Epoch != 1 || q.Sequence != 2 || q.Reason != "no alert" || string(q.Raw) != "\xff\x00garbage" || !q.Received.Equal(At(0)) {
		t.Errorf("in quarantine is %+v", q)
	}
	equal(t, "alerts stored", len(list(t, s, store.Query{Lane: alerts})), 2)
}

func testFilters(t *testing.T, open Opener) {
	s := opened(t, open)
	host := Alert(3, "Write below /etc", apiv1.Priority_PRIORITY_CRITICAL)
	host.GetAlert().Event.Container = nil
	other := Alert(2, "Terminal shell", warning)
	other.GetAlert().Event.Container.Namespace = "shop2"
	none := Alert(4, "no event", warning)
	none.GetAlert().Event = nil
	appendTo(t, s, alerts, Batch("n1", 1, 1, Alert(1, "Terminal shell", apiv1.Priority_PRIORITY_NOTICE), other, host), Batch("n2", 1, 1, none))
	appendTo(t, s, records, Batch("n1", 1, 1, Event(1, "exec"), Event(2, "open"), Event(3, "connect")))
	for name, test := range map[string]struct {
		lane   apiv1.Lane
		filter store.Filter
		want   []string
	}{
		"all":             {alerts, store.Filter{}, []string{"n2:1:1", "n1:1:1", "n1:1:2", "n1:1:3"}},
		"since":           {alerts, store.Filter{Since: At(2)}, []string{"n1:1:2", "n1:1:3"}},
		"until":           {alerts, store.Filter{Since: At(1), Until: At(2)}, []string{"n1:1:1"}},
		"node":            {alerts, store.Filter{Node: "n2"}, []string{"n2:1:1"}},
		"rule":            {alerts, store.Filter{Rule: "Terminal shell"}, []string{"n1:1:1", "n1:1:2"}},
		"rule pattern":    {alerts, store.Filter{Rule: "Write*c"}, []string{"n1:1:3"}},
		"priority":        {alerts, store.Filter{Priority: apiv1.Priority_PRIORITY_CRITICAL}, []string{"n1:1:3"}},
		"namespace":       {alerts, store.Filter{Workload: "shop"}, []string{"n1:1:1"}},
		"namespace glob":  {alerts, store.Filter{Workload: "shop*"}, []string{"n1:1:1", "n1:1:2"}},
		"workload":        {alerts, store.Filter{Workload: "*/web"}, []string{"n1:1:1", "n1:1:2"}},
		"container":       {alerts, store.Filter{Workload: "shop2/web/app"}, []string{"n1:1:2"}},
		"no container":    {alerts, store.Filter{Workload: "//"}, []string{"n2:1:1", "n1:1:3"}},
		"text":            {alerts, store.Filter{Text: "USR/BIN/ID"}, []string{"n1:1:1", "n1:1:2", "n1:1:3"}},
		"text is no code": {alerts, store.Filter{Text: "%' OR 1=1 --"}, nil},
		"rule is no code": {alerts, store.Filter{Rule: "' OR 1=1 --"}, nil},
		"node is no code": {alerts, store.Filter{Node: `n1" OR ""="`}, nil},
		"alert types":     {alerts, store.Filter{Types: []string{"exec"}}, []string{"n1:1:1", "n1:1:2", "n1:1:3"}},
		"event types":     {records, store.Filter{Types: []string{"open", "connect"}}, []string{"n1:1:2", "n1:1:3"}},
		"together":        {records, store.Filter{Types: []string{"open"}, Workload: "shop/web/*", Since: At(1), Node: "n1", Text: "-2"}, []string{"n1:1:2"}},
	} {
		got := ids(list(t, s, store.Query{Lane: test.lane, Filter: test.filter}))
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
		newest := ids(list(t, s, store.Query{Lane: test.lane, Filter: test.filter, Newest: true}))
		slices.Reverse(newest)
		if len(test.want) > 0 && test.want[0] != "n2:1:1" && !slices.Equal(newest, test.want) {
			t.Errorf("%s, newest first: got %v, want the reverse of %v", name, newest, test.want)
		}
	}
}

func testBadQueries(t *testing.T, open Opener) {
	s := opened(t, open)
	for want, queries := range map[error][]store.Query{
		store.ErrFilter: {
			{Filter: store.Filter{Workload: "[a"}}, {Filter: store.Filter{Rule: "[a"}}, {Filter: store.Filter{Workload: "a/b/c/d"}},
			{Filter: store.Filter{Since: At(1), Until: At(1)}}, {Limit: -1}, {Limit: store.MaxLimit + 1},
		},
		store.ErrCursor: {{After: "x"}, {After: "1.2"}, {After: "1.2.3.4"}, {After: "1.2.x"}},
	} {
		for _, q := range queries {
			q.Lane = alerts
			_, err := s.List(t.Context(), q)
			is(t, err, want)
		}
	}
	is(t, s.Follow(t.Context(), alerts, store.Filter{}, "x", nil), store.ErrCursor)
	is(t, s.Follow(t.Context(), alerts, store.Filter{Rule: "["}, "", nil), store.ErrFilter)
	if _, err := s.List(t.Context(), store.Query{}); err == nil {
		t.Error("a query without a lane was answered")
	}
	if _, err := s.Append(t.Context(), 9, nil); err == nil {
		t.Error("an append to no lane was taken")
	}
}

func testPages(t *testing.T, open Opener) {
	s := opened(t, open)
	var batch []*apiv1.Record
	for i := range 100 {
		// Times repeat and come out of order.
		batch = append(batch, Alert(i*37%50, "r", warning))
	}
	appendTo(t, s, alerts, Batch("n1", 1, 1, batch...))
	for _, newest := range []bool{false, true} {
		q := store.Query{Lane: alerts, Newest: newest, Limit: 7}
		seen := map[string]bool{}
		var last int64
		for pages := 0; ; pages++ {
			page, err := s.List(t.Context(), q)
			check(t, err)
			for _, row := range page.Rows {
				if seen[row.ID] {
					t.Fatalf("row %s is given twice", row.ID)
				}
				at := store.EventOf(row.Record).TimeNs
				if len(seen) > 0 && (newest && at > last || !newest && at < last) {
					t.Fatalf("row %s is out of order", row.ID)
				}
				seen[row.ID], last = true, at
			}
			if page.Next == "" {
				equal(t, "pages", pages, 14)
				break
			}
			q.After = page.Next
		}
		equal(t, "rows", len(seen), 100)
	}
}

func testGet(t *testing.T, open Opener) {
	s := opened(t, open)
	a := Alert(1, "a", warning)
	appendTo(t, s, alerts, Batch("node.1", 0xabc, 1, a))
	row, err := s.Get(t.Context(), alerts, "node.1:abc:1")
	check(t, err)
	if !proto.Equal(row.Record, a) || row.ID != "node.1:abc:1" || row.Node != "node.1" || row.Epoch != 0xabc || row.Sequence != 1 || !row.Received.Equal(At(0)) {
		t.Errorf("got %+v", row)
	}
	for _, id := range []string{"", "node.1", "node.1:abc:2", "node.1:ABC:1", "node.1:abc:01", "x:abc:1", "node.1:abc:' OR 1"} {
		_, err := s.Get(t.Context(), alerts, id)
		is(t, err, store.ErrNotFound)
	}
	_, err = s.Get(t.Context(), records, row.ID)
	is(t, err, store.ErrNotFound)
}

// errEnough ends a follower.
var errEnough = errors.New("enough")

// take follows until it has n rows.
func take(ctx context.Context, s store.Store, f store.Filter, after store.Cursor, n int) ([]store.Row, error) {
	var rows []store.Row
	err := s.Follow(ctx, alerts, f, after, func(r store.Row) error {
		if rows = append(rows, r); len(rows) == n {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return rows, err
}

func testFollow(t *testing.T, open Opener) {
	s := opened(t, open)
	// Stored in another order than that of time: followers go by the order of storing.
	appendTo(t, s, alerts, Batch("n1", 1, 1, Alert(9, "a", warning), Alert(5, "b", warning)))
	appendTo(t, s, alerts, Batch("n1", 1, 3, Alert(7, "c", warning), Alert(1, "d", warning)))
	rows, err := take(t.Context(), s, store.Filter{Since: At(2)}, "", 3)
	check(t, err)
	if want := []string{"n1:1:1", "n1:1:2", "n1:1:3"}; !slices.Equal(ids(rows), want) {
		t.Errorf("followed %v, want %v", ids(rows), want)
	}
	rows, err = take(t.Context(), s, store.Filter{}, rows[1].Cursor, 2)
	check(t, err)
	if want := []string{"n1:1:3", "n1:1:4"}; !slices.Equal(ids(rows), want) {
		t.Errorf("followed %v, want %v", ids(rows), want)
	}
	page, err := s.List(t.Context(), store.Query{Lane: alerts, Limit: 1, Newest: true})
	check(t, err)
	rows, err = take(t.Context(), s, store.Filter{Rule: "d"}, page.Next, 1)
	check(t, err)
	equal(t, "followed from the cursor of a page", rows[0].ID, "n1:1:4")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	rows, err = take(ctx, s, store.Filter{}, "", 1)
	is(t, err, context.DeadlineExceeded)
	equal(t, "rows stored from now on", len(rows), 0)
}

func testFollowLive(t *testing.T, open Opener) {
	s := opened(t, open)
	const total = 600
	type result struct {
		rows []store.Row
		err  error
	}
	results := make(chan result)
	const followers = 3
	for range followers {
		go func() {
			rows, err := take(t.Context(), s, store.Filter{Since: At(0)}, "", total)
			results <- result{rows, err}
		}()
	}
	for i := range uint64(total / 2) {
		appendTo(t, s, alerts, Batch("n1", 1, i+1, Alert(1, "r", warning)), Batch("n2", 1, i+1, Alert(1, "r", warning)))
	}
	for range followers {
		r := <-results
		check(t, r.err)
		seen := map[string]bool{}
		for _, row := range r.rows {
			seen[row.ID] = true
		}
		equal(t, "distinct rows followed", len(seen), total)
	}
}

func testEpochs(t *testing.T, open Opener) {
	s := opened(t, open)
	for epoch := range uint64(300) {
		appendTo(t, s, alerts, Batch("n1", epoch, 1, Alert(1, "r", warning)))
	}
	positions, err := s.Positions(t.Context(), "n1")
	check(t, err)
	if len(positions) > 64 {
		t.Errorf("%d epochs of one node are remembered", len(positions))
	}
	equal(t, "epoch written last", positions[0].Epoch, 299)
	// The epoch that was forgotten does no harm.
	appendTo(t, s, alerts, Batch("n1", 0, 1, Alert(1, "r", warning)), Batch("n2", 0, 1, Alert(1, "r", warning)))
	equal(t, "rows of n2", len(list(t, s, store.Query{Lane: alerts, Filter: store.Filter{Node: "n2"}})), 1)
}

func testNodes(t *testing.T, open Opener) {
	s := open(t)
	_, err := s.Node(t.Context(), "n1")
	is(t, err, store.ErrNotFound)
	n := store.Node{Name: "n1", FirstSeen: At(1), LastSeen: At(2), Address: "[::1]:9"}
	check(t, s.PutNodes(t.Context(), n))
	n.FirstSeen, n.LastSeen, n.Hello = At(5), At(6), &apiv1.Hello{Node: "n1", KernelRelease: "6.18"}
	n.Health = &apiv1.Health{Losses: map[string]uint64{"ring": 3}}
	check(t, s.PutNodes(t.Context(), n))
	check(t, s.PutNodes(t.Context(), store.Node{Name: "a", FirstSeen: At(1), LastSeen: At(1)}))
	check(t, s.RevokeNode(t.Context(), "n1", At(8)))
	check(t, s.RevokeNode(t.Context(), "unknown", At(9)))
	check(t, s.Close())

	s = opened(t, open)
	all, err := s.ListNodes(t.Context())
	check(t, err)
	if len(all) != 2 || all[0].Name != "a" || all[0].Hello != nil || all[0].Health != nil || !all[0].Revoked.IsZero() {
		t.Fatalf("nodes are %+v", all)
	}
	got := all[1]
	if !got.FirstSeen.Equal(At(1)) || !got.LastSeen.Equal(At(6)) || got.Address != "[::1]:9" || !got.Revoked.Equal(At(8)) ||
		!proto.Equal(got.Hello, n.Hello) || !proto.Equal(got.Health, n.Health) {
		t.Errorf("node is %+v", got)
	}
	revoked, err := s.Revocations(t.Context())
	check(t, err)
	if len(revoked) != 2 || !revoked["unknown"].Equal(At(9)) {
		t.Errorf("revocations are %v", revoked)
	}
}

func testTokens(t *testing.T, open Opener) {
	s := opened(t, open)
	ctx := t.Context()
	join := store.Token{ID: "j", Role: store.RoleJoin, Hash: []byte{1, 2}, Node: "n1", Uses: 2, Note: "x", Created: At(0), Expires: At(100)}
	check(t, s.PutToken(ctx, join))
	check(t, s.PutToken(ctx, store.Token{ID: "many", Role: store.RoleJoin, Uses: -1, Created: At(1)}))
	check(t, s.PutToken(ctx, store.Token{ID: "api", Role: store.RoleAdmin, Uses: -1, Created: At(2)}))
	if s.PutToken(ctx, join) == nil {
		t.Error("a second token of the same id was stored")
	}
	is(t, s.SpendToken(ctx, "j", At(100)), store.ErrSpent)
	errs := make(chan error)
	for range 8 {
		go func() { errs <- s.SpendToken(ctx, "j", At(50)) }()
	}
	spent := 0
	for range 8 {
		if err := <-errs; err == nil {
			spent++
		} else {
			is(t, err, store.ErrSpent)
		}
	}
	equal(t, "uses that were spent", spent, 2)
	got, err := s.Token(ctx, "j")
	check(t, err)
	if got.Uses != 0 || got.Node != "n1" || got.Note != "x" || !slices.Equal(got.Hash, []byte{1, 2}) || !got.Expires.Equal(At(100)) || !got.Used.Equal(At(50)) {
		t.Errorf("token is %+v", got)
	}
	for range 3 {
		check(t, s.SpendToken(ctx, "many", At(1000)))
	}
	is(t, s.SpendToken(ctx, "api", At(1)), store.ErrSpent)
	check(t, s.RevokeToken(ctx, "many", At(1001)))
	is(t, s.SpendToken(ctx, "many", At(1002)), store.ErrSpent)
	is(t, s.RevokeToken(ctx, "none", At(1)), store.ErrNotFound)
	_, err = s.Token(ctx, "none")
	is(t, err, store.ErrNotFound)
	all, err := s.ListTokens(ctx)
	check(t, err)
	if len(all) != 3 || all[0].ID != "api" || all[2].ID != "j" || all[1].Valid(At(1002)) || !all[0].Valid(At(1<<20)) {
		t.Errorf("tokens are %+v", all)
	}
}

func testPolicy(t *testing.T, open Opener) {
	s := opened(t, open)
	p, version, err := s.RecordPolicy(t.Context())
	check(t, err)
	if version != 0 || len(p.GetRules()) != 0 {
		t.Errorf("policy before it was set is %v, version %d", p, version)
	}
	want := &apiv1.RecordPolicy{Rules: []*apiv1.RecordRule{{Workload: "shop/*/*", Types: []string{"exec"}}}}
	first, err := s.SetRecordPolicy(t.Context(), want)
	check(t, err)
	second, err := s.SetRecordPolicy(t.Context(), want)
	check(t, err)
	if first == 0 || second <= first {
		t.Errorf("versions are %d, then %d", first, second)
	}
	p, version, err = s.RecordPolicy(t.Context())
	check(t, err)
	if !proto.Equal(p, want) || version != second {
		t.Errorf("policy is %v, version %d", p, version)
	}
}
