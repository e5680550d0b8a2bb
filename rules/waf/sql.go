// SPDX-License-Identifier: Apache-2.0

package waf

import "bytes"

// sqlText is a value read as SQL from within one kind of literal.
type sqlText struct {
	b      []byte
	toks   [maxTokens]token
	n      int
	quoted bool // the value was read as if it began within a string
}

// sql reports values that break out of where a program puts them in a query. A value is read three times: as it
// stands, for where it takes the place of a number, and from within either kind of string.
func (f *Filter) sql(t *text) {
	b := bytes.TrimRight(t.b, " \t\r\n")
	if len(b) > 4096 {
		b = b[:4096]
	}
	if t.kind == Header && equalFold(t.name, "referer") {
		return // another page's query, which its server has judged
	}
	if t.kind == Path {
		b = b[bytes.LastIndexByte(b, '/')+1:]
	}
	var s sqlText
	s.b = b
	for _, quote := range [...]byte{0, '\'', '"'} {
		if quote != 0 && bytes.IndexByte(b, quote) < 0 {
			continue
		}
		s.n = tokens(&s.toks, b, quote)
		s.quoted = quote != 0
		if s.quoted && s.n > 0 && sentence(b[:s.toks[0].end]) {
			continue
		}
		if rule, at := s.attack(); rule >= 0 {
			f.report(t, rule, int(s.toks[min(at, s.n)].start), len(b))
			return
		}
	}
}

// sentence reports whether what comes before a quotation mark is more than the few words that forms and searches are
// given: then the mark is one of prose.
func sentence(b []byte) bool {
	return len(b) > 48 || bytes.Count(b, []byte{' '})+bytes.Count(b, []byte{'+'}) > 2
}

func (s *sqlText) kind(i int) tokenKind {
	if i < 0 || i >= s.n {
		return tokEnd
	}
	return s.toks[i].kind
}

func (s *sqlText) bytes(i int) []byte { return s.b[s.toks[i].start:s.toks[i].end] }

// attack is the rule that the tokens meet and the token at which it begins, or -1.
func (s *sqlText) attack() (rule, at int) {
	if s.n < 2 {
		return -1, 0
	}
	i, ok := s.breakout()
	if !ok {
		return -1, 0
	}
	switch s.kind(i) {
	case tokLogic:
		rule = s.condition(i)
	case tokUnion:
		rule = s.union(i)
	case tokSemicolon:
		rule = s.stacked(i)
	case tokOrder, tokHaving:
		rule = s.columns(i)
	case tokComment:
		rule = s.comment(i)
	case tokOperator, tokCompare:
		rule = s.expression(i)
	case tokDelay:
		rule = -1
		if i > 0 && s.statement(i) {
			rule = ruleStacked
		}
	case tokWord:
		rule = s.clause(i)
	case tokSelect, tokFunction, tokLeft:
		rule = -1
		if i == 0 {
			rule = s.bare(i)
		}
	default:
		rule = -1
	}
	return rule, i
}

// breakout is the first token that is the attacker's own: behind the rest of a string, or a number, each with closing
// parentheses. A value that begins with an ordinary word breaks out of nothing.
func (s *sqlText) breakout() (int, bool) {
	i := 0
	for s.kind(i) == tokOperator && (s.bytes(i)[0] == '-' || s.bytes(i)[0] == '+') && i < 2 {
		i++
	}
	switch s.kind(i) {
	case tokNumber, tokString, tokLiteral:
		i++
	case tokName:
		// A short word where a number was: id=x union select …
		if k := s.kind(i + 1); k == tokUnion || k == tokSemicolon && s.n > 3 {
			i++
			break
		}
		// A name of a column: order by what the value says.
		if s.kind(i+1) == tokComma && (s.kind(i+2) == tokLeft || s.kind(i+2) == tokFunction) {
			return i + 2, true
		}
		return 0, false
	case tokRight, tokLeft, tokLogic, tokUnion, tokSemicolon, tokFunction, tokSelect:
	default:
		return 0, false
	}
	for s.kind(i) == tokRight {
		i++
	}
	return i, i < s.n
}

