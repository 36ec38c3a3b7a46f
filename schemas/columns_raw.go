package schemas

import (
	"fmt"

	"github.com/lakeloader/lakeloader/batch"
)

// ParseRaw is the schema of payloads that stay what they are: one required string column "value" with the payload's
// text. A payload that is no UTF-8 is an error.
func ParseRaw() Schema {
	return rawSchema{row: batch.StructOf(batch.Field{Name: "value", Type: batch.Prim(batch.String), Required: true})}
}

type rawSchema struct{ row *batch.Type }

func (s rawSchema) Row() *batch.Type { return s.row }

func (s rawSchema) Compile(target *batch.Type) (Plan, error) {
	p := &rawPlan{value: target.Index("value")}
	if p.value < 0 || target.Fields[p.value].Type.Kind != batch.String {
		return nil, fmt.Errorf("field value: a string column expected in %s", target)
	}
	for i, f := range target.Fields {
		if i != p.value && f.Required {
			return nil, fmt.Errorf("field %s: the schema does not have it, so it cannot be required", f.Name)
		}
	}
	return p, nil
}

type rawPlan struct{ value int }

// Append implements Plan.
func (p *rawPlan) Append(r *batch.Records, payload batch.View, root *batch.Column) error {
	if payload.IsNull() {
		return failf("there is no value (a tombstone)")
	}
	if b := r.Bytes(payload); !validText(b) {
		return inField(failf("the payload is not valid UTF-8: %q", shown(b)), "value")
	}
	for i, c := range root.Children {
		if i == p.value {
			c.AppendView(payload)
		} else {
			c.AppendNull()
		}
	}
	return nil
}
