/// Which tokens go into which call, at which rows: the planner of lilims.context, in the form that a phone needs.
///
/// Knows rows, positions and functions. Must not know masks, token ids or what executes a call.

/// `count` tokens written to rows `slot`, `slot + 1`, … by a call whose shape holds `size`; what is missing is padded.
public struct Chunk: Sendable, Equatable {
    public var slot: Int
    public var count: Int
    public var size: Int
    public var position: Int

    public init(slot: Int, count: Int, size: Int, position: Int) {
        (self.slot, self.count, self.size, self.position) = (slot, count, size, position)
    }

    /// The position after the chunk's last token.
    public var end: Int { position + count }
}

/// One call of one function.
public struct Call: Sendable, Equatable {
    public var function: String
    public var chunk: Chunk
}

/// What happens when the context is full.
public enum ContextPolicy: String, Sendable, CaseIterable {
    /// Tokens that do not fit are refused.
    case error
    /// Every token sees the newest C tokens: the oldest rows are overwritten.
    case rolling
}

/// The row of a position: its own number, until the rows are used again.
public func ringRow(_ position: Int, rows: Int) -> Int { position % rows }

/// What the planner knows of a model.
public struct DecoderShape: Sendable {
    public let context: Int
    public let rows: Int
    public let functions: [String: Int]
    public let reads: [String: Int]
    public let maxPositions: Int?
    public let window: Int?
    public let localWindow: Int?
    public let maskValue: Float
    public let padding: Int32

    public init(_ manifest: Manifest) throws {
        let kinds = manifest.functions.filter { name, _ in
            let parts = name.split(separator: "_", maxSplits: 1)
            return ["decode", "prefill"].contains(parts.first) && (parts.count == 1 || Int(parts[1]) != nil)
        }
        context = manifest.context
        rows = manifest.state.shape[2]
        functions = kinds.mapValues(\.tokens)
        reads = kinds.mapValues(\.rows).filter { [rows] in $0.value < rows }
        maxPositions = manifest.positions.learned
        window = manifest.window
        localWindow = manifest.localWindow
        maskValue = Float(manifest.maskValue)
        padding = Int32(manifest.tokens.padding)
        let largest = functions.values.max() ?? 1
        guard context - 1 + largest <= rows, maxPositions.map({ context <= $0 }) ?? true else {
            throw Failure("\(rows) rows are too few for a context of \(context)", in: "manifest.json")
        }
    }

    /// The rows that a function's mask covers.
    public func rowsRead(_ function: String) -> Int { reads[function] ?? rows }

    /// The function of a kind that reads the fewest rows, of those that show a token at position `end - 1`.
    public func variant(_ kind: String, end: Int) -> String {
        let fitting = functions.keys.filter { $0.split(separator: "_")[0] == kind && rowsRead($0) >= end }
        return fitting.min { (rowsRead($0), $0) < (rowsRead($1), $1) } ?? kind
    }

    /// The calls that write `tokens` tokens behind `position` others; the last one returns the last token's logits.
    ///
    /// Chunks go through `prefill`, a token that stands alone at the end through `decode`. Where a chunk would run over
    /// the last row, tokens go through `decode` until the first row is reached.
    public func plan(_ tokens: Int, position start: Int, policy: ContextPolicy = .error) throws -> [Call] {
        if policy == .error, start + tokens > context {
            throw Failure(
                "\(start) tokens in the context and \(tokens) more do not fit into \(context)",
                next: "Begin a new conversation, or shorten the text by \(start + tokens - context) tokens"
            )
        }
        // As lilims.context: no piece of a plan is longer than the rows.
        let end = start + tokens
        return stride(from: start, to: end, by: rows).flatMap { calls(from: $0, to: min($0 + rows, end)) }
    }

    private func calls(from start: Int, to end: Int) -> [Call] {
        let chunked = functions["prefill"] == nil ? "decode" : "prefill"
        var calls: [Call] = [], position = start
        while position < end {
            let slot = ringRow(position, rows: rows)
            var name = chunked, size = functions[chunked] ?? 1
            if position + 1 == end || slot + size > rows { (name, size) = ("decode", 1) }
            let chunk = Chunk(slot: slot, count: min(size, end - position), size: size, position: position)
            calls.append(Call(function: variant(name, end: min(chunk.end, rows)), chunk: chunk))
            position = chunk.end
        }
        return calls
    }
}
