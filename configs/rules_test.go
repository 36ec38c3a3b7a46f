package configs

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lakeloader/lakeloader/configs/internal/setting"
)

// TestRulesMakeSense checks that the rules in the tags can be read, and that every default keeps them.
func TestRulesMakeSense(t *testing.T) {
	c := &Config{Pipelines: []Pipeline{{Decode: Decode{Value: Format{Format: "json"}}}}}
	for _, s := range setting.Of(reflect.TypeFor[Step]()) {
		if s.Type.Kind() == reflect.Pointer {
			c.Pipelines[0].Cleanse = append(c.Pipelines[0].Cleanse, Step{})
			emptyKind(&c.Pipelines[0].Cleanse[len(c.Pipelines[0].Cleanse)-1], s.Name)
		}
	}
	ApplyDefaults(c)
	count := 0
	eachSetting(reflect.ValueOf(c).Elem(), "", func(path string, s setting.Setting, v reflect.Value) {
		for _, end := range []string{s.Min, s.Max} {
			if end == "" {
				continue
			}
			count++
			fresh := reflect.New(s.Type).Elem()
			if fresh.Kind() == reflect.Pointer {
				fresh = reflect.New(s.Type.Elem()).Elem()
			}
			if limit(end, fresh.Interface()) == 0 && end != "0" && end != "0s" {
				t.Errorf("%s: the end of a range %q cannot be read", path, end)
			}
		}
		if len(s.Enum) > 0 && !v.IsZero() && !slices.Contains(s.Enum, v.String()) {
			t.Errorf("%s: the default %q is not one of %v", path, v.String(), s.Enum)
		}
	})
	if count < 20 {
		t.Errorf("only %d ends of ranges were looked at", count)
	}
	v := &validator{}
	v.declared(reflect.ValueOf(c).Elem(), "")
	for _, p := range v.problems {
		if !strings.Contains(p.Message, " needs ") { // what is required has no default
			t.Errorf("a default breaks a rule: %s", p)
		}
	}
}
