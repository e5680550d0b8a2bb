// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// maxClimb is how many folders a value may climb without naming anything of the system: relative links climb one or two.
const maxClimb = 3

// paths reports what leads out of a folder, or straight to what should not be read.
func (f *Filter) paths(t *text) {
	if t.kind == Path {
		f.requestPath(t)
		return
	}
	if t.kind == Header && equalFold(t.name, "referer") {
		return // a page of another server, whose paths are its own
	}
	b := bytes.TrimLeft(t.b, " \t\"'")
	if len(b) == 0 || len(b) > 2048 {
		return
	}
	if n := wrapper(b); n > 0 {
		f.report(t, ruleStreamWrapper, 0, len(t.b))
		return
	}
	climbs, end, dodge := climb(b)
	rest, _, _ := bytes.Cut(b[end:], []byte{' '})
	switch {
	case climbs > 0 && sensitive(rest) && bytes.IndexByte(b[:end], ' ') < 0:
		f.report(t, ruleSensitiveFile, 0, len(t.b))
	case t.kind == Value || t.kind == Body || bytes.IndexByte(b, ' ') >= 0 || bytes.IndexByte(b, '\n') >= 0:
		if climbs == 0 && absolute(b) && bytes.IndexByte(b, ' ') < 0 && sensitive(b) {
			f.report(t, ruleSensitiveFile, 0, len(t.b))
		}
	case climbs >= maxClimb, climbs > 0 && (dodge || t.strange&(twice|overlong) != 0):
		f.report(t, ruleClimbParam, 0, len(t.b))
	case absolute(b) && sensitive(b):
		f.report(t, ruleSensitiveFile, 0, len(t.b))
	}
}

// requestPath reports a target's path that climbs above the root, or climbs at all in a manner that only serves to get
// past a check.
func (f *Filter) requestPath(t *text) {
	depth, lowest, climbs := 0, 0, 0
	dodge := false
	b := t.b
	for i := 0; i < len(b); {
		j := i
		for j < len(b) && b[j] != '/' && b[j] != '\\' {
			j++
		}
		segment := b[i:j]
		switch {
		case len(segment) == 0 || len(segment) == 1 && segment[0] == '.':
		case dots(segment):
			climbs++
			depth--
			lowest = min(lowest, depth)
			dodge = dodge || len(segment) > 2 || j < len(b) && b[j] == '\\'
		default:
			depth++
		}
		i = j + 1
	}
	switch {
	case climbs > 0 && (lowest < 0 || dodge || t.strange != 0):
		f.report(t, ruleClimb, 0, len(b))
	case climbs > 0 && sensitive(b):
		f.report(t, ruleClimb, 0, len(b))
	case probe(b):
		f.report(t, ruleProbe, 0, len(b))
	}
}

// dots reports whether a segment is two dots, also with what servers drop: parameters, more dots, a zero byte.
func dots(s []byte) bool {
	if len(s) < 2 || s[0] != '.' || s[1] != '.' {
		return false
	}
	s = bytes.TrimLeft(s, ".")
	return len(s) == 0 || s[0] == ';' || s[0] == 0
}

// climb counts how many folders a value climbs, wherever in it, and returns where the last climb ends and whether the
// climbs are written so as to survive the removal of "../".
func climb(b []byte) (n, end int, dodge bool) {
	for i := 0; i+2 < len(b); {
		if b[i] != '.' || b[i+1] != '.' {
			i++
			continue
		}
		j := i
		for j < len(b) && b[j] == '.' {
			j++
		}
		if j < len(b) && b[j] == ';' {
			j++
		}
		if j == len(b) || b[j] != '/' && b[j] != '\\' || i > 0 && word(b[i-1]) {
			i = max(j, i+1)
			continue
		}
		slash := j
		for j < len(b) && (b[j] == '/' || b[j] == '\\') {
			j++
		}
		dodge = dodge || slash-i >= 4 || b[slash-1] == ';' || j-slash > 1 && j < len(b) && b[j] == '.'
		n++
		end, i = j, j
	}
	return n, end, dodge
}

// absolute reports whether a value begins at a root: of a file system, a drive, or a file URL.
func absolute(b []byte) bool {
	return b[0] == '/' || b[0] == '\\' || prefixFold(b, "file:/") ||
		len(b) > 2 && letter(b[0]) && b[1] == ':' && (b[2] == '\\' || b[2] == '/')
}

// wrapper is the length of the stream wrapper that a value begins with, or 0.
func wrapper(b []byte) int {
	for _, w := range [...]string{
		"php://filter", "php://input", "php://fd", "expect://", "phar://", "zip://", "glob:///", "compress.zlib://",
		"compress.bzip2://", "data://text/plain", "data:text/plain;base64,pd9wah", "ogg://", "ssh2.exec://",
	} {
		if prefixFold(b, w) {
			return len(w)
		}
	}
	if prefixFold(b, "data:text/") {
		if _, after, found := cutFold(b[:min(len(b), 200)], "base64,"); found && prefixFold(after, "pd9") {
			return len("data:text/")
		}
	}
	return 0
}

// sensitive reports whether a path is, or leads to, a file that holds credentials or tells about the system.
func sensitive(b []byte) bool {
	b = b[:min(len(b), 512)]
	for _, name := range [...]string{
		"etc/passwd", "etc/shadow", "etc/group", "etc/hosts", "etc/issue", "etc/sudoers", "etc/crontab", "etc/ssh/", "proc/self/", "proc/1/",
		"proc/version", "proc/cmdline", "proc/net/", "root/.ssh", ".ssh/id_", ".ssh/authorized_keys", "id_rsa", ".bash_history",
		".aws/credentials", ".kube/config", ".docker/config.json", "var/run/secrets", "run/secrets/", "web-inf/web.xml", "win.ini",
		"boot.ini", "system32/drivers/etc", "system32\\drivers\\etc", "windows/system32", "windows\\system32", "wp-config.php",
		".htpasswd", ".git/config", "etc/nginx/", "etc/apache2/", "etc/kubernetes/", "var/log/auth", "var/log/apache2",
		"var/log/nginx", "etc/mysql/", "etc/my.cnf", ".env", "web.config", "global.asa", "sam._",
	} {
		if i := indexFold(b, name); i >= 0 && (i == 0 || !word(b[i-1])) {
			end := i + len(name)
			last := name[len(name)-1]
			if end == len(b) || !word(last) || !word(b[end]) && b[end] != '-' {
				return true
			}
		}
	}
	// A path with backslashes names the same files.
	if bytes.IndexByte(b, '\\') >= 0 {
		return holds(b, `etc\passwd`) || holds(b, `windows\win`) || holds(b, `web-inf\web`)
	}
	return false
}

// probe reports whether a request's path asks for what deployments leave behind.
func probe(b []byte) bool {
	for _, name := range [...]string{
		"/.env", "/.git/config", "/.git/head", "/.svn/entries", "/.aws/credentials", "/.ssh/id_rsa", "/.htpasswd",
		"/wp-config.php.bak", "/wp-config.php~", "/.ds_store", "/.kube/config", "/etc/passwd", "/web-inf/web.xml",
		"/actuator/heapdump", "/.docker/config.json",
	} {
		if len(b) >= len(name) && equalFold(b[len(b)-len(name):], name) {
			return true
		}
	}
	return false
}
