package demo

import (
	"strings"
	"testing"
)

func TestStatements(t *testing.T) {
	for _, c := range []struct {
		system, url string
		op          byte
		want        string
	}{
		{"ratings", "mysql://u:p@h/demo", 'r', "INSERT INTO demo.CUSTOMERS (id, first_name, last_name, email, gender, club_status, comments, create_ts, update_ts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"},
		{"ratings", "mysql://u:p@h:1/demo", 'd', "DELETE FROM demo.CUSTOMERS WHERE id = ?"},
		{"retail", "postgres://u:p@h/shop", 'u', "UPDATE public.orders SET customer_id = $1, session_id = $2, sku = $3, quantity = $4, unit_price = $5, status = $6, created_at = $7, updated_at = $8 WHERE order_id = $9"},
	} {
		d, err := OpenDatabase(c.system, c.url)
		if err != nil {
			t.Fatal(err)
		}
		got, columns := d.statement(c.op)
		if got != c.want || len(columns) != strings.Count(got, "?")+strings.Count(got, "$") {
			t.Errorf("%s %c: %s with %v", c.system, c.op, got, columns)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A database that does not fit the system is refused, and its password is not shown.
func TestDatabasesThatDoNotFit(t *testing.T) {
	for system, url := range map[string]string{"ratings": "postgres://u:secret@h/demo", "retail": "mysql://u:secret@h/shop", "clicks": "mysql://u:secret@h/x", "visitor-spend": "postgres://u:secret@ h"} {
		_, err := OpenDatabase(system, url)
		if err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), system) {
			t.Errorf("%s: %v", system, err)
		}
	}
}

// Every change of a system's table says all of the row, so that a database has it too.
func TestChangesHaveTheRow(t *testing.T) {
	for name, g := range map[string]Generator{"ratings": ratings(t, 3), "retail": NewRetail(3, start)} {
		ops := map[byte]int{}
		for range 20000 {
			r := next(t, g)
			if (r.Change != nil) != (r.Topic == tables[name].Topic && r.Value != nil) {
				t.Fatalf("%s: %+v", name, r)
			}
			if r.Change == nil {
				continue
			}
			ops[r.Change.Op]++
			for _, c := range tables[name].Columns {
				if r.Change.Row[c] == nil {
					t.Fatalf("%s: %c of %v has no %s", name, r.Change.Op, r.Change.Row, c)
				}
			}
		}
		if ops['u'] < 100 || ops['d'] < 5 || ops['c'] < 5 {
			t.Errorf("%s: %v", name, ops)
		}
	}
}
