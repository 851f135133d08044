import Foundation

/// A model that answers: its folder, its tokenizer, and one session over its state.
///
/// Knows how a conversation becomes a request. Must not know what runs the calls.
public final class LanguageModel: Sendable {
    public let folder: ModelFolder
    public let tokenizer: Tokenizer
    public let session: DecoderSession

    /// - Parameter policy: nil goes on behind a full context where the model can.
    public init(_ folder: ModelFolder, executor: any DecoderExecutor, policy: ContextPolicy? = nil) throws {
        self.folder = folder
        let manifest = folder.manifest
        tokenizer = try Tokenizer(folder.starter.tokenizer)
        try folder.starter.check(tokenizer)
        let embedding = try manifest.embedding.map { try HostEmbedding($0, in: folder.url) }
        session = try DecoderSession(
            manifest, executor: executor, embedding: embedding,
            policy: policy ?? (manifest.positions.kind == "learned" ? .error : .rolling)
        )
    }

    /// Whether the model knows conversations; one that does not continues texts.
    public var chats: Bool { folder.starter.chat != nil }

    /// Whether a conversation may begin with instructions.
    public var takesInstructions: Bool { folder.starter.chat?.system != nil }

    /// The answer to a conversation's last question.
    public func answer(_ messages: [Message], sampling: SamplingParameters, maxTokens: Int?) throws -> TokenStream {
        try generate(tokenizer.encode(folder.starter.pieces(messages)), sampling, maxTokens)
    }

    /// How a text goes on.
    public func complete(_ text: String, sampling: SamplingParameters, maxTokens: Int?) throws -> TokenStream {
        let ids = tokenizer.encode(text)
        return try generate(ids.isEmpty ? folder.starter.begin.map { [$0] } ?? [] : ids, sampling, maxTokens)
    }

    /// Runs each function once, as the first calls on a device take long; the session is empty afterwards.
    public func warmUp() async throws {
        let shape = session.shape, token = Int(shape.padding)
        _ = try await session.append(Array(repeating: token, count: min(2, shape.context)))
        _ = try await session.append([token])
        try await session.reset()
    }

    private func generate(_ prompt: [Int], _ sampling: SamplingParameters, _ maxTokens: Int?) throws -> TokenStream {
        let request = GenerationRequest(
            prompt: prompt, sampling: sampling, stopTokens: Set(folder.starter.stopTokens),
            stopStrings: chats ? folder.starter.stopStrings : [], maxTokens: maxTokens
        )
        return try session.generate(request, tokenizer: tokenizer)
    }
}
