/// Whole sentences from a text that grows: what is read aloud, as every token by itself would be noise.
public struct Sentences: Sendable {
    private var held = ""

    public init() {}

    /// The sentences that `text` completes. One ends with . ! ? … or their like before a space, or with a line.
    public mutating func push(_ text: String) -> [String] {
        var found: [String] = []
        for character in text {
            let ends = character.isNewline || (character.isWhitespace && endsSentence)
            if !ends || !held.isEmpty { held.append(character) }
            if ends || "。！？".contains(character) { found += take() }
        }
        return found
    }

    /// What is left at the end of the text.
    public mutating func finish() -> [String] { take() }

    private var endsSentence: Bool {
        let closing: Set<Character> = ["\"", "'", "”", "’", ")", "]"]
        guard let last = held.last(where: { !closing.contains($0) }) else { return false }
        return ".!?…".contains(last)
    }

    private mutating func take() -> [String] {
        defer { held = "" }
        let sentence = String(held.drop(while: \.isWhitespace).reversed().drop(while: \.isWhitespace).reversed())
        return sentence.isEmpty ? [] : [sentence]
    }
}
