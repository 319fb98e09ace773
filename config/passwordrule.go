package config

import (
	"fmt"
	"regexp"
	"strings"
)

// passwordRules reads password_regexp, a list of Erlang terms: a pattern in
// quotes, or a tuple of a pattern and a reason.
func (r *reader) passwordRules() (rules []PasswordRule, broken bool) {
	value := r.sayOr("chttpd_auth", "password_regexp", "")
	if value == "" {
		return nil, false
	}
	rules, err := parsePasswordRules(value)
	if err != nil {
		r.wrong("chttpd_auth", "password_regexp", value, err)
		return nil, true
	}
	return rules, false
}

func parsePasswordRules(text string) ([]PasswordRule, error) {
	p := termReader{text}
	if !p.take('[') {
		return nil, fmt.Errorf(`must be a list such as [{".{10,}", "At least 10 characters."}]`)
	}
	var rules []PasswordRule
	for !p.take(']') {
		if len(rules) > 0 && !p.take(',') {
			return nil, fmt.Errorf("lacks a comma or the bracket at the end")
		}
		tuple := p.take('{')
		pattern, err := p.quoted()
		if err != nil {
			return nil, err
		}
		var rule PasswordRule
		if tuple {
			if p.take(',') {
				if rule.Reason, err = p.quoted(); err != nil {
					return nil, err
				}
			}
			if !p.take('}') {
				return nil, fmt.Errorf("lacks a brace at the end of a pattern with its reason")
			}
		}
		if rule.Pattern, err = regexp.Compile(pattern); err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if p.text != "" && p.text != "." {
		return nil, fmt.Errorf("goes on behind the list")
	}
	return rules, nil
}

// termReader takes Erlang terms off the front of a text.
type termReader struct{ text string }

// take takes a character off if it comes next.
func (p *termReader) take(c byte) bool {
	p.text = strings.TrimLeft(p.text, " \t")
	if p.text == "" || p.text[0] != c {
		return false
	}
	p.text = strings.TrimLeft(p.text[1:], " \t")
	return true
}

// quoted takes a text in quotes off.
func (p *termReader) quoted() (string, error) {
	p.text = strings.TrimLeft(p.text, " \t")
	if p.text == "" || p.text[0] != '"' {
		return "", fmt.Errorf("has a pattern or reason that is not in quotes")
	}
	var b strings.Builder
	for i := 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.text = p.text[i+1:]
			return b.String(), nil
		case c == '\\' && i+1 < len(p.text):
			i++
			switch e := p.text[i]; e {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			case 's':
				b.WriteByte(' ')
			case 'd':
				b.WriteByte(0x7f)
			default:
				b.WriteByte(e)
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("lacks a quote at the end of a text")
}
