// SPDX-License-Identifier: Apache-2.0

package ruleset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/dlp"
	"github.com/holdfast-project/holdfast/rules/waf"
	"github.com/holdfast-project/holdfast/rules/waf/crs"
)

// evaluate puts a request to the rules, and tells what they say of it where it counts as an attack.
func (s *Stage) evaluate(engine *crs.Engine, r *content.Request) {
	result, err := engine.Inspect(&r.Request)
	if err != nil {
		s.counts.failed.Add(1)
		s.cfg.Logger.Debug("a request was not evaluated", "error", err)
		return
	}
	s.counts.evaluated.Add(1)
	if r.Cut {
		s.counts.cut.Add(1)
	}
	s.attacks.Advance(r.Time)
	if !result.Attack || len(result.Rules) == 0 {
		return
	}
	s.counts.attacks.Add(1)
	s.tell(r, &result)
}

// tell gives the finding of a request: of the gravest of the rules that it met, once a minute for each rule and client of a server.
func (s *Stage) tell(r *content.Request, result *crs.Result) {
	gravest := slices.MinFunc(result.Rules, func(a, b crs.Match) int { return grade(a.Severity) - grade(b.Severity) })
	kind, name := place(gravest.Variable)
	path, _, _ := strings.Cut(string(r.Target), "?")
	target := dlp.Target{
		Time: r.Time, Process: dlp.Process{PID: r.Piece.Head.Tgid, Start: r.Piece.Head.Start}, Lineage: r.Lineage, Peer: r.Peer, App: r.App, Path: path,
	}
	hit := waf.Hit{Rule: s.rule(&gravest), Kind: kind, Name: name, Evidence: gravest.Evidence}
	for _, f := range s.attacks.Hits(nil, &target, []waf.Hit{hit}) {
		f.Score, f.Confidence = result.Score, 60
		if result.Score >= 3*crs.DefaultThreshold {
			// Several rules agree.
			f.Severity, f.Confidence = dlp.High, 80
		}
		s.cfg.Found(content.Found{Finding: f, Piece: r.Piece, Method: string(r.Method), Host: string(r.Host), Name: name})
	}
}

// grade orders severities as the rule set names them, the gravest first; what it does not name comes last.
func grade(severity string) int {
	all := []string{"emergency", "alert", "critical", "error", "warning", "notice"}
	if at := slices.Index(all, severity); at >= 0 {
		return at
	}
	return len(all)
}

// rule is what a rule of the set is to those who know the filter's. There are as many as the set has.
func (s *Stage) rule(m *crs.Match) *waf.Rule {
	if s.rules[m.ID] == nil {
		s.rules[m.ID] = &waf.Rule{ID: fmt.Sprintf("crs-%d", m.ID), Family: m.Family(), Severity: waf.Medium, Title: m.Message, Tags: m.Tags}
	}
	return s.rules[m.ID]
}

// place is where in a request a variable of the rules is, such as ARGS:q.
func place(variable string) (kind waf.Kind, name string) {
	collection, name, _ := strings.Cut(variable, ":")
	switch {
	case collection == "ARGS_NAMES" || strings.HasSuffix(collection, "_GET_NAMES") || strings.HasSuffix(collection, "_POST_NAMES"):
		return waf.ParamName, name
	case strings.HasPrefix(collection, "ARGS"):
		return waf.Param, name
	case strings.HasPrefix(collection, "REQUEST_HEADERS"):
		return waf.Header, name
	case strings.HasPrefix(collection, "REQUEST_COOKIES"):
		return waf.Cookie, name
	case strings.HasPrefix(collection, "FILES"), strings.HasPrefix(collection, "MULTIPART"):
		return waf.File, name
	case collection == "QUERY_STRING":
		return waf.Query, name
	case collection == "REQUEST_BODY" || collection == "XML":
		return waf.Body, name
	}
	return waf.Path, name
}
