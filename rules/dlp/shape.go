// SPDX-License-Identifier: Apache-2.0

package dlp

import (
	"errors"
	"fmt"
	"regexp/syntax"
)

// maxTemplates bounds the ways to write the number of one pattern.
const maxTemplates = 64

// templatesOf writes a pattern without a literal as templates, if it is of digits, letters and single separators of
// bounded number between word boundaries.
func templatesOf(pattern string) ([]template, error) {
	re, start, end, err := parseExpr(pattern)
	if err != nil {
		return nil, err
	}
	if !start || !end {
		return nil, errors.New("no \\b at both of its ends")
	}
	texts, err := shapes(re)
	if err != nil {
		return nil, err
	}
	var out []template
	for _, text := range texts {
		if len(text) > maxTemplate {
			return nil, fmt.Errorf("is longer than %d bytes", maxTemplate)
		}
		t, err := newTemplate(text)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// shapes are the ways to write a part of a pattern.
func shapes(re *syntax.Regexp) ([]string, error) {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 {
			return nil, errors.New("a letter without case")
		}
		for _, r := range re.Rune {
			if r > 0x7f || isAlnum(byte(r)) && (r == '9' || r == 'A' || r == 'a') || r == '*' {
				return nil, fmt.Errorf("the text %q between digits", string(re.Rune))
			}
		}
		return []string{string(re.Rune)}, nil
	case syntax.OpCharClass:
		return classShape(re.Rune)
	case syntax.OpCapture:
		return shapes(re.Sub[0])
	case syntax.OpEmptyMatch:
		return []string{""}, nil
	case syntax.OpQuest:
		some, err := shapes(re.Sub[0])
		return append([]string{""}, some...), err
	case syntax.OpRepeat:
		return repeated(re)
	case syntax.OpConcat:
		all := []string{""}
		for _, sub := range re.Sub {
			some, err := shapes(sub)
			if err != nil {
				return nil, err
			}
			if all, err = joined(all, some); err != nil {
				return nil, err
			}
		}
		return all, nil
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			some, err := shapes(sub)
			if err != nil {
				return nil, err
			}
			if all = append(all, some...); len(all) > maxTemplates {
				return nil, fmt.Errorf("more than %d ways to write it", maxTemplates)
			}
		}
		return all, nil
	}
	return nil, errors.New("a repetition without a bound, or any byte")
}

// repeated are the ways to write a repetition.
func repeated(re *syntax.Regexp) ([]string, error) {
	some, err := shapes(re.Sub[0])
	if err != nil {
		return nil, err
	}
	if re.Max < 0 || re.Max > maxTemplate {
		return nil, errors.New("a repetition without a bound")
	}
	var all []string
	times := []string{""}
	for n := 0; n <= re.Max; n++ {
		if n >= re.Min {
			all = append(all, times...)
		}
		if n == re.Max {
			break
		}
		if times, err = joined(times, some); err != nil {
			return nil, err
		}
	}
	if len(all) > maxTemplates {
		return nil, fmt.Errorf("more than %d ways to write it", maxTemplates)
	}
	return all, nil
}

func joined(a, b []string) ([]string, error) {
	if len(a)*len(b) > maxTemplates {
		return nil, fmt.Errorf("more than %d ways to write it", maxTemplates)
	}
	var out []string
	for _, x := range a {
		for _, y := range b {
			out = append(out, x+y)
		}
	}
	return out, nil
}

// classShape is a class as a letter of templates, or its few separators.
func classShape(ranges []rune) ([]string, error) {
	switch string(ranges) {
	case "09":
		return []string{"9"}, nil
	case "AZ":
		return []string{"A"}, nil
	case "AZaz":
		return []string{"a"}, nil
	case "09AZaz":
		return []string{"*"}, nil
	}
	var out []string
	for _, p := range classPieces(ranges) {
		if isAlnum(p.text[0]) || p.text == "*" {
			return nil, fmt.Errorf("the class %q, which is neither all digits nor letters nor separators", string(ranges))
		}
		out = append(out, p.text)
	}
	if out == nil {
		return nil, errors.New("a wide class")
	}
	return out, nil
}
