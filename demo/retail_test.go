package demo

import (
	"encoding/json"
	"testing"
)

// The changes of the orders, applied in order, give the shop's table; payments and clicks belong to orders that were there.
func TestOrdersAreTheirChanges(t *testing.T) {
	g := NewRetail(3, start)
	table, ever, ops := map[int64]Order{}, map[int64]Order{}, map[string]int{}
	lsn := int64(0)
	for range 60000 {
		r := next(t, g)
		switch r.Topic {
		case ordersTopic:
			if r.Value == nil {
				ops["tombstone"]++
				continue
			}
			var e struct {
				Before, After *Order
				Op            string
				Source        struct{ LSN int64 }
			}
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Fatal(err)
			}
			ops[e.Op]++
			if e.Source.LSN <= lsn {
				t.Fatalf("lsn %d after %d", e.Source.LSN, lsn)
			}
			lsn = e.Source.LSN
			if e.Before != nil && table[e.Before.ID] != *e.Before {
				t.Fatalf("before %s: %+v, it is %+v", e.Op, *e.Before, table[e.Before.ID])
			}
			if e.After == nil {
				delete(table, e.Before.ID)
			} else {
				table[e.After.ID], ever[e.After.ID] = *e.After, *e.After
			}
		default:
			var v struct {
				OrderID *int64 `json:"order_id"`
				Event   string
			}
			if err := json.Unmarshal(r.Value, &v); err != nil {
				t.Fatal(err)
			}
			if v.OrderID == nil == (r.Topic == paymentsTopic || v.Event == "order") {
				t.Fatalf("%s", r.Value)
			}
			ops[r.Topic]++
		}
	}
	for len(g.due) > 0 { // what was decided with the last one
		r := next(t, g)
		var e struct{ Before, After *Order }
		if r.Topic == ordersTopic && r.Value != nil {
			if err := json.Unmarshal(r.Value, &e); err != nil {
				t.Fatal(err)
			}
			if e.After == nil {
				delete(table, e.Before.ID)
			} else {
				table[e.After.ID] = *e.After
			}
		}
	}
	want := g.Orders()
	if len(table) != len(want) || len(want) < 1000 {
		t.Fatalf("%d orders, want %d", len(table), len(want))
	}
	for id, o := range want {
		if table[id] != o {
			t.Fatalf("%+v, want %+v", table[id], o)
		}
	}
	if ops["d"] < 50 || ops["d"]-ops["tombstone"] > 1 || ops["u"] < 1000 || ops[paymentsTopic] < 1000 {
		t.Errorf("%v", ops)
	}
}
