package main

// examples has one or more steps of each kind; a test loads them.
var examples = map[string]string{
	"trim":              "- trim: [city, address.street, \"items[].sku\"]\n",
	"lower":             "- lower: [channel]\n",
	"upper":             "- upper: [country]\n",
	"normalize_spaces":  "- normalize_spaces: [message]\n",
	"normalize_unicode": "- normalize_unicode: [name]\n- normalize_unicode: {columns: [search_text], form: NFKC}\n",
	"replace":           "- replace: {columns: [phone], pattern: \"[^0-9+]\", with: \"\"}\n- replace: {columns: [path], pattern: \"^/v([0-9]+)/\", with: \"/version-$1/\"}\n",
	"map":               "- map:\n    columns: [platform]\n    values: {ios: iOS, mac os: macOS}\n    ignore_case: true\n",
	"default":           "- default: {columns: [country], value: unknown}\n",
	"cast":              "- cast: {columns: [price], to: \"decimal(12,2)\"}\n- cast: {columns: [age], to: int, on_error: \"null\"}\n",
	"parse_timestamp":   "- parse_timestamp: {columns: [timestamp], zone: Europe/Berlin}\n- parse_timestamp: {columns: [created], formats: [unix_ms]}\n- parse_timestamp: {columns: [birthday], formats: [\"%d.%m.%Y\", 2006-01-02], to: date}\n",
	"rename":            "- rename: {ts: event_time, address.zip: postcode}\n",
	"drop":              "- drop: [internal_id]\n",
	"select":            "- select: [id, event_time, amount]\n",
	"derive":            "- derive: {column: total, expression: value * quantity, type: \"decimal(18,2)\"}\n",
	"mask":              "- mask: [comment]\n- mask: {columns: [email], style: email}\n",
	"hash":              "- hash: {columns: [ip], key: \"${env:LAKELOADER_HASH_KEY}\", length: 32}\n",
	"validate":          "- validate: {columns: [stars], required: true, min: 1, max: 5}\n- validate: {columns: [country], pattern: \"[A-Z]{2}\"}\n- validate: \"shipped_at == null || shipped_at >= ordered_at\"\n",
	"filter":            "- filter: \"stars > 0\"\n- filter: {expression: 'channel.endsWith(\"-test\")', drop: true}\n",
	"deduplicate":       "- deduplicate: {key: [uuid], window: 1h}\n",
}
