import Bridge
import SimulatedJetStream
import SimulatedMongo
import SimulatedNATS

/// Applications that write the group's documents and, when asked to, publish the events themselves: mostly in
/// time, but also late, twice, never, with another body, and for writes that are rolled back.
final class CutoverApplications {
  private let world: World
  private let scenario: CutoverScenario
  private let judge: CutoverJudge
  private var chance: Chance
  private let collection: CollectionID
  private let session: SessionID
  private var value: Int64 = 0
  /// Producers publish.
  var isPublishing: Bool
  private var isWriting = true
  private var isGood = true

  init(_ world: World, _ scenario: CutoverScenario, _ judge: CutoverJudge) {
    self.world = world
    self.scenario = scenario
    self.judge = judge
    chance = Chance(scenario.seed, 31)
    collection = world.mongo.collection("app", CutoverScenario.collection)
    session = world.mongo.session()
    isPublishing = scenario.startsEarly
  }

  func start() {
    next()
    turn()
  }

  /// No more is written; what is under way comes to its end.
  func finish() { isWriting = false }

  private func turn() {
    let time = isGood ? scenario.goodTime : scenario.badTime
    world.schedule(in: chance.between(time / 2, time * 3 / 2)) { [self] in
      isGood.toggle()
      turn()
    }
  }

  // MARK: - Writes

  private func next() {
    guard isWriting else { return }
    let pause = scenario.writePause
    world.schedule(in: chance.skewed(pause / 20, pause * 4)) { [self] in
      write()
      world.onWritten()
      next()
    }
  }

  private func write() {
    let changes = (0...(chance.one(in: 8) ? chance.below(4) : 0)).map { _ in change() }
    let place =
      changes.count == 1
      ? world.mongo.write(changes[0]) : world.mongo.transaction(changes, in: session)
    guard place != nil else { return }
    for change in changes where isPublishing { publish(change) }
  }

  private func change() -> DocumentChange {
    value += 1
    return DocumentChange(
      chance.one(in: 2) ? .insert : .replace, collection, .int32(Int32(chance.below(12))),
      value: value, padding: chance.below(4))
  }

  // MARK: - Messages

  /// An event's message, as the rule makes it.
  private struct Message {
    var id: String
    var subject: String
    var body: String
    var triesLeft = 20
  }

  private func message(_ change: DocumentChange, isWrong: Bool) -> Message? {
    guard case .int32(let key) = change.key else { return nil }
    let letters = String(repeating: "x", count: change.padding)
    var body = "{\"n\": \(change.value + (isWrong ? 1 : 0))"
    if change.padding > 0 { body += ", \"s\": \"\(letters)\"" }
    body += ", \"_id\": \(key)}"
    return Message(
      id: "\(key).\(change.value)",
      subject: "events.\(key).\(change.kind == .insert ? "insert" : "replace")", body: body)
  }

  private func publish(_ change: DocumentChange) {
    // Most of what can go wrong goes wrong in bad times.
    let isMissed = judge.phase == .committed && chance.one(in: 10)
    let fate = isMissed ? 1 : isGood ? 100 : chance.below(10)
    guard let message = message(change, isWrong: fate == 0) else { return }
    let grace = Int64(scenario.grace) * Nano.second
    var delay = chance.skewed(Nano.milli, isGood ? 300 * Nano.milli : grace * 2)
    switch fate {
    case 0: judge.note(.wrong)
    case 1, 2: return
    case 3:
      delay += grace + chance.skewed(0, 30 * Nano.second)
      judge.note(.late)
    case 4:
      send(message, in: delay + chance.skewed(Nano.milli, grace * 4))
    default: break
    }
    send(message, in: delay)
  }

  /// It repeats what is not acknowledged: the servers were down, or had no room.
  private func send(_ message: Message, in delay: Int64) {
    world.schedule(in: delay) { [self] in
      guard message.triesLeft > 0 else { return }
      let network = world.network!
      guard network.isUp.contains(true), !world.jetStream.isOutOfResources,
        world.jetStream.streams[CutoverScenario.stream] != nil
      else {
        var again = message
        again.triesLeft -= 1
        return send(again, in: Nano.second)
      }
      world.jetStream.receive(
        Publication(
          message.subject, reply: ReplyTo(subject: ""),
          headers: Array("NATS/1.0\r\nNats-Msg-Id: \(message.id)\r\n\r\n".utf8),
          payload: Array(message.body.utf8)))
      world.history.note(world.now, 60, UInt64(message.body.utf8.count))
      network.nats.advance()
      network.handled()
    }
  }
}
