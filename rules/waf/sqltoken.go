// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// tokenKind is what a piece of SQL is.
type tokenKind uint8

const (
	tokEnd      tokenKind = iota
	tokNumber             // 1, 0x1f, 1e5
	tokString             // '…'
	tokOpen               // a string that the text ends in
	tokName               // a word that means nothing in SQL
	tokVariable           // @x, @@version
	tokFunction           // a name before a parenthesis
	tokLogic              // or, and, xor, ||, &&, not
	tokCompare            // = < > like in between is …
	tokOperator           // + - * / % ^ and the like
	tokLeft               // (
	tokRight              // )
	tokComma
	tokSemicolon
	tokDot
	tokComment // to the end of its line or of the text
	tokLiteral // null, true, false
	tokSelect
	tokUnion
	tokAll // all, distinct
	tokFrom
	tokOrder // order, group
	tokBy
	tokHaving
	tokStatement // drop, delete, insert, update …
	tokWord      // other reserved words
	tokDelay     // waitfor
	tokOther     // what SQL does not have
)

// token is a piece of a value read as SQL.
type token struct {
	kind       tokenKind
	start, end int32
}

// maxTokens is how many tokens of a value are looked at.
const maxTokens = 96

// tokens reads a value as SQL. What quote says is the string that the value begins within, 0 for none. It writes to the
// array and returns how many there are.
func tokens(dst *[maxTokens]token, b []byte, quote byte) int {
	n, i := 0, 0
	put := func(k tokenKind, start, end int) {
		dst[n] = token{k, int32(start), int32(end)}
		n++
	}
	if quote != 0 {
		end, closed := quoted(b, 0, quote)
		if !closed {
			return 0
		}
		put(tokString, 0, end)
		i = end
	}
	for n < maxTokens-1 {
		for i < len(b) && (space(b[i]) || b[i] == 0xa0 || b[i] == 0) {
			i++
		}
		if i == len(b) {
			break
		}
		start := i
		var kind tokenKind
		kind, i = next(b, i)
		if kind != tokEnd { // a comment that is space
			put(kind, start, i)
		}
	}
	return n
}

// next reads the token at i, which is no space, and returns where it ends.
func next(b []byte, i int) (tokenKind, int) {
	c := b[i]
	switch {
	case c == '\'' || c == '"' || c == '`':
		end, closed := quoted(b, i+1, c)
		switch {
		case c == '`' && closed:
			return tokName, end
		case closed:
			return tokString, end
		}
		return tokOpen, len(b)
	case digit(c) || c == '.' && i+1 < len(b) && digit(b[i+1]):
		return number(b, i)
	case letter(c) || c == '_' || c >= 0x80:
		return name(b, i)
	case c == '@':
		j := i
		for j < len(b) && b[j] == '@' {
			j++
		}
		for j < len(b) && (word(b[j]) || b[j] == '.') {
			j++
		}
		if j-i < 2 {
			return tokOther, j
		}
		return tokVariable, j
	case c == '-' && i+1 < len(b) && b[i+1] == '-':
		return tokComment, line(b, i)
	case c == '#':
		return tokComment, line(b, i)
	case c == '/' && i+1 < len(b) && b[i+1] == '*':
		return inline(b, i)
	}
	return symbol(b, i)
}

// symbol reads an operator or a bracket.
func symbol(b []byte, i int) (tokenKind, int) {
	c, after := b[i], byte(0)
	if i+1 < len(b) {
		after = b[i+1]
	}
	switch c {
	case '(':
		return tokLeft, i + 1
	case ')':
		return tokRight, i + 1
	case ',':
		return tokComma, i + 1
	case ';':
		return tokSemicolon, i + 1
	case '.':
		return tokDot, i + 1
	case '|', '&':
		if after == c {
			return tokLogic, i + 2
		}
		return tokOperator, i + 1
	case '=', '<', '>':
		j := i + 1
		for j < len(b) && (b[j] == '=' || b[j] == '>' || b[j] == '<') {
			j++
		}
		if c == '=' && j > i+1 && b[i+1] == '>' {
			return tokOther, j // an arrow of a programming language
		}
		return tokCompare, j
	case '!':
		if after == '=' {
			if i+2 < len(b) && b[i+2] == '=' {
				return tokOther, i + 3
			}
			return tokCompare, i + 2
		}
		return tokOperator, i + 1
	case '*':
		if after == '/' { // the end of a comment that holds code
			return tokEnd, i + 2
		}
		return tokOperator, i + 1
	case '+', '-', '/', '%', '^', '~':
		return tokOperator, i + 1
	}
	return tokOther, i + 1
}

