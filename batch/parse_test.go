package batch

import (
	"strings"
	"testing"
)

func TestParseTypeRoundTrip(t *testing.T) {
	for _, text := range []string{"boolean", "int", "long", "float", "double", "decimal(12,2)", "decimal(38,38)", "date", "time",
		"timestamp", "timestamptz", "string", "uuid", "binary", "fixed[16]", "list<string>", "list<long required>",
		"map<string required, long>", "map<int required, list<double> required>",
		"struct<a: int required, b: string>", "list<struct<a: map<string required, struct<x-y: decimal(9,0)>>>>"} {
		typ, err := ParseType(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if typ.String() != text {
			t.Errorf("%s became %s", text, typ)
		}
	}
}

func TestParseTypeForms(t *testing.T) {
	for text, want := range map[string]string{
		" map < string ,long > ":       "map<string required, long>",
		"decimal( 5 )":                 "decimal(5,0)",
		"struct<a:int,b:string>":       "struct<a: int, b: string>",
		`struct<"a b": int, "ü": int>`: "struct<a b: int, ü: int>",
		"struct<naïve: date>":          "struct<naïve: date>",
	} {
		typ, err := ParseType(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if typ.String() != want {
			t.Errorf("%s became %s, not %s", text, typ, want)
		}
	}
	typ, required, err := ParseColumn("decimal(12, 2) required")
	if err != nil || !required || typ.String() != "decimal(12,2)" {
		t.Errorf("%v %v %v", typ, required, err)
	}
}

func TestParseTypeErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                            "position 1: a type expected, but the text ends",
		"integer":                     "position 1: unknown type \"integer\" (is int meant?)",
		"Long":                        "(is long meant?)",
		"list<strin>":                 "position 6: unknown type \"strin\"",
		"list<string":                 "position 12: \">\" expected, but the text ends",
		"list string":                 "position 6: \"<\" expected, not \"string\"",
		"decimal(39,2)":               "position 9: a precision from 1 to 38 expected",
		"decimal(5,6)":                "position 11: a scale from 0 to 5 expected",
		"decimal(99999999999999999)":  "position 9: a precision",
		"decimal":                     "position 8: \"(\" expected",
		"fixed[0]":                    "position 7: a length",
		"struct<a: int, a: long>":     "position 16: the field \"a\" is there twice",
		"struct<>":                    "position 8: a field's name expected, not \">\"",
		"struct<ü: int, : long>":      "position 16: a field's name expected",
		`struct<"a: int>`:             "position 8: the quoted name does not end",
		"long required x":             "position 15: unexpected \"x\"",
		"long optional":               "position 6: \"required\" expected after the type, or nothing, not \"optional\"",
		"map<list<int>, int>":         "a map's key cannot be a list",
		"long required":               "a bare type cannot be required",
		strings.Repeat("list<", 1000): "types nest deeper than 64",
	} {
		typ, err := ParseType(text)
		if err == nil {
			t.Errorf("%q: no error but %s", text, typ)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; wanted %s", text, err, want)
		}
	}
}

func FuzzParseType(f *testing.F) {
	for _, s := range []string{"struct<a: int required, b: list<map<string, decimal(3,1)>>>", "fixed[3]", `struct<"\u00e9": int>`, "map<", strings.Repeat("\xb8", 30)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		typ, err := ParseType(text)
		if (typ == nil) != (err != nil) {
			t.Fatalf("%q: %v, %v", text, typ, err)
		}
	})
}
