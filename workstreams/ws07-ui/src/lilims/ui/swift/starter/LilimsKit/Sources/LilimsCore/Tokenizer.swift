import Foundation

/// A piece of a prompt: an id that is meant as such, or text.
public enum PromptPiece: Codable, Sendable, Equatable {
    case id(Int)
    case text(String)

    public init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if let id = try? value.decode(Int.self) { self = .id(id) } else { self = .text(try value.decode(String.self)) }
    }

    public func encode(to encoder: any Encoder) throws {
        var value = encoder.singleValueContainer()
        switch self {
        case .id(let id): try value.encode(id)
        case .text(let text): try value.encode(text)
        }
    }
}

/// Text to token ids and back. Special tokens that are spelled out in a text are text: nobody ends a turn by writing its
/// end.
public final class Tokenizer: @unchecked Sendable {  // NSRegularExpression is safe to share, and everything is constant
    let file: TokenizerFile
    let pieces: [ArraySlice<UInt8>]
    let flags: [UInt8]
    private let pairs: BytePairs
    private let splits: [NSRegularExpression]
    private let added: [(TokenizerFile.Added, [Unicode.Scalar])]  // longest first
    private let characters: [Int32: Int32]
    private let words: [ArraySlice<UInt8>: Int]

    public init(_ file: TokenizerFile) throws {
        func damaged(_ what: String) -> Failure { Failure(what, in: "starter.json", next: "Export the model again") }
        let bytes = [UInt8](file.bytes), lengths = file.lengths.integers(UInt16.self).map(Int.init)
        guard lengths.reduce(0, +) == bytes.count, file.flags.count == lengths.count else {
            throw damaged("the tokenizer's tables do not fit together")
        }
        let triples = file.merges.integers(Int32.self), ids = 0..<Int32(lengths.count)
        guard triples.allSatisfy(ids.contains), file.byteIds.count == 256, triples.count % 3 == 0,
            file.byteIds.allSatisfy({ $0 >= -1 && $0 < lengths.count }), lengths.indices.contains(file.unknown ?? 0)
        else {
            throw damaged("the tokenizer makes or merges tokens that do not exist")
        }
        var at = 0
        let pieces = lengths.map { length in
            defer { at += length }
            return bytes[at..<at + length]
        }
        self.pieces = pieces
        self.file = file
        flags = [UInt8](file.flags)
        pairs = BytePairs(triples)
        splits = try file.splits.map { try NSRegularExpression(pattern: $0) }
        added = file.added.filter { !$0.special && !$0.text.isEmpty }.map { ($0, Array($0.text.unicodeScalars)) }
            .sorted { $0.1.count > $1.1.count }
        let spelled = file.characters.integers(Int32.self)
        var known: [Int32: Int32] = [:]
        for at in stride(from: 0, to: spelled.count - 1, by: 2) { known[spelled[at]] = spelled[at + 1] }
        guard known.values.allSatisfy(ids.contains) else { throw damaged("a character's id does not exist") }
        characters = known
        let special = Set(file.added.map(\.id)), every = file.wholeWords ? Array(pieces.indices) : []
        words = Dictionary(every.filter { !special.contains($0) }.map { (pieces[$0], $0) }) { first, _ in first }
    }

    public var count: Int { pieces.count }

    /// The ids of a text, with what the tokenizer puts around texts.
    public func encode(_ text: String) -> [Int] { file.before + encode([.text(text)]) + file.after }

    /// The ids of text around ids that are meant as such; neighbouring texts are one.
    public func encode(_ prompt: [PromptPiece]) -> [Int] {
        var ids: [Int] = [], text = "", first = true
        func finish() {
            if !text.isEmpty { ids += stretches(text, first: first) }
            text = ""
        }
        for piece in prompt {
            switch piece {
            case .text(let more): text += more
            case .id(let id):
                if file.added.first(where: { $0.id == id })?.lstrip == true { text = trimmed(text) }
                finish()
                ids.append(id)
                first = false
            }
        }
        finish()
        return ids
    }

    /// Text in which added tokens that are no special ones count.
    private func stretches(_ text: String, first: Bool) -> [Int] {
        guard !added.isEmpty else { return plain(text, first: first) }
        let scalars = Array(text.unicodeScalars)
        var ids: [Int] = [], start = 0, at = 0
        func finish(_ end: Int, lstrip: Bool) {
            let stretch = Tokenizer.text(scalars[start..<max(end, start)])
            let kept = lstrip ? trimmed(stretch) : stretch
            if !kept.isEmpty { ids += plain(kept, first: first && start == 0) }
        }
        while at < scalars.count {
            guard let (token, spelled) = added.first(where: { scalars[at...].starts(with: $0.1) }) else {
                at += 1
                continue
            }
            finish(at, lstrip: token.lstrip)
            ids.append(token.id)
            at += spelled.count
            if token.rstrip { while at < scalars.count, scalars[at].properties.isWhitespace { at += 1 } }
            start = at
        }
        finish(scalars.count, lstrip: false)
        return ids
    }

    private static func text(_ scalars: some Sequence<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    /// A text without the spaces at its end.
    private func trimmed(_ text: String) -> String {
        Tokenizer.text(text.unicodeScalars.reversed().drop { $0.properties.isWhitespace }.reversed())
    }

    private func plain(_ text: String, first: Bool) -> [Int] {
        if file.kind == "sentencepiece" { return marked(text, first: first) }
        let text = file.nfc ? text.precomposedStringWithCanonicalMapping : text
        return cut(text).flatMap { word -> [Int] in
            let bytes = Array(word.utf8)
            if file.wholeWords, let id = words[bytes[...]] { return [id] }
            return pairs.merged(bytes.map { Int32(file.byteIds[Int($0)]) }.filter { $0 >= 0 })
        }
    }

    /// The words of a text: what each pattern finds, and what stands between.
    private func cut(_ text: String) -> [String] {
        splits.reduce([text]) { parts, pattern in
            parts.flatMap { part -> [String] in
                let whole = part as NSString
                var found: [String] = [], end = 0
                for match in pattern.matches(in: part, range: NSRange(location: 0, length: whole.length)) {
                    let range = match.range
                    if range.length == 0 { continue }
                    if range.location > end { found.append(whole.substring(with: NSRange(location: end, length: range.location - end))) }
                    found.append(whole.substring(with: range))
                    end = range.location + range.length
                }
                if end < whole.length { found.append(whole.substring(from: end)) }
                return found
            }
        }
    }

    /// SentencePiece's way: ▁ for spaces, then pairs of characters over the whole stretch.
    private func marked(_ text: String, first: Bool) -> [Int] {
        var scalars = text.unicodeScalars.map { $0 == " " ? "▁" : $0 }
        let wanted = file.prefix == "always" || (file.prefix == "first" && first)
        if wanted, !(file.prefixUnlessMarked && scalars.first == "▁") { scalars.insert("▁", at: 0) }
        var symbols: [Int32] = []
        for scalar in scalars {
            if let id = characters[Int32(scalar.value)] {
                symbols.append(id)
                continue
            }
            let bytes = Array(UTF8.encode(scalar)!).map { Int32(file.byteIds[Int($0)]) }
            if bytes.allSatisfy({ $0 >= 0 }) {
                symbols += bytes
            } else if let unknown = file.unknown, symbols.last != Int32(unknown) {
                symbols.append(Int32(unknown))
            }
        }
        return pairs.merged(symbols)
    }

    /// The text of ids, without special tokens.
    public func decode(_ ids: some Sequence<Int>) -> String {
        var stream = StreamDecoder(self)
        return ids.map { stream.push($0) }.joined() + stream.finish()
    }
}
