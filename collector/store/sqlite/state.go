// SPDX-License-Identifier: Apache-2.0

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/store"
)

// PutNodes is store.Nodes.PutNodes.
func (s *Store) PutNodes(ctx context.Context, nodes ...store.Node) error {
	tx, err := s.state.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("store nodes: %w", full(err))
	}
	for _, n := range nodes {
		if err := putNode(ctx, tx, n); err != nil {
			return errors.Join(fmt.Errorf("store node %q: %w", n.Name, full(err)), tx.Rollback())
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("store nodes: %w", full(err))
	}
	return nil
}

func putNode(ctx context.Context, tx *sql.Tx, n store.Node) error {
	hello, err := encode(n.Hello, n.Hello == nil)
	if err != nil {
		return fmt.Errorf("encode hello: %w", err)
	}
	health, err := encode(n.Health, n.Health == nil)
	if err != nil {
		return fmt.Errorf("encode health: %w", err)
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO nodes (name, first_seen, last_seen, address, hello, health)
		VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
		last_seen = excluded.last_seen, address = excluded.address, hello = excluded.hello, health = excluded.health`,
		n.Name, nanos(n.FirstSeen), nanos(n.LastSeen), n.Address, hello, health)
	return err
}

// encode is a message as a blob, or NULL.
func encode(m proto.Message, null bool) (any, error) {
	if null {
		return nil, nil
	}
	b, err := proto.Marshal(m)
	return notNil(b), err
}

const nodeQuery = `SELECT n.name, n.first_seen, n.last_seen, n.address, n.hello, n.health, coalesce(r.at, 0), coalesce(r.allowed, 0)
	FROM nodes n LEFT JOIN revocations r ON r.node = n.name`

func scanNode(scan func(...any) error) (n store.Node, err error) {
	var first, last, revoked, allowed int64
	var hello, health []byte
	if err := scan(&n.Name, &first, &last, &n.Address, &hello, &health, &revoked, &allowed); err != nil {
		return n, err
	}
	n.FirstSeen, n.LastSeen, n.Revoked, n.Allowed = moment(first), moment(last), moment(revoked), moment(allowed)
	if hello != nil {
		n.Hello = new(apiv1.Hello)
		err = proto.Unmarshal(hello, n.Hello)
	}
	if health != nil {
		n.Health = new(apiv1.Health)
		err = errors.Join(err, proto.Unmarshal(health, n.Health))
	}
	return n, err
}

// Node is store.Nodes.Node.
func (s *Store) Node(ctx context.Context, name string) (store.Node, error) {
	n, err := scanNode(s.state.QueryRowContext(ctx, nodeQuery+` WHERE n.name = ?`, name).Scan)
	if err != nil {
		return n, fmt.Errorf("node %q: %w", name, missing(err))
	}
	return n, nil
}

// missing is store.ErrNotFound in place of the error that SQL has for it.
func missing(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// ListNodes is store.Nodes.ListNodes.
func (s *Store) ListNodes(ctx context.Context) ([]store.Node, error) {
	var all []store.Node
	err := scan(ctx, s.state, nodeQuery+` ORDER BY n.name`, func(rows *sql.Rows) error {
		n, err := scanNode(rows.Scan)
		all = append(all, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	return all, nil
}

// RevokeNode is store.Nodes.RevokeNode.
func (s *Store) RevokeNode(ctx context.Context, name string, at time.Time) error {
	_, err := s.state.ExecContext(ctx, `INSERT OR REPLACE INTO revocations (node, at, allowed) VALUES (?, ?, 0)`, name, nanos(at))
	if err != nil {
		return fmt.Errorf("revoke node %q: %w", name, full(err))
	}
	return nil
}

// Revocations is store.Nodes.Revocations.
func (s *Store) Revocations(ctx context.Context) (map[string]time.Time, error) {
	all, err := s.moments(ctx, `SELECT node, at FROM revocations`)
	if err != nil {
		return nil, fmt.Errorf("list revocations: %w", err)
	}
	return all, nil
}

// AllowNode is store.Nodes.AllowNode.
func (s *Store) AllowNode(ctx context.Context, name string, at time.Time) error {
	done, err := s.state.ExecContext(ctx, `UPDATE revocations SET allowed = ? WHERE node = ?`, nanos(at), name)
	if err != nil {
		return fmt.Errorf("allow node %q: %w", name, full(err))
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return fmt.Errorf("allow node %q, which is not revoked: %w", name, errors.Join(err, store.ErrNotFound))
	}
	return nil
}

// Allowances is store.Nodes.Allowances.
func (s *Store) Allowances(ctx context.Context) (map[string]time.Time, error) {
	all, err := s.moments(ctx, `SELECT node, allowed FROM revocations WHERE allowed != 0`)
	if err != nil {
		return nil, fmt.Errorf("list allowed nodes: %w", err)
	}
	return all, nil
}

// moments reads rows of a name and a time.
func (s *Store) moments(ctx context.Context, query string) (map[string]time.Time, error) {
	all := map[string]time.Time{}
	err := scan(ctx, s.state, query, func(rows *sql.Rows) error {
		var name string
		var at int64
		err := rows.Scan(&name, &at)
		all[name] = moment(at)
		return err
	})
	return all, err
}

// PutToken is store.Tokens.PutToken.
func (s *Store) PutToken(ctx context.Context, t store.Token) error {
	_, err := s.state.ExecContext(ctx, `INSERT INTO tokens (id, role, hash, node, uses, note, created, expires, revoked, used)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		t.ID, string(t.Role), notNil(t.Hash), t.Node, t.Uses, t.Note, nanos(t.Created), nanos(t.Expires), nanos(t.Revoked), nanos(t.Used))
	if err != nil {
		return fmt.Errorf("store token %s: %w", t.ID, full(err))
	}
	return nil
}

