package demo

import (
	"encoding/json"
	"fmt"
	"time"
)

// Topics of the retail system.
const (
	ordersTopic      = "orders"
	clickstreamTopic = "clickstream"
	paymentsTopic    = "payments"
)

// Order is a row of the shop's table of orders, as a Debezium connector for PostgreSQL writes it (decimals as text, times with zone as text).
type Order struct {
	ID        int64  `json:"order_id"`
	Customer  int64  `json:"customer_id"`
	Session   string `json:"session_id"`
	SKU       string `json:"sku"`
	Quantity  int    `json:"quantity"`
	UnitPrice string `json:"unit_price"`
	Status    string `json:"status"` // created, paid, shipped or cancelled
	CreatedAt string `json:"created_at"`
	UpdatedAt string `json:"updated_at"`
}

// Row has the order's values by column.
func (o *Order) Row() map[string]any {
	return map[string]any{"order_id": o.ID, "customer_id": o.Customer, "session_id": o.Session, "sku": o.SKU, "quantity": o.Quantity,
		"unit_price": o.UnitPrice, "status": o.Status, "created_at": o.CreatedAt, "updated_at": o.UpdatedAt}
}

// Retail is a shop: visitors look at products and order some, orders are paid and shipped or cancelled, and now and then one is deleted.
type Retail struct {
	r      random
	at     time.Time
	orders map[int64]*Order
	open   []int64 // orders that something still happens to
	last   int64   // order id
	lsn    int64
	due    []Record
	n      int
}

// NewRetail starts at a time; a visit begins every two seconds.
func NewRetail(seed uint64, at time.Time) *Retail {
	return &Retail{r: newRandom(seed), at: at, orders: map[int64]*Order{}, lsn: 1 << 24}
}

// Topics implements Generator.
func (g *Retail) Topics() []Topic {
	return []Topic{{Name: clickstreamTopic}, {Name: ordersTopic, Table: true}, {Name: paymentsTopic}}
}

// Orders returns a copy of the shop's table as it is after what was made so far.
func (g *Retail) Orders() map[int64]Order {
	out := make(map[int64]Order, len(g.orders))
	for id, o := range g.orders {
		out[id] = *o
	}
	return out
}

// Next implements Generator.
func (g *Retail) Next() (Record, error) {
	for len(g.due) == 0 {
		if err := g.visit(); err != nil {
			return Record{}, err
		}
		if err := g.progress(); err != nil {
			return Record{}, err
		}
		g.at = g.at.Add(2 * time.Second)
	}
	r := g.due[0]
	g.due = g.due[1:]
	return r, nil
}

func (g *Retail) now() string { return g.at.UTC().Format("2006-01-02T15:04:05.000000Z") }

// visit is someone who looks at one to five products, puts some into the cart, and may order the last.
func (g *Retail) visit() error {
	session, customer := g.r.uuid().String(), int64(1+g.r.IntN(5000))
	sku := ""
	click := func(event string, order any) error {
		return g.send(clickstreamTopic, session, map[string]any{"session_id": session, "customer_id": customer, "event": event, "sku": sku, "order_id": order, "at": g.now()})
	}
	for range 1 + g.r.IntN(5) {
		sku = fmt.Sprintf("%s-%d", pick(g.r, skus), g.r.IntN(20))
		if err := click("view", nil); err != nil {
			return err
		}
	}
	if g.r.IntN(3) > 0 {
		return nil
	}
	if err := click("cart", nil); err != nil || g.r.IntN(3) == 0 {
		return err
	}
	g.last++
	o := &Order{ID: g.last, Customer: customer, Session: session, SKU: sku, Quantity: 1 + g.r.IntN(4), UnitPrice: fmt.Sprintf("%d.%02d", 1+g.r.IntN(199), g.r.IntN(100)),
		Status: "created", CreatedAt: g.now(), UpdatedAt: g.now()}
	g.orders[o.ID], g.open = o, append(g.open, o.ID)
	if err := g.change("c", nil, o); err != nil {
		return err
	}
	return click("order", o.ID)
}

// progress lets something happen to an open order.
func (g *Retail) progress() error {
	if len(g.open) < 3 {
		return nil
	}
	i := g.r.IntN(len(g.open))
	o := g.orders[g.open[i]]
	before := *o
	end := func() { g.open[i] = g.open[len(g.open)-1]; g.open = g.open[:len(g.open)-1] }
	o.UpdatedAt = g.now()
	switch n := g.r.IntN(20); {
	case n == 0: // by mistake, or a person's right
		delete(g.orders, o.ID)
		end()
		return g.change("d", &before, nil)
	case o.Status == "paid":
		o.Status = "shipped"
		end()
	case n < 4:
		o.Status = "cancelled"
		end()
	default:
		o.Status = "paid"
		g.n++
		var whole, cents int64
		if _, err := fmt.Sscanf(o.UnitPrice, "%d.%d", &whole, &cents); err != nil {
			return fmt.Errorf("the demo made the price %q for its order %d: %w", o.UnitPrice, o.ID, err)
		}
		cents = (whole*100 + cents) * int64(o.Quantity)
		if err := g.send(paymentsTopic, fmt.Sprint(o.ID), map[string]any{"payment_id": g.n, "order_id": o.ID, "amount": fmt.Sprintf("%d.%02d", cents/100, cents%100),
			"method": pick(g.r, []string{"card", "Card", "invoice", "paypal"}), "at": g.now()}); err != nil {
			return err
		}
	}
	return g.change("u", &before, o)
}

// change is the envelope of a change of the table, and after a deletion a tombstone.
func (g *Retail) change(op string, before, after *Order) error {
	g.lsn += 64 + int64(g.r.IntN(200))
	id := after
	if id == nil {
		id = before
	}
	key, err := json.Marshal(map[string]any{"order_id": id.ID})
	if err != nil {
		return fmt.Errorf("the key of the demo's order %d: %w", id.ID, err)
	}
	ms := g.at.UnixMilli()
	value, err := json.Marshal(map[string]any{"before": before, "after": after, "op": op, "ts_ms": ms, "transaction": nil,
		"source": map[string]any{"version": "3.0.0.Final", "connector": "postgresql", "name": "shop", "ts_ms": ms, "snapshot": "false", "db": "shop", "schema": "public",
			"table": "orders", "txId": g.lsn >> 8, "lsn": g.lsn}})
	if err != nil {
		return fmt.Errorf("the change %q of the demo's order %d: %w", op, id.ID, err)
	}
	g.due = append(g.due, Record{Topic: ordersTopic, Key: key, Value: value, Change: &Change{Op: op[0], Row: id.Row()}})
	if op == "d" {
		g.due = append(g.due, Record{Topic: ordersTopic, Key: key})
	}
	return nil
}

func (g *Retail) send(topic, key string, v map[string]any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("a record of the demo's topic %s: %w", topic, err)
	}
	g.due = append(g.due, Record{Topic: topic, Key: []byte(key), Value: value})
	return nil
}
