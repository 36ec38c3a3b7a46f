package cleanse

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"

	"github.com/lakeloader/lakeloader/batch"
)

// rowVar is the variable that holds the row as a whole.
const rowVar = "row"

// celSchema tells CEL of the columns: structs become message types, named by their path.
type celSchema struct {
	types.Provider
	structs map[string]*batch.Type
	objects map[string]*types.Type
}

func newSchema(row *batch.Type) (*celSchema, error) {
	reg, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	s := &celSchema{Provider: reg, structs: map[string]*batch.Type{}, objects: map[string]*types.Type{}}
	s.define(rowVar, row)
	return s, nil
}

// define declares the struct at path, and those within.
func (s *celSchema) define(path string, t *batch.Type) {
	if t.Kind == batch.Struct {
		s.structs[path] = t
		s.objects[path] = types.NewObjectType(path)
	}
	for _, f := range t.Fields {
		s.define(path+"."+f.Name, f.Type)
	}
}

// celType gives the CEL type of a column; nil if expressions cannot use it.
func (s *celSchema) celType(path string, t *batch.Type, required bool) *types.Type {
	var ct *types.Type
	switch t.Kind {
	case batch.Boolean:
		ct = types.BoolType
	case batch.Int, batch.Long:
		ct = types.IntType
	case batch.Float, batch.Double:
		ct = types.DoubleType
	case batch.String, batch.UUID:
		ct = types.StringType
	case batch.Fixed, batch.Binary:
		ct = types.BytesType
	case batch.Date, batch.Timestamp, batch.TimestampTZ:
		return types.TimestampType
	case batch.Time:
		return types.DurationType
	case batch.Decimal:
		return decimalType
	case batch.Struct:
		return s.objects[path]
	case batch.List, batch.Map:
		var params []*types.Type
		for _, f := range t.Fields {
			p := s.celType(path+"."+f.Name, f.Type, f.Required)
			if p == nil {
				return nil
			}
			params = append(params, p)
		}
		if t.Kind == batch.List {
			return types.NewListType(params[0])
		}
		switch params[0].Kind() {
		case types.BoolKind, types.IntKind, types.StringKind:
			return types.NewMapType(params[0], params[1])
		}
		return nil
	}
	if !required {
		return types.NewNullableType(ct)
	}
	return ct
}

// FindStructType is part of types.Provider, and so are the following.
func (s *celSchema) FindStructType(name string) (*types.Type, bool) {
	if t, ok := s.objects[name]; ok {
		return types.NewTypeTypeWithParam(t), true
	}
	return s.Provider.FindStructType(name)
}

func (s *celSchema) FindStructFieldNames(name string) ([]string, bool) {
	t, ok := s.structs[name]
	if !ok {
		return s.Provider.FindStructFieldNames(name)
	}
	var names []string
	for _, f := range t.Fields {
		names = append(names, f.Name)
	}
	return names, true
}

var errNoOverload = errors.New("no such overload")

func (s *celSchema) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t, ok := s.structs[name]
	if !ok {
		return s.Provider.FindStructFieldType(name, field)
	}
	i := t.Index(field)
	if i < 0 {
		return nil, false
	}
	f := t.Fields[i]
	ct := s.celType(name+"."+f.Name, f.Type, f.Required)
	if ct == nil {
		return nil, false
	}
	return &types.FieldType{
		Type: ct,
		IsSet: func(target any) bool {
			v, ok := target.(*structVal)
			return ok && v.field(i) != types.NullValue
		},
		GetFrom: func(target any) (any, error) {
			if v, ok := target.(*structVal); ok {
				return v.field(i), nil
			}
			return nil, errNoOverload // the struct is null
		},
	}, true
}

func (s *celSchema) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := s.structs[name]; ok {
		return types.NewErr("expressions cannot make structs")
	}
	return s.Provider.NewValue(name, fields)
}

var identifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)

// Words that CEL does not take as identifiers, and names of its types.
var reservedWords = []string{"as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
	"package", "namespace", "null", "return", "true", "var", "void", "while", "bool", "bytes", "double", "dyn", "int", "list", "map",
	"null_type", "string", "type", "uint", "decimal", "timestamp", "duration"}

