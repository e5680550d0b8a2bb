// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// templates reports expressions of template engines.
func (f *Filter) templates(t *text) {
	b := bytes.TrimSpace(t.b)
	if len(b) < 5 {
		return
	}
	for i := 0; i+3 < len(b) && i < 2048; i++ {
		open, shut := brackets(b[i:])
		if open == 0 {
			continue
		}
		content := b[i+open:]
		end := bytes.Index(content, []byte(shut))
		if end < 0 {
			end = len(content)
		}
		whole := i+open+end+len(shut) >= len(b)
		content = content[:end]
		switch {
		case reaches(content):
			f.report(t, ruleTemplate, i, i+open+end+len(shut))
			return
		case i < 32 && whole && len(content) < 48 && probing(content) && bytes.IndexByte(b[:i], ' ') < 0:
			f.report(t, ruleTemplateProbe, i, len(b))
			return
		}
		i += open - 1
	}
	for _, mark := range [...]string{"<#assign", "#set(", "#set (", "{php}"} {
		if i := indexFold(b, mark); i >= 0 && reaches(b[i:]) || mark == "{php}" && i >= 0 && holds(b, "system(") {
			f.report(t, ruleTemplate, i, len(b))
			return
		}
	}
}

// brackets is the length of the expression's opening that b begins with, and what closes it.
func brackets(b []byte) (int, string) {
	switch {
	case b[0] == '{' && b[1] == '{':
		return 2, "}}"
	case b[0] == '{' && b[1] == '%':
		return 2, "%}"
	case (b[0] == '$' || b[0] == '#' || b[0] == '*') && b[1] == '{':
		return 2, "}"
	case b[0] == '<' && b[1] == '%':
		if b[2] == '=' {
			return 3, "%>"
		}
		return 2, "%>"
	case b[0] == '@' && b[1] == '(':
		return 2, ")"
	}
	return 0, ""
}

// reaches reports whether an expression reaches for what templates have no business with.
func reaches(b []byte) bool {
	b = b[:min(len(b), 1024)]
	for _, w := range [...]string{
		"__class__", "__globals__", "__mro__", "__subclasses__", "__builtins__", "__import__", "__init__", "__base__", "getruntime()", "t(java.lang",
		"java.lang.runtime", "java.lang.processbuilder", "freemarker.template.utility", "constructor.constructor", "|filter('system", "|filter(\"system",
		"filter('exec", "|map('system", "|map(\"system", "_self.env", "registerundefinedfiltercallback", "request.application", "lipsum.", "cycler.",
		"getclass().forname", "class.forname(", "system.diagnostics.process", "require('child_process')", "process.mainmodule", "objectwrapper",
		"settings.secret_key", "config.items()", "|attr(", "forname('java.lang", "['constructor']", "system('", "`id`", "|sort('system", "|reduce('system",
	} {
		if holds(b, w) {
			return true
		}
	}
	trimmed := bytes.TrimSpace(b)
	return equalFold(trimmed, "config") || equalFold(trimmed, "self") || equalFold(trimmed, "settings.secret_key")
}

// probing reports whether an expression does nothing but show that it is evaluated: a product of two numbers, or of a
// number and a string.
func probing(b []byte) bool {
	b = bytes.Trim(b, " ='\"")
	i := 0
	for i < len(b) && digit(b[i]) {
		i++
	}
	j := i
	for j < len(b) && (space(b[j]) || b[j] == '*') {
		j++
	}
	if i == 0 || i > 8 || bytes.IndexByte(b[i:j], '*') < 0 {
		return false
	}
	rest := bytes.Trim(b[j:], "'\" ")
	for _, c := range rest {
		if !digit(c) {
			return false
		}
	}
	return len(rest) > 0 && len(rest) <= 8
}

// ognl reports expressions of Struts' and Confluence's language that reach for the runtime.
func (f *Filter) ognl(t *text) {
	b := t.b[:min(len(t.b), 8<<10)]
	start := -1
	for _, open := range [...]string{"%{", "${"} {
		if i := bytes.Index(b, []byte(open)); i >= 0 && (start < 0 || i < start) {
			start = i
		}
	}
	strong := 0
	for _, w := range [...]string{
		"#_memberaccess", "@ognl.ognlcontext", "#context[", "xwork2", "@java.lang.runtime", "@java.lang.processbuilder", "(#a=", "#application",
		"java.lang.processbuilder", "getruntime()", "#cmd=", "setexcludedpackagenames", "@org.apache.commons.io", "scriptenginemanager", "multipart/form-data').(#", "#parameters.",
		"#container=", "@java.lang.class@forname", "#instancemanager", "#request[", "#attr[",
	} {
		if holds(b, w) {
			strong++
		}
	}
	switch {
	case strong == 0:
	case start >= 0 && (start < 256 || t.kind == Path), t.kind == ParamName,
		strong > 1 && (prefixFold(b, "redirect:") || prefixFold(b, "action:") || prefixFold(b, "(#")):
		at := max(start, 0)
		f.report(t, ruleOGNL, at, at+100)
	}
}

// spring reports names that bind to the class loader, and expressions in the header that chooses a function.
func (f *Filter) spring(t *text) {
	if t.kind == Header {
		if equalFold(t.name, "spring.cloud.function.routing-expression") && bytes.IndexByte(t.b, '(') >= 0 {
			f.report(t, ruleSpringRouting, 0, len(t.b))
		}
		return
	}
	if t.kind != ParamName && t.kind != Query {
		return
	}
	b := t.b
	if i := bytes.IndexByte(b, '='); i >= 0 {
		b = b[:i]
	}
	if prefixFold(b, "class.module.classloader") || prefixFold(b, "class.classloader") || prefixFold(b, "class['module']") || prefixFold(b, "class[module]") ||
		prefixFold(b, "class[\"module\"]") || len(b) < 200 && holds(b, ".class.module.classloader") {
		f.report(t, ruleSpring, 0, len(b))
	}
}
