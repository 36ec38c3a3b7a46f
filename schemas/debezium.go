package schemas

import (
	"errors"
	"math/big"

	"github.com/hamba/avro/v2"

	"github.com/lakeloader/lakeloader/batch"
	"github.com/lakeloader/lakeloader/configs"
)

// Logical types beside Avro's.
const (
	nanoTime        avro.LogicalType = "io.debezium.time.NanoTime"
	zonedTimestamp  avro.LogicalType = "io.debezium.time.ZonedTimestamp"
	variableDecimal avro.LogicalType = "io.debezium.data.VariableScaleDecimal"
)

// debeziumType is what a type that Debezium or Kafka Connect has a name for becomes.
type debeziumType struct {
	wire    avro.Type        // below it, in Avro
	json    string           // below it, in a JSON Schema
	logical avro.LogicalType // that says the same
	kind    batch.Kind
	unit    timeUnit
}

// debeziumTypes are by name. Timestamps without a zone in the database are those of a local clock here. What is not here stays what the
// type below says: text (Json, Xml, Uuid, Enum, EnumSet, ZonedTime), bytes (Bits), a number (Year, MicroDuration), a struct (geometry).
var debeziumTypes = map[string]debeziumType{
	"io.debezium.time.Date":           {avro.Int, "integer", avro.Date, batch.Date, unitDefault},
	"io.debezium.time.Time":           {avro.Int, "integer", avro.TimeMillis, batch.Time, unitMillis},
	"io.debezium.time.MicroTime":      {avro.Long, "integer", avro.TimeMicros, batch.Time, unitMicros},
	"io.debezium.time.NanoTime":       {avro.Long, "integer", nanoTime, batch.Time, unitNanos},
	"io.debezium.time.Timestamp":      {avro.Long, "integer", avro.LocalTimestampMillis, batch.Timestamp, unitMillis},
	"io.debezium.time.MicroTimestamp": {avro.Long, "integer", avro.LocalTimestampMicros, batch.Timestamp, unitMicros},
	"io.debezium.time.NanoTimestamp":  {avro.Long, "integer", localTimestampNanos, batch.Timestamp, unitNanos},
	"io.debezium.time.ZonedTimestamp": {avro.String, "string", zonedTimestamp, batch.TimestampTZ, unitDefault},
	connectDate:                       {avro.Int, "integer", avro.Date, batch.Date, unitDefault},
	connectTime:                       {avro.Int, "integer", avro.TimeMillis, batch.Time, unitMillis},
	connectTimestamp:                  {avro.Long, "integer", avro.TimestampMillis, batch.TimestampTZ, unitMillis},
}

// connect makes a node what the schema's connect.name says.
func (n *avroNode) connect(s *avro.PrimitiveSchema) {
	name, _ := s.Prop("connect.name").(string)
	if t, ok := debeziumTypes[name]; ok && t.wire == s.Type() {
		n.logical, n.typ = t.logical, batch.Prim(t.kind)
	}
}

// isVariableDecimal: a decimal that has its scale in each value, which no column can have; it becomes text.
func isVariableDecimal(s *avro.RecordSchema) bool {
	f := s.Fields()
	return s.FullName() == string(variableDecimal) && len(f) == 2 && f[0].Type().Type() == avro.Int && f[1].Type().Type() == avro.Bytes
}

var errZoned = errors.New("the text is no ISO 8601 date and time with a zone")

// timeText reads the text of a time with a zone.
func (p *avroPlan) timeText(c *batch.Column, pos int) int {
	n, pos := p.length(pos)
	if pos < 0 {
		return pos
	}
	micros, zoned, err := timestampText(p.buf[pos : pos+n])
	if err != nil || !zoned {
		return p.fail(errZoned)
	}
	c.Int64 = append(c.Int64, micros)
	return pos + n
}

// maxScale bounds the zeros that the text of a decimal can have.
const maxScale = 1000

// variableDecimal reads a scale and an unscaled value, of any length, and makes text of it.
func (p *avroPlan) variableDecimal(c *batch.Column, pos int) int {
	scale, pos := p.varint(pos)
	if pos < 0 {
		return pos
	}
	n, pos := p.length(pos)
	if pos < 0 {
		return pos
	}
	if scale > maxScale || scale < -maxScale || n == 0 || n > maxScale {
		return p.fail(errDecimal)
	}
	if !p.own(c, decimalOf(p.buf[pos:pos+n], int(scale))) {
		return -1
	}
	return pos + n
}

// decimalOf is the text of a big-endian unscaled value.
func decimalOf(unscaled []byte, scale int) []byte {
	v := new(big.Int).SetBytes(unscaled)
	if unscaled[0]&0x80 != 0 {
		v.Sub(v, new(big.Int).Lsh(big.NewInt(1), uint(8*len(unscaled))))
	}
	var out []byte
	if v.Sign() < 0 {
		out = append(out, '-')
		v.Neg(v)
	}
	text := v.Append(nil, 10)
	for ; scale < 0; scale++ {
		text = append(text, '0')
	}
	for len(text) <= scale {
		text = append([]byte{'0'}, text...)
	}
	out = append(out, text[:len(text)-scale]...)
	if scale > 0 {
		out = append(append(out, '.'), text[len(text)-scale:]...)
	}
	return out
}

// KeyDecode is how the keys of records are decoded by themselves, as if they were values: where the values are changes, the same forms and
// types count for keys. A null key is a row of nulls then.
func KeyDecode(d configs.Decode) configs.Decode {
	return configs.Decode{Value: *d.Key, Changes: keyChanges(d.Changes)}
}

// keyChanges are the changes of a pipeline, as far as keys are concerned: they have no envelope.
func keyChanges(c *configs.Changes) *configs.Changes {
	if c == nil {
		return nil
	}
	k := *c
	k.Form = "unwrapped"
	return &k
}
