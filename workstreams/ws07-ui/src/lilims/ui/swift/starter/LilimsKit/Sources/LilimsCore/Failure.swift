import Foundation

/// What went wrong, in which file or place, and what to do next: one line each.
public struct Failure: Error, LocalizedError, Equatable, Sendable {
    public let what: String
    public let place: String?
    public let next: String?

    public init(_ what: String, in place: String? = nil, next: String? = nil) {
        self.what = what
        self.place = place
        self.next = next
    }

    public var errorDescription: String? {
        (place.map { "\($0): " } ?? "") + what + (next.map { ". " + $0 } ?? "")
    }
}
