// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"fmt"
	"testing"

	"github.com/holdfast-project/holdfast/collector/store"
)

func testAllowances(t *testing.T, open Opener) {
	s := open(t)
	ctx := t.Context()
	is(t, s.AllowNode(ctx, "n1", At(1)), store.ErrNotFound)
	check(t, s.PutNodes(ctx, store.Node{Name: "n1", FirstSeen: At(1), LastSeen: At(1)}))
	check(t, s.RevokeNode(ctx, "n1", At(2)))
	check(t, s.RevokeNode(ctx, "n2", At(2)))
	check(t, s.AllowNode(ctx, "n1", At(3)))
	check(t, s.Close())

	s = opened(t, open)
	allowed, err := s.Allowances(ctx)
	check(t, err)
	if len(allowed) != 1 || !allowed["n1"].Equal(At(3)) {
		t.Errorf("allowed are %v", allowed)
	}
	n, err := s.Node(ctx, "n1")
	check(t, err)
	if !n.Revoked.Equal(At(2)) || !n.Allowed.Equal(At(3)) {
		t.Errorf("node is %+v: what was void before it was allowed stays so", n)
	}
	check(t, s.RevokeNode(ctx, "n1", At(4)))
	allowed, err = s.Allowances(ctx)
	check(t, err)
	if len(allowed) != 0 {
		t.Errorf("allowed after it was revoked again: %v", allowed)
	}
}

func testRefusals(t *testing.T, open Opener) {
	s := open(t)
	ctx := t.Context()
	one := store.Refusal{Node: "n1", Host: "10.0.0.1", Credential: "service_account", Cause: "other_node", Reason: "first", Count: 2, First: At(1), Last: At(2)}
	again := one
	again.Reason, again.Count, again.First, again.Last = "second", 3, At(5), At(6)
	other := one
	other.Host, other.Last = "10.0.0.2", At(7)
	check(t, s.AddRefusals(ctx, one))
	check(t, s.AddRefusals(ctx, again, other))
	check(t, s.Close())

	s = opened(t, open)
	all, err := s.ListRefusals(ctx)
	check(t, err)
	if len(all) != 2 || all[0].Host != "10.0.0.2" {
		t.Fatalf("refusals are %+v", all)
	}
	got := all[1]
	if got.Count != 5 || got.Reason != "second" || !got.First.Equal(At(1)) || !got.Last.Equal(At(6)) || got.Node != "n1" ||
		got.Credential != "service_account" || got.Cause != "other_node" {
		t.Errorf("refusal is %+v", got)
	}
	many := make([]store.Refusal, 0, store.MaxRefusals)
	for i := range store.MaxRefusals {
		many = append(many, store.Refusal{Node: fmt.Sprint("x", i), Count: 1, First: At(10 + i), Last: At(10 + i)})
	}
	check(t, s.AddRefusals(ctx, many...))
	all, err = s.ListRefusals(ctx)
	check(t, err)
	equal(t, "refusals", len(all), store.MaxRefusals)
	equal(t, "oldest kept", all[len(all)-1].Node, "x0")
}
