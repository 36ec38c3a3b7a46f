package forget

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/lakeloader/lakeloader/batch"
)

// Mention says whether a record that a table does not have is about a person.
type Mention uint8

// The mentions.
const (
	// No: a value is nowhere. What can be read of the record says so; in the rest its text, or a number in the usual encodings, is not found.
	No Mention = iota
	// May: all values of a key are somewhere.
	May
	// Is: a JSON document, or what was decoded by a schema, has members with the names of the key's columns and these values.
	Is
)

// Part is a part of a record: its key, its value, a header.
type Part struct {
	Bytes []byte
	// Row has what was decoded of it, in one row; nil: nothing was.
	Row *batch.Batch
	// Prefix is what the table's columns have before the names of the row's.
	Prefix string
}

// Persons are the keys of persons, to be looked for in records that are no rows. It is not safe for concurrent use.
type Persons struct {
	keys    []Key
	parse   Parse
	values  []Value          // of all keys, one after the other; below, values are told by their positions here
	numbers []encoded        // what a value is in binary
	texts   map[string][]int // by their text
	typed   map[scalar]map[string][]int
	scratch []byte
}

// scalar is the type of a column without members.
type scalar struct {
	kind                     batch.Kind
	precision, scale, length int
}

// NewPersons prepares keys.
func NewPersons(keys []Key, parse Parse) *Persons {
	p := &Persons{keys: keys, parse: parse, texts: map[string][]int{}, typed: map[scalar]map[string][]int{}}
	for _, k := range keys {
		for _, v := range k {
			p.texts[v.Text] = append(p.texts[v.Text], len(p.values))
			p.values, p.numbers = append(p.values, v), append(p.numbers, encode(v.Text))
		}
	}
	return p
}

// Mentioned says what the parts of a record tell of any of the persons.
func (p *Persons) Mentioned(parts ...Part) Mention {
	s := p.search(parts)
	most, first := No, 0
	for _, k := range p.keys {
		may := s.mayMention(k, first)
		if may {
			most = May
		}
		if (may || s.escaped) && s.mentions(k, first) {
			return Is
		}
		first += len(k)
	}
	return most
}

// search is what was found in one record.
type search struct {
	p       *Persons
	parts   []searched     // bytes: parts that were not decoded, and the texts and bytes in those that were
	found   map[int]bool   // values in what was decoded
	named   []map[int]bool // of those, in each part, the ones with the names of their columns
	escaped bool
	parsed  bool
	json    []any
}

type searched struct {
	bytes []byte
	text  bool
}

func (p *Persons) search(parts []Part) *search {
	s := &search{p: p, found: map[int]bool{}}
	for _, x := range parts {
		if len(x.Bytes) == 0 {
			continue
		}
		if x.Row == nil {
			s.add(unframed(x.Bytes))
			continue
		}
		d := &decoded{s: s, r: x.Row.Records, prefix: x.Prefix, named: map[int]bool{}}
		d.look(x.Row.Root, 0, "")
		s.named = append(s.named, d.named)
	}
	return s
}

// add has bytes searched.
func (s *search) add(b []byte) {
	s.escaped = s.escaped || bytes.IndexByte(b, '\\') >= 0
	s.parts = append(s.parts, searched{b, isText(b)})
}

// mayMention reports whether all values of a key, whose first one is at a position, are somewhere.
func (s *search) mayMention(k Key, first int) bool {
	for i, v := range k {
		if v.Text == "" {
			return false
		}
		found := s.found[first+i]
		for _, x := range s.parts {
			if found {
				break
			}
			found = contains(x.bytes, x.text, []byte(v.Text)) || !x.text && s.p.numbers[first+i].in(x.bytes)
		}
		if !found {
			return false
		}
	}
	return true
}

// mentions reports whether one document, or one part that was decoded, has all values of a key by their names.
func (s *search) mentions(k Key, first int) bool {
	for _, named := range s.named {
		all := true
		for i := range k {
			all = all && named[first+i]
		}
		if all {
			return true
		}
	}
	if !s.parsed {
		s.json, s.parsed = parseAll(s.parts), true
	}
	return isIn(k, s.json)
}

// decoded is a part that was decoded.
type decoded struct {
	s      *search
	r      *batch.Records
	prefix string
	named  map[int]bool
}

// look notes the values that are in a slot of a column, at any depth. The elements of a list have its name, the values of a map their keys'.
func (d *decoded) look(c *batch.Column, i int, name string) {
	if c.IsNull(i) {
		return
	}
	switch c.Type.Store() {
	case batch.StoreStruct:
		for k, ch := range c.Children {
			d.look(ch, i, c.Type.Fields[k].Name)
		}
	case batch.StoreList:
		for e := int(c.Starts[i]); e < int(c.Starts[i+1]); e++ {
			d.look(c.Children[0], e, name)
			if c.Type.Kind == batch.Map {
				key := name
				if k := c.Children[0]; k.Type.Kind == batch.String {
					key = string(d.r.Bytes(k.Views[e]))
				}
				d.look(c.Children[1], e, key)
			}
		}
	default:
		if k := c.Type.Kind; k == batch.String || k == batch.Binary {
			d.s.add(d.r.Bytes(c.Views[i]))
		}
		for _, n := range d.s.p.equal(c, d.r, i) {
			d.s.found[n] = true
			if column := d.s.p.values[n].Column; strings.EqualFold(name, column) || strings.EqualFold(d.prefix+name, column) {
				d.named[n] = true
			}
		}
	}
}

