// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// maskEncoded marks base64 of something that is a candidate itself.
const maskEncoded families = 1 << 31

// maskClass marks names of classes, and keys that classes stand behind.
const maskClass families = 1 << 30

// Sets of families.
const (
	inValues = 1<<Log4Shell | 1<<Traversal | 1<<SQLInjection | 1<<CommandInjection | 1<<RequestForgery |
		1<<Deserialisation | 1<<WebShell | 1<<TemplateInjection | 1<<ExternalEntity | 1<<OGNL | maskEncoded | maskClass
	inNames = 1<<Log4Shell | 1<<SQLInjection | 1<<ClassLoader | 1<<OGNL
)

// meant is what a text of each kind can be an attack of.
var meant = [kindCount]families{
	Path:      1<<Log4Shell | 1<<Traversal | 1<<CommandInjection | 1<<OGNL | 1<<TemplateInjection | 1<<SQLInjection,
	Query:     inValues | 1<<ResponseSplitting | 1<<ClassLoader,
	Param:     inValues | 1<<ResponseSplitting,
	ParamName: inNames,
	Field:     inValues,
	Value:     inValues,
	Header:    1<<Log4Shell | 1<<Traversal | 1<<SQLInjection | 1<<CommandInjection | 1<<ShellShock | 1<<OGNL | 1<<Scanner | 1<<ClassLoader | 1<<Deserialisation | maskEncoded,
	Cookie:    1<<Log4Shell | 1<<SQLInjection | 1<<Deserialisation | 1<<Traversal | 1<<CommandInjection | maskEncoded,
	Body:      1<<Log4Shell | 1<<ExternalEntity | 1<<Deserialisation | 1<<CommandInjection | 1<<WebShell | 1<<Smuggling | 1<<OGNL | maskClass,
	File:      1<<ExternalEntity | 1<<Deserialisation | 1<<WebShell | maskClass,
}

