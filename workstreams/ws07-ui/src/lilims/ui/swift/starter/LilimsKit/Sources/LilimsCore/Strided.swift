/// Arrays whose rows may lie apart: Core ML pads what it gives to a unit's liking, and says so in the strides.
public enum Strided {
    /// Where each row of the last axis begins, in elements, the rows in order.
    public static func rows(shape: [Int], strides: [Int]) -> [Int] {
        zip(shape, strides).dropLast().reduce([0]) { starts, axis in
            starts.flatMap { start in (0..<axis.0).map { start + $0 * axis.1 } }
        }
    }

    /// Elements of the buffer that such an array reaches.
    public static func extent(shape: [Int], strides: [Int]) -> Int {
        zip(shape, strides).reduce(1) { $0 + max($1.0 - 1, 0) * $1.1 }
    }
}
