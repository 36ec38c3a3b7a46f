package obs

import "testing"

// BenchmarkRead is what a batch of four partitions costs the pipeline.
func BenchmarkRead(b *testing.B) {
	r := NewState("", nil).Pipeline("p", "t", 0)
	progress := make([]Progress, 4)
	for i := range progress {
		progress[i] = Progress{Topic: "clicks", Partition: int32(i), Records: 1000}
	}
	r.Assigned([]Ownership{{"clicks", 0, 0, 0, -1}, {"clicks", 1, 0, 0, -1}, {"clicks", 2, 0, 0, -1}, {"clicks", 3, 0, 0, -1}})
	b.ReportAllocs()
	for b.Loop() {
		for i := range progress {
			progress[i].Position += 1000
		}
		r.Read(Batch{Records: 4000, Bytes: 400_000, Partitions: progress})
	}
}
