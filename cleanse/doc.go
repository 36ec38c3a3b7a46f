// Package cleanse applies the declared, typed steps of a pipeline's configuration to batches. Compile checks the
// steps against the row type that the decoder gives and says what the row type is afterwards; Program.Apply then
// changes whole columns. It is pure: no I/O, no clock.
//
// # Paths
//
// A step names columns by path: city, address.street, items[].sku (every element), attributes{} (every value of a
// map), attributes{}.x. A step never changes the length of a list or map. A path that leads through a null struct,
// or an empty list or map, has no value there, not even a null one: no rule looks at it, and default does not fill it.
//
// # Required and optional
//
// A step that can give null makes its column optional: cast and parse_timestamp with on_error null, map with
// otherwise null, mask with style null, and derive when it reads an optional column or has on_error null. default
// and validate with required make it required. So the row type after all steps is known before the first record.
//
// # Fates
//
// A row that breaks a rule is rejected (a dead letter), whole, even if the rule was broken by one element of a list;
// the reason names it: "items[2].price: 12 is above the maximum 10". A reason shows at most 64 characters of a value,
// and nothing of a column that a mask or hash step touches anywhere in the list, nor of columns derived from it or
// that it was derived from. Later steps do not judge a row that already has another fate.
//
// # Expressions
//
// Expressions are CEL, type-checked by Compile. Columns are variables; row.NAME works too, and with back quotes for
// names that are no identifiers (row.`platform-version`). Types: boolean is bool; int and long are int; float and
// double are double; string and uuid (36 characters) are string; fixed and binary are bytes; date (midnight),
// timestamp (taken as UTC) and timestamptz are timestamp; time is duration since midnight; decimal is an exact type
// of its own with comparisons, + - *, decimal("1.50"), decimal(2) and string(d); structs, lists and maps are such.
// Added functions: those of the CEL strings extension, isNull(x) and coalesce(x, y).
//
// Null follows CEL: == and != take null as a value (country != "DE" is true where country is null), every other
// operator and function fails on null. Where an expression fails because of null, filter and validate take it as
// false and derive as null. Any other failure (division by zero, overflow, a missing map key) makes the row a dead
// letter, or the derived value null with on_error null.
//
// Simple expressions run as column kernels, the others in cel-go row by row; Program.Explain says which.
package cleanse