// operand is the token behind the expression that begins at i, or i if there is none. It reads numbers, strings, names,
// calls and parentheses, joined by arithmetic; solid says that there is more to it than names.
func (s *sqlText) operand(i int) (end int, solid bool) {
	start := i
	for s.kind(i) == tokOperator || s.kind(i) == tokLogic && equalFold(s.bytes(i), "not") {
		i++
	}
	switch s.kind(i) {
	case tokNumber, tokString, tokLiteral, tokVariable:
		solid = true
		i++
	case tokName:
		for i++; s.kind(i) == tokDot && s.kind(i+1) == tokName; {
			i += 2
		}
	case tokOpen:
		return i + 1, true
	case tokFunction:
		i, solid = s.closing(i+1), true
	case tokLeft:
		i, solid = s.closing(i), true
	case tokWord:
		if w := s.bytes(i); equalFold(w, "exists") {
			i, solid = s.closing(i+1), true
		} else if equalFold(w, "case") {
			for i < s.n && !equalFold(s.bytes(i), "end") {
				i++
			}
			i, solid = i+1, true
		}
	}
	if i <= start {
		return start, false
	}
	if s.kind(i) == tokOperator {
		if end, more := s.operand(i + 1); end > i+1 {
			return end, solid || more
		}
	}
	return min(i, s.n), solid
}

