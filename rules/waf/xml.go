// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// maxNestedEntities is how many entities a document may make of others before it counts as a bomb.
const maxNestedEntities = 4

// entities reports XML that takes in what is outside the document.
func (f *Filter) entities(t *text) {
	b := t.b[:min(len(t.b), 64<<10)]
	if (t.kind == Value || t.kind == Field) && !bytes.HasPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte{'<'}) {
		return // prose about XML, not XML
	}
	if i := indexFold(b, "xi:include"); i >= 0 && holds(b[i:min(len(b), i+300)], "href") && holds(b, "xinclude") &&
		(holds(b[i:], "file:") || holds(b[i:], "parse=\"text\"") || holds(b[i:], "http:")) {
		f.report(t, ruleInclude, i, i+100)
		return
	}
	nested := 0
	for at := 0; ; {
		i := indexFold(b[at:], "<!entity")
		if i < 0 {
			break
		}
		at += i
		end := bytes.IndexByte(b[at:], '>')
		if end < 0 {
			end = len(b) - at
		}
		declaration := b[at : at+end]
		if external(declaration) {
			f.report(t, ruleEntity, at, at+end)
			return
		}
		if bytes.Count(declaration, []byte{'&'}) > 1 || bytes.Count(declaration, []byte{'%'}) > 2 {
			nested++
		}
		at += len("<!entity")
	}
	if nested >= maxNestedEntities {
		f.report(t, ruleEntityBomb, indexFold(b, "<!entity"), len(b))
		return
	}
	if i := indexFold(b, "<!doctype"); i >= 0 {
		head := b[i:min(len(b), i+300)]
		if end := bytes.IndexAny(head, ">["); end > 0 && holds(head[:end], " system ") && (local(head[:end]) || holds(head[:end], "http:") && holds(head[:end], ".dtd")) {
			f.report(t, ruleEntity, i, i+end)
		}
	}
}

// external reports whether an entity's declaration has SYSTEM or PUBLIC and something between quotes.
func external(b []byte) bool {
	i := indexFold(b, "system")
	if i < 0 {
		i = indexFold(b, "public")
	}
	if i <= 0 || !space(b[i-1]) {
		return false
	}
	quote := bytes.IndexAny(b[i:], "\"'")
	return quote >= 0 && !bytes.ContainsAny(b[:i], "\"'")
}

func local(b []byte) bool {
	return holds(b, "file:") || holds(b, "php:") || holds(b, "expect:") || holds(b, "jar:") || holds(b, "netdoc:")
}
