package cleanse_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

func hashValue(s *configs.HashStep, t *batch.Type, v any) any {
	if v == nil {
		return nil
	}
	var text []byte
	switch x := v.(type) {
	case string:
		text = []byte(x)
	case []byte:
		text = x
		if t.Kind == batch.UUID {
			text = []byte(uuidText(x))
		}
	case int64:
		text = []byte(strconv.FormatInt(x, 10))
	}
	m := hmac.New(sha256.New, []byte(s.Key))
	m.Write(text)
	out := hex.EncodeToString(m.Sum(nil))
	if s.Length > 0 {
		out = out[:s.Length]
	}
	return out
}

func maskText(style, v string) string {
	stars := func(s string) string { return strings.Repeat("*", utf8.RuneCountInString(s)) }
	r := []rune(v)
	var n int
	switch {
	case style == "email":
		name, domain, ok := v[:max(0, strings.LastIndex(v, "@"))], v[strings.LastIndex(v, "@")+1:], strings.Contains(v, "@")
		if !ok || name == "" || domain == "" {
			return stars(v)
		}
		first := string([]rune(name)[:1])
		if first == name {
			first = ""
		}
		return first + "***@" + domain
	case style == "ip":
		a, err := netip.ParseAddr(v)
		if err != nil {
			return stars(v)
		}
		if a.Is4() {
			b := a.As4()
			b[3] = 0
			return netip.AddrFrom4(b).String()
		}
		b := a.As16()
		for i := 6; i < 16; i++ {
			b[i] = 0
		}
		return netip.AddrFrom16(b).String()
	case strings.HasPrefix(style, "keep_last_"):
		mustScan(style, "keep_last_%d", &n)
		if len(r) <= n {
			return stars(v)
		}
		return stars(string(r[:len(r)-n])) + string(r[len(r)-n:])
	case strings.HasPrefix(style, "keep_first_"):
		mustScan(style, "keep_first_%d", &n)
		if len(r) <= n {
			return stars(v)
		}
		return string(r[:n]) + stars(string(r[n:]))
	}
	return stars(v)
}

func validate(s *configs.ValidateStep, t *batch.Type, row any) {
	each(t, row, s.Columns, func(ct *batch.Type, v any) any {
		if v == nil {
			if s.Required {
				panic(rejected{})
			}
			return v
		}
		if s.Min != nil && !(compareTexts(ct, v, *s.Min) >= 0) || s.Max != nil && !(compareTexts(ct, v, *s.Max) <= 0) {
			panic(rejected{})
		}
		n := 0
		switch x := v.(type) {
		case string:
			n = utf8.RuneCountInString(x)
			if s.Pattern != "" && !regexp.MustCompile("^(?:"+s.Pattern+")$").MatchString(x) {
				panic(rejected{})
			}
		case []byte:
			n = len(x)
		case []any:
			n = len(x)
		case entries:
			n = len(x)
		}
		if s.MinLength != nil && n < *s.MinLength || s.MaxLength != nil && n > *s.MaxLength {
			panic(rejected{})
		}
		if len(s.OneOf) > 0 {
			found := false
			for _, text := range s.OneOf {
				allowed := convert(batch.Prim(batch.String), ct, text, "")
				if f, ok := v.(float64); ok {
					found = found || f == allowed
				} else {
					found = found || toJSON(ct, allowed) == toJSON(ct, v)
				}
			}
			if !found {
				panic(rejected{})
			}
		}
		return v
	})
	if s.Expression != "" {
		if truth, _ := evaluate(s.Expression, t, row); truth != true {
			panic(rejected{})
		}
	}
}

// compareTexts compares a number or time with a bound; 2: not comparable.
func compareTexts(t *batch.Type, v any, bound string) int {
	switch x := v.(type) {
	case float64:
		f, _ := strconv.ParseFloat(bound, 64)
		if math.IsNaN(x) {
			panic(rejected{})
		}
		return big.NewFloat(x).Cmp(big.NewFloat(f))
	case *big.Int:
		b, _ := new(big.Rat).SetString(bound)
		return decimalRat(x, t.Scale).Cmp(b)
	}
	b := convert(batch.Prim(batch.String), t, bound, "").(int64)
	switch x := v.(int64); {
	case x < b:
		return -1
	case x > b:
		return 1
	}
	return 0
}

func (in *interpreter) deduplicate(n int, row any, from origin) {
	s := in.steps[n].Deduplicate
	key := ""
	for _, c := range s.Key {
		v := row.(fields)[c]
		if v == nil {
			return
		}
		if f, ok := v.(float64); ok {
			v = f + 0 // minus zero is zero
		}
		key += fmt.Sprintf("%d:%s;", len(fmt.Sprint(v)), fmt.Sprint(v))
	}
	window := time.Duration(s.Window).Milliseconds()
	if window == 0 {
		window = 600_000
	}
	old, ok := in.seen[n][key]
	if ok && old.partition == from.partition && old.offset == from.offset {
		return
	}
	if ok && max(old.ts-from.ts, from.ts-old.ts) <= window {
		panic(filtered{})
	}
	in.seen[n][key] = from
}

func mustScan(text, format string, n *int) {
	if _, err := fmt.Sscanf(text, format, n); err != nil {
		panic(fmt.Sprintf("%q: %v", text, err))
	}
}
