import BSON
public import Oplog

// Updates without any field that passes a rule's include and exclude.
extension Mapper {
  /// Whether the rule makes no message of an event that it takes: an update whose set and removed fields are
  /// all left out of the body. To be called before the message is written, and only if the rule takes the event.
  /// Depends on the oplog entry only, not on fetched documents.
  public mutating func skips(_ event: borrowing ChangeEvent, rule: Int) -> Bool {
    guard event.operation == .update, plan.rules[rule].skipsEmptyUpdates,
      let update = event.updateDescription, !plan.takesTooLong(plan.rules[rule], event),
      plan.leavesNothing(of: update, plan.rules[rule])
    else { return false }
    return true
  }
}

extension MappingPlan {
  fileprivate func leavesNothing(of update: BSONView, _ rule: RulePlan) -> Bool {
    guard rule.outbox == nil else { return false }
    let state = rule.showsUpdate ? rule.updateDescription : rule.fullDocument
    // A body without a description has the document, or is about the key alone: then no update has more
    // than another.
    guard !state.isWhole, rule.showsUpdate || (rule.wantsImage && !state.isDropped) else {
      return false
    }
    let fields =
      rule.showsUpdate
      ? filters.step(state, key: rawBytes("updatedFields"), inArray: false) : state
    let removed = filters.step(state, key: rawBytes("removedFields"), inArray: false)
    let tellsRemoved = !rule.showsUpdate || removed.exclude != FilterState.all
    var isEmptyItself = true
    var leavesSome = false
    do throws(BSONError) {
      var walk = update.elements()
      while let element = try walk.next(), !leavesSome {
        let isList = element.listsFields
        guard isList || element.key.equals("updatedFields"), let inner = element.document else {
          continue
        }
        var at = fields
        if isList, rule.showsUpdate {
          // In the order of `writeUpdate`.
          let own = filters.step(state, key: element.key, inArray: false)
          if own.exclude == FilterState.all { at = .dropped }
          if own.include == FilterState.all { at.include = FilterState.all }
        }
        var items = inner.elements()
        while let item = try items.next(), !leavesSome {
          isEmptyItself = false
          leavesSome = try isLeft(item, isList: isList, at, tellsRemoved: tellsRemoved)
        }
      }
    } catch {
      // Writing it will find the error.
      return false
    }
    return !isEmptyItself && !leavesSome
  }

  private func isLeft(
    _ item: BSONElement, isList: Bool, _ state: FilterState, tellsRemoved: Bool
  ) throws(BSONError) -> Bool {
    guard isList else {
      let next = filters.step(state, key: item.key, inArray: false)
      return !leavesOut(item, next, below: state, inArray: false)
        || tellsRemoved && vanishes(item, next, below: state)
    }
    guard let name = try item.listedField else { return true }
    return !filters.step(state, key: name, inArray: false).isDropped
  }
}
