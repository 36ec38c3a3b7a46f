package pipeline

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
	"github.com/lakeloader/lakeloader/table"
)

// StageRoute is the stage of dead letters that no table is routed to.
const StageRoute = "route"

// router decides which table each row goes to. It looks at runs of rows with equal values, and at the configuration once a
// value. A table that a value names belongs to that value alone: who was first is written in the ledger, so that it is the
// same for all loaders and for ever.
type router struct {
	cfg     configs.Route
	primary target
	dead    table.Ident
	path    []string
	cols    []*batch.Column // from the top to the column routed by
	// tables are those of the ledger that the configuration still leads to, and those of the open round.
	tables map[string]*target // by name in lower case: names that differ in case only are the same to most engines
	values map[string]*target // what was decided for values
	null   *target
	ledger []table.Routed // what tables were made from
	made   int            // tables named after values, in the ledger or the open round
	met    []*target      // of the current batch
	turn   uint64
	// text is a value that is no text, spare the one before.
	text, spare []byte
	// warn tells of something for the first time.
	warn func(why string)
	told map[string]bool
}

// target is where rows go.
type target struct {
	id    table.Ident
	value string // that the table was named after; empty: the configuration names it
	// refused says why no table takes the rows; they are dead letters then. Empty: they go to id.
	refused string
	rows    []int32 // of the current batch
	turn    uint64
}

// maxValues bounds how many values are remembered before the router starts afresh.
const maxValues = 1 << 16

func newRouter(cfg *configs.Route, primary, dead table.Ident, warn func(why string)) *router {
	r := &router{cfg: *cfg, primary: target{id: primary}, dead: dead, path: strings.Split(cfg.By, "."), warn: warn, told: map[string]bool{}}
	r.listed(nil)
	return r
}

// ident qualifies a table's name from the route.
func (r *router) ident(name string) table.Ident {
	ns, n, ok := strings.Cut(name, ".")
	if !ok {
		ns, n = r.primary.id.Namespace, name
	}
	return table.Ident{Namespace: ns, Name: n}
}

// listed takes in which tables the ledger has, at the begin of a round.
func (r *router) listed(tables []table.Routed) {
	r.ledger = tables
	r.tables, r.values, r.null, r.made = map[string]*target{}, map[string]*target{}, nil, madeTables(tables)
	for _, t := range tables {
		r.tables[strings.ToLower(t.Ident.String())] = &target{id: t.Ident, value: t.Value}
	}
}

// reaches reports whether the configuration still leads to a table of the ledger.
func (r *router) reaches(t table.Routed) bool {
	for _, name := range r.cfg.Tables {
		if r.ident(name) == t.Ident {
			return true
		}
	}
	name, _ := r.cfg.Named(t.Value)
	return name != "" && r.ident(name) == t.Ident
}

// bind finds the column in the row type.
func (r *router) bind(row *batch.Type) error {
	t := row
	for i, name := range r.path {
		at := -1
		if t.Kind == batch.Struct {
			at = t.Index(name)
		}
		if at < 0 {
			hint := ""
			if name == "topic" {
				hint = "; the topic is in " + ColumnTopic
			}
			return fmt.Errorf("there is no column %s%s", strings.Join(r.path[:i+1], "."), hint)
		}
		t = t.Fields[at].Type
	}
	switch t.Kind {
	case batch.String, batch.Boolean, batch.Int, batch.Long:
		return nil
	}
	return fmt.Errorf("%s is a %s; a table can be named after a string, int, long or boolean", r.cfg.By, t)
}

// split assigns every row whose fate is Keep to a table, in the order in which tables first occur; rows that no table takes
// become dead letters. The result, and the rows of each, are good until the next call.
func (r *router) split(b *batch.Batch) []*target {
	r.cols = r.cols[:0]
	c := b.Root
	for _, name := range r.path {
		c = c.Children[c.Type.Index(name)]
		r.cols = append(r.cols, c)
	}
	r.turn++
	r.met = r.met[:0]
	last, lastText, lastNull := &target{}, []byte(nil), false
	var rows []int32 // of last
	texts := len(r.cols) == 1 && c.Type.Store() == batch.StoreView && c.Valid == nil
	for row, fate := range b.Fate {
		if fate != batch.Keep {
			continue
		}
		var text []byte
		null := false
		if texts {
			v := c.Views[row]
			text = b.Mem[v.Off : v.Off+v.Len]
		} else {
			text, null = r.value(b, row)
		}
		if lastText == nil && !lastNull || null != lastNull || !bytes.Equal(text, lastText) {
			last.rows = rows
			last, lastText, lastNull = r.meet(r.target(text, null)), text, null
			if lastText == nil {
				lastText = []byte{} // there was a value
			}
			rows = last.rows
			r.text, r.spare = r.spare, r.text // the next value must not overwrite this one
		}
		if last.refused != "" {
			b.Reject(row, StageRoute, "", last.refused)
			continue
		}
		rows = append(rows, int32(row))
	}
	last.rows = rows
	return r.met
}

