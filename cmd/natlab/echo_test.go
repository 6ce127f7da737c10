package main

import (
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

// BenchmarkEchoBesideBulk measures both sides of the difference in one run.
func BenchmarkEchoBesideBulk(b *testing.B) {
	natlab.Require(b)
	g := ground{dir: b.TempDir(), whole: true}
	var err error
	if g.peerd, err = build(b.Context(), g.dir, "peerd"); err != nil {
		b.Fatal(err)
	}
	w, err := newEchoWorld(b.Context(), g, echoPath)
	if err != nil {
		b.Fatal(err)
	}
	defer w.close()
	for i, way := range echoWays {
		b.Run("bulk "+way, func(b *testing.B) {
			f, err := w.measure(b.Context(), i == 1, max(100, b.N))
			if err != nil {
				b.Fatal(err)
			}
			for _, m := range []struct {
				value float64
				unit  string
			}{
				{ms(percentile(f.alone, 0.5)), "alone-ms"}, {ms(percentile(f.alone, 0.95)), "alone-p95-ms"},
				{ms(percentile(f.beside, 0.5)), "beside-ms"}, {ms(percentile(f.beside, 0.95)), "beside-p95-ms"},
				{ms(f.more()), "more-ms"}, {ms(f.queue), "queue-ms"}, {f.share, "share"},
			} {
				b.ReportMetric(m.value, m.unit)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}
