#if canImport(CoreML)
@preconcurrency import CoreML
import Foundation
import LilimsCore

/// Between tensors and Core ML's arrays, in the element type that a package asks for, honouring strides both ways.

extension Tensor {
    func multiArray(_ type: MLMultiArrayDataType) throws -> MLMultiArray {
        guard type == .float32 || type == .float16 || type == .int32 else {
            throw Failure("a package asks for an element type that is not the contract's")
        }
        let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: type)
        let width = shape.last ?? 1
        array.withUnsafeMutableBytes { raw, strides in
            let step = strides.last ?? 1
            func put<Element>(_ element: Element.Type, _ value: (Int) -> Element) {
                let buffer = raw.bindMemory(to: element)
                for (row, start) in Strided.rows(shape: shape, strides: strides).enumerated() {
                    for i in 0..<width { buffer[start + i * step] = value(row * width + i) }
                }
            }
            switch (values, type) {
            case (.integers(let values), .int32): put(Int32.self) { values[$0] }
            case (.integers(let values), .float16): put(UInt16.self) { Half.bits(Float(values[$0])) }
            case (.integers(let values), _): put(Float.self) { Float(values[$0]) }
            case (.floats(let values), .int32): put(Int32.self) { Int32(exactly: values[$0]) ?? 0 }
            case (.floats(let values), .float16): put(UInt16.self) { Half.bits(values[$0]) }
            case (.floats(let values), _): put(Float.self) { values[$0] }
            }
        }
        return array
    }
}

/// What a function returned, copied: Core ML may use its arrays again.
enum CoreMLOutput: Sendable {
    /// The first logits of the first row: behind them is the head's padding.
    case logits([Float])
    /// The rows that the next package takes.
    case hidden(Tensor)

    init?(_ features: any MLFeatureProvider, count: Int) {
        if let array = features.featureValue(for: "logits")?.multiArrayValue {
            self = .logits(array.rows(first: count, most: 1))
        } else if let array = features.featureValue(for: "hidden_out")?.multiArrayValue {
            let shape = array.shape.map(\.intValue)
            self = .hidden(Tensor(array.rows(first: shape.last ?? 1, most: .max), shape: shape))
        } else {
            return nil
        }
    }
}

extension MLMultiArray {
    /// The first elements of the first rows.
    fileprivate func rows(first count: Int, most: Int) -> [Float] {
        let sizes = shape.map(\.intValue), steps = strides.map(\.intValue), step = steps.last ?? 1
        let width = min(count, sizes.last ?? 1), starts = Strided.rows(shape: sizes, strides: steps).prefix(most)
        return withUnsafeBytes { raw in
            func taken<Element>(_ element: Element.Type, _ value: (Element) -> Float) -> [Float] {
                let buffer = raw.bindMemory(to: element)
                return starts.flatMap { start in (0..<width).map { value(buffer[start + $0 * step]) } }
            }
            switch dataType {
            case .float16: return taken(UInt16.self, Half.value)
            case .double: return taken(Double.self) { Float($0) }
            case .int32: return taken(Int32.self) { Float($0) }
            default: return taken(Float.self) { $0 }
            }
        }
    }
}
#endif
