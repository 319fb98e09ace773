package view

import (
	"context"
	"errors"
	"fmt"

	"github.com/mangrove-db/mangrove/document"
	"github.com/mangrove-db/mangrove/script"
)

// compile finds the language of a design document and lets it make a program.
func (x *Indexer) compile(d *Design) (Program, error) {
	var l Language = functions{x.engine}
	if d.Language != "javascript" {
		if l = x.languages[d.Language]; l == nil {
			return nil, &Error{Kind: Fault, Name: "unknown_query_language", Reason: d.Language}
		}
	}
	return l.Compile(d)
}

// functions is the language of map functions in JavaScript.
type functions struct{ engine *script.Engine }

// Compile reads the sources. They are compiled by each mapper, for which the engine keeps what it has compiled before.
func (f functions) Compile(d *Design) (Program, error) {
	p := &functionProgram{engine: f.engine, design: d}
	for i := range d.Spaces {
		source, ok := text(d.Spaces[i].Map)
		if !ok {
			return nil, &Error{Kind: Fault, Name: "compilation_error", Reason: "A map function is no string."}
		}
		p.sources = append(p.sources, source)
	}
	return p, nil
}

type functionProgram struct {
	engine  *script.Engine
	design  *Design
	sources []string
}

func (p *functionProgram) NewMapper() (Mapper, error) {
	m, err := p.engine.NewMapper(p.design.Lib, p.sources)
	if err != nil {
		return nil, err
	}
	return &functionMapper{m, p}, nil
}

type functionMapper struct {
	*script.Mapper
	program *functionProgram
}

func (m *functionMapper) Map(ctx context.Context, d *document.Document, json []byte, emit Emit) error {
	err := m.Mapper.Map(ctx, json, emit)
	e, ok := errors.AsType[*script.Error](err)
	if !ok {
		return err
	}
	return &script.Error{
		Kind: e.Kind, Name: e.Name,
		Reason: fmt.Sprintf("%s (%s of %s, document %q)", e.Reason, m.program.culprit(ctx, json), m.program.design.ID, d.ID),
	}
}

// culprit names the map function that fails with a document. It calls one after the other but the last, which costs the
// time of the failing one once more.
func (p *functionProgram) culprit(ctx context.Context, json []byte) string {
	failing := 0
	for failing < len(p.sources)-1 {
		m, err := p.engine.NewMapper(p.design.Lib, p.sources[failing:failing+1])
		if err == nil {
			err = m.Map(ctx, json, func(int, []byte, []byte) error { return nil })
			m.Close()
		}
		if err != nil {
			break
		}
		failing++
	}
	for _, v := range p.design.Views() {
		if v.Space == failing {
			return fmt.Sprintf("map function of view %q", v.Name)
		}
	}
	return "map function"
}
