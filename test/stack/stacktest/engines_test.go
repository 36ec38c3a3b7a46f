//go:build stack && engines

package stacktest

import "testing"

func TestEnginesAgreeOnTheSampleInS3(t *testing.T) {
	table := sampleInS3(t)
	iceberg := PyIceberg(t, table, sampleSums)
	spark := Spark(t, table, sampleSums)
	checkSample(t, spark)
	if d := iceberg.Differences(spark); d != nil {
		t.Errorf("Spark: %v", d)
	}
	trino := Trino(t, table, Read{Sums: sampleSums.Sums})
	checkSample(t, trino)
	if d := iceberg.Differences(trino); d != nil {
		t.Errorf("Trino: %v", d)
	}
}
