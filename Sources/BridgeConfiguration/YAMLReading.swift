import Yams

/// Reads YAML into a tree with positions: variables replaced, aliases and merge keys resolved.
final class YAMLReading {
  let substitution: EnvironmentSubstitution
  let problems: ProblemList
  private let lines: [[Unicode.Scalar]]
  private let yaml: String
  /// Aliases repeat what they name: a few lines of them can expand to more than memory holds.
  private var nodesLeft = 100_000

  init(yaml: String, environment: [String: String], problems: ProblemList) {
    self.yaml = yaml.hasPrefix("\u{FEFF}") ? String(yaml.dropFirst()) : yaml
    self.problems = problems
    substitution = EnvironmentSubstitution(environment: environment)
    lines = self.yaml.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
      .map { Array($0.unicodeScalars) }
  }

  /// Nil if reading can't continue; then a problem was reported.
  func root() -> ConfigNode? {
    let start = TextPosition(line: 1, column: 1)
    do {
      // Given the encoding, the parser doesn't ask the environment for one.
      guard let node = try Parser(yaml: yaml, encoding: .utf8).singleRoot() else {
        problems.add(start, "the configuration is empty", "Start from config/minimal.yaml")
        return nil
      }
      return convert(node)
    } catch let error as YamlError {
      report(error)
    } catch {
      problems.add(start, "the configuration is not YAML: \(error)", "Correct it")
    }
    return nil
  }

  private func report(_ error: YamlError) {
    switch error {
    case .scanner(let context, let problem, let mark, _),
      .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let during = context.map { " (\($0.text) that starts at line \($0.mark.line))" } ?? ""
      problems.add(
        position(mark), "not valid YAML: \(problem)\(during)",
        "Check indentation, and quote text that holds : # { } [ ] , or starts with a special character"
      )
    case .duplicatedKeysInMapping(let duplicates, let context):
      problems.add(
        position(context.mark),
        "\(named(duplicates)) appears twice in one mapping",
        "Keep one of them")
    case .reader(let problem, let offset, _, _):
      let before = yaml.prefix(offset ?? 0)
      let line = before.filter(\.isNewline).count + 1
      let column =
        (before.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
          .last?.unicodeScalars.count ?? 0) + 1
      problems.add(
        TextPosition(line: line, column: column), "not valid YAML: \(problem)",
        "Save the file as UTF-8 without control characters")
    default:
      problems.add(TextPosition(line: 1, column: 1), "not valid YAML: \(error)", "Correct it")
    }
  }

  /// Words with a colon and a value behind them somewhere are keys; others may be pieces of a secret.
  private func named(_ keys: [String]) -> String {
    let areKeys = keys.allSatisfy { key in
      KeyText.isWord(key)
        && [": ", ":\n", ":\r", "\": ", "': "].contains { end in
          yaml.unicodeScalars.firstRange(of: "\(key)\(end)".unicodeScalars) != nil
        }
    }
    return areKeys ? "the key \(keys.joined(separator: ", "))" : "a key"
  }

  private func position(_ mark: Mark?) -> TextPosition {
    TextPosition(line: mark?.line ?? 1, column: mark?.column ?? 1)
  }

  /// - Parameter key: the key of the value, or of its list.
  private func convert(_ node: Node, key: String = "") -> ConfigNode {
    nodesLeft -= 1
    guard nodesLeft > 0 else {
      if nodesLeft == 0 {
        problems.add(
          position(node.mark), "the configuration holds more than 100,000 values",
          "use fewer aliases")
      }
      return .sequence([], position(node.mark))
    }
    switch node {
    case .scalar(let scalar): return .scalar(convert(scalar, replacing: true, key: key))
    case .sequence(let sequence):
      var items: [ConfigNode] = []
      for item in sequence where nodesLeft > 0 { items.append(convert(item, key: key)) }
      return .sequence(items, position(sequence.mark))
    case .mapping(let mapping):
      return .mapping(entries(mapping), position(mapping.mark))
    case .alias(let alias):
      // The parser has resolved aliases; this kind is for writing YAML.
      return .scalar(
        ConfigScalar(
          text: "", isPlain: true, isSubstituted: false, position: position(alias.mark)))
    }
  }

