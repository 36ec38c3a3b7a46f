package cleanse

import "math"

// nullKernel is x == null (or !=).
type nullKernel struct {
	x       kernel
	notNull bool
	buf     buffers
}

func (k *nullKernel) eval(r *run) *vec {
	x := k.x.eval(r)
	n := r.b.Rows
	out := &k.buf.out
	out.states = nil
	out.bools = resize(out.bools, n)
	for i := range out.bools {
		out.bools[i] = (x.states != nil && x.states[i] == stNull) != k.notNull
	}
	for i, s := range x.states {
		if s > stNull {
			k.buf.fail(n, i, s)
		}
	}
	return out
}

// inKernel is membership in a list of literals. Null is in none.
type inKernel struct {
	x     kernel
	typ   valueType
	ints  map[int64]bool
	texts map[string]bool
	buf   buffers
}

func (k *inKernel) eval(r *run) *vec {
	x := k.x.eval(r)
	n := r.b.Rows
	out := &k.buf.out
	out.states = nil
	out.bools = resize(out.bools, n)
	for i := range out.bools {
		switch {
		case x.states != nil && x.states[i] != stOK:
			out.bools[i] = false
			if x.states[i] > stNull {
				k.buf.fail(n, i, x.states[i])
			}
		case k.typ == textType:
			out.bools[i] = k.texts[string(x.at(r.b.Mem, i))]
		default:
			out.bools[i] = k.ints[x.ints[i]]
		}
	}
	return out
}

// logicKernel is && or ||: the operand that decides absorbs the other one's error.
type logicKernel struct {
	or   bool
	x, y kernel
	buf  buffers
}

func (k *logicKernel) eval(r *run) *vec {
	x, y := k.x.eval(r), k.y.eval(r)
	n := r.b.Rows
	out := &k.buf.out
	k.buf.combine(n, x.states, y.states, leftmost)
	out.bools = resize(out.bools, n)
	if out.states == nil {
		for i := range out.bools {
			if k.or {
				out.bools[i] = x.bools[i] || y.bools[i]
			} else {
				out.bools[i] = x.bools[i] && y.bools[i]
			}
		}
		return out
	}
	for i := range out.bools {
		decided := (x.states == nil || x.states[i] == stOK) && x.bools[i] == k.or ||
			(y.states == nil || y.states[i] == stOK) && y.bools[i] == k.or
		out.bools[i] = decided == k.or
		if decided {
			k.buf.st[i] = stOK
		}
	}
	return out
}

// notKernel is !x.
type notKernel struct {
	x   kernel
	buf buffers
}

func (k *notKernel) eval(r *run) *vec {
	x := k.x.eval(r)
	out := &k.buf.out
	k.buf.combine(r.b.Rows, x.states, nil, strict)
	out.bools = resize(out.bools, r.b.Rows)
	for i := range out.bools {
		out.bools[i] = !x.bools[i]
	}
	return out
}

// arithKernel is + - * / % of two whole numbers, or + - * / of two doubles.
type arithKernel struct {
	op   byte
	x, y kernel
	typ  valueType
	buf  buffers
}

func (k *arithKernel) eval(r *run) *vec {
	x, y := k.x.eval(r), k.y.eval(r)
	n := r.b.Rows
	out := &k.buf.out
	k.buf.combine(n, x.states, y.states, strict)
	if k.typ == floatType {
		out.floats = resize(out.floats, n)
		for i := range out.floats {
			out.floats[i] = arithFloat(k.op, x.floats[i], y.floats[i])
		}
		return out
	}
	out.ints = resize(out.ints, n)
	for i := range out.ints {
		v, e := arithInt(k.op, x.ints[i], y.ints[i])
		if out.ints[i] = v; e != stOK {
			k.buf.fail(n, i, e)
		}
	}
	return out
}

func arithFloat(op byte, a, b float64) float64 {
	switch op {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	}
	return a / b
}

func arithInt(op byte, a, b int64) (int64, state) {
	switch op {
	case '+':
		c := a + b
		if (c > a) != (b > 0) && b != 0 {
			return 0, errOverflow
		}
		return c, stOK
	case '-':
		c := a - b
		if (c < a) != (b > 0) && b != 0 {
			return 0, errOverflow
		}
		return c, stOK
	case '*':
		c := a * b
		if a != 0 && (c/a != b || a == -1 && b == math.MinInt64) {
			return 0, errOverflow
		}
		return c, stOK
	}
	switch {
	case b == 0 && op == '/':
		return 0, errDivide
	case b == 0:
		return 0, errModulo
	case a == math.MinInt64 && b == -1:
		return 0, errOverflow
	case op == '/':
		return a / b, stOK
	}
	return a % b, stOK
}

// textKernel is a predicate on a text: startsWith, endsWith, contains, matches with a literal.
type textKernel struct {
	x    kernel
	test func(s []byte) bool
	buf  buffers
}

func (k *textKernel) eval(r *run) *vec {
	x := k.x.eval(r)
	out := &k.buf.out
	k.buf.combine(r.b.Rows, x.states, nil, strict)
	out.bools = resize(out.bools, r.b.Rows)
	for i := range out.bools {
		out.bools[i] = k.test(x.at(r.b.Mem, i))
	}
	return out
}

// sizeKernel is size(text) in characters.
type sizeKernel struct {
	x   kernel
	buf buffers
}

func (k *sizeKernel) eval(r *run) *vec {
	x := k.x.eval(r)
	out := &k.buf.out
	k.buf.combine(r.b.Rows, x.states, nil, strict)
	out.ints = resize(out.ints, r.b.Rows)
	for i := range out.ints {
		out.ints[i] = runeCount(x.at(r.b.Mem, i))
	}
	return out
}
