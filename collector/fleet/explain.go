// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Explanation says why a deed was not allowed, by the profile as it is now.
type Explanation struct {
	Key profile.Key
	// Version is that of the effective profile now.
	Version uint64
	profile.Verdict
	// Changes are what allowing it would change; none where nothing can.
	Changes []Change
	// Cannot says why it cannot be allowed, empty if it can or is.
	Cannot string

	before *layers
	// after is the overlay that would allow it.
	after *profile.Profile
}

// Explain holds the deed of an alert against the profile of its workload, as it is now.
func (f *Fleet) Explain(ctx context.Context, a *apiv1.Alert) (Explanation, error) {
	return f.explain(ctx, a, profile.Provenance{Origin: profile.Written})
}

// Allow adds to the overlay exactly what the deed of an alert lacks. already says that it is allowed by now, and nothing was
// changed. A deed that no entry can allow is ErrRefused.
func (f *Fleet) Allow(ctx context.Context, a *apiv1.Alert, by Author) (edited Edited, already bool, err error) {
	if err := by.Check(); err != nil {
		return Edited{}, false, err
	}
	f.editing.Lock()
	defer f.editing.Unlock()
	e, err := f.explain(ctx, a, profile.Provenance{Origin: profile.Written, Author: by.Name, Reason: by.Reason})
	switch {
	case err != nil:
		return Edited{}, false, err
	case e.Cannot != "":
		return Edited{}, false, fmt.Errorf("%w: %s", ErrRefused, e.Cannot)
	case e.Allowed:
		return Edited{Key: e.Key, Overlay: e.before.written.Version, Version: e.Version}, true, nil
	}
	all, err := f.write(ctx, edit{before: e.before, after: e.after, action: "allow", reasons: by})
	if err != nil {
		return Edited{}, false, err
	}
	return all[0], false, nil
}

func (f *Fleet) explain(ctx context.Context, a *apiv1.Alert, seen profile.Provenance) (Explanation, error) {
	v := a.GetViolation()
	e := Explanation{Key: keyOf(v.GetKey())}
	if v == nil {
		c := a.GetEvent().GetContainer()
		e.Key = profile.Key{Namespace: c.GetNamespace(), Kind: c.GetWorkloadKind(), Name: c.GetWorkload(), Container: c.GetName()}
		e.Cannot = fmt.Sprintf("the alert is of the rule %q, not about what a profile allows", a.GetRule())
		return e, nil
	}
	if err := e.Key.Validate(); err != nil {
		e.Cannot = fmt.Sprintf("it is not known which profile the deed goes against: %v", err)
		return e, nil
	}
	deed, err := deedOf(a)
	if err != nil {
		e.Cannot = err.Error()
		return e, nil
	}
	if e.before, err = f.layers(ctx, e.Key); err != nil {
		return e, err
	}
	if e.before.effective == nil && e.before.trouble != nil {
		return e, e.before.trouble
	}
	e.Version = f.book.version(e.Key)
	if e.Verdict, err = judge(e.Key, e.before.effective, deed); err != nil {
		return e, err
	}
	switch {
	case e.Allowed:
	case e.Missing == nil:
		e.Cannot = "no entry of a profile allows this: " + e.Why
	default:
		e.allow(deed, seen)
	}
	return e, nil
}

// judge holds a deed against a profile, nil for one that allows nothing.
func judge(key profile.Key, p *profile.Profile, deed profile.Deed) (profile.Verdict, error) {
	if p == nil {
		p = &profile.Profile{Key: key}
	}
	m, err := profile.NewMatcher(p)
	if err != nil {
		return profile.Verdict{}, fmt.Errorf("hold a deed against the profile of %s: %w", key, err)
	}
	return m.Judge(deed), nil
}

// allow works out the overlay that allows a deed, and what it changes.
func (e *Explanation) allow(deed profile.Deed, seen profile.Provenance) {
	change := &profile.Profile{Key: e.Key}
	for _, p := range e.Missing.Processes {
		if p.Seen.Origin == profile.Context {
			change.Processes = append(change.Processes, profile.Process{Path: p.Path, AnyArguments: p.AnyArguments, Seen: p.Seen})
		}
	}
	for _, entry := range e.Missing.Entries() {
		change.Processes = append(change.Processes, entry.Part(e.Key, seen).Processes...)
	}
	change.Normalise()
	after, err := profile.Amend(e.before.overlay, change)
	if err != nil {
		e.Cannot = err.Error()
		return
	}
	effective, err := profile.Effective(e.before.merged, after)
	if err != nil {
		e.Cannot = err.Error()
		return
	}
	if verdict, err := judge(e.Key, effective, deed); err != nil || !verdict.Allowed {
		e.Cannot = errors.Join(fmt.Errorf("the overlay takes away what would allow it: edit the overlay (%s)", verdict.Why), err).Error()
		return
	}
	e.after, e.Changes = after, Diff(e.before.effective, effective)
}

// deedOf is the deed of an alert. The error says why there is none that a profile could allow.
func deedOf(a *apiv1.Alert) (profile.Deed, error) {
	v := a.GetViolation()
	d := profile.Deed{
		Executable: v.GetExecutable(), Parent: v.GetParent(), Source: profile.Source(v.GetSource()), Arguments: v.GetShape(),
		Path: v.GetPath(), Protocol: v.GetProtocol(), Port: uint16(v.GetPort()), Family: v.GetFamily(), SocketKind: v.GetKind(),
		Capability: v.GetCapability(),
	}
	if v.GetName() != "" {
		d.Names = []string{v.GetName()}
	}
	for _, word := range v.GetAccess() {
		access, err := profile.ParseAccess(word)
		if err != nil {
			return d, err
		}
		d.Access |= access
	}
	switch profile.Reason(v.GetReason()) {
	case profile.ReasonExecutable, profile.ReasonParent, profile.ReasonDrift, profile.ReasonFileless, profile.ReasonArguments:
		d.Kind, d.Withheld = profile.DoExec, len(d.Arguments) == 0
	case profile.ReasonLibrary:
		d.Kind = profile.DoMap
	case profile.ReasonFile:
		d.Kind = profile.DoFile
	case profile.ReasonProtectedFile:
		d.Kind, d.Protected = profile.DoFile, true
	case profile.ReasonAddress, profile.ReasonMetadata:
		d.Kind = profile.DoContact
		return d, contacted(&d, a)
	case profile.ReasonDomain:
		d.Kind = profile.DoAsk
	case profile.ReasonListen:
		d.Kind = profile.DoListen
	case profile.ReasonSocket, profile.ReasonRawSocket:
		d.Kind = profile.DoSocket
	case profile.ReasonCapability:
		d.Kind = profile.DoCapability
	default:
		return d, fmt.Errorf("no entry of a profile allows this: %.40q", v.GetReason())
	}
	return d, nil
}

// contacted fills in who was contacted.
func contacted(d *profile.Deed, a *apiv1.Alert) error {
	var err error
	if d.Address, err = netip.ParseAddr(a.GetViolation().GetAddress()); err != nil {
		return fmt.Errorf("it is not known who was contacted: %w", err)
	}
	if service, ok := strings.CutPrefix(a.GetEvent().GetNetwork().GetRemoteName(), "service "); ok {
		d.Services = []string{service}
	}
	return nil
}
