/// From a call to the inputs of a package's function, as the contract names them.

/// An array that goes to an executor, row after row.
public struct Tensor: Sendable, Equatable {
    public enum Values: Sendable, Equatable {
        case integers([Int32])
        case floats([Float])
    }

    public var shape: [Int]
    public var values: Values

    public init(_ values: [Int32], shape: [Int]) { (self.shape, self.values) = (shape, .integers(values)) }
    public init(_ values: [Float], shape: [Int]) { (self.shape, self.values) = (shape, .floats(values)) }
}

/// Builds the inputs of calls.
public struct StepInputs: Sendable {
    private let shape: DecoderShape
    private let tables: [(prefix: String, tables: RotaryTables)]
    private let seen: [(name: String, visibility: Visibility)]

    public init(_ shape: DecoderShape, positions: Manifest.Positions) throws {
        self.shape = shape
        tables = try [("", positions.rotary), ("local_", positions.localRotary)].compactMap { prefix, parameters in
            try parameters.map { (prefix, try RotaryTables($0, length: shape.context)) }
        }
        var masks = [("attention_mask", Visibility(reach: shape.context, window: shape.window))]
        if let local = shape.localWindow {
            masks.append(("local_attention_mask", Visibility(reach: shape.context, window: local)))
        }
        seen = masks
    }

    /// The inputs of `call` for its tokens; `held` is what the rows hold before it.
    public func build(_ call: Call, ids: ArraySlice<Int>, held: StateRows) -> [String: Tensor] {
        let chunk = call.chunk, size = chunk.size, rows = shape.rowsRead(call.function)
        var padded = [Int32](repeating: shape.padding, count: size)
        for (i, id) in ids.enumerated() { padded[i] = Int32(id) }
        var inputs = [
            "input_ids": Tensor(padded, shape: [1, size]),
            "slot": Tensor([Int32(chunk.slot)], shape: [1]),
        ]
        for (name, visibility) in seen {
            let mask = visibility.mask(chunk, held: held, rows: rows, hidden: shape.maskValue)
            inputs[name] = Tensor(mask, shape: [1, 1, size, rows])
        }
        for (prefix, table) in tables {
            let (cos, sin) = table.at(chunk.position..<chunk.position + size)
            inputs[prefix + "cos"] = Tensor(cos, shape: [1, 1, size, table.width])
            inputs[prefix + "sin"] = Tensor(sin, shape: [1, 1, size, table.width])
        }
        if let most = shape.maxPositions {  // padding may stand past the table's end
            let positions = (0..<size).map { Int32(min(chunk.position + $0, most - 1)) }
            inputs["positions"] = Tensor(positions, shape: [size])
        }
        if call.function.hasPrefix("prefill") { inputs["last"] = Tensor([Int32(chunk.count - 1)], shape: [1]) }
        return inputs
    }
}
