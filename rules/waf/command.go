// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// commandClass says what must follow a command's name for it to be a command and not a word.
type commandClass uint8

const (
	noCommand commandClass = iota
	bareWord               // stands alone, and is no ordinary word: whoami, uname
	commonID               // stands alone, and is an ordinary name of a column too: id, ls, env
	reader                 // takes a path: cat, head
	network                // takes a host or a URL: wget, curl
	shell                  // takes -c, a file, or its input
	changer                // takes options or paths: rm, chmod
	waiter                 // takes a number: sleep
	anything               // takes words: echo, printf
)

// command is the class of a command's name.
func command(w []byte) commandClass {
	if len(w) < 1 || len(w) > 12 {
		return noCommand
	}
	var low [12]byte
	for i, c := range w {
		low[i] = lower(c)
	}
	switch string(low[:len(w)]) {
	case "whoami", "uname", "ifconfig", "ipconfig", "netstat", "printenv", "systeminfo", "tasklist", "lsof", "hostnamectl", "getent":
		return bareWord
	case "id", "ls", "ps", "env", "pwd", "dir", "hostname", "w", "who", "set", "date", "arp", "df", "mount", "history", "top", "reboot", "export", "ip":
		return commonID
	case "cat", "tac", "head", "tail", "more", "less", "nl", "od", "xxd", "strings", "grep", "awk", "sed", "find", "type", "base64", "cut", "sort", "tar", "dd", "cd", "source":
		return reader
	case "wget", "curl", "nc", "ncat", "netcat", "telnet", "ping", "nslookup", "dig", "host", "ssh", "scp", "ftp", "tftp", "lynx", "fetch", "certutil", "bitsadmin", "socat", "busybox", "traceroute":
		return network
	case "sh", "bash", "zsh", "dash", "ksh", "python", "python2", "python3", "perl", "ruby", "php", "node", "lua", "powershell", "pwsh", "cmd", "cmd.exe", "xterm", "ash":
		return shell
	case "rm", "chmod", "chown", "cp", "mv", "mkdir", "touch", "kill", "killall", "mkfifo", "useradd", "adduser", "crontab", "nohup", "sudo", "net", "del", "wmic", "reg", "iptables", "apt", "apt-get", "yum", "apk", "xargs", "tee", "pkill", "service", "systemctl", "setsid", "timeout":
		return changer
	case "sleep", "usleep":
		return waiter
	case "echo", "printf", "eval", "exec":
		return anything
	}
	return noCommand
}

// shellWord is a word as a shell reads it: quotes, backslashes and empty substitutions gone.
type shellWord struct {
	text  [64]byte
	n     int
	end   int  // where it ends in the text
	dodge bool // it was written so as not to look like what it is
}

func (w *shellWord) put(c byte) {
	if w.n < len(w.text) {
		w.text[w.n] = c
		w.n++
	}
}

// readWord reads the word at i. A brace list counts as its first member, as in {cat,/etc/passwd}.
func readWord(w *shellWord, b []byte, i int) {
	*w = shellWord{}
	for ; i < len(b); i++ {
		c := b[i]
		switch {
		case space(c) || c == ';' || c == '|' || c == '&' || c == ')' || c == '<' || c == '>' || c == '`' && w.n > 0:
			w.end = i
			return
		case c == '{' && w.n == 0:
			w.dodge = true
		case (c == ',' || c == '}') && w.dodge:
			w.end = i
			return
		case c == '\'' || c == '"':
			if w.n > 0 && i+1 < len(b) {
				w.dodge = true
			}
		case c == '\\':
			if i+1 < len(b) && letter(b[i+1]) && w.n > 0 {
				w.dodge = true
			}
		case c == '$':
			if n := separator(b[i:]); n > 0 {
				w.end = i
				w.dodge = true
				return
			}
			if i+1 < len(b) && (b[i+1] == '@' || b[i+1] == '*' || digit(b[i+1])) {
				i++
				w.dodge = true
				continue
			}
			w.put(c)
		default:
			w.put(c)
		}
	}
	w.end = i
}

// name is the command's name: the last segment of a path, with its globs resolved if it is the path of a known one.
func (w *shellWord) name() []byte {
	b := w.text[:w.n]
	if bytes.IndexByte(b, '?') >= 0 || bytes.IndexByte(b, '*') >= 0 {
		if b[0] != '/' {
			return nil
		}
		for _, path := range [...]string{"/bin/cat", "/bin/sh", "/bin/bash", "/bin/nc", "/bin/ls", "/usr/bin/id", "/usr/bin/curl", "/usr/bin/wget", "/usr/bin/whoami", "/bin/ping"} {
			if glob(b, path) {
				w.dodge = true
				return []byte(path[lastSlash(path)+1:])
			}
		}
		return nil
	}
	i := bytes.LastIndexByte(b, '/')
	if i >= 0 && (b[0] == '.' || b[0] == '~' || b[0] == '/' && bytes.HasSuffix(b[:i], []byte("bin"))) {
		return b[i+1:]
	}
	return b
}

func lastSlash(s string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}

