// SPDX-License-Identifier: Apache-2.0

package waf

// Family is a kind of attack.
type Family uint8

// The families, in the order in which they are looked for.
const (
	Log4Shell Family = iota
	Traversal
	SQLInjection
	CommandInjection
	RequestForgery
	Deserialisation
	WebShell
	TemplateInjection
	ExternalEntity
	ResponseSplitting
	Smuggling
	ClassLoader
	ShellShock
	OGNL
	Scanner
	// The filter has no rules of these: they are what stages behind it find.
	CrossSiteScripting
	Anomaly
	familyCount
)

// String is the family's name as settings and alerts have it.
func (f Family) String() string {
	names := [familyCount]string{
		"log4shell", "path-traversal", "sql-injection", "command-injection", "request-forgery", "deserialisation",
		"web-shell", "template-injection", "external-entity", "response-splitting", "request-smuggling", "class-loader",
		"shellshock", "ognl-injection", "scanner", "cross-site-scripting", "request-anomaly",
	}
	if f >= familyCount {
		return "unknown"
	}
	return names[f]
}

// Severity says how bad it is that somebody tries this; whether it worked is not known from a request.
type Severity uint8

// The severities.
const (
	Low Severity = iota
	Medium
	High
	Critical
)

// String is the severity's name.
func (s Severity) String() string {
	switch s {
	case Low:
		return "low"
	case Medium:
		return "medium"
	case High:
		return "high"
	}
	return "critical"
}

// Rule is one thing that the filter recognises.
type Rule struct {
	ID       string
	Family   Family
	Severity Severity
	// Level is the level from which on the rule is on: 1 is the default and is meant to stay silent on ordinary traffic,
	// 2 adds rules that some applications trip in ordinary use.
	Level int
	// Title says what was recognised, in a line.
	Title string
	// Tags are the weakness (CWE) and the technique (ATT&CK) that the rule stands for.
	Tags []string
}

// The rules' places in the table that ruleTable returns.
const (
	ruleJNDI = iota
	ruleLookupHidden
	ruleClimb
	ruleClimbParam
	ruleSensitiveFile
	ruleStreamWrapper
	ruleProbe
	ruleTautology
	ruleUnion
	ruleStacked
	ruleSQLFunction
	ruleSQLComment
	ruleOrderBy
	ruleSubquery
	ruleCommand
	ruleSubstitution
	ruleReverseShell
	ruleMetadata
	ruleHiddenAddress
	ruleScheme
	ruleLoopback
	ruleCluster
	ruleJava
	rulePHPObject
	rulePickle
	ruleDotNet
	rulePolymorphic
	ruleNodeFunction
	ruleShellCommand
	ruleShellCode
	ruleShellUpload
	ruleTemplate
	ruleTemplateProbe
	ruleEntity
	ruleInclude
	ruleEntityBomb
	ruleSplit
	ruleFraming
	ruleFramingBoth
	ruleEmbedded
	ruleSpring
	ruleSpringRouting
	ruleShellShock
	ruleOGNL
	ruleScanner
	ruleCount
)

// initial is ATT&CK's technique of exploiting an application that the public reaches.
const initial = "T1190"

// ruleTable is the table of all rules, new for each filter.
func ruleTable() []Rule {
	all := make([]Rule, ruleCount)
	copy(all, injectionRules())
	copy(all[ruleMetadata:], otherRules()[ruleMetadata:])
	return all
}

// injectionRules are the rules before ruleMetadata.
func injectionRules() []Rule {
	return []Rule{
		ruleJNDI: {"log4shell-jndi", Log4Shell, Critical, 1, "a lookup that makes Log4j load a class from elsewhere",
			[]string{"CWE-917", "CWE-502", initial}},
		ruleLookupHidden: {"log4shell-hidden", Log4Shell, High, 1, "lookups that spell a word letter by letter",
			[]string{"CWE-917", initial, "T1027"}},
		ruleClimb: {"traversal-path", Traversal, High, 1, "a path that leads above its root or hides that it climbs",
			[]string{"CWE-22", initial}},
		ruleClimbParam: {"traversal-value", Traversal, High, 1, "a value that climbs out of its folder",
			[]string{"CWE-22", initial}},
		ruleSensitiveFile: {"file-sensitive", Traversal, High, 1, "a value that names a file of the system or of credentials",
			[]string{"CWE-73", "CWE-98", initial, "T1552.001"}},
		ruleStreamWrapper: {"file-wrapper", Traversal, High, 1, "a stream wrapper that reads or runs what it is given",
			[]string{"CWE-98", initial}},
		ruleProbe: {"file-probe", Traversal, Low, 1, "a request for a file that should not be served",
			[]string{"CWE-538", "T1595.003"}},
		ruleTautology: {"sql-condition", SQLInjection, High, 1, "a value that adds a condition to a query",
			[]string{"CWE-89", initial}},
		ruleUnion: {"sql-union", SQLInjection, Critical, 1, "a value that adds a second query's rows to a query's",
			[]string{"CWE-89", initial}},
		ruleStacked: {"sql-stacked", SQLInjection, Critical, 1, "a value that ends a statement and begins another",
			[]string{"CWE-89", initial}},
		ruleSQLFunction: {"sql-function", SQLInjection, High, 1, "a value that calls a function of the database used to wait, read or run",
			[]string{"CWE-89", initial}},
		ruleSQLComment: {"sql-comment", SQLInjection, Medium, 1, "a value that closes a literal and comments the rest out",
			[]string{"CWE-89", initial}},
		ruleOrderBy: {"sql-columns", SQLInjection, High, 1, "a value that counts the columns of a query",
			[]string{"CWE-89", initial}},
		ruleSubquery: {"sql-subquery", SQLInjection, High, 1, "a value that works a query into an expression",
			[]string{"CWE-89", initial}},
		ruleCommand: {"command-chain", CommandInjection, Critical, 1, "a value that ends a shell's word and begins a command",
			[]string{"CWE-78", initial, "T1059.004"}},
		ruleSubstitution: {"command-substitution", CommandInjection, Critical, 1, "a value that a shell would replace by a command's output",
			[]string{"CWE-78", initial, "T1059.004"}},
		ruleReverseShell: {"command-reverse-shell", CommandInjection, Critical, 1, "a shell tied to a connection",
			[]string{"CWE-78", initial, "T1059.004", "T1095"}},
	}
}

