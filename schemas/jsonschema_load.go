package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// jsonSchemaURL is the base of a schema that has no $id.
const jsonSchemaURL = "mem:///schema.json"

// jsonDocs are the documents that a JSON Schema consists of, by URL: what the library's compiled schemas leave out (the
// order of properties, extension keywords) is looked up here.
type jsonDocs struct {
	refs  map[string]string // references by the name that they are imported with
	files bool              // file: URLs may be read
	// connect: the titles of Debezium's types count.
	connect bool
	docs    map[string]*jsonDoc
}

// jsonDoc is a JSON value whose objects keep their order.
type jsonDoc struct {
	names   []string // of an object
	members []*jsonDoc
	value   any // of what is neither object nor array
}

// compileJSONSchema validates a schema against its meta-schema and resolves its references, which are refs only.
func compileJSONSchema(at, text string, d *jsonDocs) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	// What registries and Java serializers assume where $schema does not say.
	c.DefaultDraft(jsonschema.Draft7)
	c.UseLoader(d)
	doc, err := d.add(at, text)
	if err != nil {
		return nil, fmt.Errorf("JSON schema: %w", err)
	}
	if err := c.AddResource(at, doc); err != nil {
		return nil, fmt.Errorf("JSON schema: %w", err)
	}
	s, err := c.Compile(at)
	if err != nil {
		return nil, fmt.Errorf("JSON schema: %w", err)
	}
	return s, nil
}

func newJSONDocs(refs []Reference) *jsonDocs {
	d := &jsonDocs{refs: map[string]string{}, docs: map[string]*jsonDoc{}}
	d.addRefs(refs)
	return d
}

func (d *jsonDocs) addRefs(refs []Reference) {
	for _, r := range refs {
		if _, ok := d.refs[r.Name]; !ok {
			d.refs[r.Name] = r.Text
			d.addRefs(r.Refs)
		}
	}
}

// Load implements jsonschema.URLLoader. A reference's name is its URL, or the last part of it: the longest such
// name counts.
func (d *jsonDocs) Load(at string) (any, error) {
	if text, ok := d.refs[at]; ok {
		return d.add(at, text)
	}
	best := ""
	for name := range d.refs {
		if len(name) > len(best) && strings.HasSuffix(at, "/"+strings.TrimLeft(name, "/")) {
			best = name
		}
	}
	if best != "" {
		return d.add(at, d.refs[best])
	}
	if u, err := url.Parse(at); d.files && err == nil && u.Scheme == "file" {
		text, err := os.ReadFile(filepath.FromSlash(u.Path))
		if err != nil {
			return nil, err
		}
		return d.add(at, string(text))
	}
	return nil, errors.New("it is not among the schema's references, and nothing is fetched from elsewhere")
}

func (d *jsonDocs) add(at, text string) (any, error) {
	doc, err := parseJSONDoc(text)
	if err != nil {
		return nil, err
	}
	d.docs[at] = doc
	return jsonschema.UnmarshalJSON(strings.NewReader(text))
}

// find returns what a compiled schema was made from; an empty document for the library's own meta-schemas.
func (d *jsonDocs) find(location string) *jsonDoc {
	at, pointer, _ := strings.Cut(location, "#")
	doc := d.docs[at]
	if pointer, err := url.PathUnescape(pointer); err == nil && doc != nil {
		for _, name := range strings.Split(pointer, "/")[1:] {
			name = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
			if doc = doc.get(name); doc == nil {
				break
			}
		}
	}
	if doc == nil {
		return &jsonDoc{}
	}
	return doc
}

// get returns an object's member, or an array's by its index; nil: none.
func (n *jsonDoc) get(name string) *jsonDoc {
	if n.names == nil {
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.members) {
			return n.members[i]
		}
		return nil
	}
	for i := len(n.names) - 1; i >= 0; i-- {
		if n.names[i] == name {
			return n.members[i]
		}
	}
	return nil
}

// text returns a member that is text or a number as text; "" if there is none.
func (n *jsonDoc) text(name string) string {
	m := n.get(name)
	if m == nil {
		return ""
	}
	switch v := m.value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func parseJSONDoc(text string) (*jsonDoc, error) {
	// The scanner bounds the depth, which the recursion below rests on.
	s := jsonScan{b: []byte(text)}
	if err := s.skip(0); err != nil {
		return nil, err
	}
	if err := s.end(); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(s.b))
	dec.UseNumber()
	return readJSONDoc(dec)
}

func readJSONDoc(dec *json.Decoder) (*jsonDoc, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	n := &jsonDoc{}
	delim, ok := tok.(json.Delim)
	if !ok {
		n.value = tok
		return n, nil
	}
	if delim == '{' {
		n.names = []string{}
	}
	for dec.More() {
		if delim == '{' {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			text, ok := name.(string)
			if !ok {
				return nil, io.ErrUnexpectedEOF
			}
			n.names = append(n.names, text)
		}
		m, err := readJSONDoc(dec)
		if err != nil {
			return nil, err
		}
		n.members = append(n.members, m)
	}
	_, err = dec.Token()
	return n, err
}