const tokenQuery = `SELECT id, role, hash, node, uses, note, created, expires, revoked, used FROM tokens`

func scanToken(scan func(...any) error) (t store.Token, err error) {
	var created, expires, revoked, used int64
	err = scan(&t.ID, &t.Role, &t.Hash, &t.Node, &t.Uses, &t.Note, &created, &expires, &revoked, &used)
	t.Created, t.Expires, t.Revoked, t.Used = moment(created), moment(expires), moment(revoked), moment(used)
	return t, err
}

// Token is store.Tokens.Token.
func (s *Store) Token(ctx context.Context, id string) (store.Token, error) {
	t, err := scanToken(s.state.QueryRowContext(ctx, tokenQuery+` WHERE id = ?`, id).Scan)
	if err != nil {
		return t, fmt.Errorf("token %q: %w", id, missing(err))
	}
	return t, nil
}

// ListTokens is store.Tokens.ListTokens.
func (s *Store) ListTokens(ctx context.Context) ([]store.Token, error) {
	var all []store.Token
	err := scan(ctx, s.state, tokenQuery+` ORDER BY created DESC, id`, func(rows *sql.Rows) error {
		t, err := scanToken(rows.Scan)
		all = append(all, t)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return all, nil
}

// SpendToken is store.Tokens.SpendToken.
func (s *Store) SpendToken(ctx context.Context, id string, now time.Time) error {
	done, err := s.state.ExecContext(ctx, `UPDATE tokens SET used = ?1, uses = CASE WHEN uses > 0 THEN uses - 1 ELSE uses END
		WHERE id = ?2 AND role = ?3 AND uses <> 0 AND revoked = 0 AND (expires = 0 OR expires > ?1)`, nanos(now), id, string(store.RoleJoin))
	return changed(done, err, "spend token", id, store.ErrSpent)
}

// RevokeToken is store.Tokens.RevokeToken.
func (s *Store) RevokeToken(ctx context.Context, id string, at time.Time) error {
	done, err := s.state.ExecContext(ctx, `UPDATE tokens SET revoked = ? WHERE id = ?`, nanos(at), id)
	return changed(done, err, "revoke token", id, store.ErrNotFound)
}

// changed is nil if a statement changed a row, and none if it changed nothing.
func changed(done sql.Result, err error, doing, id string, none error) error {
	if err != nil {
		return fmt.Errorf("%s %q: %w", doing, id, full(err))
	}
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		err = none
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", doing, id, err)
	}
	return nil
}

// RecordPolicy is store.Policies.RecordPolicy.
func (s *Store) RecordPolicy(ctx context.Context) (*apiv1.RecordPolicy, uint64, error) {
	p := new(apiv1.RecordPolicy)
	var version int64
	var body []byte
	err := s.state.QueryRowContext(ctx, `SELECT version, policy FROM record_policy ORDER BY version DESC LIMIT 1`).Scan(&version, &body)
	if errors.Is(err, sql.ErrNoRows) {
		return p, 0, nil
	}
	if err == nil {
		err = proto.Unmarshal(body, p)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the record policy: %w", err)
	}
	return p, uint64(version), nil
}

// SetRecordPolicy is store.Policies.SetRecordPolicy.
func (s *Store) SetRecordPolicy(ctx context.Context, p *apiv1.RecordPolicy) (uint64, error) {
	body, err := proto.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("encode the record policy: %w", err)
	}
	done, err := s.state.ExecContext(ctx, `INSERT INTO record_policy (policy, written) VALUES (?, ?)`, notNil(body), nanos(time.Now()))
	if err != nil {
		return 0, fmt.Errorf("store the record policy: %w", full(err))
	}
	version, err := done.LastInsertId()
	if err != nil {
		return 0, fmt.Errorf("store the record policy: %w", err)
	}
	return uint64(version), nil
}