// otherRules are the rules from ruleMetadata on, at their places.
func otherRules() []Rule {
	return []Rule{
		ruleMetadata: {"ssrf-metadata", RequestForgery, Critical, 1, "the address of a cloud's metadata service in a value",
			[]string{"CWE-918", initial, "T1552.005"}},
		ruleHiddenAddress: {"ssrf-hidden", RequestForgery, High, 1, "a loopback or link-local address in an uncommon notation",
			[]string{"CWE-918", initial}},
		ruleScheme: {"ssrf-scheme", RequestForgery, High, 1, "a URL whose scheme speaks to services that are no web servers",
			[]string{"CWE-918", initial}},
		ruleLoopback: {"ssrf-loopback", RequestForgery, Low, 2, "a URL of the machine itself in a value",
			[]string{"CWE-918", initial}},
		ruleCluster: {"ssrf-cluster", RequestForgery, High, 1, "a URL of the cluster's own interfaces in a value",
			[]string{"CWE-918", initial}},
		ruleJava: {"object-java", Deserialisation, Critical, 1, "a serialised Java object",
			[]string{"CWE-502", initial}},
		rulePHPObject: {"object-php", Deserialisation, High, 1, "a serialised PHP object",
			[]string{"CWE-502", initial}},
		rulePickle: {"object-pickle", Deserialisation, Critical, 1, "a pickled Python object that calls a function",
			[]string{"CWE-502", initial}},
		ruleDotNet: {"object-dotnet", Deserialisation, Critical, 1, "a serialised .NET object",
			[]string{"CWE-502", initial}},
		rulePolymorphic: {"object-type", Deserialisation, Critical, 1, "a document that names a class that runs code when it is made",
			[]string{"CWE-502", initial}},
		ruleNodeFunction: {"object-node", Deserialisation, Critical, 1, "a serialised JavaScript function",
			[]string{"CWE-502", initial}},
		ruleShellCommand: {"webshell-command", WebShell, High, 1, "a command in a parameter that web shells use",
			[]string{"CWE-553", "T1505.003", "T1059"}},
		ruleShellCode: {"webshell-code", WebShell, Critical, 1, "code to be evaluated in a parameter",
			[]string{"CWE-94", "T1505.003"}},
		ruleShellUpload: {"webshell-upload", WebShell, Critical, 1, "a file that runs what requests tell it",
			[]string{"CWE-434", "T1505.003"}},
		ruleTemplate: {"template-object", TemplateInjection, Critical, 1, "a template expression that reaches for the interpreter",
			[]string{"CWE-1336", initial}},
		ruleTemplateProbe: {"template-probe", TemplateInjection, Medium, 1, "a template expression that shows whether it is evaluated",
			[]string{"CWE-1336", initial}},
		ruleEntity: {"xml-entity", ExternalEntity, High, 1, "an XML document that takes in something from outside",
			[]string{"CWE-611", initial}},
		ruleInclude: {"xml-include", ExternalEntity, High, 1, "an XML document that includes a file",
			[]string{"CWE-611", initial}},
		ruleEntityBomb: {"xml-bomb", ExternalEntity, Medium, 1, "XML entities made of each other",
			[]string{"CWE-776", "T1499.004"}},
		ruleSplit: {"response-split", ResponseSplitting, High, 1, "a line end and a header in a parameter",
			[]string{"CWE-113", initial}},
		ruleFraming: {"smuggling-framing", Smuggling, High, 1, "headers that servers disagree on where the body ends",
			[]string{"CWE-444", initial}},
		ruleFramingBoth: {"smuggling-both", Smuggling, Medium, 1, "a length and a transfer coding in one request",
			[]string{"CWE-444", initial}},
		ruleEmbedded: {"smuggling-request", Smuggling, High, 1, "a chunked body that ends early, with a request behind it",
			[]string{"CWE-444", initial}},
		ruleSpring: {"spring-class-loader", ClassLoader, Critical, 1, "a parameter that binds to the class loader",
			[]string{"CWE-94", "CWE-915", initial}},
		ruleSpringRouting: {"spring-routing", ClassLoader, Critical, 1, "an expression in place of a function's name",
			[]string{"CWE-917", initial}},
		ruleShellShock: {"shellshock", ShellShock, Critical, 1, "a shell function with commands behind it",
			[]string{"CWE-78", initial, "T1059.004"}},
		ruleOGNL: {"ognl-expression", OGNL, Critical, 1, "an OGNL expression that reaches for the runtime",
			[]string{"CWE-917", initial}},
		ruleScanner: {"scanner", Scanner, Low, 1, "a scanner that names itself",
			[]string{"T1595.002"}},
	}
}