  private func entries(_ mapping: Node.Mapping) -> [(key: ConfigScalar, value: ConfigNode)] {
    var entries: [(key: ConfigScalar, value: ConfigNode)] = []
    var merged: [(key: ConfigScalar, value: ConfigNode)] = []
    for (key, value) in mapping where nodesLeft > 0 {
      guard case .scalar(let scalar) = key else {
        problems.add(position(key.mark), "a key that is not text", "Write key: value")
        continue
      }
      let name = convert(scalar, replacing: false)
      if name.text == "<<", name.isPlain {
        merged += mergedEntries(convert(value))
      } else {
        entries.append((name, convert(value, key: name.text)))
      }
    }
    // `key: null` removes a merged value.
    entries.removeAll { entry in
      entry.value.isNull && entry.value.scalar?.isSubstituted != true
        && merged.contains { $0.key.text == entry.key.text }
    }
    let unset = Set(mapping.map { $0.key.string ?? "" })
    for entry in merged
    where !unset.contains(entry.key.text)
      && !entries.contains(where: { $0.key.text == entry.key.text })
    {
      entries.append(entry)
    }
    return entries
  }

  /// `<<: *rule` and `<<: [*a, *b]`: earlier ones win.
  private func mergedEntries(_ node: ConfigNode) -> [(key: ConfigScalar, value: ConfigNode)] {
    switch node {
    case .mapping(let entries, _): return entries
    case .sequence(let items, _): return items.flatMap { mergedEntries($0) }
    case .scalar(let scalar):
      problems.add(scalar.position, "<< takes a mapping", "Name one by its anchor: <<: *anchor")
      return []
    }
  }

  private func convert(
    _ scalar: Node.Scalar, replacing: Bool, key: String = ""
  ) -> ConfigScalar {
    let start = position(scalar.mark)
    let column = textColumn(of: scalar, at: start)
    let isPlain = scalar.style == .plain || scalar.style == .any
    var result = ConfigScalar(
      text: scalar.string, isPlain: isPlain, isSubstituted: false, position: start,
      textColumn: column)
    guard replacing else { return result }
    var failures: [EnvironmentSubstitution.Failure] = []
    let (text, replaced) = substitution.replace(in: scalar.string, failures: &failures)
    for failure in failures {
      problems.add(result.position(at: failure.offset), failure.message, failure.remedy)
    }
    warnOfBraces(result, key)
    guard replaced else { return result }
    result.text = text
    result.isSubstituted = true
    result.textColumn = nil
    return result
  }

  /// The text is not repeated: it may still be a password.
  private func warnOfBraces(_ scalar: ConfigScalar, _ key: String) {
    guard let offset = VariableLikeness.find(in: scalar.text, key: key) else { return }
    problems.warn(
      .variableBraces, scalar.position(at: offset),
      offset == 0
        ? "a value that looks like a variable stays as it is: variables have braces"
        : "what looks like a variable in this value stays as it is: variables have braces",
      "write ${NAME} for the environment's NAME")
  }

  /// Where the text itself begins, if it is on one line and unchanged.
  private func textColumn(of scalar: Node.Scalar, at start: TextPosition) -> Int? {
    let quote = scalar.style == .singleQuoted || scalar.style == .doubleQuoted ? 1 : 0
    guard scalar.style != .literal, scalar.style != .folded, start.line <= lines.count else {
      return nil
    }
    let rest = lines[start.line - 1].dropFirst(start.column - 1 + quote)
    return rest.starts(with: scalar.string.unicodeScalars) ? start.column + quote : nil
  }
}
