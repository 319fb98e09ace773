package script

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/dop251/goja"
	"github.com/dop251/goja/ast"
	"github.com/dop251/goja/file"
	"github.com/dop251/goja/parser"
)

// program is a compiled source. Its value, once run, is the function.
type program struct {
	program  *goja.Program
	function bool // the source is a function expression and nothing else
	err      error
}

// maxPrograms and maxProgramBytes bound the cache of programs.
const (
	maxPrograms     = 1000
	maxProgramBytes = 16 << 20
)

// programCache keeps compiled sources. Beyond its bounds it forgets some, and
// they are compiled again when they are needed.
type programCache struct {
	mu    sync.Mutex
	byKey map[string]*program
	bytes int
}

func (c *programCache) get(key string) *program {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byKey[key]
}

func (c *programCache) put(key string, p *program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = map[string]*program{}
	}
	for k := range c.byKey {
		if len(c.byKey) < maxPrograms && c.bytes+len(key) <= maxProgramBytes {
			break
		}
		delete(c.byKey, k)
		c.bytes -= len(k)
	}
	if _, ok := c.byKey[key]; !ok {
		c.byKey[key] = p
		c.bytes += len(key)
	}
}

func noFunction(source string) *Error {
	return compilation("Expression does not eval to a function. (%s)", source)
}

// program compiles a function's source: a function expression as it stands in
// design documents ("function (doc) {…}", named or not, or an arrow function),
// or a script whose last expression is a function.
func (e *Engine) program(source string) (*program, error) {
	p := e.programs.get(source)
	if p == nil {
		p = compile(source)
		e.programs.put(source, p)
	}
	if p.err != nil {
		return nil, p.err
	}
	return p, nil
}

// module compiles the source of a CommonJS module to a function of module,
// exports and require.
func (e *Engine) module(source string) (*program, error) {
	key := "\x00module " + source
	p := e.programs.get(key)
	if p == nil {
		p = &program{}
		tree, err := parse("(function (module, exports, require) { " + source + "\n})")
		if err == nil {
			p.program, err = compileTree(tree)
		}
		if err != nil {
			p.err = errors.New(syntaxMessage(err))
		}
		e.programs.put(key, p)
	}
	return p, p.err
}

func compile(source string) *program {
	p := &program{}
	if strings.TrimSpace(source) == "" {
		p.err = &Error{Kind: NotFound, Name: "not_found", Reason: "missing function"}
		return p
	}
	tree, err := parse("(" + strings.TrimRight(source, "; \t\r\n") + "\n)")
	if err != nil {
		// More than an expression, maybe.
		var err2 error
		if tree, err2 = parse(source); err2 == nil {
			err = nil
		}
	}
	if err == nil {
		p.function = isFunction(tree)
		p.program, err = compileTree(tree)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			e = compilation("%s (%s)", syntaxMessage(err), source)
		}
		p.err = e
	}
	return p
}

// isFunction tells whether a script is one function expression.
func isFunction(tree *ast.Program) bool {
	if len(tree.Body) != 1 {
		return false
	}
	s, ok := tree.Body[0].(*ast.ExpressionStatement)
	if !ok {
		return false
	}
	switch s.Expression.(type) {
	case *ast.FunctionLiteral, *ast.ArrowFunctionLiteral:
		return true
	}
	return false
}

// parse refuses what might nest too deeply for the compiler, and BigInt.
func parse(text string) (*ast.Program, error) {
	if err := checkSize(text); err != nil {
		return nil, err
	}
	tree, err := parser.ParseFile(new(file.FileSet), "", text, 0, parser.WithDisableSourceMaps)
	if err != nil {
		return nil, err
	}
	if bigIntLiteral.MatchString(text) && hasBigInt(reflect.ValueOf(tree)) {
		return nil, errBigInt
	}
	return tree, nil
}

// compileTree compiles; a fault of the compiler is an error.
func compileTree(tree *ast.Program) (p *goja.Program, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("SyntaxError: %v", fault)
		}
	}()
	return goja.CompileAST(tree, false)
}

// syntaxMessage is the first complaint of the parser without its position,
// which counts characters that the author did not write.
func syntaxMessage(err error) string {
	var list parser.ErrorList
	if errors.As(err, &list) && len(list) > 0 {
		return "SyntaxError: " + list[0].Message
	}
	var syntax *goja.CompilerSyntaxError
	if errors.As(err, &syntax) {
		return "SyntaxError: " + syntax.Message
	}
	return err.Error()
}
