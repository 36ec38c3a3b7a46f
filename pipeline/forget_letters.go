package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/forget"
	"github.com/lakeloader/lakeloader/schemas"
)

// letterSearch tells which dead letters are about persons. Each part is read by the schema that it names, as far as the pipeline's formats
// have such; what cannot be read is searched as it is, and counted: nobody may say of it that it is about no person.
type letterSearch struct {
	persons *forget.Persons
	parts   []*letterPart
	// unread counts; nil: there is none yet. first is the least place among them.
	unread *forget.Unread
	first  letterPlace
}

type letterPlace struct {
	EpochKey
	offset int64
}

func (p letterPlace) compare(o letterPlace) int {
	return cmp.Or(p.EpochKey.compare(o.EpochKey), cmp.Compare(p.offset, o.offset))
}

// letterPart is how one of a record's payloads is read.
type letterPart struct {
	column, prefix string
	// declared: the pipeline says that it is in a binary format. Of others it is only tried.
	declared bool
	reader   *schemas.Reader // nil: it is text, or nobody says what it is
}

func newLetterSearch(cfg *configs.Pipeline, d Deps, keys []forget.Key) *letterSearch {
	s := &letterSearch{persons: forget.NewPersons(keys, parseRow), parts: []*letterPart{{column: letterValue}, {column: letterKey}}}
	formats := []*configs.Format{&cfg.Decode.Value, cfg.Decode.Key}
	any := false
	for i, f := range formats {
		if f == nil {
			continue
		}
		p := s.parts[i]
		if p.declared = f.Format == "avro" || f.Format == "protobuf"; f.Prefix != nil {
			p.prefix = *f.Prefix
		} else if i > 0 {
			p.prefix = "key_"
		}
		any = any || p.declared
	}
	for _, p := range s.parts {
		if any {
			p.reader = schemas.NewReader(d.Registry, cfg.Decode.Changes != nil)
		}
	}
	return s
}

// mentioned says what a letter tells of the persons, and whether a part of it could not be read.
func (s *letterSearch) mentioned(ctx context.Context, c letterColumns, b *batch.Batch, i int) (m forget.Mention, unread bool, err error) {
	parts := []forget.Part{{Bytes: c.bytes(b, letterError, i)}} // the reason may quote the record
	for _, h := range c.headers(b, i) {
		parts = append(parts, forget.Part{Bytes: h.value})
	}
	for _, p := range s.parts {
		x := forget.Part{Bytes: c.bytes(b, p.column, i), Prefix: p.prefix}
		var why error
		if x.Row, why = p.read(ctx, x.Bytes); why != nil && !unread {
			unread = true
			s.count(c, b, i, fmt.Errorf("its %s: %w", p.column, why))
		}
		parts = append(parts, x)
	}
	return s.persons.Mentioned(parts...), unread, ctx.Err()
}

// read decodes a payload, if it is in a binary format. An error says why it cannot be read.
func (p *letterPart) read(ctx context.Context, payload []byte) (*batch.Batch, error) {
	if p.reader == nil || len(payload) == 0 {
		return nil, nil
	}
	b, err := p.reader.Read(ctx, payload)
	if err == nil || forget.Readable(payload) || !p.declared && !errors.Is(err, schemas.ErrRegistry) {
		return b, nil
	}
	return nil, err
}

func (s *letterSearch) count(c letterColumns, b *batch.Batch, i int, why error) {
	if s.unread == nil {
		s.unread = &forget.Unread{}
	}
	at := letterPlace{c.key(b, i), c[ColumnOffset].Int64[i]}
	if s.unread.Letters++; s.unread.Letters == 1 || at.compare(s.first) < 0 {
		s.first, s.unread.First, s.unread.Why = at, letterName(c, b, i), why.Error()
	}
}