// meet notes that a target gets rows of the current batch.
func (r *router) meet(t *target) *target {
	if t.turn != r.turn && t.refused == "" {
		t.turn, t.rows = r.turn, t.rows[:0]
		r.met = append(r.met, t)
	}
	return t
}

// value is the text of a row's value. It is good until the next but one call.
func (r *router) value(b *batch.Batch, row int) (text []byte, null bool) {
	for _, c := range r.cols {
		if c.IsNull(row) {
			return nil, true
		}
	}
	c := r.cols[len(r.cols)-1]
	switch c.Type.Store() {
	case batch.StoreView:
		return b.Bytes(c.Views[row]), false
	case batch.StoreBool:
		r.text = strconv.AppendBool(r.text[:0], c.Bools[row])
	case batch.StoreInt32:
		r.text = strconv.AppendInt(r.text[:0], int64(c.Int32[row]), 10)
	default:
		r.text = strconv.AppendInt(r.text[:0], c.Int64[row], 10)
	}
	return r.text, false
}

// target decides where the rows of a value go.
func (r *router) target(text []byte, null bool) *target {
	if null {
		if r.null == nil {
			r.null = r.otherwise(r.cfg.By+" is null", false)
		}
		return r.null
	}
	if t := r.values[string(text)]; t != nil {
		return t
	}
	if len(r.values) >= maxValues {
		clear(r.values)
	}
	value := string(text)
	t := r.decide(value)
	r.values[value] = t
	return t
}

func (r *router) decide(value string) *target {
	name, made := r.cfg.Named(value)
	if name == "" && r.cfg.Otherwise == "primary" { // a column of many values costs little then
		return &r.primary
	}
	if name == "" {
		return r.otherwise(fmt.Sprintf("no table is allowed for %s %s", r.cfg.By, shown(value)), false)
	}
	id := r.ident(name)
	key := strings.ToLower(id.String())
	t := r.tables[key]
	switch {
	case !made && t != nil:
		return t
	case !made:
		t = &target{id: id}
	case r.own(id):
		return r.otherwise(fmt.Sprintf("%s %s would go to table %s, which is not for routed rows", r.cfg.By, shown(value), id), true)
	case t != nil && t.value != "" && t.value != value:
		return r.otherwise(fmt.Sprintf("%s %s would go to table %s, which has the rows of %s", r.cfg.By, shown(value), id, shown(t.value)), true)
	case t != nil && t.value == value:
		return t
	case r.made >= r.cfg.Limit:
		return r.otherwise(fmt.Sprintf("%s %s would need a table beyond the limit of %d", r.cfg.By, shown(value), r.cfg.Limit), true)
	default:
		if t == nil {
			t = &target{id: id}
		}
		t.value = value
		r.made++
	}
	r.tables[key] = t
	return t
}

// own reports whether a table has another use in this pipeline.
func (r *router) own(id table.Ident) bool {
	same := func(o table.Ident) bool { return strings.EqualFold(id.String(), o.String()) }
	for _, name := range r.cfg.Tables {
		if same(r.ident(name)) {
			return true
		}
	}
	return same(r.primary.id) || same(r.dead)
}

// otherwise is where rows go that no table takes. What the configuration does not say by itself is told once a value.
func (r *router) otherwise(why string, tell bool) *target {
	if tell && !r.told[why] && len(r.told) < maxTold {
		r.told[why] = true
		r.warn(why)
	}
	if r.cfg.Otherwise == "dead_letter" {
		return &target{refused: why}
	}
	return &r.primary
}

// maxTold bounds how many values the log names.
const maxTold = 100

// shown quotes a value for a message, shortened.
func shown(value string) string {
	if len(value) > 100 {
		return strconv.Quote(value[:100]) + "..."
	}
	return strconv.Quote(value)
}
