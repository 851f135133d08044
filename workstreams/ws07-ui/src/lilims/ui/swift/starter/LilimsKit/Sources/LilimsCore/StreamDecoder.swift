/// Turns ids into text one at a time and never gives half a character.
///
/// The pieces, joined, are the text of the whole. Bytes that can no longer become a character are U+FFFD as soon as that
/// is certain; an incomplete one waits for `finish`.
public struct StreamDecoder: Sendable {
    private let tokenizer: Tokenizer
    private var stripping: Bool
    private var held: [UInt8] = []

    public init(_ tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
        stripping = tokenizer.file.strip != "none"
    }

    /// The text that `token` completes, perhaps none; special tokens and unknown ids have none.
    public mutating func push(_ token: Int) -> String {
        guard tokenizer.pieces.indices.contains(token) else { return "" }
        let flags = tokenizer.flags[token], eachByte = tokenizer.file.eachByte
        if flags & 2 != 0 { return eachByte ? flush() : "" }  // in SentencePiece no character goes on behind it
        var data = tokenizer.pieces[token]
        if stripping, !data.isEmpty {
            if flags & 1 != 0 { data = data.dropFirst() }
            stripping = tokenizer.file.strip == "all" && data.isEmpty
        }
        held += data
        return take(final: false)
    }

    /// What is left of an incomplete character. The decoder is then as new.
    public mutating func finish() -> String {
        defer { stripping = tokenizer.file.strip != "none" }
        return flush()
    }

    private mutating func flush() -> String { take(final: true) }

    private mutating func take(final: Bool) -> String {
        var text = String.UnicodeScalarView(), at = 0
        scan: while at < held.count {
            switch Scalars.first(held[at...]) {
            case .scalar(let scalar, let length):
                text.append(scalar)
                at += length
            case .broken(let length):
                for _ in 0..<(tokenizer.file.eachByte ? length : 1) { text.append("\u{FFFD}") }
                at += length
            case .incomplete:
                if !final { break scan }
                let rest = held.count - at
                for _ in 0..<(tokenizer.file.eachByte ? rest : 1) { text.append("\u{FFFD}") }
                at = held.count
            }
        }
        held.removeFirst(at)
        return String(text)
    }
}

/// UTF-8, a character at a time, with the maximal-subpart rule of the Unicode standard (3.9, table 3-8) for what is none.
enum Scalars {
    enum Found {
        case scalar(Unicode.Scalar, Int)
        case broken(Int)
        case incomplete
    }

    static func first(_ bytes: ArraySlice<UInt8>) -> Found {
        let start = bytes[bytes.startIndex]
        if start < 0x80 { return .scalar(Unicode.Scalar(start), 1) }
        let length: Int, second: ClosedRange<UInt8>
        switch start {
        case 0xC2...0xDF: (length, second) = (2, 0x80...0xBF)
        case 0xE0: (length, second) = (3, 0xA0...0xBF)
        case 0xED: (length, second) = (3, 0x80...0x9F)
        case 0xE1...0xEF: (length, second) = (3, 0x80...0xBF)
        case 0xF0: (length, second) = (4, 0x90...0xBF)
        case 0xF4: (length, second) = (4, 0x80...0x8F)
        case 0xF1...0xF3: (length, second) = (4, 0x80...0xBF)
        default: return .broken(1)
        }
        var value = UInt32(start) & (0xFF >> UInt32(length + 1))
        for i in 1..<length {
            guard i < bytes.count else { return .incomplete }
            let byte = bytes[bytes.startIndex + i]
            guard (i == 1 ? second : 0x80...0xBF).contains(byte) else { return .broken(i) }
            value = value << 6 | UInt32(byte & 0x3F)
        }
        return Unicode.Scalar(value).map { .scalar($0, length) } ?? .broken(1)
    }
}
