import Foundation

/// A tokenizer as `lilims export --to swift` writes it into starter.json: one form for byte-level BPE and for BPE of
/// SentencePiece, whatever files it was read from.
///
/// Tables are base64, little-endian: names and merges of 150,000 tokens are then read in one go.
public struct TokenizerFile: Codable, Sendable {
    public struct Added: Codable, Sendable {
        public var id: Int
        public var text: String
        public var special: Bool
        public var lstrip: Bool
        public var rstrip: Bool
    }

    /// `byte-level`: words of bytes. `sentencepiece`: whole text of characters, ▁ for a space.
    public var kind: String
    /// Bytes of all tokens, one after the other, in the order of their ids.
    public var bytes: Data
    /// UInt16 a token: how many of them are its.
    public var lengths: Data
    /// UInt8 a token: 1 begins with ▁, 2 special.
    public var flags: Data
    /// Int32 triples by rank: left, right, both together.
    public var merges: Data
    /// The id of each byte, -1 for none: what byte-level words begin with, or SentencePiece's byte fallback.
    public var byteIds: [Int]
    /// Int32 pairs: a character's scalar value and its id (SentencePiece). Strings would be equal where Unicode says so.
    public var characters: Data
    public var unknown: Int?
    /// Patterns that cut text into words, one after the other (ICU's syntax).
    public var splits: [String]
    public var nfc: Bool
    /// Whether a word that is a token is not put together from its parts.
    public var wholeWords: Bool
    /// Which stretches of text get ▁ in front: `always`, `first`, `never`.
    public var prefix: String
    /// Whether a stretch that begins with ▁ gets none.
    public var prefixUnlessMarked: Bool
    /// Ids around a text.
    public var before: [Int]
    public var after: [Int]
    public var added: [Added]
    /// How many leading spaces of a text are left out when it is decoded: `none`, `one`, `all`.
    public var strip: String
    /// Whether every byte that is no character becomes U+FFFD of its own, as SentencePiece has it.
    public var eachByte: Bool
}

extension Data {
    /// Little-endian integers.
    func integers<Value: FixedWidthInteger>(_: Value.Type) -> [Value] {
        let size = MemoryLayout<Value>.size
        return withUnsafeBytes { raw in
            (0..<raw.count / size).map { Value(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * size, as: Value.self)) }
        }
    }
}
