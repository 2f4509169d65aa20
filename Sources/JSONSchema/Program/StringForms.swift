import Patterns

/// Strings that simplified JSON uses for other types of BSON, by their form: their length, and the possible
/// bytes at each place. A schema's checks of strings can often be decided by the form alone, for all of its
/// strings.
///
/// The forms are those that `SimplifiedForm` names; a test compares them with what is written.
enum StringForms {
  private static let hex = Array("0123456789abcdef".utf8)
  private static let digits = Array("0123456789".utf8)

  static let objectID = [[UInt8]](repeating: hex, count: 24)
  static let uuid = form("hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh")
  static let dateTime = form("dddd-dd-ddTdd:dd:dd.dddZ")

  private static func form(_ template: String) -> [[UInt8]] {
    template.utf8.map { byte in
      switch byte {
      case UInt8(ascii: "h"): hex
      case UInt8(ascii: "d"): digits
      default: [byte]
      }
    }
  }

  static func judge(_ plan: inout StringPlan) {
    plan.objectID = verdict(plan, objectID) { format in
      switch format {
      case .dateTime, .date, .time, .uuid, .duration, .email, .idnEmail, .ipv4, .ipv6, .uri, .iri,
        .jsonPointer:
        false
      case .hostname, .idnHostname, .uriReference, .iriReference, .uriTemplate: true
      // Digits alone may be one.
      case .relativeJSONPointer, .regex: nil
      }
    }
    plan.uuid = verdict(plan, uuid) { format in
      switch format {
      case .uuid: true
      case .dateTime, .date, .time, .duration, .email, .idnEmail, .ipv4, .ipv6, .uri, .iri,
        .jsonPointer, .relativeJSONPointer:
        false
      default: nil
      }
    }
    plan.dateTime = verdict(plan, dateTime) { format in
      switch format {
      case .dateTime: true
      case .date, .time, .uuid, .duration, .email, .idnEmail, .ipv4, .ipv6, .hostname,
        .idnHostname, .jsonPointer, .relativeJSONPointer:
        false
      default: nil
      }
    }
  }

  private static func verdict(
    _ plan: StringPlan, _ form: [[UInt8]], _ has: (StringFormat) -> Bool?
  ) -> KnownVerdict {
    guard form.count >= plan.least, form.count <= plan.most else { return .invalid }
    var verdicts: [Bool?] = []
    if let format = plan.format { verdicts.append(has(format)) }
    if plan.pattern >= 0 { verdicts.append(plan.table?.verdict(form)) }
    if plan.content != .none { verdicts.append(nil) }
    if verdicts.contains(false) { return .invalid }
    return verdicts.contains(nil) ? .unknown : .valid
  }
}
