package repolint

import (
	"bytes"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// file is a parsed Go file of the repository.
type file struct {
	path string // slash-separated, from the root
	pkg  string // its directory
	test bool
	text []byte
	tree *ast.File
	set  *token.FileSet
}

func (f *file) at(n ast.Node) string {
	return f.path + ":" + strconv.Itoa(f.set.Position(n.Pos()).Line)
}

// imports are the paths a file imports.
func (f *file) imports() []string {
	var paths []string
	for _, spec := range f.tree.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		paths = append(paths, p)
	}
	return paths
}

// skipped are folders without code of ours; with a slash, at the root alone.
var skipped = []string{"testdata", "node_modules", "/tools", "/data", "/bin"}

// sources parses every Go file of the module, but for those in testdata.
func sources(t *testing.T) []*file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []*file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && (strings.HasPrefix(d.Name(), ".") || slices.Contains(skipped, d.Name()) || slices.Contains(skipped, "/"+rel)) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(rel) != ".go" {
			return nil
		}
		f := &file{path: rel, test: strings.HasSuffix(p, "_test.go"), set: token.NewFileSet()}
		f.pkg = path.Dir(f.path)
		if f.text, err = os.ReadFile(p); err != nil {
			return err
		}
		if f.tree, err = parser.ParseFile(f.set, f.path, f.text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			t.Errorf("%v", err)
			return nil
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

// TestImportOrder keeps to the order. A test may also import what only tests do.
func TestImportOrder(t *testing.T) {
	for _, f := range sources(t) {
		if _, _, _, ok := position(f.pkg); !ok {
			t.Errorf("%s: package %s has no place in the import order", f.path, f.pkg)
			continue
		}
		for _, p := range f.imports() {
			to, ours := strings.CutPrefix(p, module+"/")
			if !ours || f.test && (to == f.pkg || slices.Contains(testOnly, to)) {
				continue
			}
			if !mayImport(f.pkg, to) {
				t.Errorf("%s: %s must not import %s", f.path, f.pkg, to)
			}
			if slices.Contains(testOnly, to) && !slices.Contains(testOnly, f.pkg) {
				t.Errorf("%s: %s is for tests alone", f.path, to)
			}
		}
	}
}

// TestOwners keeps libraries to the packages that wrap them. Tests are free:
// an end-to-end test may look below the seam.
func TestOwners(t *testing.T) {
	for _, f := range sources(t) {
		for _, p := range f.imports() {
			inside := strings.HasPrefix(p, module+"/storage/") && strings.HasPrefix(f.pkg, "storage/")
			if by, ok := owned(p); ok && !f.test && !inside && !slices.Contains(by, f.pkg) {
				t.Errorf("%s: %s must not import %s; only these do: %v", f.path, f.pkg, p, by)
			}
		}
	}
}

// TestStatuses keeps the mapping of errors to HTTP statuses in one place.
//
// Success (2xx), "not modified" and redirections are part of an endpoint's
// answer and may be named anywhere in api. A failure (4xx, 5xx) is an error
// first, and api/errors.go alone gives it a status. Below api there is no HTTP
// at all, except in replicator and backup, which are clients and read them.
func TestStatuses(t *testing.T) {
	statuses := statusNames()
	for _, f := range sources(t) {
		if f.test || f.path == "api/errors.go" {
			continue
		}
		r, _, _, _ := position(f.pkg)
		top, _, _, _ := position("api")
		ast.Inspect(f.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok || x.Name != "http" || !strings.HasPrefix(n.Sel.Name, "Status") || n.Sel.Name == "StatusText" {
					return true
				}
				if r < top && f.pkg != "replicator" && f.pkg != "backup" {
					t.Errorf("%s: %s knows nothing of HTTP", f.at(n), f.pkg)
				}
				if f.pkg == "api" && statuses[n.Sel.Name] >= http.StatusBadRequest {
					t.Errorf("%s: http.%s belongs in api/errors.go", f.at(n), n.Sel.Name)
				}
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || sel.Sel.Name != "WriteHeader" || len(n.Args) != 1 {
					return true
				}
				if lit, ok := n.Args[0].(*ast.BasicLit); ok {
					t.Errorf("%s: status %s has a name in net/http", f.at(n), lit.Value)
				}
			}
			return true
		})
	}
}

// statusNames maps the names of net/http's constants to their values, for the
// failures; any other name maps to 0.
func statusNames() map[string]int {
	names := map[string]int{}
	for code := http.StatusBadRequest; code < 600; code++ {
		// The constants are named by the text without blanks and punctuation.
		text := http.StatusText(code)
		if text != "" {
			names["Status"+strings.NewReplacer(" ", "", "-", "", "'", "").Replace(text)] = code
		}
	}
	names["StatusTeapot"] = http.StatusTeapot
	return names
}

func TestStatusNames(t *testing.T) {
	names := statusNames()
	for name, code := range map[string]int{
		"StatusNotFound": 404, "StatusConflict": 409, "StatusRequestEntityTooLarge": 413,
		"StatusMethodNotAllowed": 405, "StatusInternalServerError": 500, "StatusCreated": 0,
	} {
		if names[name] != code {
			t.Errorf("%s is %d, want %d", name, names[name], code)
		}
	}
}

// TestFiles keeps files short and formatted, packages named and explained.
func TestFiles(t *testing.T) {
	explained := map[string]bool{}
	for _, f := range sources(t) {
		if n := bytes.Count(f.text, []byte("\n")); n > longest {
			t.Errorf("%s: %d lines, more than %d; split it by noun", f.path, n, longest)
		}
		if formatted, err := format.Source(f.text); err != nil || !bytes.Equal(formatted, f.text) {
			t.Errorf("%s: is not formatted; run make fmt", f.path)
		}
		if name := strings.TrimSuffix(f.tree.Name.Name, "_test"); slices.Contains(shunned, name) {
			t.Errorf("%s: a package named %s has no reason to say no to anything", f.path, name)
		}
		explained[f.pkg] = explained[f.pkg] || f.tree.Doc.Text() != ""
	}
	for pkg, ok := range explained {
		if !ok {
			t.Errorf("%s: has no package comment", pkg)
		}
	}
}

func TestMayImport(t *testing.T) {
	tests := []struct {
		from, to string
		want     bool
	}{
		{"api", "storage", true},
		{"storage", "storage/kv/badgerkv", true},
		{"storage/kv/badgerkv", "storage/kv", true},
		{"storage/kv", "storage", false},
		{"storage", "script", false},
		{"script", "storage", false},
		{"auth", "view", false},
		{"document", "storage", false},
		{"config", "revtree", false},
		{"api", "api", false},
		{"api", "unknown", false},
	}
	for _, tt := range tests {
		if got := mayImport(tt.from, tt.to); got != tt.want {
			t.Errorf("mayImport(%s, %s) = %v", tt.from, tt.to, got)
		}
	}
}
