// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"time"

	apiv1 "github.com/holdfast-project/holdfast/collector/api/v1"
	"github.com/holdfast-project/holdfast/collector/view"
)

// maxBodyBytes bounds the body of a request.
const maxBodyBytes = 64 << 10

// recordPolicy is what is recorded, and how often that was changed.
type recordPolicy struct {
	Version uint64            `json:"version"`
	Rules   []view.RecordRule `json:"rules"`
}

func newRecordPolicy(p *apiv1.RecordPolicy, version uint64) recordPolicy {
	policy := recordPolicy{Version: version, Rules: []view.RecordRule{}}
	for _, rule := range p.GetRules() {
		policy.Rules = append(policy.Rules, view.RecordRule{
			Workload: rule.GetWorkload(), Types: append([]string{}, rule.GetTypes()...),
		})
	}
	return policy
}

func (s *server) record(w http.ResponseWriter, r *http.Request, _ params) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	policy, version, err := s.Fleet.RecordPolicy(ctx)
	if err != nil {
		return err
	}
	return s.reply(w, r, newRecordPolicy(policy, version))
}

// setRecord sets the rule of one workload pattern, whether or not it has one.
func (s *server) setRecord(w http.ResponseWriter, r *http.Request, _ params) error {
	var rule view.RecordRule
	if err := s.decode(w, r, &rule); err != nil {
		return err
	}
	if len(rule.Types) == 0 {
		return problemf(http.StatusBadRequest, "types: none given; DELETE takes a rule away")
	}
	slices.Sort(rule.Types)
	added := &apiv1.RecordRule{Workload: rule.Workload, Types: slices.Compact(rule.Types)}
	return s.changeRecord(w, r, func(p *apiv1.RecordPolicy) error {
		for i, old := range p.GetRules() {
			if old.GetWorkload() == rule.Workload {
				p.Rules[i] = added
				return nil
			}
		}
		p.Rules = append(p.Rules, added)
		return nil
	})
}

// clearRecord takes away the rule of one workload pattern, or all rules.
func (s *server) clearRecord(w http.ResponseWriter, r *http.Request, p params) error {
	all, err := p.flag("all")
	if err != nil {
		return err
	}
	if all == p.values.Has("workload") {
		return problemf(http.StatusBadRequest, "give either workload=PATTERN or all=true")
	}
	pattern := p.text("workload")
	return s.changeRecord(w, r, func(p *apiv1.RecordPolicy) error {
		kept := slices.DeleteFunc(p.GetRules(), func(rule *apiv1.RecordRule) bool {
			return all || rule.GetWorkload() == pattern
		})
		if len(kept) == len(p.GetRules()) && !all {
			return problemf(http.StatusNotFound, "no rule records workload %q", pattern)
		}
		p.Rules = kept
		return nil
	})
}

// changeRecord changes the policy as one step, and answers with what it is then.
func (s *server) changeRecord(w http.ResponseWriter, r *http.Request, change func(*apiv1.RecordPolicy) error) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.Timeout)
	defer cancel()
	s.policy.Lock()
	defer s.policy.Unlock()
	policy, _, err := s.Fleet.RecordPolicy(ctx)
	if err != nil {
		return err
	}
	next := &apiv1.RecordPolicy{Rules: slices.Clone(policy.GetRules())}
	if err := change(next); err != nil {
		return err
	}
	version, err := s.Fleet.SetRecordPolicy(ctx, next)
	if err != nil {
		return err
	}
	return s.reply(w, r, newRecordPolicy(next, version))
}

// decode reads a body of exactly one JSON object without unknown keys.
func (s *server) decode(w http.ResponseWriter, r *http.Request, v any) error {
	return s.decodeWithin(w, r, v, maxBodyBytes)
}

// decodeWithin is decode of a body that has at most so many bytes. It must come within the timeout of a call.
func (s *server) decodeWithin(w http.ResponseWriter, r *http.Request, v any, most int64) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return problemf(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(s.Timeout)); err != nil {
		return fmt.Errorf("bound the time for a body: %w", err)
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, most))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil {
		if _, more := decoder.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more than one value")
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problemf(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return problemf(http.StatusRequestTimeout, "the body did not come within %s", s.Timeout)
	case err != nil:
		return problemf(http.StatusBadRequest, "body: %w", err)
	}
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("bound the time for a body: %w", err)
	}
	return nil
}
