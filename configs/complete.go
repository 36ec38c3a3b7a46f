package configs

import (
	"regexp"
	"slices"
)

// complete checks what can be told without the columns: whether a column without a transform is a date is known when the
// table is made.
func (v *validator) complete(p *Pipeline, path string) {
	c := p.Table.Complete
	if c == nil {
		return
	}
	first, maybe := -1, -1 // the time, and what may be a date
	for i, text := range p.Table.PartitionBy {
		t, err := ParseTransform(text)
		if err != nil {
			return // said elsewhere
		}
		switch t.Name {
		case "year", "month", "day", "hour":
			if first < 0 {
				first = i
			}
		case "identity":
			if maybe < 0 {
				maybe = i
			}
		}
	}
	switch {
	case first < 0 && maybe < 0:
		v.bad(path, "add day(ts) to partition_by, or leave complete out", "the table has no time partitions, of which it could be said that they are complete")
	case c.Marker && first != 0 && maybe != 0:
		v.bad(path+".marker", "put it first", "a marker needs the time to be first in partition_by: else a time has many folders")
	}
	if c.Topic == "" {
		return
	}
	if !topicName.MatchString(c.Topic) || c.Topic == "." || c.Topic == ".." {
		v.bad(path+".topic", "", "%s is not a topic's name", v.pos.Quote(path+".topic", c.Topic))
	}
	pattern, err := regexp.Compile(p.Source.Pattern)
	if slices.Contains(p.Source.Topics, c.Topic) || p.Source.Pattern != "" && err == nil && pattern.MatchString(c.Topic) {
		v.bad(path+".topic", "choose another topic", "the pipeline reads %s", v.pos.Quote(path+".topic", c.Topic))
	}
}
