import Foundation

/// Cuts a stream of text before the first of some strings.
///
/// What could still become a stop string is held back. The string that is complete first ends the text; of two that are
/// at the same character, the longer.
public struct StopStrings: Sendable {
    public private(set) var found: String?
    private let strings: [[Unicode.Scalar]]
    private var held: [Unicode.Scalar] = []

    public init(_ strings: [String]) {
        self.strings = strings.filter { !$0.isEmpty }.map { Array($0.unicodeScalars) }
    }

    /// The text that is certain now. After a stop string was found there is no more.
    public mutating func push(_ text: String) -> String {
        if found != nil { return "" }
        if strings.isEmpty { return text }
        held += text.unicodeScalars
        let places = strings.compactMap { string in
            StopStrings.place(of: string, in: held).map { (end: $0 + string.count, start: $0, string) }
        }
        if let first = places.min(by: { ($0.end, $0.start) < ($1.end, $1.start) }) {
            found = StopStrings.text(first.2)
            defer { held = [] }
            return StopStrings.text(held[..<first.start])
        }
        let kept = strings.map { StopStrings.overlap(held, $0) }.max() ?? 0
        let sure = held.dropLast(kept)
        held = Array(held.suffix(kept))
        return StopStrings.text(sure)
    }

    /// What was held back, as no more text comes.
    public mutating func finish() -> String {
        defer { held = [] }
        return StopStrings.text(held)
    }

    private static func text(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    private static func place(of string: [Unicode.Scalar], in text: [Unicode.Scalar]) -> Int? {
        guard text.count >= string.count else { return nil }
        return (0...text.count - string.count).first { text[$0..<$0 + string.count].elementsEqual(string) }
    }

    /// Characters at the end of the text with which the string begins.
    private static func overlap(_ text: [Unicode.Scalar], _ string: [Unicode.Scalar]) -> Int {
        let most = min(string.count - 1, text.count)
        return stride(from: most, to: 0, by: -1).first { text.suffix($0).elementsEqual(string.prefix($0)) } ?? 0
    }
}
