package obs

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/lakeloader/lakeloader/views"
)

// Views adds the views of a pipeline.
func (s *State) Views(pipeline string, v *views.Set) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views[pipeline] = v
}

func (s *State) viewsOf(pipeline string) *views.Set {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.views[pipeline]
}

// shownGroups is how many groups of a view people are shown.
const shownGroups = 10

// renderViews writes a table for each view.
func renderViews(b *strings.Builder, s Status, width int) {
	for _, p := range s.Pipelines {
		for _, v := range p.Views {
			fmt.Fprintf(b, "\n%s, %s: the last %s\n", p.Name, v.Name, seconds(v.Seconds))
			t := table{}
			for i, c := range v.Columns {
				t.columns = append(t.columns, column{title: strings.ToUpper(c), right: i >= v.Keys, rank: max(0, i-v.Keys)})
			}
			for _, row := range v.Rows[:min(shownGroups, len(v.Rows))] {
				cells := make([]string, len(row))
				for i, x := range row {
					cells[i] = viewCell(x)
				}
				t.add(cells, nil)
			}
			t.write(b, width)
			if more := len(v.Rows) - shownGroups; more > 0 {
				fmt.Fprintf(b, "and %d more groups: see /api/status\n", more)
			}
		}
	}
}

func viewCell(x any) string {
	switch x := x.(type) {
	case nil:
		return "-"
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1e15 {
			return count(int64(x))
		}
		return strconv.FormatFloat(x, 'g', 6, 64)
	case int64:
		return count(x)
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	}
	var list []views.TopValue // as it came, or from JSON
	text, err := json.Marshal(x)
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return fmt.Sprint(x)
	}
	var all []string
	for _, v := range list {
		all = append(all, fmt.Sprintf("%v (%d)", v.Value, v.Count))
	}
	return strings.Join(all, ", ")
}
