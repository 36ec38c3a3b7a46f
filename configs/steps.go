package configs

// Step is one cleanse step: exactly one of its fields is set. Columns are paths: city, address.street,
// items[].sku (every element), attributes{} (every value of a map).
type Step struct {
	// Name shows in counters and dead letters. Default: the kind with its position, e.g. "cleanse[3] validate".
	Name string `yaml:"name"`

	// Trim takes white space away at both ends of text.
	Trim *ColumnsStep `yaml:"trim"`
	// Lower makes text lower case.
	Lower *ColumnsStep `yaml:"lower"`
	// Upper makes text upper case.
	Upper *ColumnsStep `yaml:"upper"`
	// NormalizeSpaces trims text, and makes one space of each run of white space within it.
	NormalizeSpaces *ColumnsStep `yaml:"normalize_spaces"`
	// NormalizeUnicode brings text into a Unicode normal form, so that equal text has equal bytes.
	NormalizeUnicode *UnicodeStep `yaml:"normalize_unicode"`
	// Replace replaces every match of a regular expression.
	Replace *ReplaceStep `yaml:"replace"`
	// MapValues replaces values by others.
	MapValues *MapStep `yaml:"map"`
	// Default fills nulls.
	Default *DefaultStep `yaml:"default"`
	// Cast changes a column's type.
	Cast *CastStep `yaml:"cast"`
	// ParseTimestamp parses text, or takes a number as time since the epoch.
	ParseTimestamp *TimestampStep `yaml:"parse_timestamp"`
	// Rename renames columns.
	Rename *RenameStep `yaml:"rename"`
	// Drop takes columns away.
	Drop *ColumnsStep `yaml:"drop"`
	// Select keeps the columns named and takes the others away.
	Select *ColumnsStep `yaml:"select"`
	// Derive adds a column, or replaces one, by an expression over the row.
	Derive *DeriveStep `yaml:"derive"`
	// Mask hides parts of text.
	Mask *MaskStep `yaml:"mask"`
	// Hash replaces values by a keyed hash: the same for the same value and key, and of no use without the key.
	Hash *HashStep `yaml:"hash"`
	// Validate sends rows that break a rule to the dead letters.
	Validate *ValidateStep `yaml:"validate"`
	// Filter keeps the rows for which an expression is true. The others are counted as filtered.
	Filter *FilterStep `yaml:"filter"`
	// Deduplicate drops rows whose key was seen at another offset within a window.
	Deduplicate *DeduplicateStep `yaml:"deduplicate"`
}

// ColumnsStep is a step whose only parameter is its columns.
type ColumnsStep struct {
	// Columns the step works on.
	Columns []string `yaml:"columns" rule:"required;short"`
}

// UnicodeStep brings text into a Unicode normal form.
type UnicodeStep struct {
	// Columns the step works on.
	Columns []string `yaml:"columns" rule:"required;short"`
	// Form is NFC (default), NFD, NFKC or NFKD.
	Form string `yaml:"form" rule:"enum=NFC|NFD|NFKC|NFKD"`
}

// ReplaceStep replaces every match of a regular expression (RE2 syntax).
type ReplaceStep struct {
	// Columns the step works on.
	Columns []string `yaml:"columns" rule:"required"`
	// Pattern is an RE2 regular expression.
	Pattern string `yaml:"pattern" rule:"required"`
	// With is the replacement; $1 or ${name} stand for groups. Left out: matches are taken away.
	With string `yaml:"with"`
}

// MapStep replaces values by others.
type MapStep struct {
	// Columns the step works on (strings).
	Columns []string `yaml:"columns" rule:"required"`
	// Values maps old to new.
	Values map[string]string `yaml:"values" rule:"required"`
	// IgnoreCase compares without regard to case. Default false.
	IgnoreCase bool `yaml:"ignore_case"`
	// Otherwise is what happens to other values: keep (default), null or dead_letter.
	Otherwise string `yaml:"otherwise" rule:"enum=keep|null|dead_letter"`
}

// DefaultStep fills nulls.
type DefaultStep struct {
	// Columns the step works on.
	Columns []string `yaml:"columns" rule:"required"`
	// Value in the column's type, written as text; it may be empty text. The column becomes required.
	Value string `yaml:"value" rule:"present"`
}

// CastStep changes the type.
type CastStep struct {
	// Columns the step works on.
	Columns []string `yaml:"columns" rule:"required"`
	// To is the new type: boolean, int, long, float, double, decimal(P,S), date, time, timestamp, timestamptz, string, uuid, binary.
	To string `yaml:"to" rule:"required"`
	// OnError is dead_letter (default) or null.
	OnError string `yaml:"on_error" rule:"enum=dead_letter|null"`
}

