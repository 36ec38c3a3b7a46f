package schemas

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// valueError says which value of a payload is wrong: the innermost decoder makes it, the enclosing ones prepend their
// part of the path on the way out, so that the path costs nothing while all is well.
type valueError struct {
	path   string
	reason string
}

func (e *valueError) Error() string {
	if e.path == "" {
		return e.reason
	}
	return e.path + ": " + e.reason
}

func failf(format string, args ...any) error {
	return &valueError{reason: fmt.Sprintf(format, args...)}
}

// inField, inElement and inEntry prepend a field's name, a list's index and a map's key to an error's path.
func inField(err error, name string) error { return within(err, name) }
func inElement(err error, i int) error     { return within(err, "["+strconv.Itoa(i)+"]") }
func inEntry(err error, key string) error {
	return within(err, "["+strconv.Quote(shown([]byte(key)))+"]")
}
func isBracket(path string) bool { return path == "" || path[0] == '[' }
func within(err error, outer string) error {
	e, ok := err.(*valueError)
	if !ok {
		e = &valueError{reason: err.Error()}
	}
	if isBracket(e.path) {
		e.path = outer + e.path
	} else {
		e.path = outer + "." + e.path
	}
	return e
}

// shown shortens text from a payload for a message.
func shown(b []byte) string {
	const most = 60
	if len(b) > most {
		n := most
		for n > most-utf8.UTFMax && !utf8.RuneStart(b[n]) {
			n--
		}
		return strings.ToValidUTF8(string(b[:n]), "\uFFFD") + "..."
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}