// quoted is where the string whose content begins at i ends, behind its closing quote, and whether it has one. A doubled
// quote and one behind a backslash are content.
func quoted(b []byte, i int, quote byte) (int, bool) {
	for i < len(b) {
		switch {
		case b[i] == '\\' && i+1 < len(b):
			i++
		case b[i] == quote && i+1 < len(b) && b[i+1] == quote && i+2 < len(b) && word(b[i+2]):
			i++
		case b[i] == quote:
			return i + 1, true
		}
		i++
	}
	return len(b), false
}

func line(b []byte, i int) int {
	for i < len(b) && b[i] != '\n' {
		i++
	}
	return i
}

// inline reads a comment that ends before its line does. One of MySQL's that holds code is passed over at its
// beginning and its end alone, and an ordinary one stands for a space.
func inline(b []byte, i int) (tokenKind, int) {
	if i+2 < len(b) && b[i+2] == '!' {
		i += 3
		for i < len(b) && digit(b[i]) {
			i++
		}
		return tokEnd, i
	}
	for j := i + 2; j+1 < len(b); j++ {
		if b[j] == '*' && b[j+1] == '/' {
			return tokEnd, j + 2
		}
	}
	return tokComment, len(b)
}

func number(b []byte, i int) (tokenKind, int) {
	if b[i] == '0' && i+1 < len(b) && (b[i+1]|0x20 == 'x' || b[i+1]|0x20 == 'b') {
		i += 2
		for i < len(b) && hex(b[i]) >= 0 {
			i++
		}
		return tokNumber, i
	}
	for i < len(b) && (digit(b[i]) || b[i] == '.') {
		i++
	}
	if i < len(b) && b[i]|0x20 == 'e' && i+1 < len(b) && digit(b[i+1]) {
		for i++; i < len(b) && digit(b[i]); i++ {
		}
	}
	if i < len(b) && word(b[i]) {
		// 1or, 1and and 1union are read as two words by databases; 3rd and 10px are one here.
		if k, _ := name(b, i); k == tokName || k == tokFunction || k == tokWord {
			for i < len(b) && word(b[i]) {
				i++
			}
			return tokName, i
		}
	}
	return tokNumber, i
}

// name reads a word and says what it means in SQL.
func name(b []byte, i int) (tokenKind, int) {
	start := i
	for i < len(b) && (word(b[i]) || b[i] >= 0x80 && b[i] != 0xa0 || b[i] == '$') {
		i++
	}
	kind := reserved(b[start:i])
	if kind == tokName {
		j := i
		for j < len(b) && space(b[j]) {
			j++
		}
		if j < len(b) && b[j] == '(' {
			return tokFunction, i
		}
		// A string of a kind or as hexadecimal digits: n'…', x'…'. I'm is none.
		if i < len(b) && b[i] == '\'' && i-start == 1 && bytes.IndexByte([]byte("benqrux"), lower(b[start])) >= 0 {
			if end, closed := quoted(b, i+1, '\''); closed {
				return tokString, end
			}
		}
	}
	return kind, i
}

// reserved says what a word means in SQL.
func reserved(w []byte) tokenKind {
	if len(w) < 2 || len(w) > 10 {
		return tokName
	}
	var low [10]byte
	for i, c := range w {
		low[i] = lower(c)
	}
	switch string(low[:len(w)]) {
	case "or", "and", "xor", "not":
		return tokLogic
	case "like", "rlike", "regexp", "in", "between", "is", "ilike", "similar", "sounds", "glob", "match":
		return tokCompare
	case "div", "mod", "collate":
		return tokOperator
	case "null", "true", "false":
		return tokLiteral
	case "select":
		return tokSelect
	case "union", "except", "intersect":
		return tokUnion
	case "all", "distinct":
		return tokAll
	case "from":
		return tokFrom
	case "order", "group":
		return tokOrder
	case "by":
		return tokBy
	case "having":
		return tokHaving
	case "drop", "delete", "insert", "update", "alter", "create", "truncate", "exec", "execute", "shutdown", "declare", "replace",
		"merge", "grant", "copy", "call", "handler", "rename":
		return tokStatement
	case "waitfor":
		return tokDelay
	case "where", "limit", "into", "set", "table", "values", "procedure", "case", "when", "then", "else", "end", "exists",
		"database", "outfile", "offset", "delay", "desc", "asc", "returning", "escape":
		return tokWord
	}
	return tokName
}