// closing is the token behind the parenthesis that is opened at i, or the last one if it stays open.
func (s *sqlText) closing(i int) int {
	depth := 0
	for ; i < s.n; i++ {
		switch s.kind(i) {
		case tokLeft:
			depth++
		case tokRight:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return s.n
}

// ends reports whether the attack may end before token i: nothing is left, a comment hides the rest, a string is left
// open for the program's own quote, a parenthesis or another part of a statement follows.
func (s *sqlText) ends(i int) bool {
	switch s.kind(i) {
	case tokEnd, tokComment, tokSemicolon, tokRight, tokOpen, tokLogic, tokUnion, tokOrder, tokHaving:
		return true
	case tokWord:
		return equalFold(s.bytes(i), "limit")
	}
	return false
}

// condition reads what follows OR, AND and their like at i.
func (s *sqlText) condition(i int) int {
	begin := i
	for s.kind(i) == tokLogic {
		i++
	}
	left, solid := s.operand(i)
	if left == i {
		return -1
	}
	if s.foreign(i, left) {
		return -1
	}
	if k := s.within(i, left); k >= 0 {
		return k
	}
	first := s.bytes(i)
	switch s.kind(left) {
	case tokCompare:
		for s.kind(left+1) == tokCompare || s.kind(left+1) == tokLogic && equalFold(s.bytes(left+1), "not") {
			left++
		}
		right, other := s.operand(left + 1)
		if right == left+1 {
			return -1
		}
		if k := s.within(left+1, right); k >= 0 {
			return k
		}
		if begin == 0 && (right != left+2 || s.bytes(left)[0] != '=' || !s.compares(left-1)) {
			return -1 // a value that begins with the word itself: only what is nothing but a condition
		}
		same := right == left+2 && bytes.EqualFold(first, s.bytes(left+1))
		if (s.ends(right) || s.quoted && s.kind(right) == tokOpen) && (s.quoted && (solid || other) || solid && other || same) {
			return ruleTautology
		}
	case tokComment:
		if solid && begin > 0 {
			return ruleTautology
		}
	case tokEnd, tokRight:
		if s.kind(i) == tokLeft && i > 1 && s.kind(i-2) == tokRight && s.compares(i+1) {
			return ruleTautology // 1) or (1=1
		}
		// A lone constant or call, as in 1 or true: only out of a string, where it cannot be prose.
		if s.quoted && (s.kind(i) == tokLiteral || s.kind(i) == tokFunction && s.kind(left-1) == tokRight) {
			return ruleTautology
		}
	case tokOpen:
		// x' or 'x' … with the last quote left to the program; an empty rest is the program's own quote.
		if s.quoted && s.kind(i) == tokString && s.kind(left) == tokOpen && len(s.bytes(left)) <= 1 {
			return ruleTautology
		}
	}
	return -1
}

// compares reports whether a comparison of two constants begins at i.
func (s *sqlText) compares(i int) bool {
	constant := func(i int) bool {
		k := s.kind(i)
		return k == tokNumber || k == tokString || k == tokOpen || k == tokLiteral
	}
	return constant(i) && s.kind(i+1) == tokCompare && constant(i+2)
}

// foreign reports whether there is what SQL does not have between i and end, or shortly behind.
func (s *sqlText) foreign(i, end int) bool {
	for j := i; j < min(end+3, s.n); j++ {
		if s.kind(j) == tokOther {
			return true
		}
	}
	return false
}

// within looks at the tokens from i to end for a query or a function that an attacker calls.
func (s *sqlText) within(i, end int) int {
	for ; i < end; i++ {
		switch s.kind(i) {
		case tokSelect:
			if s.list(i + 1) {
				return ruleSubquery
			}
		case tokFunction:
			if hostile(s.bytes(i)) && !s.prose(s.closing(i+1)) {
				return ruleSQLFunction
			}
		}
	}
	return -1
}

// prose reports whether two names stand at i, one after the other, which they do in no statement: sleep(8) hours a day.
func (s *sqlText) prose(i int) bool { return s.kind(i) == tokName && s.kind(i+1) == tokName }

// hostile reports whether a function is one that is called to wait, to fail with data in the message, to read files, to
// run commands, or to take data apart letter by letter.
func hostile(w []byte) bool {
	for _, name := range [...]string{
		"sleep", "benchmark", "pg_sleep", "extractvalue", "updatexml", "load_file", "xp_cmdshell", "xp_dirtree", "randomblob", "zeroblob",
		"ascii", "ord", "substring", "substr", "mid", "load_extension", "dbms_pipe", "utl_http", "utl_inaddr", "sys_eval",
		"pg_read_file", "lo_import", "group_concat", "db_name", "user_name", "char_length", "gtid_subset", "exp", "row_count",
		"receive_message", "get_host_address", "current_setting", "query_to_xml", "is_srvrolemember", "has_dbaccess",
	} {
		if equalFold(w, name) {
			return true
		}
	}
	return false
}

// list reports whether what follows SELECT at i is a list of columns and not prose.
func (s *sqlText) list(i int) bool {
	for s.kind(i) == tokAll {
		i++
	}
	if s.kind(i) == tokName && s.kind(i+1) == tokNumber && equalFold(s.bytes(i), "top") {
		i += 2
	}
	if s.kind(i) == tokOperator && s.bytes(i)[0] == '*' {
		return s.kind(i+1) == tokFrom || s.ends(i+1)
	}
	end, solid := s.operand(i)
	switch {
	case end == i:
		return false
	case solid:
		return !s.foreign(i, end) && s.kind(end) != tokName || s.kind(i) == tokLeft
	}
	k := s.kind(end)
	if k == tokCompare {
		return s.kind(end+1) == tokNumber || s.kind(end+1) == tokString || s.kind(end+1) == tokOpen
	}
	return k == tokComma || k == tokFrom && (s.kind(end+1) == tokName || s.kind(end+1) == tokLeft) || k == tokComment
}

// union reads UNION [ALL] [(] SELECT … at i.
func (s *sqlText) union(i int) int {
	for i++; s.kind(i) == tokAll || s.kind(i) == tokLeft; i++ {
	}
	if s.kind(i) == tokSelect && s.list(i+1) || s.kind(i) == tokWord && equalFold(s.bytes(i), "values") && s.kind(i+1) == tokLeft {
		return ruleUnion
	}
	return -1
}

// stacked reads what follows a semicolon at i.
func (s *sqlText) stacked(i int) int {
	for s.kind(i) == tokSemicolon {
		i++
	}
	switch {
	case s.statement(i):
		return ruleStacked
	case s.kind(i) == tokComment && s.quoted && s.kind(i+1) == tokEnd && i <= 3 && len(s.bytes(i)) <= 4:
		return ruleSQLComment
	}
	return -1
}

// statement reports whether a whole statement begins at i.
func (s *sqlText) statement(i int) bool {
	second := s.kind(i + 1)
	switch s.kind(i) {
	case tokSelect:
		return s.list(i + 1)
	case tokDelay:
		return second == tokWord && (s.kind(i+2) == tokString || s.kind(i+2) == tokOpen)
	case tokWord:
		return equalFold(s.bytes(i), "set") && second == tokVariable
	case tokLogic, tokName:
		return false
	case tokStatement:
	default:
		return false
	}
	switch w := s.bytes(i); {
	case equalFold(w, "drop"), equalFold(w, "alter"), equalFold(w, "create"), equalFold(w, "truncate"):
		return second == tokWord && (s.kind(i+2) == tokName || s.kind(i+2) == tokWord)
	case equalFold(w, "delete"):
		return second == tokFrom && s.kind(i+2) == tokName
	case equalFold(w, "insert"), equalFold(w, "replace"), equalFold(w, "merge"):
		return second == tokWord && (s.kind(i+2) == tokName || s.kind(i+2) == tokFunction)
	case equalFold(w, "update"):
		return second == tokName && s.kind(i+2) == tokWord
	case equalFold(w, "declare"):
		return second == tokVariable
	case equalFold(w, "shutdown"):
		return s.kind(0) != tokName && (second == tokEnd || second == tokComment || second == tokSemicolon)
	case equalFold(w, "exec"), equalFold(w, "execute"), equalFold(w, "call"):
		return second == tokName && (prefixFold(s.bytes(i+1), "xp_") || prefixFold(s.bytes(i+1), "sp_") || s.kind(i+2) == tokDot) ||
			second == tokLeft || second == tokFunction
	case equalFold(w, "copy"):
		return second == tokName && s.kind(i+2) == tokFrom || second == tokLeft
	}
	return false
}

// columns reads ORDER BY, GROUP BY and HAVING at i.
func (s *sqlText) columns(i int) int {
	if s.kind(i) == tokHaving {
		end, solid := s.operand(i + 1)
		if solid && s.kind(end) == tokCompare {
			return ruleOrderBy
		}
		return -1
	}
	if s.kind(i+1) != tokBy {
		return -1
	}
	i += 2
	start := i
	for s.kind(i) == tokNumber || s.kind(i) == tokComma {
		i++
	}
	if i == start {
		if s.quoted && s.kind(i) == tokName && s.kind(i+1) == tokComment {
			return ruleOrderBy
		}
		return -1
	}
	if s.kind(i) == tokComment || s.kind(i) == tokHaving || s.kind(i) == tokEnd && (s.quoted || !space(s.b[len(s.b)-1])) && start <= 3 {
		return ruleOrderBy
	}
	return -1
}

// comment reads a comment right behind the end of a literal: admin'--.
func (s *sqlText) comment(i int) int {
	if !s.quoted || s.kind(i+1) != tokEnd {
		return -1
	}
	before := s.b[:s.toks[0].end-1]
	body := bytes.Trim(bytes.TrimLeft(s.bytes(i), "-#/*!+"), " -")
	gap := s.toks[i].start - s.toks[i-1].end
	if bytes.IndexByte(before, ' ') >= 0 || len(before) > 48 || len(body) > 2 || gap > 1 {
		return -1
	}
	if s.bytes(i)[0] == '#' && (len(before) == 0 || len(body) > 0) {
		return -1
	}
	return ruleSQLComment
}

// expression reads an operator between the end of a literal and something of the attacker's.
func (s *sqlText) expression(i int) int {
	if s.foreign(i, i) {
		return -1
	}
	if s.kind(i+1) == tokName {
		return -1 // text joined by signs, as in a query that is not decoded
	}
	end, solid := s.operand(i + 1)
	if k := s.within(i, end); k >= 0 {
		return k
	}
	if !s.quoted {
		// The rest of an expression of numbers may hold the attack: 1-0 or 1=1.
		if end > i+1 && s.kind(i) == tokOperator && s.kind(end) == tokLogic && s.kind(i+1) == tokNumber {
			return s.condition(end)
		}
		return -1
	}
	// '=' and '-' and their like: a literal, an operator, and a quote for the program to close.
	if s.kind(i+1) == tokOpen && s.toks[0].end == 1 && len(s.bytes(i+1)) <= 1 && i == 1 {
		return ruleTautology
	}
	if end > i+1 && s.kind(end) == tokLogic {
		return s.condition(end)
	}
	if s.kind(i) == tokCompare && s.kind(end) == tokComment && solid && len(s.bytes(end)) <= 8 {
		return ruleTautology
	}
	return -1
}

// clause reads INTO OUTFILE, PROCEDURE ANALYSE and a LIMIT behind a literal.
func (s *sqlText) clause(i int) int {
	w := s.bytes(i)
	switch {
	case equalFold(w, "into") && (equalFold(s.bytes(min(i+1, s.n-1)), "outfile") || equalFold(s.bytes(min(i+1, s.n-1)), "dumpfile")) && (s.kind(i+2) == tokString || s.kind(i+2) == tokOpen):
		return ruleSQLFunction
	case equalFold(w, "procedure") && s.kind(i+1) == tokFunction:
		return ruleSQLFunction
	case equalFold(w, "limit") && s.quoted && s.kind(i+1) == tokNumber && s.kind(i+2) == tokComment:
		return ruleTautology
	case equalFold(w, "where") && s.quoted:
		return s.condition(i + 1)
	}
	return -1
}

// bare reads a value that is an expression from its beginning: (select …), if(now()=sysdate(),sleep(10),0).
func (s *sqlText) bare(i int) int {
	for j := i; j < s.n; j++ {
		if s.kind(j) == tokOther {
			return -1
		}
	}
	end, _ := s.operand(i)
	for j := i; j < end; j++ {
		switch {
		case s.kind(j) == tokSelect && s.kind(i) != tokSelect && s.list(j+1):
			return ruleSubquery
		case s.kind(j) == tokFunction && waits(s.bytes(j)) && s.ends(end):
			return ruleSQLFunction
		}
	}
	return -1
}

// waits reports whether a function makes a database wait: those that stand alone in a value.
func waits(w []byte) bool {
	return equalFold(w, "sleep") || equalFold(w, "benchmark") || equalFold(w, "pg_sleep") || equalFold(w, "load_file") ||
		equalFold(w, "updatexml") || equalFold(w, "extractvalue") || equalFold(w, "randomblob") || equalFold(w, "xp_cmdshell")
}
