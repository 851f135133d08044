import Foundation

/// `starter.json`: what the export derived from a model's tokenizer and chat template, so that no app has to.
public struct Starter: Codable, Sendable {
    /// A conversation is put together from these, around the contents of its messages.
    public struct Chat: Codable, Sendable {
        /// Before the first question of a conversation without instructions.
        public var first: [PromptPiece]
        /// Around instructions; nil where the model takes none.
        public var system: Around?
        /// Between a question and its answer, in what was said before.
        public var answer: [PromptPiece]
        /// Between an answer and the next question.
        public var next: [PromptPiece]
        /// Behind the last question: here the model begins.
        public var generate: [PromptPiece]
        /// Whether the template takes spaces off the ends of contents.
        public var trims: Bool

        public struct Around: Codable, Sendable {
            public var before: [PromptPiece]
            public var after: [PromptPiece]
        }
    }

    /// A text with its ids, as the exporting lilims encodes it.
    public struct Probe: Codable, Sendable {
        public var text: String
        public var ids: [Int]
        public var decoded: String
    }

    public var schemaVersion: Int
    public var tokenizer: TokenizerFile
    public var chat: Chat?
    public var begin: Int?
    public var stopTokens: [Int]
    public var stopStrings: [String]
    public var sampling: SamplingParameters
    public var probes: [Probe]

    public static func read(_ data: Data) throws -> Starter {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        do {
            let starter = try decoder.decode(Starter.self, from: data)
            guard starter.schemaVersion == 1 else {
                throw Failure("schema version \(starter.schemaVersion) is unknown", in: "starter.json", next: "Update the app")
            }
            return starter
        } catch let error as DecodingError {
            throw Failure("not what this app reads: \(error)", in: "starter.json", next: "Export the model again")
        }
    }
}

/// A message of a conversation.
public struct Message: Codable, Sendable, Equatable, Hashable {
    public enum Role: String, Codable, Sendable { case system, user, assistant }

    public var role: Role
    public var content: String

    public init(_ role: Role, _ content: String) { (self.role, self.content) = (role, content) }
}

extension Starter {
    /// A conversation that ends with a question, in pieces. Instructions, if any, come first.
    public func pieces(_ messages: [Message]) throws -> [PromptPiece] {
        guard let chat else { throw Failure("this model continues texts and knows no conversations") }
        var rest = messages[...], pieces = chat.first
        func content(_ message: Message) -> PromptPiece {
            .text(chat.trims ? Starter.trimmed(message.content) : message.content)
        }
        if let system = rest.first, system.role == .system {
            guard let around = chat.system else { throw Failure("this model takes no instructions") }
            pieces = around.before + [content(system)] + around.after
            rest = rest.dropFirst()
        }
        for (i, message) in rest.enumerated() {
            guard message.role == (i % 2 == 0 ? .user : .assistant) else {
                throw Failure("questions and answers must follow each other")
            }
            pieces.append(content(message))
            pieces += message.role == .assistant ? chat.next : i == rest.count - 1 ? chat.generate : chat.answer
        }
        guard rest.last?.role == .user else { throw Failure("a conversation ends with a question") }
        return pieces
    }

    /// As Python's `str.strip`, by which templates trim. (Foundation's white space has U+200B and lacks U+001C to U+001F.)
    private static func trimmed(_ text: String) -> String {
        func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value) }
        let begun = text.unicodeScalars.drop(while: isSpace)
        return String(begun[..<(begun.lastIndex { !isSpace($0) }.map(begun.index(after:)) ?? begun.startIndex)])
    }

    /// Compares the tokenizer with what the export recorded: a system's libraries may split text differently.
    public func check(_ tokenizer: Tokenizer) throws {
        for probe in probes {
            let ids = tokenizer.encode(probe.text), text = tokenizer.decode(probe.ids)
            if ids != probe.ids || !text.unicodeScalars.elementsEqual(probe.decoded.unicodeScalars) {
                throw Failure(
                    "the tokenizer reads \(probe.text.debugDescription) as \(ids), the export as \(probe.ids)",
                    in: "starter.json", next: "Export the model again with a newer lilims"
                )
            }
        }
    }
}
