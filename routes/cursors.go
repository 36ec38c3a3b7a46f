package routes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/follow"
	"github.com/lakeloader/lakeloader/objects"
)

// ErrMoved means that another instance moved the cursor.
var ErrMoved = errors.New("another instance has moved the route's cursor")

// Saved is what is kept of a route.
type Saved struct {
	Cursor follow.Cursor `json:"cursor"`
	// Recent are what was sent last of rows that are looked for repetitions of: Kafka's timestamps, Unix milliseconds, by a hash.
	Recent map[string]int64 `json:"recent,omitempty"`
	// Reset names the last time that the cursor was moved on purpose; empty: it never was. What a topic's group says of another
	// one does not count, so moving the cursor is one object put.
	Reset string `json:"reset,omitempty"`
}

// Cursors keep a route's cursor as objects below <root>/_lakeloader/<pipeline>/routes/cursor/<route>/. They are numbered, and the
// last one holds; it is moved by putting the next number, which only one can. No orphan clean-up of lakeloader looks there.
type Cursors struct {
	Store objects.Store
	Root  string // of the warehouse, no trailing slash
	Pipeline,
	Route string

	last    int64
	numbers []int64 // that there are
}

// kept is how many objects stay.
const kept = 3

func (c *Cursors) dir() string {
	return c.Root + "/_lakeloader/" + c.Pipeline + "/routes/cursor/" + c.Route + "/"
}

func (c *Cursors) uri(n int64) string { return fmt.Sprintf("%s%012d.json", c.dir(), n) }

// Load reads the cursor; nil: there is none yet.
func (c *Cursors) Load(ctx context.Context) (*Saved, error) {
	for {
		list, err := c.Store.List(ctx, c.dir())
		if err != nil {
			return nil, fmt.Errorf("reading the cursor of route %s: %w", c.Route, err)
		}
		c.numbers, c.last = nil, 0
		for _, i := range list {
			n, err := strconv.ParseInt(strings.TrimSuffix(path.Base(i.URI), ".json"), 10, 64)
			if err != nil {
				return nil, fmt.Errorf("the cursors of route %s have an object that is not lakeloader's: %s", c.Route, i.URI)
			}
			c.numbers = append(c.numbers, n)
		}
		if len(c.numbers) == 0 {
			return nil, nil
		}
		c.last = slices.Max(c.numbers)
		data, err := objects.Read(ctx, c.Store, c.uri(c.last))
		if errors.Is(err, objects.ErrNotFound) && ctx.Err() == nil {
			continue // it was tidied up after a later one was put
		}
		s := &Saved{}
		if err == nil {
			err = json.Unmarshal(data, s)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the cursor of route %s: %s: %w", c.Route, c.uri(c.last), err)
		}
		return s, nil
	}
}

// Save moves the cursor on from what was loaded or saved last. ErrMoved: another instance has.
func (c *Cursors) Save(ctx context.Context, s *Saved) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	err = c.Store.Put(ctx, c.uri(c.last+1), data)
	if errors.Is(err, objects.ErrExists) {
		// Our own, whose reply was lost, is as good.
		if old, rerr := objects.Read(ctx, c.Store, c.uri(c.last+1)); rerr != nil || string(old) != string(data) {
			return ErrMoved
		}
		err = nil
	}
	if err != nil {
		return fmt.Errorf("moving the cursor of route %s: %w", c.Route, err)
	}
	c.last++
	c.numbers = append(c.numbers, c.last)
	if len(c.numbers) <= 2*kept {
		return nil
	}
	var old []string
	for _, n := range c.numbers[:len(c.numbers)-kept] {
		old = append(old, c.uri(n))
	}
	if err := objects.DeleteAll(ctx, c.Store, old); err != nil {
		return fmt.Errorf("tidying the cursors of route %s: %w", c.Route, err)
	}
	c.numbers = slices.Clone(c.numbers[len(c.numbers)-kept:])
	return nil
}
