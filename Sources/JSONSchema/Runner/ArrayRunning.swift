import BSON

extension Runner {
  func checkArray(_ index: Int32, _ value: Bytes, _ frame: Int32) -> Bool {
    let plan = state.pointee.program.arrays + Int(index)
    let prefix = state.pointee.lists + Int(plan.pointee.firstPrefix)
    let prefixCount = Int(plan.pointee.prefixCount)
    var count = 0
    var contained = 0
    let isFine = forEach(value) { element in
      let at = count
      count &+= 1
      let node = at < prefixCount ? prefix[at] : plan.pointee.items
      if node >= 0 {
        guard check(node, element.type, element.value, -1) else { return false }
        if frame >= 0 { state.pointee.mark(at, in: frame) }
      }
      if plan.pointee.contains >= 0 {
        let marks = frame >= 0 && plan.pointee.containsEvaluates
        let isSettled =
          contained >= plan.pointee.leastContained && plan.pointee.mostContained == .max
        if marks || !isSettled, check(plan.pointee.contains, element.type, element.value, -1) {
          contained &+= 1
          if marks { state.pointee.mark(at, in: frame) }
        }
        return !hasFault
      }
      return true
    }
    guard isFine, count >= plan.pointee.least, count <= plan.pointee.most else { return false }
    if plan.pointee.contains >= 0 {
      guard contained >= plan.pointee.leastContained, contained <= plan.pointee.mostContained
      else { return false }
    }
    return !plan.pointee.isUnique || count < 2 || isUnique(value, count)
  }

  /// Up to this many items each is compared with each.
  private static var fewItems: Int { 16 }

  private func isUnique(_ value: Bytes, _ count: Int) -> Bool {
    if count > Self.fewItems { return isUniqueByHash(value) }
    var at = 0
    return forEach(value) { element in
      var before = 0
      var isNew = true
      _ = forEach(value) { other in
        // Only those before it.
        if before == at { return false }
        before &+= 1
        isNew = !isEqual(other.type, other.value, element.type, element.value)
        return isNew
      }
      at &+= 1
      return isNew && !hasFault
    }
  }

  /// Only values with the same hash can be equal.
  private func isUniqueByHash(_ value: Bytes) -> Bool {
    state.pointee.hashes.removeAll(keepingCapacity: true)
    let isFine = forEach(value) { element in
      var hasher = Hasher()
      hash(element.type, element.value, &hasher)
      state.pointee.hashes.append(
        ItemHash(hash: hasher.finalize(), type: element.type, value: element.value))
      return !hasFault
    }
    guard isFine else { return false }
    // Taken out, as comparing may need the state.
    var hashes: [ItemHash] = []
    swap(&hashes, &state.pointee.hashes)
    defer { swap(&hashes, &state.pointee.hashes) }
    hashes.sort { $0.hash < $1.hash }
    for index in hashes.indices.dropFirst() {
      var before = index - 1
      while before >= 0, hashes[before].hash == hashes[index].hash {
        if isEqual(
          hashes[before].type, hashes[before].value, hashes[index].type, hashes[index].value)
        {
          return false
        }
        if hasFault { return false }
        before -= 1
      }
    }
    return true
  }
}