// TimestampStep parses text, or takes a number as time since the epoch.
type TimestampStep struct {
	// Columns the step works on: strings, ints, longs.
	Columns []string `yaml:"columns" rule:"required;short"`
	// Formats are tried in order: Go layouts, strftime (%Y-%m-%d), or iso8601 (default), unix_s, unix_ms, unix_us, unix_ns.
	Formats []string `yaml:"formats"`
	// Zone of text without an offset, an IANA name. Default UTC.
	Zone string `yaml:"zone"`
	// To is timestamptz (default), timestamp, date or time.
	To string `yaml:"to" rule:"enum=timestamptz|timestamp|date|time"`
	// OnError is dead_letter (default) or null.
	OnError string `yaml:"on_error" rule:"enum=dead_letter|null"`
}

// RenameStep renames columns.
type RenameStep struct {
	// Columns maps old paths to new names.
	Columns map[string]string `yaml:"columns" rule:"required;short"`
}

// DeriveStep adds a column, or replaces one, by an expression (CEL) over the row.
type DeriveStep struct {
	// Column to add or replace (top level).
	Column string `yaml:"column" rule:"required"`
	// Expression in CEL; columns are variables.
	Expression string `yaml:"expression" rule:"required"`
	// Type of the column; default: the expression's.
	Type string `yaml:"type"`
	// OnError is dead_letter (default) or null.
	OnError string `yaml:"on_error" rule:"enum=dead_letter|null"`
}

// MaskStep hides parts of text.
type MaskStep struct {
	// Columns the step works on.
	Columns []string `yaml:"columns" rule:"required;short"`
	// Style is all (default: every character becomes *), keep_last_4, keep_first_1, email (a***@example.org), ip (last IPv4 octet
	// or last 80 bits of IPv6 become 0), or null.
	Style string `yaml:"style" rule:"enum=all|keep_last_4|keep_first_1|email|ip|null"`
}

// HashStep replaces values by a keyed hash (HMAC-SHA-256, hex), the same for the same value and key.
type HashStep struct {
	// Columns the step works on (strings, binaries, ints, longs).
	Columns []string `yaml:"columns" rule:"required"`
	// Key is the secret; write ${env:NAME} or ${file:PATH}. Required.
	Key string `yaml:"key" rule:"required;secret"`
	// Length of the hex text. Default 64.
	Length int `yaml:"length" rule:"range=8:64"`
}

// ValidateStep sends rows that break a rule to the dead letters.
type ValidateStep struct {
	// Columns the rules hold for; to be left out for an expression alone.
	Columns []string `yaml:"columns"`
	// Required refuses null.
	Required bool `yaml:"required"`
	// Min is the least value of numbers, dates and times, written in the column's type. Left out: no bound.
	Min *string `yaml:"min"`
	// Max is the greatest value, likewise. Left out: no bound.
	Max *string `yaml:"max"`
	// MinLength is the least length of text (characters), binaries (bytes), lists and maps (entries). Left out: no bound.
	MinLength *int `yaml:"min_length" rule:"range=0:"`
	// MaxLength is the greatest length, likewise. Left out: no bound.
	MaxLength *int `yaml:"max_length" rule:"range=0:"`
	// Pattern is an RE2 expression that must match the whole text; left out: any text.
	Pattern string `yaml:"pattern"`
	// OneOf lists the values allowed; left out: all.
	OneOf []string `yaml:"one_of"`
	// Expression in CEL that must be true; left out: none.
	Expression string `yaml:"expression" rule:"short"`
}

// FilterStep keeps the rows for which an expression is true; the others are counted as filtered.
type FilterStep struct {
	// Expression in CEL; columns are variables. Null counts as false.
	Expression string `yaml:"expression" rule:"required;short"`
	// Drop turns it round: rows for which it is true are dropped.
	Drop bool `yaml:"drop"`
}

// DeduplicateStep drops rows whose key was seen at another offset within the window.
type DeduplicateStep struct {
	// Key columns (top level).
	Key []string `yaml:"key" rule:"required;short"`
	// Window of Kafka time within which keys are remembered. Default 10m.
	Window Duration `yaml:"window" rule:"range=1s:7d"`
	// MaxEntries bounds memory; the oldest keys are forgotten first. Default 1000000.
	MaxEntries int `yaml:"max_entries" rule:"range=1:1000000000"`
}
