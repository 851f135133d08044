/// Additive attention masks over the rows of the state.
///
/// A query at position p sees the rows that hold a position q with q ≤ p, q > p - reach (the context) and, where the
/// layers have a sliding window, q > p - window. Padded queries follow the same rule: none sees nothing.

/// The position of the token in each row; -1 where there is none, or only padding.
public struct StateRows: Sendable {
    public private(set) var positions: [Int]

    public init(count: Int) { positions = Array(repeating: -1, count: count) }

    /// A call will overwrite the chunk's rows; whatever becomes of it, they no longer hold what they held.
    public mutating func begin(_ chunk: Chunk) {
        for row in chunk.slot..<min(chunk.slot + chunk.size, positions.count) { positions[row] = -1 }
    }

    /// The call is done: its tokens are there, its padding is nothing.
    public mutating func finish(_ chunk: Chunk) {
        for i in 0..<chunk.count { positions[chunk.slot + i] = chunk.position + i }
    }

    /// Nothing is held of this position and later ones.
    public mutating func forget(from position: Int) {
        for row in positions.indices where positions[row] >= position { positions[row] = -1 }
    }

    /// The positions as a call's queries meet them: padding stands where tokens would.
    public func during(_ chunk: Chunk) -> [Int] {
        var found = positions
        for i in 0..<chunk.size { found[chunk.slot + i] = chunk.position + i }
        return found
    }
}

/// The bounds of what a query sees: positions back, its own included.
public struct Visibility: Sendable {
    public var reach: Int
    public var window: Int?

    public init(reach: Int, window: Int? = nil) { (self.reach, self.window) = (reach, window) }

    /// The mask of a call: `chunk.size` lines of the first `rows` rows, 0 where a query sees the row.
    public func mask(_ chunk: Chunk, held: StateRows, rows: Int, hidden: Float) -> [Float] {
        let back = min(reach, window ?? reach), there = held.during(chunk)
        var mask = [Float](repeating: hidden, count: chunk.size * rows)
        for query in 0..<chunk.size {
            let last = chunk.position + query, first = max(last - back + 1, 0), line = query * rows
            for row in 0..<rows where there[row] >= first && there[row] <= last { mask[line + row] = 0 }
        }
        return mask
    }
}
