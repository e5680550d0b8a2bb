// SPDX-License-Identifier: Apache-2.0

package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-project/holdfast/collector/store"
)

// The first part of each kind of token.
const (
	joinPrefix = "hfj"
	apiPrefix  = "hfa"
)

// Sizes of the random parts of a token, in bytes.
const (
	idBytes     = 10
	secretBytes = 32
)

// maxNote is the longest note of a token, in bytes.
const maxNote = 200

// Grant says what a new token is good for.
type Grant struct {
	Role store.Role
	// TTL is how long it is good; 0 means for ever.
	TTL time.Duration
	// Node and Uses are for join tokens: the one node that may use it, and how often it may be used; negative is without
	// bound.
	Node string
	Uses int
	Note string
}

// CreateToken makes a token and returns its text, which is kept nowhere. The error is ErrRequest when the grant makes no
// sense.
func (a *Authority) CreateToken(ctx context.Context, g Grant) (text string, t store.Token, err error) {
	if err := g.check(); err != nil {
		return "", store.Token{}, err
	}
	id, err := random(idBytes)
	if err != nil {
		return "", store.Token{}, err
	}
	secret, err := random(secretBytes)
	if err != nil {
		return "", store.Token{}, err
	}
	hash := sha256.Sum256([]byte(secret))
	t = store.Token{ID: id, Role: g.Role, Hash: hash[:], Node: g.Node, Uses: g.Uses, Note: g.Note, Created: a.now()}
	if g.TTL > 0 {
		t.Expires = t.Created.Add(g.TTL)
	}
	text = strings.Join([]string{joinPrefix, id, secret, a.pin}, "_")
	if g.Role != store.RoleJoin {
		t.Uses = -1
		text = strings.Join([]string{apiPrefix, id, secret}, "_")
	}
	if err := a.store.PutToken(ctx, t); err != nil {
		return "", store.Token{}, err
	}
	return text, t, nil
}

func (g Grant) check() error {
	switch {
	case g.Role != store.RoleJoin && g.Role != store.RoleViewer && g.Role != store.RoleAdmin:
		return fmt.Errorf("role %q is none of join, viewer and admin: %w", g.Role, ErrRequest)
	case g.Role != store.RoleJoin && g.Node != "":
		return fmt.Errorf("only a join token can be bound to a node: %w", ErrRequest)
	case g.Role == store.RoleJoin && g.Uses == 0:
		return fmt.Errorf("a join token needs at least one use: %w", ErrRequest)
	case g.TTL < 0:
		return fmt.Errorf("a token cannot last %s: %w", g.TTL, ErrRequest)
	case len(g.Note) > maxNote:
		return fmt.Errorf("the note has %d bytes, more than %d: %w", len(g.Note), maxNote, ErrRequest)
	case g.Node != "":
		return CheckNodeName(g.Node)
	}
	return nil
}

// random is n random bytes in lower-case base32.
func random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("draw random bytes: %w", err)
	}
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b)), nil
}

// verify returns the token that a text is, if it is good now, its uses aside. The error is ErrToken or the store's, and
// does not tell an unknown token from a wrong secret.
func (a *Authority) verify(ctx context.Context, text, prefix string) (store.Token, error) {
	parts := strings.Split(text, "_")
	if len(text) > 256 || parts[0] != prefix || len(parts) != map[string]int{joinPrefix: 4, apiPrefix: 3}[prefix] {
		return store.Token{}, Refuse(CauseMalformed, "what was given is not a token of this kind: %w", ErrToken)
	}
	t, err := a.store.Token(ctx, parts[1])
	hash := sha256.Sum256([]byte(parts[2]))
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && subtle.ConstantTimeCompare(hash[:], t.Hash) != 1:
		return store.Token{}, Refuse(CauseUnknown, "there is no such token: %w", ErrToken)
	case err != nil:
		return store.Token{}, err
	case !t.Revoked.IsZero():
		return store.Token{}, Refuse(CauseEnded, "token %s was revoked: %w", t.ID, ErrToken)
	case !t.Valid(a.now()):
		return store.Token{}, Refuse(CauseExpired, "token %s expired at %s: %w", t.ID, t.Expires.Format(time.RFC3339), ErrToken)
	}
	return t, nil
}

// Principal is who holds an API token.
type Principal struct {
	// ID is the token's.
	ID   string
	Role store.Role
	Note string
}

// Authenticate says who holds an API token. The error is ErrToken when it is not good, or else the store's.
func (a *Authority) Authenticate(ctx context.Context, token string) (Principal, error) {
	t, err := a.verify(ctx, token, apiPrefix)
	if err != nil {
		return Principal{}, err
	}
	if t.Role != store.RoleViewer && t.Role != store.RoleAdmin {
		return Principal{}, fmt.Errorf("token %s is not for the API: %w", t.ID, ErrToken)
	}
	return Principal{ID: t.ID, Role: t.Role, Note: t.Note}, nil
}
