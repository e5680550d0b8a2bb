// SPDX-License-Identifier: Apache-2.0

// Package redact takes secrets out of texts that are about to leave the node: passwords and tokens in program
// arguments, credentials in URLs, keys that are known by their form. It errs towards hiding: a value behind a name that
// speaks of a secret is hidden whatever it looks like. It is pure and safe for concurrent use.
package redact

import (
	"path"
	"regexp"
	"strings"
)

// Mask stands where a secret was.
const Mask = "[redacted]"

// forms are the forms of formed.
const forms = `\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{22,}|glpat-[0-9A-Za-z_-]{20,}|xox[abprs]-[0-9A-Za-z-]{10,}|sk_live_[0-9A-Za-z]{16,}|AIza[0-9A-Za-z_-]{35}|eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*)`

var (
	// secretName matches names of options, variables and headers whose values are secrets.
	secretName = regexp.MustCompile(`(?i)(passw(or)?d|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential|authorization|\bauth\b|bearer|cookie|dsn\b|\bpwd\b|\bpass\b)`)
	// userinfo is the password in a URL (RFC 3986, 3.2.1).
	userinfo = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://[^/\s:@]*:)[^/\s@]+@`)
	// header is a secret in a header line or a JSON or form field: name, separator, value.
	header = regexp.MustCompile(`(?i)((?:proxy-)?authorization|x-[a-z-]*(?:token|key|secret)|cookie|set-cookie)(\s*:\s*)(.+)`)
	field  = regexp.MustCompile(`(?i)("?[a-z0-9_.-]*(?:passw(?:or)?d|secret|token|api[-_]?key|access[-_]?key)[a-z0-9_.-]*"?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\s&,;}"']+)`)
	// formed are keys that are known by their own form: cloud access keys, personal access tokens, JSON web tokens.
	formed = regexp.MustCompile(forms)
	// labels are those in a domain name, whose case tells nothing.
	labels = regexp.MustCompile(`(?i)` + forms)
	// pem is a private key in text.
	pem = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`)
)

// short are programs whose one-letter option carries a secret: joined to its value or followed by it.
var short = map[string]string{
	"mysql": "-p", "mysqldump": "-p", "mysqladmin": "-p", "mariadb": "-p", "sshpass": "-p", "redis-cli": "-a",
	"curl": "-u", "wget": "", "mongo": "-p", "mongosh": "-p", "ldapsearch": "-w", "smbclient": "-U", "psql": "",
}

// Argv gives the arguments with their secrets masked. The slice is changed in place and returned.
func Argv(argv []string) []string {
	if len(argv) == 0 {
		return argv
	}
	option := short[path.Base(argv[0])]
	hideNext := false
	for i := 1; i < len(argv); i++ {
		switch arg := argv[i]; {
		case hideNext && !strings.HasPrefix(arg, "-"):
			argv[i], hideNext = Mask, false
		case option != "" && arg == option:
			hideNext = true
		case option != "" && strings.HasPrefix(arg, option) && !strings.HasPrefix(arg, "--"):
			argv[i] = option + Mask
		case argv[i-1] == "-c":
			// A command of its own: what comes after the secret is worth keeping.
			argv[i] = Text(arg)
		default:
			argv[i], hideNext = one(arg)
		}
	}
	return argv
}

// one masks a single argument and says whether the next one is the secret it names.
func one(arg string) (string, bool) {
	name, _, joined := strings.Cut(arg, "=")
	isOption := strings.HasPrefix(arg, "-")
	if joined && !strings.ContainsAny(name, " /\"'") && secretName.MatchString(name) {
		return name + "=" + Mask, false
	}
	if isOption && !joined && !strings.ContainsAny(arg, " :") && secretName.MatchString(arg) {
		return arg, true
	}
	return Text(arg), false
}

// Text gives the text with every secret masked that can be told by its form or by the name before it.
func Text(text string) string {
	text = pem.ReplaceAllString(text, Mask)
	text = userinfo.ReplaceAllString(text, "${1}"+Mask+"@")
	text = header.ReplaceAllString(text, "${1}${2}"+Mask)
	text = field.ReplaceAllString(text, "${1}"+Mask)
	return formed.ReplaceAllString(text, Mask)
}

// leastName is how long a domain name is that holds a secret.
const leastName = 20

// Name gives a domain name without what stands below its last two labels, if a label is a secret that is known by its form, or
// if the labels are one that was cut to fit them.
func Name(name string) string {
	if len(name) < leastName {
		return name
	}
	below, domain := name, ""
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		j := strings.LastIndexByte(name[:i], '.')
		below, domain = name[:max(j, 0)], name[j+1:]
	}
	if labels.MatchString(domain) {
		return Mask
	}
	for rest, more := below, below != ""; more; _, rest, more = strings.Cut(rest, ".") {
		if labels.MatchString(rest) || labels.MatchString(strings.ReplaceAll(rest, ".", "")) {
			return strings.TrimSuffix(Mask+"."+domain, ".")
		}
	}
	return name
}

// InName reports whether Name would not show all of a domain name. Of a short one it allocates nothing.
func InName(name []byte) bool { return len(name) >= leastName && Name(string(name)) != string(name) }
