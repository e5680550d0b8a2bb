// SPDX-License-Identifier: Apache-2.0

package uplink

import (
	"context"
	"errors"
	"fmt"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
)

// ready gives an identity to connect with: the one there is, or one that a token gets.
func (u *Uplink) ready(ctx context.Context) (*identity, error) {
	id := u.current()
	why := u.stale
	switch {
	case id == nil:
		why = errors.New("this node is not enrolled")
	case id.expired(time.Now()):
		why = fmt.Errorf("%w: it expired at %s", ErrCertificate, id.leaf.NotAfter.UTC().Format(time.RFC3339))
	case why == nil:
		return id, nil
	}
	usable := id != nil && !id.expired(time.Now())
	if !u.cfg.enrols() {
		if usable {
			return id, nil
		}
		return nil, fmt.Errorf("%w: %s: %w", why, howToEnrol, ErrToken)
	}
	c, err := u.cfg.credential()
	if usable && (err != nil || c.text == u.tried) {
		// There is no new token to try: perhaps the collector has thought better of it.
		u.stale = nil
		if !c.once {
			u.tried = "" // or of the token.
		}
		return id, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", why, err)
	}
	fresh, err := u.enrol(ctx, c)
	if err != nil {
		if refused(err) {
			u.tried = c.text
		}
		if id != nil {
			err = fmt.Errorf("%w, and the %s does not help: %w", why, c.kind, err)
		}
		return nil, err
	}
	if id != nil {
		u.log.Warn("the node has enrolled anew with its "+c.kind, "reason", why)
	}
	u.stale, u.tried = nil, ""
	if c.once {
		u.tried = c.text
	}
	return fresh, nil
}

// enrol gets an identity for a token, and keeps it.
func (u *Uplink) enrol(ctx context.Context, c credential) (*identity, error) {
	l, err := u.dial(c.verify, nil)
	if err != nil {
		return nil, err
	}
	defer l.close()
	ctx, cancel := context.WithTimeout(ctx, u.timing.call)
	defer cancel()
	key, csr, err := certificateRequest(u.cfg.Node)
	if err != nil {
		return nil, err
	}
	answer, err := apiv1.NewEnrolmentClient(l.conn).Enrol(ctx, c.request(u.cfg.Node, csr))
	if err != nil {
		return nil, l.explain(err, c.refused)
	}
	id, err := issuedIdentity(u.cfg.Node, key, answer, time.Now())
	if err != nil {
		return nil, err
	}
	if !c.among(id.roots) {
		return nil, fmt.Errorf("%w: the roots that the collector sent lack the one that the %s came with", errBreach, c.kind)
	}
	u.keep(id)
	u.log.Info("node enrolled", "node", id.node, "with", c.kind, "expires", id.leaf.NotAfter.UTC(), "renews", id.renew.UTC())
	return id, nil
}

// renew gets a new certificate on a connection that was made with the old one.
func (u *Uplink) renew(ctx context.Context, l *link) error {
	ctx, cancel := context.WithTimeout(ctx, u.timing.call)
	defer cancel()
	key, csr, err := certificateRequest(u.cfg.Node)
	if err != nil {
		return err
	}
	answer, err := apiv1.NewEnrolmentClient(l.conn).Renew(ctx, &apiv1.RenewRequest{Csr: csr})
	if err != nil {
		return l.explain(err, ErrCertificate)
	}
	id, err := issuedIdentity(u.cfg.Node, key, answer, time.Now())
	if err != nil {
		return err
	}
	u.keep(id)
	u.counts.renewals.Add(1)
	u.log.Info("certificate renewed", "node", id.node, "expires", id.leaf.NotAfter.UTC(), "renews", id.renew.UTC())
	return nil
}

// keep uses an identity from now on, and writes it down. While the disk refuses it is used all the same, for the token
// may be spent.
func (u *Uplink) keep(id *identity) {
	u.mu.Lock()
	u.identity = id
	u.mu.Unlock()
	u.unsaved = true
	u.save(id)
}

// save writes the identity down if that is still to be done.
func (u *Uplink) save(id *identity) {
	if !u.unsaved {
		return
	}
	if err := id.save(u.dir); err != nil {
		u.log.Error("the identity holds until the agent ends: it was not written down, trying again", "error", err)
		return
	}
	u.unsaved = false
}
