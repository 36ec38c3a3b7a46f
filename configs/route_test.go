package configs

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRouteNamesTables(t *testing.T) {
	long := strings.Repeat("x", 130)
	for _, c := range []struct {
		template, value, want string
	}{
		{"events_${value}", "click", "events_click"},
		{"events_${value}", "Click", "events_click"},
		{"events_${value}", "add to cart/v2", "events_add_to_cart_v2"},
		{"events_${value}", "größe", "events_gr__e"},
		{"events_${value}", "\xff\x00", "events___"},
		{"n.${value}", "1st", "n._1st"},
		{"${value}_raw", "orders.eu", "orders_eu_raw"},
		{"n.${value}", long, ""},
		{"Long_${value}", long[:123], "Long_" + long[:123]},
		{"Long_${value}", long[:124], ""},
		{"e_${value}", "", ""},
		{"", "click", ""},
	} {
		r := Route{Template: c.template, Allow: []string{"*"}}
		if got, made := r.Named(c.value); got != c.want || made != (got != "") && got != "" {
			t.Errorf("%s of %q is %q, want %q", c.template, c.value, got, c.want)
		}
	}
	r := Route{Tables: map[string]string{"click": "clicks", "": "none"}, Template: "e_${value}", Allow: []string{"cl*", "buy_?"}}
	for value, want := range map[string]string{"click": "clicks", "clack": "e_clack", "": "none", "buy_1": "e_buy_1", "buy_12": "", "Click": ""} {
		if got, _ := r.Named(value); got != want {
			t.Errorf("%q goes to %q, want %q", value, got, want)
		}
	}
}

// Patterns match what the same regular expression matches.
func TestRoutePatterns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*?ü.]{0,8}`).Draw(t, "pattern")
		text := rapid.StringMatching(`[abü.\n]{0,10}`).Draw(t, "text")
		re := regexp.MustCompile(`(?s)^` + strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern)) + `$`)
		if got, want := matches(pattern, text), re.MatchString(text); got != want {
			t.Fatalf("%q matches %q: %v, want %v", pattern, text, got, want)
		}
	})
}
