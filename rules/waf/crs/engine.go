// SPDX-License-Identifier: Apache-2.0

package crs

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/holdfast-project/holdfast/rules/waf"
)

// Bounds and settings that Config's zero values stand for.
const (
	DefaultParanoia  = 1
	DefaultThreshold = 5
	DefaultMaxBody   = 128 << 10
	DefaultMaxRules  = 32
)

// Exclusion switches a rule of the set off, everywhere or where it is known to be wrong.
type Exclusion struct {
	// Rule is the rule's id, such as 942100.
	Rule int
	// Path is the beginning of the request paths that it is off for; "" is all.
	Path string
	// Target is the part of the request that it does not look at, such as ARGS:comment or REQUEST_COOKIES:prefs; "" is all.
	Target string
}

// Config says how strict the engine is. Its zero value is the rule set's own default.
type Config struct {
	// Paranoia is 1 to 4, as the rule set has it: from 2 on, expect to need exclusions. 0 is 1.
	Paranoia int
	// Threshold is the anomaly score from which on a request counts as an attack; a critical rule scores 5. 0 is 5.
	Threshold int
	// MaxBody is how many bytes of a body are looked at, 0 for 128 KiB.
	MaxBody int
	// MaxRules is how many rules a result names at most, 0 for 32.
	MaxRules   int
	Exclusions []Exclusion
}

// Match is a rule that a request met.
type Match struct {
	ID int
	// Severity is the rule set's: emergency, alert, critical, error, warning, notice.
	Severity string
	// Message says what was recognised; Variable where, such as ARGS:q; Evidence what, as waf.Evidence shows it.
	Message, Variable, Evidence string
	// Tags are the rule's, attack-sqli and capec numbers among them.
	Tags []string
}

// Result is what the rule set says about a request.
type Result struct {
	// Score is the sum that the rules gave; Attack that it reaches the threshold.
	Score  int
	Attack bool
	// Rules are those that met, in their order, the ones that only count left out.
	Rules []Match
}

// Engine holds the rule set, ready to run.
type Engine struct {
	waf coraza.WAF
	cfg Config
}

// New builds an engine, which takes a second or two and about 30 MiB. It fails if the config is out of range or an
// exclusion is not well-formed.
func New(cfg Config) (*Engine, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	cfg.Paranoia = or(cfg.Paranoia, DefaultParanoia)
	cfg.Threshold = or(cfg.Threshold, DefaultThreshold)
	cfg.MaxBody = or(cfg.MaxBody, DefaultMaxBody)
	cfg.MaxRules = or(cfg.MaxRules, DefaultMaxRules)
	text, err := directives(cfg)
	if err != nil {
		return nil, fmt.Errorf("core rule set: %w", err)
	}
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(text))
	if err != nil {
		return nil, fmt.Errorf("core rule set: load the rules: %w", err)
	}
	return &Engine{waf: w, cfg: cfg}, nil
}

func or(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// setup is what the rule set expects to be set, and the choice of parsers for bodies. The identifiers are in the range
// that the rule set leaves to local rules.
const setup = `
SecRuleEngine DetectionOnly
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecAuditEngine Off
SecRequestBodyLimit %[3]d
SecRequestBodyInMemoryLimit %[3]d
SecRequestBodyLimitAction ProcessPartial
SecRequestBodyJsonDepthLimit 64
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" "id:10000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/(?:[a-z0-9.-]+[+])?json" "id:10001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecAction "id:10002,phase:1,pass,t:none,nolog,setvar:tx.crs_setup_version=4250,setvar:tx.blocking_paranoia_level=%[1]d,setvar:tx.detection_paranoia_level=%[1]d,setvar:tx.inbound_anomaly_score_threshold=%[2]d"
`

// directives is the whole configuration: setup, exclusions for paths, the rules about requests, exclusions for all paths.
func directives(cfg Config) (string, error) {
	var before, after strings.Builder
	fmt.Fprintf(&before, setup, cfg.Paranoia, cfg.Threshold, cfg.MaxBody)
	for i, e := range cfg.Exclusions {
		switch id := strconv.Itoa(e.Rule); {
		case e.Path != "" && e.Target != "":
			fmt.Fprintf(&before, "SecRule REQUEST_FILENAME \"@beginsWith %s\" \"id:%d,phase:1,pass,nolog,t:none,ctl:ruleRemoveTargetById=%s;%s\"\n", e.Path, 11000+i, id, e.Target)
		case e.Path != "":
			fmt.Fprintf(&before, "SecRule REQUEST_FILENAME \"@beginsWith %s\" \"id:%d,phase:1,pass,nolog,t:none,ctl:ruleRemoveById=%s\"\n", e.Path, 11000+i, id)
		case e.Target != "":
			fmt.Fprintf(&after, "SecRuleUpdateTargetById %s \"!%s\"\n", id, e.Target)
		default:
			fmt.Fprintf(&after, "SecRuleRemoveById %s\n", id)
		}
	}
	files, err := fs.Glob(coreruleset.FS, "@owasp_crs/REQUEST-*.conf")
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("find the rules: %d files: %w", len(files), err)
	}
	for _, name := range files {
		fmt.Fprintf(&before, "Include %s\n", name)
	}
	return before.String() + after.String(), nil
}

