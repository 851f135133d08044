/// Half precision as 16 bits. (Swift's `Float16` does not exist on Macs with Intel processors.)
public enum Half {
    /// The nearest half, ties to even, as IEEE 754 and numpy round.
    public static func bits(_ value: Float) -> UInt16 {
        let raw = value.bitPattern, sign = UInt16((raw >> 16) & 0x8000)
        let exponent = Int((raw >> 23) & 0xFF) - 127, fraction = raw & 0x7F_FFFF
        if exponent == 128 { return sign | 0x7C00 | (fraction == 0 ? 0 : UInt16(fraction >> 13) | 0x200) }
        if exponent > 15 { return sign | 0x7C00 }
        if exponent < -25 { return sign }
        let shift: UInt32 = exponent < -14 ? UInt32(-1 - exponent) : 13
        let whole = exponent < -14 ? fraction | 0x80_0000 : UInt32(exponent + 15) << 23 | fraction
        let low = whole & (1 << shift - 1), half: UInt32 = 1 << (shift - 1)
        var result = whole >> shift
        if low > half || (low == half && result & 1 == 1) { result += 1 }  // may carry into the exponent, up to infinity
        return sign | UInt16(truncatingIfNeeded: result)
    }

    @inline(__always)
    public static func value(_ bits: UInt16) -> Float {
        let sign = UInt32(bits & 0x8000) << 16, exponent = UInt32(bits >> 10) & 0x1F, fraction = UInt32(bits & 0x3FF)
        if exponent == 31 { return Float(bitPattern: sign | 0x7F80_0000 | fraction << 13) }
        if exponent == 0 {
            let small = Float(fraction) * 0x1p-24
            return sign == 0 ? small : -small
        }
        return Float(bitPattern: sign | (exponent + 112) << 23 | fraction << 13)
    }
}
