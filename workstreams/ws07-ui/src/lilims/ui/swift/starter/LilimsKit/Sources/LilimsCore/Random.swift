/// numpy's `Generator(PCG64(seed))`: the same numbers from the same seed, so that a seed tells the same text everywhere.
///
/// PCG XSL RR 128/64 (O'Neill 2014, HMC-CS-2014-0905), seeded through numpy's `SeedSequence`.
public struct PCG64: Sendable {
    private var state: UInt128 = 0
    private let increment: UInt128
    private static let multiplier: UInt128 = 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645

    public init(seed: UInt64) {
        let words = PCG64.seedWords(seed)
        func pair(_ high: UInt64, _ low: UInt64) -> UInt128 { UInt128(high) << 64 | UInt128(low) }
        increment = pair(words[2], words[3]) << 1 | 1
        step()
        state &+= pair(words[0], words[1])
        step()
    }

    private mutating func step() { state = state &* PCG64.multiplier &+ increment }

    public mutating func next() -> UInt64 {
        step()
        let folded = UInt64(truncatingIfNeeded: state >> 64) ^ UInt64(truncatingIfNeeded: state)
        let turn = UInt64(truncatingIfNeeded: state >> 122)
        return folded >> turn | folded << ((64 &- turn) & 63)
    }

    /// A number in [0, 1), of 53 random bits.
    public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Four words of `SeedSequence(seed).generate_state(4, uint64)`.
    private static func seedWords(_ seed: UInt64) -> [UInt64] {
        var entropy = [UInt32(truncatingIfNeeded: seed)]
        if seed >> 32 != 0 { entropy.append(UInt32(seed >> 32)) }
        var constant: UInt32 = 0x43B0_D7E5
        func hashed(_ value: UInt32) -> UInt32 {
            var value = value ^ constant
            constant = constant &* 0x931E_8875
            value = value &* constant
            return value ^ value >> 16
        }
        func mixed(_ x: UInt32, _ y: UInt32) -> UInt32 {
            let result = 0xCA01_F9DD &* x &- 0x4973_F715 &* y
            return result ^ result >> 16
        }
        var pool = (0..<4).map { hashed($0 < entropy.count ? entropy[$0] : 0) }
        for source in 0..<4 {
            for target in 0..<4 where target != source { pool[target] = mixed(pool[target], hashed(pool[source])) }
        }
        constant = 0x8B51_F9DD
        let drawn: [UInt32] = (0..<8).map { i in
            var value = pool[i % 4] ^ constant
            constant = constant &* 0x58F3_8DED
            value = value &* constant
            return value ^ value >> 16
        }
        return (0..<4).map { UInt64(drawn[2 * $0 + 1]) << 32 | UInt64(drawn[2 * $0]) }
    }
}
