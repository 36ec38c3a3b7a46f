package forget

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/hamba/avro/v2/ocf"

	"github.com/lakeloader/lakeloader/objects"
	"github.com/lakeloader/lakeloader/table"
)

// strays looks at manifests in the table's folder that no snapshot refers to, such as those of swaps that lost a race. They list files with
// the bounds of their columns, too.
func (p *Prover) strays(ctx context.Context, id table.Ident, listed []objects.Info, refs *table.References, looks Looks, out *Proof) error {
	for _, o := range listed {
		if _, live := refs.Content[o.URI]; live || !strings.HasSuffix(o.URI, ".avro") {
			continue
		}
		data, err := objects.Read(ctx, p.Objects, o.URI)
		if errors.Is(err, objects.ErrNotFound) {
			continue // it has just been deleted
		}
		if err != nil {
			return err
		}
		out.Objects, out.Opened, out.Bytes = out.Objects+1, out.Opened+1, out.Bytes+o.Size
		name, err := boundedIn(data, looks)
		h := Holder{Table: id.String(), URI: o.URI, Until: o.Modified.Add(p.OrphanAge)}
		switch {
		case err != nil:
			h.Why = fmt.Sprintf("it cannot be looked into: %v", err)
		case name != "":
			h.Why = fmt.Sprintf("no snapshot refers to it, and it lists %s with bounds of columns that may be the person's values; job orphans deletes it when it is old enough", path.Base(name))
		default:
			continue
		}
		out.Holders = append(out.Holders, h)
	}
	return nil
}

// boundedIn finds a file in a manifest whose bounds may be values of the persons; a manifest list has none.
func boundedIn(data []byte, looks Looks) (file string, err error) {
	d, err := ocf.NewDecoder(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	for d.HasNext() {
		var entry map[string]any
		if err := d.Decode(&entry); err != nil {
			return "", err
		}
		f, ok := entry["data_file"].(map[string]any)
		if !ok {
			return "", nil
		}
		x := table.File{LowerBounds: boundsOf(f["lower_bounds"]), UpperBounds: boundsOf(f["upper_bounds"])}
		if x.Path, _ = f["file_path"].(string); looks.Bounds(&x) {
			return x.Path, nil
		}
	}
	return "", d.Error()
}

// boundsOf reads a map that is an array of keys and values in Avro, perhaps in a union.
func boundsOf(v any) map[int][]byte {
	if u, ok := v.(map[string]any); ok {
		v = u["array"]
	}
	list, _ := v.([]any)
	out := map[int][]byte{}
	for _, x := range list {
		pair, _ := x.(map[string]any)
		value, _ := pair["value"].([]byte)
		switch k := pair["key"].(type) {
		case int:
			out[k] = value
		case int32:
			out[int(k)] = value
		}
	}
	return out
}