// literalTable is what makes a text a candidate. A space is any white space and ' is either quotation mark.
func literalTable() []literal {
	var all []literal
	add := func(of families, words ...string) {
		for _, w := range words {
			all = append(all, literal{w, of})
		}
	}
	add(1<<Log4Shell|1<<OGNL|1<<TemplateInjection, "${")
	add(1<<Log4Shell, "jndi:", `\u0024`)
	add(1<<Traversal, "../", `..\`, "..;", "/..", "/etc/", "/proc/", "win.ini", "boot.ini", "web-inf", ".git/", "/.env",
		".ssh/", ".aws/", "id_rsa", "php:/", "file:/", "phar:/", "zip:/", "expect:/", "data:/", "data:t", "glob:/",
		"system32", ".htpasswd", "/secrets/", "/.svn/", "wp-config", "/.ds_store", "/.kube/", "actuator/heapdump")
	add(1<<SQLInjection, "union", "select", "' or", "'or", "') or", " or '", " or 1", " or (", " or not", " or true", "' and",
		"'and", "') and", " and 1", " and '", " and (", " and not", "and sleep", "'||", "' ||", "||'", "|| '", "'&&",
		"' &&", "1 ||", "1||", "1 &&", "1&&", "/**/", "/*!", ";drop", "; drop", "delete from", "insert into", "sleep(", "benchmark(",
		"waitfor", "xp_", "extractvalue", "updatexml", "load_file", "dbms_", "utl_", "order by", "group by", " having ", "'--",
		"' --", "'#", "' #", "'/*", "')--", "') --", "';", "' ;", "randomblob", "; exec", ";exec", "; update", ";update", "; alter", ";alter", "; create", ";create", "; truncate", ";truncate", ";declare", "; declare", "shutdown", "'='",
		"' like ", "' xor", "' rlike", "' in", "' between", ")or", ")and", "'=", "' =", " or 2", " or 3", " or 0", " or exists", " and exists",
		" and 0", " and 2", " and 3", " or@", "'-'", "'+'", "'^", "1/*", "' <", "' >", "' div", "' mod", "' -", "' +", "information_schema",
		" and ascii", " or ascii", " and len", " and sub", " and if", " or if", "cast(", "convert(", "exp(~", "' is", "' not")
	add(1<<CommandInjection, ";", "|", "`", "$(", "&&", "$ifs", "${ifs", "/bin/", "/dev/tcp", "cat ", "wget ", "curl ", "whoami",
		"ping ", "uname", "ifconfig", "ipconfig", "nslookup", "sleep ", "bash", "powershell", "cmd.exe", "& id", "&id", "& dir",
		"&dir", "& ls", "&ls", "net user", "cmd /c", "{cat,", "mkfifo", "chmod ", " id")
	add(1<<RequestForgery, "://", "169.254", "metadata", "0xa9", "2852039166", "2130706433", "[::", "0x7f", "dict:", "gopher:", ":\\\\",
		"instance-data", "kubernetes.default", "100.100.100.200")
	add(1<<RequestForgery, "//")
	add(1<<Deserialisation, "ro0ab", "aced0005", ":{s:", ":{i:", ":0:{", ":{o:", ":1:{", ":2:{", ":3:{", "gasv", "ganj", "gan9", "ganx", "gajj", "gaj9", "y29z", "csystem", "aaeaaad", "_$$nd_func", "posix", "bahv")
	add(1<<Deserialisation|maskClass, "$type", "@type", "!!javax", "!!python", "xmldecoder", "objectdataprovider", "processbuilder", "java.lang.runtime",
		"dynamic-proxy", "com.sun.rowset", "org.apache.xalan", "jdbcrowset", "templatesimpl", "!!com.sun", "__reduce__")
	add(1<<WebShell, "cmd=", "exec=", "command=", "execute=", "shell=", "system=", "eval", "assert(", "system(", "passthru", "shell_exec",
		"base64_decode", "<?php", "<?=", "<%", "$_post", "$_get", "$_request", "$_cookie", "popen(", "qgluav9zzx", "getruntime", "create_function")
	add(1<<TemplateInjection, "{{", "#{", "<%=", "*{", "{%", "#set", "<#assign", "{php}", "@(", "t(java")
	add(1<<ExternalEntity, "<!entity", "<!doctype", "xi:include", "<?xml-stylesheet")
	add(1<<ResponseSplitting, "set-cookie:", "location:", "content-length:", "content-type:", " http/1.", "%0d", "%0a", "refresh:", "x-xss-protection:")
	add(1<<ResponseSplitting, "\u560a", "\u560d")
	add(1<<Smuggling, " http/1.", "0  ")
	add(1<<ClassLoader, "class.module", "classloader", "class['module", "class[module", "routing-expression", "t(java")
	add(1<<ShellShock, "() {", "(){", "()  {")
	add(1<<OGNL, "%{", "#_memberaccess", "@ognl", "ognl.", "xwork2", "#context", "@java.lang", "redirect:", "action:", "#application", "#parameters")
	add(1<<Scanner, scanners()...)
	for _, w := range []string{
		"${jndi:", "${${lower", "${${::-", "${${upper", "${${env", "<?php ", "union select", "/bin/bash", "/bin/sh", "bash -i ", "/etc/passwd", "eval($_", "import os",
	} {
		for _, b := range base64Of(w) {
			add(maskEncoded, b)
		}
	}
	return all
}

// base64Of are the characters that base64 of any text with the word in it has, for its three places relative to the
// groups of three bytes, in lower case as literals are.
func base64Of(w string) []string {
	const alphabet = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789+/"
	var all []string
	for shift := range 3 {
		// The word begins at bit 8*shift; only groups of six bits that are all the word's are known.
		bit := func(i int) byte {
			i -= 8 * shift
			return w[i/8] >> (7 - i%8) & 1
		}
		var known []byte
		for at := (8*shift + 5) / 6 * 6; at+6 <= 8*(shift+len(w)); at += 6 {
			v := byte(0)
			for i := range 6 {
				v = v<<1 | bit(at+i)
			}
			known = append(known, alphabet[v])
		}
		if bytes.IndexByte(known, '+') < 0 {
			all = append(all, string(known))
		}
	}
	return all
}

// marked is what a text is a candidate for because of its name or its first bytes.
func marked(kind Kind, name, b []byte) families {
	switch kind {
	case Param, Field:
		if shellName(name) {
			return 1 << WebShell
		}
	case Body, File:
		if len(b) > 4 && (b[0] == 0xac && b[1] == 0xed || b[0] == 0x80 && b[1] >= 2 && b[1] <= 5) {
			return 1 << Deserialisation
		}
	}
	return 0
}

// encoded evaluates what the base64 in a text stands for, once: nothing is looked for in base64 within base64.
func (f *Filter) encoded() {
	t := f.t
	s := &f.scratch[slotInner][0]
	for i := 0; i < len(t.b); {
		if !base64Char(t.b[i]) {
			i++
			continue
		}
		end := i
		for end < len(t.b) && base64Char(t.b[end]) {
			end++
		}
		if end-i >= 12 {
			*s = unbase64((*s)[:0], t.b[i:end])
			if mask := f.machine.scan(*s) & meant[t.kind] &^ maskEncoded; mask != 0 {
				f.evaluate(text{kind: t.kind, name: t.name, b: *s, mask: mask & (inValues | 1<<ShellShock)})
			}
		}
		i = end
	}
}

func base64Char(c byte) bool {
	return letter(c) || digit(c) || c == '+' || c == '/' || c == '-' || c == '_'
}

// unbase64 appends what base64 of either alphabet stands for; what is left over at its end is dropped.
func unbase64(dst, src []byte) []byte {
	v, bits := uint32(0), 0
	for _, c := range src {
		var d byte
		switch {
		case c >= 'A' && c <= 'Z':
			d = c - 'A'
		case c >= 'a' && c <= 'z':
			d = c - 'a' + 26
		case digit(c):
			d = c - '0' + 52
		case c == '+' || c == '-':
			d = 62
		case c == '/' || c == '_':
			d = 63
		default:
			return dst
		}
		v = v<<6 | uint32(d)
		if bits += 6; bits >= 8 {
			bits -= 8
			dst = append(dst, byte(v>>bits))
		}
	}
	return dst
}