// glob reports whether a pattern of ? and a final * matches a path.
func glob(pattern []byte, path string) bool {
	for i, c := range pattern {
		if c == '*' {
			return i == len(pattern)-1 && i < len(path)
		}
		if i >= len(path) || c != '?' && c != path[i] || c == '?' && path[i] == '/' {
			return false
		}
	}
	return len(pattern) == len(path)
}

// separator is the length of $IFS in its spellings at the start of b, or 0.
func separator(b []byte) int {
	for _, s := range [...]string{"${ifs}", "$ifs$9", "$ifs", "${ifs"} {
		if prefixFold(b, s) {
			return len(s)
		}
	}
	return 0
}

// commands reports shell syntax that ends what a program put before a value and begins a command.
func (f *Filter) commands(t *text) {
	b := t.b
	if len(b) > 4096 {
		b = b[:4096]
	}
	if i := reverseShell(b); i >= 0 {
		f.report(t, ruleReverseShell, i, min(len(b), i+100))
		return
	}
	if t.kind == Body || t.kind == Cookie && len(b) > 256 {
		return
	}
	substitutions := t.kind == Header && !addressed(t.name)
	for i := 0; i < len(b); i++ {
		n, wrapped := meta(b, i)
		if n == 0 || substitutions && wrapped == 0 {
			continue
		}
		if !f.anchored(t, b[:i]) {
			// Behind prose nothing is a command that a program runs.
			return
		}
		if ok, end := commandAt(b, i+n, wrapped, i); ok {
			rule := ruleCommand
			if wrapped != 0 {
				rule = ruleSubstitution
			}
			f.report(t, rule, i, end)
			return
		}
		i += n - 1
	}
}

// addressed reports whether a header holds the address or the name of a machine. In the others semicolons, bars and ampersands
// have a meaning of their own, and only substitutions have none.
func addressed(name []byte) bool {
	for _, h := range [...]string{
		"x-forwarded-for", "x-forwarded-host", "x-real-ip", "x-client-ip", "client-ip", "true-client-ip", "x-originating-ip", "x-remote-ip",
		"x-remote-addr", "x-host", "host", "cf-connecting-ip", "fastly-client-ip",
	} {
		if equalFold(name, h) {
			return true
		}
	}
	return false
}

// meta is the length of what ends a command at i, and what closes it where it opens a substitution.
func meta(b []byte, i int) (n int, closer byte) {
	switch c := b[i]; c {
	case ';', '|', '&', '\n':
		n = 1
		if i+1 < len(b) && b[i+1] == c {
			n = 2
		}
		return n, 0
	case '`':
		return 1, '`'
	case '$', '<', '>':
		if i+1 < len(b) && b[i+1] == '(' && (i+2 == len(b) || b[i+2] != '(') {
			return 2, ')'
		}
	}
	return 0, 0
}

// anchored reports whether what comes before a command is what can stand before one: nothing, a token without spaces, or
// in a query a command itself.
func (f *Filter) anchored(t *text, before []byte) bool {
	before = bytes.TrimRight(before, " ")
	if len(before) > 96 {
		return false
	}
	if bytes.IndexByte(before, ' ') < 0 && bytes.IndexByte(before, '\n') < 0 {
		return true
	}
	if t.kind != Param && t.kind != Query || bytes.Count(before, []byte{' '}) > 3 || bytes.IndexByte(before, '\n') >= 0 {
		return false
	}
	var w shellWord
	readWord(&w, before, 0)
	class := command(w.name())
	return class != anything && shaped(class, before, &w, 0)
}

// commandAt reports whether a command begins at i, spaces aside, and where it ends. Where wrapped is not 0, the byte
// must close it.
func commandAt(b []byte, i int, wrapped byte, at int) (bool, int) {
	gap := i
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	spaced := i > gap
	if n := separator(b[i:]); n > 0 {
		i += n
	}
	var w shellWord
	readWord(&w, b, i)
	class := command(w.name())
	if class == noCommand || w.end == i {
		return false, 0
	}
	if wrapped != 0 && !substituted(b[:at], b[w.end:], wrapped) || class == anything && bytes.IndexByte(b[:at], ' ') >= 0 {
		return false, 0
	}
	if (class == commonID || class == shell) && w.end+1 < len(b) && b[w.end] == b[at] && letter(b[w.end+1]) && !spaced {
		return false, 0 // a list
	}
	alone := w.end == len(b) || b[w.end] == b[at] || b[w.end] == '='
	if (class == commonID || class == shell && alone) && wrapped == 0 && !w.dodge && !idContext(b[:at], b[w.end:], spaced, b[at]) {
		return false, 0
	}
	return shaped(class, b, &w, wrapped), lineEnd(b, i)
}

// substituted reports whether a substitution is closed and stands in a word or alone, and not in a sentence, as people
// mark code.
func substituted(before, after []byte, closer byte) bool {
	i := bytes.IndexByte(after, closer)
	if i < 0 || bytes.IndexByte(before, ' ') >= 0 {
		return false
	}
	after = after[i+1:]
	return len(after) < 2 || after[0] != ' ' || !letter(after[1])
}

