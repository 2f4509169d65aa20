import Bridge
import Testing
import TestRandom

@Suite struct HistogramTests {
  @Test func aValueOnABoundBelongsBelowIt() {
    var histogram = Histogram(bounds: [1, 2, 5])
    for value in [0, 1, 1.5, 2, 5, 5.1, 1e300] { histogram.add(value) }
    #expect(histogram.counts == [2, 2, 1, 2])
    #expect(histogram.total == 7)
  }

  @Test func manyAtOnceAreManyOneByOne() {
    var random = SeededRandom(seed: 7)
    var once = Histogram(bounds: Histogram.seconds)
    var each = once
    for _ in 0..<500 {
      let value = Double.random(in: 0...400, using: &random)
      let times = UInt64.random(in: 0...5, using: &random)
      once.add(value, times: times)
      for _ in 0..<times { each.add(value) }
    }
    #expect(once.counts == each.counts)
    #expect(abs(once.sum - each.sum) < 1e-6 * once.sum)
  }

  @Test func thePageAccumulates() {
    var histogram = Histogram(bounds: [0.5, 2])
    histogram.add(0.25, times: 3)
    histogram.add(1)
    histogram.add(8)
    var page = PrometheusText()
    page.histogram("x_seconds", "Help.", histogram)
    #expect(
      page.text == """
        # HELP x_seconds Help.
        # TYPE x_seconds histogram
        x_seconds_bucket{le="0.5"} 3
        x_seconds_bucket{le="2"} 4
        x_seconds_bucket{le="+Inf"} 5
        x_seconds_sum 9.75
        x_seconds_count 5

        """)
  }
}
