// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"net/http"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/fleet"
	"github.com/holdfast-project/holdfast/collector/view"
	"github.com/holdfast-project/holdfast/rules/profile"
)

// Explainer is what the API asks about alerts. fleet.Fleet is one.
type Explainer interface {
	// Explain holds the deed of an alert against the profile of its workload.
	Explain(ctx context.Context, a *apiv1.Alert) (fleet.Explanation, error)
	// Allow adds what the deed lacks, or returns fleet.ErrRefused.
	Allow(ctx context.Context, a *apiv1.Alert, by fleet.Author) (edited fleet.Edited, already bool, err error)
}

// explain says why the deed of an alert was not allowed, and what would allow it.
func (s *server) explain(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	row, err := s.Store.Get(ctx, apiv1.Lane_LANE_ALERTS, r.PathValue("id"))
	if err != nil {
		return err
	}
	alert := row.Record.GetAlert()
	e, err := s.Fleet.Explain(ctx, alert)
	if err != nil {
		return err
	}
	v := alert.GetViolation()
	answer := view.Explanation{
		Alert: row.ID, Workload: newWorkload(e.Key), Signal: v.GetSignal(), Reason: v.GetReason(), Mode: v.GetMode(), ModeSource: v.GetModeSource(),
		ProfileVersion: v.GetProfileVersion(), Version: e.Version, Allowed: e.Allowed, Why: e.Why, Changes: newChanges(e.Changes),
		CanAllow: e.Cannot == "" && !e.Allowed, Cannot: e.Cannot,
	}
	if e.Nearest != nil {
		nearest := newEntry(*e.Nearest)
		answer.Nearest = &nearest
	}
	if e.Missing != nil {
		answer.Missing = string(profile.Encode(e.Missing))
	}
	return s.reply(w, r, answer)
}

// allow adds to the overlay exactly what the deed of an alert lacks.
func (s *server) allow(w http.ResponseWriter, r *http.Request, p params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	var body struct {
		Reason string `json:"reason"`
	}
	if err := s.decode(w, r, &body); err != nil {
		return err
	}
	row, err := s.Store.Get(ctx, apiv1.Lane_LANE_ALERTS, r.PathValue("id"))
	if err != nil {
		return err
	}
	edited, already, err := s.Fleet.Allow(ctx, row.Record.GetAlert(), fleet.Author{Name: p.author, Reason: body.Reason})
	if err != nil {
		return err
	}
	answer := newEdited(edited)
	answer.Already = already
	return s.reply(w, r, answer)
}
