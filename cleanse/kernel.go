package cleanse

import (
	"math"

	"github.com/lakeloader/lakeloader/batch"
)

// A kernel computes one node of an expression for all rows of a batch at once, with the meaning that cel-go gives it:
// each row has a value or a state that says why not.

// state of a row in a vector.
type state = uint8

const (
	stOK        state = iota
	stNull            // the value is null: == and != take it as such
	stNullError       // an operator met a null
	stError           // the first of the errors below
)

// The errors that kernels can meet, worded as in cel-go.
const (
	errDivide = stError + iota
	errModulo
	errOverflow
)

var kernelErrors = [...]string{errDivide: "division by zero", errModulo: "modulus by zero", errOverflow: "integer overflow"}

// vec is a column of results. One of the value slices is used. states is nil when every row has a value.
type vec struct {
	states []state
	bools  []bool
	ints   []int64
	floats []float64
	views  []batch.View
	lit    []byte // a text that is the same for all rows; then views is nil
}

// kernel is a node. The vector it returns is good until its next eval; callers must not change it.
type kernel interface{ eval(r *run) *vec }

// buffers are what most kernels compute into.
type buffers struct {
	out vec
	st  []state
}

// combine sets the states for an operator on x and y, row by row by rule.
func (b *buffers) combine(n int, x, y []state, rule func(s, t state) state) {
	if x == nil && y == nil {
		b.out.states = nil
		return
	}
	b.st = resize(b.st, n)
	for i := range b.st {
		var s, t state
		if x != nil {
			s = x[i]
		}
		if y != nil {
			t = y[i]
		}
		b.st[i] = rule(s, t)
	}
	b.out.states = b.st
}

// strict is the rule of most operators: errors win over nulls, the left one over the right one.
func strict(s, t state) state {
	switch {
	case s > stNull:
		return s
	case t > stNull:
		return t
	case s == stNull || t == stNull:
		return stNullError
	}
	return stOK
}

// leftmost is the rule of && and ||: the first that is not true or false, unless the other one decides.
func leftmost(s, t state) state {
	if s == stOK {
		s = t
	}
	if s == stNull {
		return stNullError
	}
	return s
}

// fail gives row i an error unless it has one.
func (b *buffers) fail(n, i int, e state) {
	if b.out.states == nil {
		b.st = resize(b.st, n)
		clear(b.st)
		b.out.states = b.st
	}
	if b.st[i] == stOK {
		b.st[i] = e
	}
}

// columnKernel reads a column that is not within a list or map.
type columnKernel struct {
	p       *path
	scratch colScratch
	buf     buffers
}

func (k *columnKernel) eval(r *run) *vec {
	c := r.column(k.p, &k.scratch)
	out := &k.buf.out
	out.states = nil
	if c.Valid != nil || c.live != nil {
		k.buf.st = resize(k.buf.st, c.Len)
		for i := range k.buf.st {
			switch {
			case c.live != nil && !c.live[i]:
				k.buf.st[i] = stNullError
			case c.Valid != nil && !c.Valid[i]:
				k.buf.st[i] = stNull
			default:
				k.buf.st[i] = stOK
			}
		}
		out.states = k.buf.st
	}
	switch t := k.p.typ; t.Store() {
	case batch.StoreBool:
		out.bools = c.Bools
	case batch.StoreInt32:
		out.ints = resize(out.ints, c.Len)
		for i, v := range c.Int32 {
			out.ints[i] = int64(v)
			if t.Kind == batch.Date {
				// Dates go further than microseconds; the translator sees to it that the last one will do.
				out.ints[i] = min(max(int64(v), math.MinInt64/dayMicros), math.MaxInt64/dayMicros) * dayMicros
			}
		}
	case batch.StoreInt64:
		out.ints = c.Int64
	case batch.StoreFloat32:
		out.floats = resize(out.floats, c.Len)
		for i, v := range c.Float32 {
			out.floats[i] = float64(v)
		}
	case batch.StoreFloat64:
		out.floats = c.Float64
	case batch.StoreView:
		out.views = c.Views
	}
	return out
}

// literalKernel is a constant, spread over all rows (text: once).
type literalKernel struct {
	b   bool
	i   int64
	f   float64
	s   []byte
	typ valueType
	out vec
}

// valueType is what a kernel's vector holds.
type valueType uint8

