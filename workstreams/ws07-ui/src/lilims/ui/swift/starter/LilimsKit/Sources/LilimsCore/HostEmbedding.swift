import Foundation

/// The embedding of a model that keeps it beside its package: rows of a mapped file (docs/contract.md has the layout).
public struct HostEmbedding: Sendable {
    private let table: Manifest.HostEmbedding
    private let data: Data
    private let width: Int

    public init(_ table: Manifest.HostEmbedding, in folder: URL) throws {
        let url = folder.appending(path: table.file), place = table.file
        let sizes = 1...(1 << 28), bits = table.codes == "fp16" ? 16 : table.codes.hasSuffix("4") ? 4 : 8
        guard ["fp16", "int8", "uint8", "int4", "uint4"].contains(table.codes), sizes.contains(table.rows),
            sizes.contains(table.columns), sizes.contains(table.groupSize ?? 1), table.columns * bits % 8 == 0,
            (table.codes == "fp16") == (table.groupSize == nil), table.columns % (table.groupSize ?? 1) == 0
        else { throw Failure("an embedding of \(table.codes) that this app does not read", in: place) }
        let groups = table.columns / (table.groupSize ?? table.columns)
        let factors = table.codes == "fp16" ? 0 : groups * (table.offset ? 4 : 2)
        width = table.columns * bits / 8 + factors
        self.table = table
        data = try Data(contentsOf: url, options: .alwaysMapped)
        guard data.count == table.rows * width else {
            throw Failure("has \(data.count) bytes, its rows need \(table.rows * width)", in: place, next: "Import the model again")
        }
    }

    /// The rows of tokens, one after the other, each value rounded to half precision.
    public func rows(_ ids: [Int32]) throws -> [Float] {
        try ids.flatMap { id -> [Float] in
            guard (0..<table.rows).contains(Int(id)) else { throw Failure("token \(id) has no row", in: table.file) }
            return data.withUnsafeBytes { row(UnsafeRawBufferPointer(rebasing: $0[Int(id) * width..<(Int(id) + 1) * width])) }
        }
    }

    private func row(_ raw: UnsafeRawBufferPointer) -> [Float] {
        func half(_ at: Int) -> Float { Half.value(UInt16(littleEndian: raw.loadUnaligned(fromByteOffset: at, as: UInt16.self))) }
        guard let size = table.groupSize else { return (0..<table.columns).map { half(2 * $0) } }
        let groups = table.columns / size, codes = table.columns * (table.codes.hasSuffix("4") ? 4 : 8) / 8
        return (0..<table.columns).map { i in
            let scale = half(codes + 2 * (i / size))
            let offset = table.offset ? half(codes + 2 * (groups + i / size)) : 0
            return Half.value(Half.bits((code(raw, i) - offset) * scale))
        }
    }

    private func code(_ raw: UnsafeRawBufferPointer, _ i: Int) -> Float {
        switch table.codes {
        case "int8": return Float(Int8(bitPattern: raw[i]))
        case "uint8": return Float(raw[i])
        default:
            let nibble = Int(i % 2 == 0 ? raw[i / 2] & 15 : raw[i / 2] >> 4)
            return Float(table.codes == "uint4" ? nibble : (nibble ^ 8) - 8)
        }
    }
}
