import Foundation

/// What the tables of one kind of layer depend on, but the positions; the manifest's `rotary` and `local_rotary`.
///
/// Dimension i turns together with i + rotaryDim/2. The formulas stand in docs/swift.md and, with their sources, in
/// lilims.context.rotary, whose values the tests compare these with.
public struct RotaryParameters: Codable, Sendable, Equatable {
    public var rotaryDim: Int
    public var theta: Double = 10000
    public var kind = "default"
    public var factor: Double = 1
    public var attentionFactor: Double = 1
    public var originalContext: Int?
    public var lowFreqFactor: Double?
    public var highFreqFactor: Double?
    public var betaFast: Double = 32
    public var betaSlow: Double = 1
    public var truncate = true
    public var shortFactor: [Double]?
    public var longFactor: [Double]?

    public init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        rotaryDim = try values.decode(Int.self, forKey: .rotaryDim)
        theta = try values.decodeIfPresent(Double.self, forKey: .theta) ?? theta
        kind = try values.decodeIfPresent(String.self, forKey: .kind) ?? kind
        factor = try values.decodeIfPresent(Double.self, forKey: .factor) ?? factor
        attentionFactor = try values.decodeIfPresent(Double.self, forKey: .attentionFactor) ?? attentionFactor
        originalContext = try values.decodeIfPresent(Int.self, forKey: .originalContext)
        lowFreqFactor = try values.decodeIfPresent(Double.self, forKey: .lowFreqFactor)
        highFreqFactor = try values.decodeIfPresent(Double.self, forKey: .highFreqFactor)
        betaFast = try values.decodeIfPresent(Double.self, forKey: .betaFast) ?? betaFast
        betaSlow = try values.decodeIfPresent(Double.self, forKey: .betaSlow) ?? betaSlow
        truncate = try values.decodeIfPresent(Bool.self, forKey: .truncate) ?? truncate
        shortFactor = try values.decodeIfPresent([Double].self, forKey: .shortFactor)
        longFactor = try values.decodeIfPresent([Double].self, forKey: .longFactor)
    }

    /// Radians per position, `rotaryDim / 2` of them.
    ///
    /// - Parameter length: the context of the package, which the rules `dynamic` and `longrope` look at: keys in the
    ///   cache are turned already, so the rule must not change while a text grows.
    public func inverseFrequencies(length: Int) throws -> [Double] {
        guard rotaryDim >= 2, rotaryDim % 2 == 0, rotaryDim <= 1 << 16, theta > 0, factor > 0, attentionFactor > 0 else {
            throw bad("rotary_dim, theta or a factor")
        }
        switch kind {
        case "default": return base(theta)
        case "linear": return base(theta).map { $0 / factor }
        case "dynamic": return try dynamic(length)
        case "llama3": return try llama3()
        case "yarn": return try yarn()
        case "longrope":
            let original = try needed(originalContext, "original_context")
            let divisors = try needed(length > original ? longFactor : shortFactor, "its factors")
            guard divisors.count == rotaryDim / 2 else { throw bad("the number of its factors") }
            return zip(base(theta), divisors).map { $0 / $1 }
        default: throw bad("kind \(kind)")
        }
    }

    private func base(_ theta: Double) -> [Double] {
        (0..<rotaryDim / 2).map { pow(theta, -(Double(2 * $0) / Double(rotaryDim))) }
    }

    private func dynamic(_ length: Int) throws -> [Double] {
        let original = try needed(originalContext, "original_context")
        guard rotaryDim >= 4 else { throw bad("rotary_dim") }
        let stretch = factor * Double(max(length, original)) / Double(original) - (factor - 1)
        return base(theta * pow(stretch, Double(rotaryDim) / Double(rotaryDim - 2)))
    }

    private func llama3() throws -> [Double] {
        let low = try needed(lowFreqFactor, "low_freq_factor"), high = try needed(highFreqFactor, "high_freq_factor")
        let original = Double(try needed(originalContext, "original_context"))
        return base(theta).map { f in
            let turns = original * f / (2 * .pi)
            let smooth = min(max((turns - low) / (high - low), 0), 1)
            return (1 - smooth) * f / factor + smooth * f
        }
    }

    private func yarn() throws -> [Double] {
        let original = Double(try needed(originalContext, "original_context")), width = Double(rotaryDim)
        func dimension(_ turns: Double) -> Double { width * log(original / (turns * 2 * .pi)) / (2 * log(theta)) }
        var low = dimension(betaFast), high = dimension(betaSlow)
        if truncate { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        (low, high) = (max(low, 0), min(high, width - 1))
        let span = high != low ? high - low : 0.001
        return base(theta).enumerated().map { i, f in
            let ramp = min(max((Double(i) - low) / span, 0), 1)
            return f / factor * ramp + f * (1 - ramp)
        }
    }

    private func needed<Value>(_ value: Value?, _ name: String) throws -> Value {
        guard let value else { throw bad(name) }
        return value
    }

    private func bad(_ what: String) -> Failure {
        Failure("rotary positions that this app cannot compute: \(what)", in: "manifest.json", next: "Update the app")
    }
}

/// cos and sin of positions, computed in double precision and rounded once, to single precision.
public struct RotaryTables: Sendable {
    public let width: Int
    private let frequencies: [Double]
    private let factor: Double

    public init(_ parameters: RotaryParameters, length: Int) throws {
        frequencies = try parameters.inverseFrequencies(length: length)
        factor = parameters.attentionFactor
        width = parameters.rotaryDim
    }

    /// Rows of `width` values, one row a position; both halves of a row are the same.
    public func at(_ positions: Range<Int>) -> (cos: [Float], sin: [Float]) {
        let half = frequencies.count
        var cosines = [Float](repeating: 0, count: positions.count * width), sines = cosines
        for (row, position) in positions.enumerated() {
            for (i, frequency) in frequencies.enumerated() {
                let angle = Double(position) * frequency, at = row * width + i
                cosines[at] = Float(cos(angle) * factor)
                sines[at] = Float(sin(angle) * factor)
                cosines[at + half] = cosines[at]
                sines[at + half] = sines[at]
            }
        }
        return (cosines, sines)
    }
}