const (
	boolType valueType = iota + 1
	intType
	timeType // microseconds, in ints
	decimal  // unscaled, in ints
	floatType
	textType
)

func (k *literalKernel) eval(r *run) *vec {
	n := r.b.Rows
	switch k.typ {
	case boolType:
		k.out.bools = constant(k.out.bools, n, k.b)
	case floatType:
		k.out.floats = constant(k.out.floats, n, k.f)
	case textType:
		k.out.lit = k.s
	default:
		k.out.ints = constant(k.out.ints, n, k.i)
	}
	return &k.out
}

// constant returns n times v, reusing s, which holds nothing but v.
func constant[T any](s []T, n int, v T) []T {
	for len(s) < n {
		s = append(s, v)
	}
	return s
}

type order uint8

const (
	equal order = iota + 1
	notEqual
	less
	lessEqual
	greater
	greaterEqual
)

// compareKernel compares two nodes of one type.
type compareKernel struct {
	op   order
	x, y kernel
	typ  valueType
	buf  buffers
}

func (k *compareKernel) eval(r *run) *vec {
	x, y := k.x.eval(r), k.y.eval(r)
	n := r.b.Rows
	out := &k.buf.out
	k.buf.combine(n, x.states, y.states, strict)
	out.bools = resize(out.bools, n)
	switch k.typ {
	case boolType:
		for i := range n {
			out.bools[i] = (x.bools[i] == y.bools[i]) == (k.op == equal)
		}
	case floatType:
		compareAll(k.op, out.bools, x.floats, y.floats)
		k.orderNaN(x, y)
	case textType:
		k.texts(r.b.Mem, out.bools, x, y)
	default:
		compareAll(k.op, out.bools, x.ints, y.ints)
	}
	if out.states != nil && k.op <= notEqual {
		k.nulls(x.states, y.states)
	}
	return out
}

// nulls gives == and != of nulls their values.
func (k *compareKernel) nulls(x, y []state) {
	for i := range k.buf.st {
		var s, t state
		if x != nil {
			s = x[i]
		}
		if y != nil {
			t = y[i]
		}
		if s <= stNull && t <= stNull && s+t > 0 {
			k.buf.st[i] = stOK
			k.buf.out.bools[i] = (s == t) == (k.op == equal)
		}
	}
}

// orderNaN makes the order of NaN and null false, as cel-go has it (but that of null and NaN fails as for all nulls).
func (k *compareKernel) orderNaN(x, y *vec) {
	if k.buf.out.states == nil || k.op <= notEqual {
		return
	}
	nan := func(v *vec, i int) bool { return (v.states == nil || v.states[i] == stOK) && math.IsNaN(v.floats[i]) }
	null := func(v *vec, i int) bool { return v.states != nil && v.states[i] == stNull }
	for i := range k.buf.st {
		if nan(x, i) && null(y, i) {
			k.buf.st[i], k.buf.out.bools[i] = stOK, false
		}
	}
}

func compareAll[T int64 | float64](op order, dst []bool, x, y []T) {
	x, y = x[:len(dst)], y[:len(dst)]
	switch op {
	case equal:
		for i := range dst {
			dst[i] = x[i] == y[i]
		}
	case notEqual:
		for i := range dst {
			dst[i] = x[i] != y[i]
		}
	case less:
		for i := range dst {
			dst[i] = x[i] < y[i]
		}
	case lessEqual:
		for i := range dst {
			dst[i] = x[i] <= y[i]
		}
	case greater:
		for i := range dst {
			dst[i] = x[i] > y[i]
		}
	case greaterEqual:
		for i := range dst {
			dst[i] = x[i] >= y[i]
		}
	}
}

// at returns the text of row i.
func (v *vec) at(mem []byte, i int) []byte {
	if v.views == nil {
		return v.lit
	}
	w := v.views[i]
	return mem[w.Off : w.Off+w.Len]
}

func (k *compareKernel) texts(mem []byte, dst []bool, x, y *vec) {
	for i := range dst {
		a, b := string(x.at(mem, i)), string(y.at(mem, i))
		switch k.op {
		case equal:
			dst[i] = a == b
		case notEqual:
			dst[i] = a != b
		case less:
			dst[i] = a < b
		case lessEqual:
			dst[i] = a <= b
		case greater:
			dst[i] = a > b
		case greaterEqual:
			dst[i] = a >= b
		}
	}
}
