import Foundation

/// From logits to the next token of one text: penalties, filters, and one random number a token.
///
/// The order is lilims's (docs/sampling.md): logit bias, repetition, frequency and presence penalty; greedy ends here;
/// top-k, temperature, top-p, min-p, typical. Knows the text's tokens so far. Must not know tokenizers or models.
public struct Sampler: Sendable {
    public let parameters: SamplingParameters
    /// The seed in use; given again, it gives the same tokens.
    public let seed: UInt64
    private var random: PCG64
    private var counts: [Int: Int] = [:]  // of each token of prompt and answer, how often it stands in the answer

    public init(_ parameters: SamplingParameters) throws {
        self.parameters = try parameters.checked()
        seed = parameters.seed ?? UInt64(UInt32.random(in: .min ... .max))
        random = PCG64(seed: seed)
    }

    /// Tells the prompt: the repetition penalty looks at it.
    public mutating func observe(_ prompt: some Sequence<Int>) {
        guard parameters.repetitionPenalty != 1 else { return }
        for token in prompt { counts[token, default: 0] += 0 }
    }

    /// Chooses the next token for the logits of a whole vocabulary, and goes on by it.
    public mutating func choose(_ logits: [Float]) throws -> Int {
        let found = try candidates(logits)
        let place = parameters.temperature == 0 ? 0 : draw(found.weights)
        let token = found.id(at: place)
        counts[token, default: 0] += 1
        return token
    }

    /// What the next token is drawn from: ids, ascending, and their probabilities; greedy: one id.
    public func distribution(_ logits: [Float]) throws -> (ids: [Int], shares: [Double]) {
        let found = try candidates(logits), weights = found.weights, total = weights.reduce(0, +)
        return (found.values.indices.map(found.id(at:)), weights.map { $0 / total })
    }

    private func candidates(_ logits: [Float]) throws -> Candidates {
        guard logits.allSatisfy({ $0 < .infinity }), logits.contains(where: \.isFinite) else {
            throw Failure("the logits are not finite", next: "Export the model with another --quantize")
        }
        var values = logits.map(Double.init)
        try penalise(&values)
        var found = Candidates(values)
        guard found.best > -.infinity else { throw Failure("no token may be chosen: the logit bias leaves none") }
        if parameters.temperature == 0 {
            found.ids = [values.firstIndex(of: found.best) ?? 0]
            found.values = [found.best]
            return found
        }
        if parameters.topK != 0 { found = found.top(parameters.topK) }
        if parameters.temperature != 0 { found = found.scaled(parameters.temperature) }
        if parameters.topP != 1 { found = found.nucleus(parameters.topP) }
        if parameters.minP != 0 { found = found.minimum(parameters.minP) }
        if parameters.typicalP != 1 { found = found.typical(parameters.typicalP) }
        return found
    }

    private func penalise(_ values: inout [Double]) throws {
        for (token, bias) in parameters.logitBias {
            guard values.indices.contains(token) else {
                throw Failure("the logit bias names token \(token), the vocabulary has \(values.count)")
            }
            values[token] += bias
        }
        let penalty = parameters.repetitionPenalty
        for (token, count) in counts where values.indices.contains(token) {
            if penalty != 1 { values[token] = values[token] < 0 ? values[token] * penalty : values[token] / penalty }
            values[token] -= Double(count) * parameters.frequencyPenalty
            if count > 0 { values[token] -= parameters.presencePenalty }
        }
    }

    /// A place in `weights`: the first whose cumulated share exceeds a random number.
    private mutating func draw(_ weights: [Double]) -> Int {
        let target = random.uniform() * weights.reduce(0, +)
        var sum = 0.0
        for (place, weight) in weights.enumerated() {
            sum += weight
            if sum > target { return place }
        }
        return weights.lastIndex { $0 > 0 } ?? 0  // rounding has left none
    }
}
