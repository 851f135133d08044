import Foundation

/// How tokens are chosen. Every default leaves the model's distribution alone, but for `temperature`: greedy.
public struct SamplingParameters: Codable, Sendable, Equatable {
    /// 0 takes the likeliest token; above 1 is flatter, below 1 is sharper.
    public var temperature = 0.0
    /// How many of the likeliest tokens may be drawn; 0 is all.
    public var topK = 0
    /// The likeliest tokens that make up this share may be drawn; 1 is all.
    public var topP = 1.0
    /// Tokens at least this fraction as likely as the likeliest may be drawn; 0 is all.
    public var minP = 0.0
    /// The tokens of the most typical information content that make up this share may be drawn; 1 is all.
    public var typicalP = 1.0
    /// Logits of tokens in prompt or answer are divided by it where positive, multiplied where negative; 1 is off.
    public var repetitionPenalty = 1.0
    /// Subtracted from a token's logit once for every time it stands in the answer.
    public var frequencyPenalty = 0.0
    /// Subtracted from the logits of tokens that stand in the answer.
    public var presencePenalty = 0.0
    /// Added to the logits of these tokens; -infinity forbids one.
    public var logitBias: [Int: Double] = [:]
    /// Of the random numbers; nil takes one from the system.
    public var seed: UInt64?

    public init() {}

    /// Parameters as they stand in starter.json; what is absent keeps its default.
    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        func value<T: Decodable>(_ key: CodingKeys, _ standard: T) throws -> T {
            try values.decodeIfPresent(T.self, forKey: key) ?? standard
        }
        temperature = try value(.temperature, temperature)
        topK = try value(.topK, topK)
        topP = try value(.topP, topP)
        minP = try value(.minP, minP)
        typicalP = try value(.typicalP, typicalP)
        repetitionPenalty = try value(.repetitionPenalty, repetitionPenalty)
        frequencyPenalty = try value(.frequencyPenalty, frequencyPenalty)
        presencePenalty = try value(.presencePenalty, presencePenalty)
        logitBias = try value(.logitBias, logitBias)
        seed = try values.decodeIfPresent(UInt64.self, forKey: .seed)
    }

    public func checked() throws -> SamplingParameters {
        let numbers = [temperature, repetitionPenalty, frequencyPenalty, presencePenalty]
        let fits =
            numbers.allSatisfy(\.isFinite) && temperature >= 0 && topK >= 0 && repetitionPenalty > 0
            && topP > 0 && topP <= 1 && (0...1).contains(minP) && typicalP > 0 && typicalP <= 1
            && logitBias.allSatisfy { $0.key >= 0 && $0.value < .infinity }
        if !fits { throw Failure("a sampling parameter is outside its range") }
        return self
    }
}
