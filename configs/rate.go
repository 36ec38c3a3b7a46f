package configs

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// ParseRate reads 1/s, 30/m or 100/h, and gives the time between two of them.
func ParseRate(text string) (time.Duration, error) {
	number, unit, _ := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.ParseInt(number, 10, 32)
	if err != nil || n < 1 || per == 0 {
		return 0, fmt.Errorf("%q is no rate", text)
	}
	return per / time.Duration(n), nil
}

// TemplateFuncs are what templates have besides Go's own functions.
func TemplateFuncs() template.FuncMap {
	return template.FuncMap{"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	}}
}