func lineEnd(b []byte, i int) int {
	if j := bytes.IndexByte(b[i:], '\n'); j >= 0 {
		return i + j
	}
	return len(b)
}

// idContext reports whether a name that is an ordinary word too is a command: name|id|date is a list of columns,
// 127.0.0.1;id is none.
func idContext(before, after []byte, spaced bool, mark byte) bool {
	if mark == '\n' {
		return false
	}
	before = bytes.TrimRight(before, " '\")")
	if len(before) == 0 {
		return mark != '&' || !bytes.HasPrefix(bytes.TrimLeft(after, " "), []byte{'='})
	}
	if !digit(before[0]) && bytes.IndexByte(before, ' ') < 0 {
		return spaced && (len(after) == 0 || bytes.HasPrefix(after, []byte(" -")) || bytes.HasPrefix(after, []byte(" /"))) && mark != '&'
	}
	return bytes.IndexByte(before, mark) < 0
}

// shaped reports whether what follows a command's name is what the command takes.
func shaped(class commandClass, b []byte, w *shellWord, wrapped byte) bool {
	rest := b[w.end:]
	if n := separator(rest); n > 0 {
		rest = rest[n:]
	} else if len(rest) > 0 && (rest[0] == ',' || rest[0] == '}') && w.dodge {
		rest = rest[1:]
	}
	rest = bytes.TrimLeft(rest, " \t")
	closed := len(rest) == 0 || bytes.IndexByte([]byte(";|&\n)`<>#'\""), rest[0]) >= 0
	option := len(rest) > 1 && (rest[0] == '-' || rest[0] == '/') && letter(rest[1])
	path := pathlike(rest)
	w.dodge = w.dodge || path
	switch class {
	case bareWord:
		return closed || option || path
	case commonID:
		return closed || option || path && rest[0] != '('
	case reader:
		return path || option || len(rest) > 0 && rest[0] == '<' || len(rest) > 1 && (rest[0] == '\'' || rest[0] == '"') && wrapped == 0
	case network:
		return option || hostlike(rest)
	case shell:
		return closed || option || path || hostlike(rest)
	case changer:
		return option || path || len(rest) > 2 && digit(rest[0]) || prefixFold(rest, "user ") || prefixFold(rest, "process ")
	case waiter:
		return len(rest) > 0 && digit(rest[0])
	case anything:
		return len(rest) > 0 && !closed || len(rest) > 1 && (rest[0] == '\'' || rest[0] == '"')
	}
	return false
}

// pathlike reports whether an argument is a path: it begins as one, or has a slash before it ends.
func pathlike(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	if b[0] == '/' || b[0] == '~' || b[0] == '*' || b[0] == '$' && len(b) > 1 && !digit(b[1]) || b[0] == '.' && len(b) > 1 && (b[1] == '/' || b[1] == '.' || b[1] == ' ') {
		return true
	}
	for i, c := range b {
		switch {
		case c == '/' || c == '\\' && i < len(b)-1:
			return true
		case space(c) || c == ';' || c == '|' || c == '&' || c == ')' || c == '`':
			return false
		}
	}
	return false
}

// hostlike reports whether an argument is a host or a URL: it has a dot or a colon between other characters, or is an
// address.
func hostlike(b []byte) bool {
	for i, c := range b {
		switch {
		case (c == '.' || c == ':') && i > 0 && i+1 < len(b) && (word(b[i+1]) || b[i+1] == '/'):
			return true
		case !word(c) && c != '-' && c != '$' && c != '{' && c != '}' && c != '\'' && c != '"' && c != '[':
			return false
		}
	}
	return prefixFold(b, "localhost")
}

// reverseShell is where a shell is tied to a connection, or -1. These are told by what they are wherever they stand.
func reverseShell(b []byte) int {
	if i := indexFold(b, "/dev/tcp/"); i >= 0 && (bytes.IndexByte(b, '>') >= 0 || bytes.IndexByte(b, '<') >= 0) && i+9 < len(b) &&
		(digit(b[i+9]) || letter(b[i+9])) && (holds(b, "sh -i") || holds(b, "exec ") || holds(b, "bash")) && nearStart(b, i) {
		return max(0, i-40)
	}
	if i := indexFold(b, "mkfifo /tmp/"); i >= 0 && holds(b[i:], "/sh") && (holds(b[i:], "nc ") || holds(b[i:], "openssl")) && nearStart(b, i) {
		return i
	}
	for _, tool := range [...]string{"nc", "ncat", "netcat"} {
		for _, flag := range [...]string{" -e /bin/", " -c /bin/", " -e sh", " -e cmd"} {
			if i := indexFold(b, flag); i >= len(tool) && equalFold(b[i-len(tool):i], tool) && nearStart(b, i) {
				return i - len(tool)
			}
		}
	}
	return -1
}

// nearStart reports whether a value begins near enough before i to be the command itself and not an article about it.
func nearStart(b []byte, i int) bool {
	return i < 200 && bytes.Count(b[:i], []byte{' '}) < 12 && len(b) < 1024
}
