package configs

import "fmt"

// target checks where the rows of a pipeline go: a lake table, or one of a database.
func (v *validator) target(p *Pipeline, path string) {
	if p.SQL == nil {
		if p.Table.Name == "" {
			v.missing(path+".table.name", "for a table of a database write sql instead of table", "table needs name")
		}
		return
	}
	at := path + ".sql"
	if p.SQL.URL != "" && p.SQL.Kind() == "" {
		v.bad(at+".url", "begin it with postgres://, mysql://, mariadb:// or sqlite:", "the url is of no database that is known")
	}
	if p.SQL.Table != "" {
		v.tableName(at+".table", p.SQL.Table)
	}
	const instead = "leave it out: it is for lake tables, and the pipeline writes to a database (sql)"
	refuse := func(set bool, setting string) {
		if set {
			v.bad(path+"."+setting, instead, "%s does not apply to a table of a database", setting)
		}
	}
	t := &p.Table
	refuse(t.Name != "", "table.name")
	refuse(len(t.PartitionBy) > 0, "table.partition_by")
	refuse(len(t.SortBy) > 0, "table.sort_by")
	refuse(len(t.ZOrder) > 0, "table.z_order")
	refuse(len(t.Properties) > 0, "table.properties")
	refuse(t.Retention > 0, "table.retention")
	refuse(t.Complete != nil, "table.complete")
	refuse(t.Route != nil, "table.route")
	refuse(len(p.Files.Bloom) > 0, "files.bloom_filters")
	refuse(p.DeadLetters.Retention > 0, "dead_letters.retention")
	for i := range p.Cleanse {
		if p.Cleanse[i].Deduplicate != nil {
			v.bad(fmt.Sprintf("%s.cleanse[%d]", path, i), "make a unique index in the database, or deduplicate when you query",
				"deduplicate remembers the rows of a lake table; it does not apply to a table of a database")
		}
	}
}
