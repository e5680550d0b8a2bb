// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// Nodes keeps what is known of each node.
type Nodes interface {
	// PutNodes writes what is known of some nodes, all or none. FirstSeen and Revoked of a node that is known already stay
	// as they are.
	PutNodes(ctx context.Context, nodes ...Node) error
	// Node returns one node; ErrNotFound when it is not known.
	Node(ctx context.Context, name string) (Node, error)
	// ListNodes returns every known node, by name.
	ListNodes(ctx context.Context) ([]Node, error)
	// RevokeNode writes that certificates issued to a node up to at are void. The node need not be known yet.
	RevokeNode(ctx context.Context, name string, at time.Time) error
	// Revocations returns every revoked node and the time up to which its certificates are void.
	Revocations(ctx context.Context) (map[string]time.Time, error)
	// AllowNode writes that a revoked node may enrol again with what other nodes enrol with too; ErrNotFound when it is not
	// revoked. RevokeNode ends that.
	AllowNode(ctx context.Context, name string, at time.Time) error
	// Allowances returns every revoked node that AllowNode was called for since, and when.
	Allowances(ctx context.Context) (map[string]time.Time, error)
}

// Node is what is known of a node.
type Node struct {
	Name      string
	FirstSeen time.Time
	LastSeen  time.Time
	// Address is where the agent last connected from, host and port.
	Address string
	// Hello and Health are what the agent said last; nil until it has.
	Hello  *apiv1.Hello
	Health *apiv1.Health
	// Revoked is the time up to which certificates of the node are void, zero when none are. Allowed is when it was allowed
	// to enrol again, zero when it was not.
	Revoked, Allowed time.Time
}

// Refusals keeps who was refused.
type Refusals interface {
	// AddRefusals adds to what is kept, all or none. A refusal like one that is kept (of the same node, host, credential and
	// cause) adds to its count and has its reason and last time. Of more than MaxRefusals those of the latest last time stay.
	AddRefusals(ctx context.Context, refusals ...Refusal) error
	// ListRefusals returns what is kept, the latest last time first.
	ListRefusals(ctx context.Context) ([]Refusal, error)
}

// MaxRefusals is how many refusals are kept.
const MaxRefusals = 1000

// Refusal is that somebody who would be a node was refused, however often. What the client said of itself is as it said it.
type Refusal struct {
	// Node is the name that was asked for, empty when there was none; Host the address that asked, without its port.
	Node, Host string
	// Credential says what was presented, Cause why that was refused, in a word each; Reason says it in full, the last time.
	Credential, Cause, Reason string
	Count                     uint64
	First, Last               time.Time
}

// Role is what a token is good for.
type Role string

// The roles. A join token is good for enrolment alone; viewer and admin tokens are for the HTTP API.
const (
	RoleJoin   Role = "join"
	RoleViewer Role = "viewer"
	RoleAdmin  Role = "admin"
)

// Token is a token as it is kept: without its secret.
type Token struct {
	ID   string
	Role Role
	// Hash is SHA-256 of the secret, which is random and long enough to need no salt.
	Hash []byte
	// Node binds a join token to one node name; empty binds it to none.
	Node string
	// Uses is how often a join token may still be used; negative means without bound. It says nothing of other roles.
	Uses    int
	Note    string
	Created time.Time
	// Expires is zero when the token does not expire.
	Expires time.Time
	// Revoked is zero when the token was not revoked.
	Revoked time.Time
	// Used is when the token was last used for enrolment, zero when it never was.
	Used time.Time
}

// Valid says whether a token is good at a moment, its uses aside.
func (t Token) Valid(now time.Time) bool {
	return t.Revoked.IsZero() && (t.Expires.IsZero() || now.Before(t.Expires))
}

// Tokens keeps join and API tokens.
type Tokens interface {
	// PutToken writes a new token.
	PutToken(ctx context.Context, t Token) error
	// Token returns one token; ErrNotFound when there is none.
	Token(ctx context.Context, id string) (Token, error)
	// ListTokens returns every token, the newest first.
	ListTokens(ctx context.Context) ([]Token, error)
	// SpendToken takes one use of a join token; ErrSpent when there is none to take at now. Of two calls that race for the
	// last use, one gets it.
	SpendToken(ctx context.Context, id string, now time.Time) error
	// RevokeToken ends a token; ErrNotFound when there is none.
	RevokeToken(ctx context.Context, id string, at time.Time) error
}

// Policies keeps what people decided for the fleet.
type Policies interface {
	// RecordPolicy returns what is to be recorded, and the version that SetRecordPolicy gave it: 0 and an empty policy
	// before it was set first.
	RecordPolicy(ctx context.Context) (*apiv1.RecordPolicy, uint64, error)
	// SetRecordPolicy replaces what is to be recorded and returns the new version.
	SetRecordPolicy(ctx context.Context, p *apiv1.RecordPolicy) (uint64, error)
}
