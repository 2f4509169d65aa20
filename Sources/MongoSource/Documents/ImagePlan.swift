package import Oplog

/// The fewest reads that return every document exactly as its event left it. Pure.
///
/// A read at cluster time T returns the result of an event at time t if t <= T and the document's next
/// change comes after T. So each event has an interval of suitable times. The fewest times that stab
/// all intervals of a collection are found greedily, in the order of the intervals' ends: if the last
/// chosen time doesn't suit, the latest time that does is chosen.
package struct ImagePlan {
  package struct Change {
    package enum Scope {
      /// A document, by the index of its `_id`.
      case document(Int)
      /// All documents of a collection, by its index.
      case collection(Int)
      /// All documents of all collections.
      case everything
    }

    package var time: OplogPosition
    package var scope: Scope
    /// The document as this change left it is requested.
    package var isWanted: Bool

    package init(time: OplogPosition, scope: Scope, isWanted: Bool = false) {
      self.time = time
      self.scope = scope
      self.isWanted = isWanted
    }
  }

  /// One collection at one time.
  package struct Read {
    package var collection: Int
    package var time: OplogPosition
    package var images: [Image]
  }

  package struct Image {
    /// Index of the change.
    package var change: Int
    /// False if a later change at the same time hides it: of several changes in one transaction only
    /// the last can be read.
    package var isExact: Bool
  }

  /// Latest first: if a time is too old for the server, all following ones are.
  package private(set) var reads: [Read] = []

  /// - Parameters:
  ///   - changes: in any order of time; those of the same time in their own order.
  ///   - collectionOf: the collection of each `_id`.
  package init(_ changes: [Change], collectionOf: [Int]) {
    let order = Self.order(changes)
    let intervals = Self.intervals(changes, order, collectionOf)
    var times: [UInt64] = []
    for index in order where times.last != changes[index].time.value {
      times.append(changes[index].time.value)
    }
    let byCollection = Dictionary(grouping: intervals, by: \.collection)
    for (collection, intervals) in byCollection {
      stab(intervals, of: collection, times)
    }
    reads.sort { a, b in
      a.time == b.time ? a.collection < b.collection : a.time > b.time
    }
  }

  /// When an image can be read: from `start` to before `end`.
  private struct Interval {
    var start: UInt64
    var end: UInt64
    var collection: Int
    var image: Image
  }

  private static func order(_ changes: [Change]) -> [Int] {
    let inOrder = changes.indices.dropFirst().allSatisfy {
      changes[$0 - 1].time <= changes[$0].time
    }
    if inOrder { return Array(changes.indices) }
    return changes.indices.sorted { a, b in
      changes[a].time == changes[b].time ? a < b : changes[a].time < changes[b].time
    }
  }

  /// The next two times at which something changes, going backwards.
  private struct Next {
    var first = UInt64.max
    var second = UInt64.max

    mutating func change(at time: UInt64) {
      guard time != first else { return }
      second = first
      first = time
    }

    /// The first of the two after `time`.
    func after(_ time: UInt64) -> UInt64 { first == time ? second : first }
  }

  private static func intervals(
    _ changes: [Change], _ order: [Int], _ collectionOf: [Int]
  ) -> [Interval] {
    var documents = [Next](repeating: Next(), count: collectionOf.count)
    var collections = [Next](repeating: Next(), count: (collectionOf.max() ?? -1) + 1)
    var everything = Next()
    var intervals: [Interval] = []
    for index in order.reversed() {
      let change = changes[index]
      let time = change.time.value
      switch change.scope {
      case .everything: everything.change(at: time)
      case .collection(let collection):
        if collections.indices.contains(collection) { collections[collection].change(at: time) }
      case .document(let document):
        let collection = collectionOf[document]
        if change.isWanted {
          let later = [documents[document], collections[collection], everything]
          let end = later.map { $0.after(time) }.min() ?? .max
          let isExact = later.allSatisfy { $0.first != time }
          intervals.append(
            Interval(
              start: time, end: end, collection: collection,
              image: Image(change: index, isExact: isExact)))
        }
        documents[document].change(at: time)
      }
    }
    return intervals
  }

  /// - Parameter times: all times of changes, ascending. Later changes are unknown, so no read is later.
  private mutating func stab(_ intervals: [Interval], of collection: Int, _ times: [UInt64]) {
    let sorted = intervals.sorted { a, b in
      a.end == b.end ? a.image.change < b.image.change : a.end < b.end
    }
    var current: Read?
    for interval in sorted {
      if let time = current?.time.value, interval.start <= time {
        current?.images.append(interval.image)
        continue
      }
      if let done = current { reads.append(done) }
      let time = Self.last(before: interval.end, in: times) ?? interval.start
      current = Read(
        collection: collection, time: OplogPosition(value: time), images: [interval.image])
    }
    if let done = current { reads.append(done) }
  }

  private static func last(before end: UInt64, in times: [UInt64]) -> UInt64? {
    var low = 0
    var high = times.count
    while low < high {
      let middle = (low + high) / 2
      if times[middle] < end { low = middle + 1 } else { high = middle }
    }
    return low > 0 ? times[low - 1] : nil
  }
}

extension OplogPosition {
  init(value: UInt64) {
    self.init(
      seconds: UInt32(truncatingIfNeeded: value >> 32), increment: UInt32(truncatingIfNeeded: value)
    )
  }
}