// equal are the values that a slot has.
func (p *Persons) equal(c *batch.Column, r *batch.Records, i int) []int {
	switch c.Type.Kind {
	case batch.Float:
		return p.texts[strconv.FormatFloat(float64(c.Float32[i]), 'f', -1, 32)]
	case batch.Double:
		return p.texts[strconv.FormatFloat(c.Float64[i], 'f', -1, 64)]
	case batch.String:
		return p.texts[string(r.Bytes(c.Views[i]))]
	}
	p.scratch = c.AppendKey(p.scratch[:0], r, i)
	return p.as(c.Type)[string(p.scratch)]
}

// as are the values as a type has them (batch.Column.AppendKey); those that do not fit it are left out.
func (p *Persons) as(t *batch.Type) map[string][]int {
	id := scalar{t.Kind, t.Precision, t.Scale, t.Length}
	if p.typed[id] != nil {
		return p.typed[id]
	}
	out := map[string][]int{}
	for n, v := range p.values {
		b, err := p.parse([]batch.Field{{Name: "value", Type: t}}, []string{v.Text})
		if err != nil || b.Rows != 1 || len(b.Rejects) > 0 || b.Root.Children[0].IsNull(0) {
			continue
		}
		key := string(b.Root.Children[0].AppendKey(nil, b.Records, 0))
		out[key] = append(out[key], n)
	}
	p.typed[id] = out
	return out
}

// encoded is what a value may be in bytes that nobody can read.
type encoded struct {
	within [][]byte // with others around it
	alone  [][]byte // a whole part, as Kafka's own serializers make them
}

// encode gives the encodings of a whole number, and of a UUID, that are no text. Of one byte there are too many everywhere.
func encode(text string) (e encoded) {
	if id, err := uuid.Parse(text); err == nil {
		e.within = append(e.within, id[:])
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return e
	}
	for _, form := range [][]byte{binary.AppendVarint(nil, n), binary.AppendUvarint(nil, uint64(n))} { // Avro, and Protobuf
		if len(form) > 1 {
			e.within = append(e.within, form)
		}
	}
	e.within = append(e.within, binary.LittleEndian.AppendUint64(nil, uint64(n)))
	e.alone = append(e.alone, binary.BigEndian.AppendUint64(nil, uint64(n)))
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		e.alone = append(e.alone, binary.BigEndian.AppendUint32(nil, uint32(n)))
	}
	return e
}

func (e encoded) in(b []byte) bool {
	for _, form := range e.within {
		if bytes.Contains(b, form) {
			return true
		}
	}
	for _, form := range e.alone {
		if bytes.Equal(b, form) {
			return true
		}
	}
	return false
}

// contains looks for a whole word in text, and for the bytes in anything else: there, a letter before it may be a length.
func contains(in []byte, text bool, word []byte) bool {
	for from := 0; ; {
		at := bytes.Index(in[from:], word)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(word)
		if !text || (at == 0 || !wordByte(in[at-1])) && (end == len(in) || !wordByte(in[end])) {
			return true
		}
		from = at + 1
	}
}

// unframed is a JSON document without the zero byte and the schema id before it.
func unframed(b []byte) []byte {
	const header = 5
	if len(b) > header && b[0] == 0 && (b[header] == '{' || b[header] == '[') && json.Valid(b[header:]) {
		return b[header:]
	}
	return b
}

// Readable reports whether bytes are text, or JSON behind the id of a schema.
func Readable(b []byte) bool { return isText(unframed(b)) }

func wordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func isText(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexFunc(b, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) < 0
}

func parseAll(parts []searched) (documents []any) {
	for _, p := range parts {
		d := json.NewDecoder(bytes.NewReader(p.bytes))
		d.UseNumber()
		var v any
		if d.Decode(&v) == nil { // else it is no JSON
			documents = append(documents, v)
		}
	}
	return documents
}

// isIn reports whether one of the documents has a member for each value of a key.
func isIn(k Key, documents []any) bool {
	for _, d := range documents {
		all := true
		for _, v := range k {
			all = all && hasMember(d, "", v)
		}
		if all {
			return true
		}
	}
	return false
}

func hasMember(d any, name string, v Value) bool {
	switch d := d.(type) {
	case map[string]any:
		for n, x := range d {
			if hasMember(x, n, v) {
				return true
			}
		}
	case []any:
		for _, x := range d {
			if hasMember(x, name, v) {
				return true
			}
		}
	case string:
		return strings.EqualFold(name, v.Column) && d == v.Text
	case json.Number:
		return strings.EqualFold(name, v.Column) && d.String() == v.Text
	}
	return false
}
