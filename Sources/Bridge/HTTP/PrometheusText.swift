/// A page in Prometheus' text format.
package struct PrometheusText {
  package var text = ""

  package init() {}

  package mutating func family(_ name: String, _ type: String, _ help: String) {
    text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
  }

  package mutating func sample(
    _ name: String, _ labels: KeyValuePairs<String, String>, _ value: Double
  ) {
    text += name
    if !labels.isEmpty {
      text += "{"
      text += labels.map { "\($0.key)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
      text += "}"
    }
    text += " \(Self.number(value))\n"
  }

  package mutating func gauge(_ name: String, _ help: String, _ value: Double) {
    family(name, "gauge", help)
    sample(name, [:], value)
  }

  package mutating func counter(_ name: String, _ help: String, _ value: UInt64) {
    family(name, "counter", help)
    sample(name, [:], Double(value))
  }

  package mutating func histogram(_ name: String, _ help: String, _ values: Histogram) {
    family(name, "histogram", help)
    var upTo: UInt64 = 0
    for (bound, count) in zip(values.bounds, values.counts) {
      upTo &+= count
      sample("\(name)_bucket", ["le": Self.number(bound)], Double(upTo))
    }
    sample("\(name)_bucket", ["le": "+Inf"], Double(values.total))
    sample("\(name)_sum", [:], values.sum)
    sample("\(name)_count", [:], Double(values.total))
  }

  package static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 9e15 ? String(Int64(value)) : String(value)
  }

  package static func escaped(_ label: String) -> String {
    var out = ""
    for c in label {
      switch c {
      case "\\": out += "\\\\"
      case "\"": out += "\\\""
      case "\n": out += "\\n"
      default: out.append(c)
      }
    }
    return out
  }
}
