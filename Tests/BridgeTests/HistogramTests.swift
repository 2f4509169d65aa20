import Bridge
import TestRandom
import Testing

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

  @Test func quantilesAreBetweenBounds() {
    var histogram = Histogram(bounds: [1, 2, 4])
    #expect(histogram.quantile(0.5) == nil)
    histogram.add(1.5, times: 100)
    #expect(histogram.quantile(0.5) == 1.5)
    #expect(histogram.quantile(1) == 2)
    histogram.add(3, times: 100)
    #expect(histogram.quantile(0.5) == 2)
    #expect(histogram.quantile(0.75) == 3)
    histogram.add(9, times: 1000)
    #expect(histogram.quantile(0.99) == 4)
  }

  /// For any values: the quantile's range holds the value of that rank.
  @Test func quantilesAreInTheRightRange() throws {
    var random = SeededRandom(seed: 11)
    for _ in 0..<200 {
      var histogram = Histogram(bounds: Histogram.seconds)
      let values = (0..<(1 + random.below(50))).map { _ in
        Double.random(in: 0.0001...299, using: &random)
      }
      .sorted()
      for value in values { histogram.add(value) }
      let share = Double.random(in: 0.01...1, using: &random)
      let exact = values[max(0, Int((share * Double(values.count)).rounded(.up)) - 1)]
      let found = try #require(histogram.quantile(share))
      let range = try #require(histogram.bounds.firstIndex { exact <= $0 })
      #expect(found <= histogram.bounds[range])
      #expect(found >= (range == 0 ? 0 : histogram.bounds[range - 1]))
    }
  }

  @Test func whatCameSince() {
    var histogram = Histogram(bounds: Histogram.seconds)
    histogram.add(1, times: 3)
    let earlier = histogram
    histogram.add(20, times: 2)
    var expected = Histogram(bounds: Histogram.seconds)
    expected.add(20, times: 2)
    #expect(histogram.since(earlier).counts == expected.counts)
    #expect(histogram.since(earlier).sum == expected.sum)
    #expect(histogram.since(nil).counts == histogram.counts)
    // A process's counts never fall; others begin again.
    #expect(earlier.since(histogram).counts == earlier.counts)
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
