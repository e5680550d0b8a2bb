// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// shellName reports whether a parameter's name is one by which web shells take commands.
func shellName(name []byte) bool {
	for _, s := range [...]string{"cmd", "exec", "command", "execute", "shell", "system", "cmdline", "execmd"} {
		if equalFold(name, s) {
			return true
		}
	}
	return false
}

// shells reports the traffic of web shells: commands and code in parameters, and files that would be one.
func (f *Filter) shells(t *text) {
	b := bytes.TrimLeft(t.b, " \t\r\n")
	if len(b) == 0 {
		return
	}
	if t.kind == File || t.kind == Body {
		if i := script(b, t.kind == Body); i >= 0 {
			f.report(t, ruleShellUpload, i, i+100)
		}
		return
	}
	if i := code(b); i >= 0 {
		f.report(t, ruleShellCode, i, i+100)
		return
	}
	if shellName(t.name) && (t.kind == Param || t.kind == Field) && len(b) < 1024 {
		var w shellWord
		readWord(&w, b, 0)
		if class := command(w.name()); class != noCommand && !(class == commonID && ordinary(w.name(), b)) && shaped(class, b, &w, 0) {
			f.report(t, ruleShellCommand, 0, len(b))
		}
	}
}

// ordinary reports whether a lone word is one that applications use as the name of a command of their own.
func ordinary(name, b []byte) bool {
	if len(b) > len(name) {
		return false
	}
	for _, s := range [...]string{"set", "date", "history", "top", "host", "mount", "export", "w", "who", "env", "reboot", "ip"} {
		if equalFold(name, s) {
			return true
		}
	}
	return false
}

// code is where a value is program text that runs what it is given, or -1. It must begin the value: people write about
// code behind words of their own.
func code(b []byte) int {
	start := b
	for _, p := range [...]string{"<?php", "<?=", "<?", "<%", "@"} {
		if prefixFold(start, p) {
			start = bytes.TrimLeft(start[len(p):], " \t\r\n@;")
			break
		}
	}
	if prefixFold(b, "qgluav9zzxq") || prefixFold(b, "qgv2ywwo") {
		return 0 // base64 of @ini_set and @eval(, as a widespread shell's client begins
	}
	for _, call := range [...]string{
		"eval(", "assert(", "system(", "passthru(", "shell_exec(", "exec(", "popen(", "proc_open(", "execute(", "response.write(eval", "create_function(",
		"ini_set(\"display_errors\"", "die(", "print(", "echo ", "$_=", "call_user_func(", "include(", "phpinfo(",
	} {
		if !prefixFold(start, call) {
			continue
		}
		rest := start[len(call):]
		if holds(rest, "$_post") || holds(rest, "$_get") || holds(rest, "$_request") || holds(rest, "$_cookie") || holds(rest, "base64_decode(") ||
			holds(rest, "request.") || holds(rest, "request(") || holds(rest, "shell_exec(") || holds(rest, "system(") || holds(rest, "md5(") ||
			len(start) < len(b) && (holds([]byte(call), "exec(") || holds([]byte(call), "system(") || holds([]byte(call), "passthru(") || holds([]byte(call), "phpinfo(")) ||
			prefixFold(start, "system('") || prefixFold(start, "passthru('") || prefixFold(start, "shell_exec('") || prefixFold(start, "phpinfo()") {
			return 0
		}
	}
	if len(b) < 512 && prefixFold(start, "runtime.getruntime().exec(") {
		return 0
	}
	return -1
}

// script is where a file has code that runs what requests say, or -1. A body must be such a file from its beginning.
func script(b []byte, whole bool) int {
	b = b[:min(len(b), 64<<10)]
	opening := -1
	for _, tag := range [...]string{"<?php", "<?=", "<%"} {
		if i := indexFold(b, tag); i >= 0 && (opening < 0 || i < opening) {
			opening = i
		}
	}
	if opening < 0 || whole && opening > 0 {
		return -1
	}
	b = b[opening:]
	for _, call := range [...]string{"eval", "assert", "system", "passthru", "shell_exec", "exec", "popen", "proc_open", "execute", "create_function", "preg_replace", "`"} {
		for at := 0; ; {
			i := indexFold(b[at:], call)
			if i < 0 {
				break
			}
			at += i + len(call)
			rest := bytes.TrimLeft(b[at:min(len(b), at+160)], " (@\"'`")
			if end := bytes.IndexByte(rest, ';'); end >= 0 {
				rest = rest[:end]
			}
			for _, input := range [...]string{"$_post", "$_get", "$_request", "$_cookie", "$_server['http", "request.getparameter", "request.item", "request(\"", "request[\"", "request.form", "php://input", "base64_decode($"} {
				if holds(rest, input) {
					return opening
				}
			}
		}
	}
	if holds(b, "getruntime().exec(request.getparameter") {
		return opening
	}
	return -1
}
