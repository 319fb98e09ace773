package script

import (
	"errors"
	"math/big"
	"reflect"
	"regexp"
	"strings"

	"github.com/dop251/goja/ast"
)

// The parser and the compiler go down into a source as deeply as it nests, and a
// Go stack that gets too large ends the process. How deeply a source nests is known
// only once it is parsed, but no deeper than it has brackets and words. Each level
// of brackets takes about 3 KB of stack, of other things up to 1 KB. Libraries of
// some hundred kilobytes stay below these numbers.
const (
	maxSource   = 2 << 20
	maxBrackets = 40_000
	maxTokens   = 250_000
	// The parser takes a time that is the square of these; of equal labels it
	// complains as often.
	maxArrows = 10_000
	maxLabels = 200
)

var (
	errSourceSize = errors.New("SyntaxError: source is too large")
	errBigInt     = errors.New("SyntaxError: BigInt is not supported")
)

// checkSize refuses a source that might nest too deeply.
func checkSize(text string) error {
	if len(text) > maxSource {
		return errSourceSize
	}
	brackets, tokens := 0, 0
	word := false
	for i := range len(text) {
		c := text[i]
		letter := isWordByte(c)
		switch {
		case letter:
			if !word {
				tokens++
			}
		case c == '(' || c == '[' || c == '{':
			brackets++
		case c > ' ':
			tokens++
		}
		word = letter
	}
	if brackets > maxBrackets || tokens > maxTokens || strings.Count(text, "=>") > maxArrows {
		return errSourceSize
	}
	// What looks like a comment may be in a string; between labels there are no
	// strings, so one of these ways to look at the source is right there.
	for _, comments := range [][2]bool{{false, false}, {true, false}, {false, true}, {true, true}} {
		if longestLabels(text, comments[0], comments[1]) > maxLabels {
			return errSourceSize
		}
	}
	return nil
}

// longestLabels counts the colons that follow each other with nothing but words
// and white space between them, with or without regard to comments.
func longestLabels(text string, blocks, lines bool) int {
	n, most := 0, 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ':':
			n++
			most = max(most, n)
		case blocks && c == '/' && strings.HasPrefix(text[i:], "/*"):
			end := strings.Index(text[i+2:], "*/")
			if end < 0 {
				return most
			}
			i += end + 3
		case lines && c == '/' && strings.HasPrefix(text[i:], "//"):
			end := strings.IndexAny(text[i:], "\n\r")
			if end < 0 {
				return most
			}
			i += end
		case c > ' ' && c < 0x80 && !isWordByte(c) && c != '\\':
			n = 0
		}
	}
	return most
}

// isWordByte tells whether a byte is part of a name or a number.
func isWordByte(c byte) bool {
	return c >= 0x80 || c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// bigIntLiteral finds sources that may have one. One power of two such numbers
// can take for ever, and all memory.
var bigIntLiteral = regexp.MustCompile(`[0-9a-fA-F]n\b`)

var bigIntType = reflect.TypeFor[*big.Int]()

// hasBigInt walks over a syntax tree.
func hasBigInt(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Interface, reflect.Pointer:
		if v.IsNil() {
			return false
		}
		if v.Type() == bigIntType {
			return true
		}
		return hasBigInt(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if hasBigInt(v.Index(i)) {
				return true
			}
		}
	case reflect.Struct:
		if v.Type().PkgPath() != astPackage {
			return false
		}
		for i := range v.NumField() {
			if hasBigInt(v.Field(i)) {
				return true
			}
		}
	}
	return false
}

var astPackage = reflect.TypeFor[ast.Program]().PkgPath()