// newEnv makes the environment in which expressions over rows of a type are checked.
func newEnv(row *batch.Type) (*cel.Env, error) {
	s, err := newSchema(row)
	if err != nil {
		return nil, err
	}
	opts := []cel.EnvOption{cel.CustomTypeProvider(s), cel.EnableIdentifierEscapeSyntax(), cel.CrossTypeNumericComparisons(true), ext.Strings()}
	opts = append(opts, decimalFunctions()...)
	opts = append(opts, nullFunctions()...)
	if row.Index(rowVar) < 0 {
		opts = append(opts, cel.Variable(rowVar, s.objects[rowVar]))
	}
	for _, f := range row.Fields {
		if !identifier.MatchString(f.Name) || slices.Contains(reservedWords, f.Name) {
			continue
		}
		if t := s.celType(rowVar+"."+f.Name, f.Type, f.Required); t != nil {
			opts = append(opts, cel.Variable(f.Name, t))
		}
	}
	return cel.NewEnv(opts...)
}

// nullFunctions are isNull, coalesce, and string conversions that fail on null as all other functions do.
func nullFunctions() []cel.EnvOption {
	a := types.NewTypeParamType("A")
	return []cel.EnvOption{
		cel.Function("isNull", cel.Overload("is_null", []*cel.Type{a}, types.BoolType),
			cel.SingletonUnaryBinding(func(v ref.Val) ref.Val { return types.Bool(v == types.NullValue) })),
		cel.Function("coalesce", cel.Overload("coalesce", []*cel.Type{a, a}, a),
			cel.SingletonBinaryBinding(func(x, y ref.Val) ref.Val {
				if x == types.NullValue {
					return y
				}
				return x
			})),
	}
}

// checked is an expression that passed the type check.
type checked struct {
	env *cel.Env
	ast *cel.Ast
}

// checkExpression parses and checks an expression over the row as it is now.
func (c *compiler) checkExpression(text string) (*checked, bool) {
	if strings.TrimSpace(text) == "" {
		c.problem("expression", "", "an expression is required")
		return nil, false
	}
	env, err := newEnv(c.root.batchType())
	if err != nil {
		c.problem("expression", "", "the columns cannot be declared: %s", err)
		return nil, false
	}
	ast, issues := env.Compile(text)
	if issues == nil || issues.Err() == nil {
		ch := &checked{env, ast}
		return ch, c.checkCost(ch)
	}

	for _, e := range issues.Errors() {
		message := wrapper.ReplaceAllString(strings.ReplaceAll(e.Message, " (in container '')", ""), "$1")
		hint, known := c.expressionHint(message)
		if known {
			continue
		}

		at := e.Location.Column() + 1
		c.problem("expression", hint, "line %d, position %d: %s", e.Location.Line(), at, message)
	}
	return nil, false
}

// wrapper is how CEL calls a type with null; users need not know.
var wrapper = regexp.MustCompile(`wrapper\((\w+)\)`)

// typeName writes a CEL type for messages.
func typeName(t *types.Type) string { return wrapper.ReplaceAllString(cel.FormatCELType(t), "$1") }

var quoted = regexp.MustCompile(`^(undeclared reference to|undefined field) '([^']*)'`)

// expressionHint helps with what CEL's checker says; known: it follows from a problem that was reported already.
func (c *compiler) expressionHint(message string) (hint string, known bool) {
	if m := quoted.FindStringSubmatch(message); m != nil {
		if m[1] == "undeclared reference to" && c.missing[m[2]] {
			return "", true
		}
		var names []string
		c.root.walk("", func(_ string, n *node) { names = append(names, n.name) })
		if best := nearest(m[2], names); best != "" && best != m[2] {
			return fmt.Sprintf("did you mean %q?", best), false
		}
		if slices.Contains(names, m[2]) {
			return fmt.Sprintf("write row.`%s` for a name that is no identifier; maps with keys other than strings, whole numbers and booleans cannot be used", m[2]), false
		}
		return "", false
	}
	if strings.Contains(message, "no matching overload") {
		switch {
		case strings.Contains(message, "decimal"):
			return `compare decimals with decimal("1.50") or a whole number on the right`, false
		case strings.Contains(message, ", null)") || strings.Contains(message, "(null,"):
			return "the column can never be null; for lists and maps use isNull(x)", false
		case strings.Contains(message, "double") && strings.Contains(message, "int"):
			return "write 10.0 for a double, or convert with double(x) or int(x)", false
		}
	}
	return "", false
}
