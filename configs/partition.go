package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Transform is one entry of partition_by: an Iceberg transform of a column.
type Transform struct {
	Name   string // identity, year, month, day, hour, bucket or truncate
	Param  int    // the number of buckets, or the width to truncate to; else 0
	Column string // path
}

// String writes the transform as it is written in a configuration.
func (t Transform) String() string {
	switch t.Name {
	case "identity":
		return t.Column
	case "bucket", "truncate":
		return fmt.Sprintf("%s(%d, %s)", t.Name, t.Param, t.Column)
	}
	return t.Name + "(" + t.Column + ")"
}

var (
	call       = regexp.MustCompile(`^([A-Za-z_]+)\s*\(\s*(.*?)\s*\)$`)
	transforms = []string{"identity", "year", "month", "day", "hour", "bucket", "truncate"}
)

// ParseTransform reads an entry of partition_by: country, identity(country), day(ts), bucket(16, id), truncate(4, sku).
func ParseTransform(text string) (Transform, error) {
	m := call.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		if strings.ContainsAny(text, "()") {
			return Transform{}, fmt.Errorf("%q is not a transform of a column: the parentheses do not match", text)
		}
		return checked(Transform{Name: "identity", Column: strings.TrimSpace(text)})
	}
	name, args := m[1], strings.Split(m[2], ",")
	for i := range args {
		args[i] = strings.TrimSpace(args[i])
	}
	switch name {
	case "bucket", "truncate":
		if len(args) != 2 {
			return Transform{}, fmt.Errorf("%s needs a number and a column: %s(16, id)", name, name)
		}
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 1 || n > 1<<20 {
			return Transform{}, fmt.Errorf("%s needs a number from 1 to 1048576 first, not %q", name, args[0])
		}
		return checked(Transform{name, n, args[1]})
	case "identity", "year", "month", "day", "hour":
		if len(args) != 1 {
			return Transform{}, fmt.Errorf("%s takes one column: %s(ts)", name, name)
		}
		return checked(Transform{Name: name, Column: args[0]})
	}
	hint := "known are " + strings.Join(transforms, ", ")
	if c := nearest(name, transforms); c != "" {
		hint = "did you mean " + c + "?"
	}
	return Transform{}, fmt.Errorf("there is no transform %s; %s", name, hint)
}

func checked(t Transform) (Transform, error) {
	if err := checkPath(t.Column); err != nil {
		return Transform{}, err
	}
	if strings.ContainsAny(t.Column, "[]{}") {
		return Transform{}, fmt.Errorf("%s is in a list or map, which cannot be partitioned by", t.Column)
	}
	return t, nil
}

// checkPath checks the form of a column path: names with dots between, [] or {} after a list or map.
func checkPath(path string) error {
	if path == "" {
		return fmt.Errorf("the column has no name")
	}
	for part := range strings.SplitSeq(path, ".") {
		name := part
		for strings.HasSuffix(name, "[]") || strings.HasSuffix(name, "{}") {
			name = name[:len(name)-2]
		}
		if name == "" || strings.ContainsAny(name, "[]{}()\t\n") || name != strings.TrimSpace(name) {
			return fmt.Errorf("%q is not a column path such as city, address.street, items[].sku or attributes{}", path)
		}
	}
	return nil
}
