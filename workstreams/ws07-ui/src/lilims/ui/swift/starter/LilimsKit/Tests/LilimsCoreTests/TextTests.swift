import XCTest

@testable import LilimsCore

/// Text to ids and back, against lilims.tokenizer; stop strings, sentences, conversations.
final class TextTests: XCTestCase {
    private struct Vector: Decodable {
        struct Stream: Decodable {
            var ids: [Int]
            var pieces: [String]
        }

        var name: String
        var file: TokenizerFile
        var texts: [TokenizedText]
        var streams: [Stream]
        var prompts: [TokenizedPrompt]
    }

    private func each(_ body: (Vector, Tokenizer) throws -> Void) throws {
        let vectors = try Vectors.read("tokenizers", as: [Vector].self)
        XCTAssertEqual(vectors.map(\.name), ["stories", "byte-level", "sentencepiece"])
        for vector in vectors { try body(vector, Tokenizer(vector.file)) }
    }

    func testEncoding() throws {
        try each { vector, tokenizer in
            for text in vector.texts { XCTAssertEqual(tokenizer.encode(text.text), text.ids, "\(vector.name): \(text.text)") }
        }
    }

    func testDecoding() throws {
        try each { vector, tokenizer in
            for text in vector.texts { same(tokenizer.decode(text.ids), text.decoded, "\(vector.name): \(text.text)") }
        }
    }

    func testStreams() throws {
        try each { vector, tokenizer in
            for stream in vector.streams {
                var decoder = StreamDecoder(tokenizer)
                let pieces = stream.ids.map { decoder.push($0) } + [decoder.finish()]
                XCTAssertEqual(pieces.count, stream.pieces.count, "\(vector.name): \(stream.ids)")
                for (mine, theirs) in zip(pieces, stream.pieces) { same(mine, theirs, "\(vector.name): \(stream.ids)") }
            }
        }
    }

    func testPrompts() throws {
        try each { vector, tokenizer in
            for prompt in vector.prompts { XCTAssertEqual(tokenizer.encode(prompt.pieces), prompt.ids, "\(prompt.pieces)") }
        }
    }

    /// Equal character by character: Swift's strings are equal where Unicode says so.
    private func same(_ mine: String, _ theirs: String, _ label: String) {
        XCTAssertEqual(Array(mine.unicodeScalars), Array(theirs.unicodeScalars), label)
    }

    func testStopStrings() {
        var stops = StopStrings(["\nUser:", "END", "ENDING"])
        XCTAssertEqual(stops.push("a\nUs"), "a")
        XCTAssertEqual(stops.push("eful EN"), "\nUseful ")
        XCTAssertEqual(stops.push("D of it"), "")
        XCTAssertEqual(stops.found, "END")
        XCTAssertEqual(stops.push("more"), "")
        var open = StopStrings(["\n\n"])
        XCTAssertEqual(open.push("end\n"), "end")
        XCTAssertEqual(open.finish(), "\n")
    }

    func testSentences() {
        var sentences = Sentences()
        XCTAssertEqual(sentences.push("Once upon a ti"), [])
        XCTAssertEqual(sentences.push("me. \"Oh!\" said"), ["Once upon a time.", "\"Oh!\""])
        XCTAssertEqual(sentences.push(" he. It is 3.5 m"), ["said he."])
        XCTAssertEqual(sentences.push("\n終わり。次"), ["It is 3.5 m", "終わり。"])
        XCTAssertEqual(sentences.finish(), ["次"])
        XCTAssertEqual(sentences.finish(), [])
    }

    func testConversations() throws {
        let chat = Starter.Chat(
            first: [.id(1)], system: .init(before: [.id(2)], after: [.text("\n")]), answer: [.id(3)], next: [.id(4)],
            generate: [.id(5)], trims: true
        )
        let starter = Starter(
            schemaVersion: 1, tokenizer: try Vectors.read("tokenizers", as: [Vector].self)[0].file, chat: chat, begin: 0,
            stopTokens: [], stopStrings: [], sampling: .init(), probes: []
        )
        XCTAssertEqual(
            try starter.pieces([Message(.user, " a "), Message(.assistant, "b"), Message(.user, "c")]),
            [.id(1), .text("a"), .id(3), .text("b"), .id(4), .text("c"), .id(5)]
        )
        XCTAssertEqual(
            try starter.pieces([Message(.system, "s"), Message(.user, "a")]),
            [.id(2), .text("s"), .text("\n"), .text("a"), .id(5)]
        )
        for (text, left) in [("\u{1C}a\u{85}", "a"), ("\u{200B}a\u{200B} ", "\u{200B}a\u{200B}"), (" \n", ""), ("", ""), ("a\r\n", "a")] {
            XCTAssertEqual(try starter.pieces([Message(.user, text)]), [.id(1), .text(left), .id(5)], text.debugDescription)
        }
        XCTAssertThrowsError(try starter.pieces([Message(.user, "a"), Message(.assistant, "b")]))
        XCTAssertThrowsError(try starter.pieces([Message(.user, "a"), Message(.user, "b")]))
        XCTAssertThrowsError(try starter.pieces([]))
    }
}
