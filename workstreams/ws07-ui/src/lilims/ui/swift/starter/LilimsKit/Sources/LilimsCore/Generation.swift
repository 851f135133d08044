/// The decoding loop: a prompt's ids in, tokens and their text out.
///
/// Knows when to stop. Must not know how logits are computed (Session) or chosen (Sampler).

/// A token that was generated, and the text that it completes.
public struct GeneratedToken: Sendable, Equatable {
    public enum End: String, Sendable {
        /// A stop token or a stop string.
        case stop
        /// `maxTokens`, or a full context.
        case length
    }

    public var id: Int
    public var text: String
    public var end: End?
}

/// What is to be generated.
public struct GenerationRequest: Sendable {
    /// The text's ids from its beginning; those that the session holds already are not run again.
    public var prompt: [Int]
    public var sampling: SamplingParameters
    /// Tokens that end the text; such a token is the last one, without text.
    public var stopTokens: Set<Int>
    public var stopStrings: [String]
    /// nil goes on until the text ends or the context is full.
    public var maxTokens: Int?
    /// How many tokens are decoded before their reader asks for them.
    public var ahead: Int

    public init(
        prompt: [Int], sampling: SamplingParameters = .init(), stopTokens: Set<Int> = [], stopStrings: [String] = [],
        maxTokens: Int? = nil, ahead: Int = 8
    ) {
        self.prompt = prompt
        self.sampling = sampling
        self.stopTokens = stopTokens
        self.stopStrings = stopStrings
        self.maxTokens = maxTokens
        self.ahead = ahead
    }
}

extension DecoderSession {
    /// Generates until a stop token or string, `maxTokens`, a full context, or the reader's end.
    public nonisolated func generate(_ request: GenerationRequest, tokenizer: Tokenizer) throws -> TokenStream {
        guard !request.prompt.isEmpty else { throw Failure("the prompt is empty") }
        guard request.maxTokens ?? 1 > 0 else { throw Failure("an answer has at least one token") }
        let sampler = try Sampler(request.sampling)
        return TokenStream(ahead: request.ahead) { yield in
            try await self.run(request, tokenizer, sampler, yield)
        }
    }

    private func run(
        _ request: GenerationRequest, _ tokenizer: Tokenizer, _ chosen: Sampler, _ yield: TokenStream.Yield
    ) async throws {
        var sampler = chosen, decoder = StreamDecoder(tokenizer), stops = StopStrings(request.stopStrings)
        for token in request.prompt { _ = decoder.push(token) }  // a space or half a character may depend on it
        var logits = try await prefill(request.prompt), count = 0
        sampler.observe(request.prompt)
        while true {
            try Task.checkCancellation()
            let token = try sampler.choose(logits)
            count += 1
            var end: GeneratedToken.End? = request.stopTokens.contains(token) ? .stop : nil
            var text = end == nil ? stops.push(decoder.push(token)) : ""
            if stops.found != nil {
                end = .stop
            } else if end == nil, count == request.maxTokens || room == 0 {
                end = .length  // the token that fills the context is shown, but there is no row to go on from it
            }
            if end != nil { text += stops.push(decoder.finish()) + stops.finish() }
            let wanted = await yield(GeneratedToken(id: token, text: text, end: end))
            if end != nil || !wanted { return }
            logits = try await append([token])
        }
    }

    private func prefill(_ prompt: [Int]) async throws -> [Float] {
        if policy == .error, prompt.count > shape.context {
            throw Failure(
                "the text has \(prompt.count) tokens, the context holds \(shape.context)",
                next: "Begin a new conversation, or shorten the text"
            )
        }
        let kept = try keep(prompt)
        return try await append(Array(prompt[kept...]))
    }
}