// check reports an exclusion that could be read as anything else than one.
func (e Exclusion) check() error {
	if e.Rule < 900_000 || e.Rule > 999_999 {
		return fmt.Errorf("rule %d: the set's are 900000 to 999999", e.Rule)
	}
	if e.Path != "" && (e.Path[0] != '/' || !plain(e.Path, "/._-~")) {
		return fmt.Errorf("path %q: it begins with / and has letters, digits and /._-~", e.Path)
	}
	if !plain(e.Target, "_:-.") {
		return fmt.Errorf("target %q: only letters, digits, _, :, - and . may be in it", e.Target)
	}
	return nil
}

func plain(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte(more, c) >= 0 {
			continue
		}
		return false
	}
	return true
}

// Inspect runs the rules over a request. An error means that the request could not be given to them; what the rules find
// wrong with its form is a match. Whoever sends requests chooses what the rules and their parsers are given: where these give
// up altogether it is an error as well, and the engine goes on.
func (e *Engine) Inspect(r *waf.Request) (result Result, err error) {
	defer func() {
		if what := recover(); what != nil {
			result, err = Result{}, fmt.Errorf("core rule set: the rules gave up: %v", what)
		}
	}()
	tx := e.waf.NewTransaction()
	err = e.run(tx, r)
	result = e.result(tx)
	if closing := tx.Close(); err == nil && closing != nil {
		err = fmt.Errorf("core rule set: end the transaction: %w", closing)
	}
	return result, err
}

// Family is the family of attacks that a match's tags stand for.
func (m *Match) Family() waf.Family {
	for _, tag := range m.Tags {
		switch tag {
		case "attack-sqli":
			return waf.SQLInjection
		case "attack-rce":
			return waf.CommandInjection
		case "attack-lfi":
			return waf.Traversal
		case "attack-rfi", "attack-ssrf":
			return waf.RequestForgery
		case "attack-xss":
			return waf.CrossSiteScripting
		case "attack-ssti":
			return waf.TemplateInjection
		case "attack-xxe":
			return waf.ExternalEntity
		case "attack-injection-java":
			return waf.Deserialisation
		case "attack-injection-php":
			return waf.WebShell
		case "attack-reputation-scanner":
			return waf.Scanner
		}
	}
	return waf.Anomaly
}

func (e *Engine) run(tx types.Transaction, r *waf.Request) error {
	tx.ProcessConnection("192.0.2.1", 1, "192.0.2.2", 80)
	version := string(r.Version)
	if version == "" {
		version = "HTTP/1.1"
	}
	tx.ProcessURI(string(r.Target), string(r.Method), version)
	host, contentType := false, false
	for _, h := range r.Headers {
		tx.AddRequestHeader(string(h.Name), string(h.Value))
		host = host || strings.EqualFold(string(h.Name), "host")
		contentType = contentType || strings.EqualFold(string(h.Name), "content-type")
	}
	if !host && len(r.Host) > 0 {
		tx.AddRequestHeader("Host", string(r.Host))
	}
	if !contentType && len(r.ContentType) > 0 {
		tx.AddRequestHeader("Content-Type", string(r.ContentType))
	}
	tx.SetServerName(string(r.Host))
	tx.ProcessRequestHeaders()
	if len(r.Body) > 0 {
		if _, _, err := tx.WriteRequestBody(r.Body[:min(len(r.Body), e.cfg.MaxBody)]); err != nil {
			return fmt.Errorf("core rule set: give the body to the rules: %w", err)
		}
	}
	if _, err := tx.ProcessRequestBody(); err != nil {
		return fmt.Errorf("core rule set: evaluate the body: %w", err)
	}
	return nil
}

// result collects what the rules said.
func (e *Engine) result(tx types.Transaction) Result {
	var r Result
	if state, ok := tx.(plugintypes.TransactionState); ok {
		for _, v := range state.Variables().TX().Get("blocking_inbound_anomaly_score") {
			if n, err := strconv.Atoi(v); err == nil {
				r.Score = n
			}
		}
	}
	r.Attack = r.Score >= e.cfg.Threshold
	for _, m := range tx.MatchedRules() {
		id := m.Rule().ID()
		if m.Message() == "" || id < 911_000 || id >= 949_000 || len(r.Rules) == e.cfg.MaxRules {
			continue
		}
		match := Match{ID: id, Severity: m.Rule().Severity().String(), Message: m.Message(), Tags: m.Rule().Tags()}
		if data := m.MatchedDatas(); len(data) > 0 {
			match.Variable = waf.Evidence([]byte(data[0].Variable().Name() + ":" + data[0].Key()))
			match.Evidence = waf.Evidence([]byte(data[0].Value()))
		}
		r.Rules = append(r.Rules, match)
	}
	return r
}
