// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"slices"

	"github.com/holdfast-project/holdfast/agent/content"
	"github.com/holdfast-project/holdfast/agent/metrics"
	"github.com/holdfast-project/holdfast/agent/ruleset"
	"github.com/holdfast-project/holdfast/agent/workload"
	"github.com/holdfast-project/holdfast/rules/waf/crs"
)

// thorough is the stage behind the filter of requests, and whose requests it gets.
type thorough struct {
	stage  *ruleset.Stage
	chosen []workload.Pattern
}

// buildThorough makes the stage, if workloads are chosen for it. Nothing of it is loaded before one of them is asked.
func (a *Agent) buildThorough() error {
	if len(a.cfg.WAFRuleSet) == 0 {
		return nil
	}
	t := &thorough{}
	for _, text := range a.cfg.WAFRuleSet {
		pattern, err := workload.Compile(text)
		if err != nil {
			return fmt.Errorf("waf-crs: %w", err)
		}
		t.chosen = append(t.chosen, pattern)
	}
	var rules crs.Config
	if path := a.cfg.WAFRuleSetFile; path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the settings of the core rule set: %w", err)
		}
		if rules, err = crs.Parse(path, text); err != nil {
			return fmt.Errorf("settings of the core rule set: %w", err)
		}
	}
	var err error
	t.stage, err = ruleset.New(ruleset.Config{
		Rules: rules, Percent: a.cfg.WAFRuleSetCPU, Found: a.inspection.foundInWhole, Logger: a.log.With("part", "core rule set"),
	})
	a.thorough = t
	return err
}

// requests is who wants whole requests.
func (a *Agent) requests() content.RequestsConfig {
	if a.thorough == nil {
		return content.RequestsConfig{}
	}
	return content.RequestsConfig{Wanted: a.choosesRuleSet, Take: a.thorough.stage.Take}
}

// choosesRuleSet reports whether the requests to a container go to the stage.
func (a *Agent) choosesRuleSet(cgroup uint64) bool {
	if _, asked := a.inspection.Asked(cgroup); !asked {
		return false
	}
	c, _ := a.registry.Lookup(cgroup)
	return c != nil && slices.ContainsFunc(a.thorough.chosen, func(p workload.Pattern) bool { return p.Match(c) })
}

// thoroughStats is what the stage did; nothing where there is none.
func (a *Agent) thoroughStats() ruleset.Stats {
	if a.thorough == nil {
		return ruleset.Stats{}
	}
	return a.thorough.stage.Stats()
}

// thoroughCounters are the figures of the stage, where there is one.
func (a *Agent) thoroughCounters() []metrics.Counter {
	if a.thorough == nil {
		return nil
	}
	s := a.thorough.stage.Stats()
	return []metrics.Counter{
		{Name: "waf_crs_requests_total", Help: "Requests that the core rule set has evaluated.", Value: float64(s.Evaluated)},
		{Name: "waf_crs_attacks_total", Help: "Requests among them that reach the threshold.", Value: float64(s.Attacks)},
		{Name: "waf_crs_struck_total", Help: "Requests that were not put to the core rule set, since the filter has hits in them.", Value: float64(a.inspection.stats().read.RequestsStruck)},
		{Name: "waf_crs_cpu_seconds_total", Help: "Processor time of the core rule set, without what collects its garbage.", Value: s.Used.Seconds()},
	}
}
