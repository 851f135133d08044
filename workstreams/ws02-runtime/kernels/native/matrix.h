// A quantised matrix as a package has it: codes, scales and offsets in the mapped file.
//
// Knows how one value is found. Must not know products or ONNX Runtime.
//
//     value[n, k] = scale[n, k] · (code[n, k] - offset[n, k])        offset absent means 0
//
// Codes lie row by row, 4-bit ones two in a byte, the first in the low nibble. scale and offset are [groups, blocks]:
// `rows / groups` rows and `columns / blocks` columns have one of each. Offsets of 4 bits are packed as codes are.
#pragma once

#include <cstdint>
#include <cstring>

// Files for one kind of processor include this: nothing here may become a function of its own, which the linker could
// take for all files.
#if defined(_MSC_VER)
#define LILIMS_INLINE __forceinline
#else
#define LILIMS_INLINE __attribute__((always_inline)) inline
#endif

namespace lilims {

enum OffsetKind : int { kNoOffset = 0, kInt4 = 1, kUint4 = 2, kInt8 = 3, kUint8 = 4, kHalf = 5, kSingle = 6 };

LILIMS_INLINE float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, magnitude = half & 0x7fff;
  uint32_t bits = sign | (magnitude << 13);
  if (magnitude >= 0x7c00) {  // an infinity or no number
    bits |= 0x7f800000;
  } else if (magnitude >= 0x0400) {
    bits += 112u << 23;
  } else {  // below the normal numbers: magnitude / 2^24
    const float value = float(magnitude) * 5.9604644775390625e-08f;
    std::memcpy(&bits, &value, 4);
    bits |= sign;
  }
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

struct Matrix {
  int64_t rows = 0, columns = 0, groups = 0, blocks = 0;
  int bits = 4;
  bool is_signed = true;
  bool half_scale = true;
  OffsetKind offset_kind = kNoOffset;
  const uint8_t* codes = nullptr;
  const void* scale = nullptr;
  const void* offset = nullptr;

  LILIMS_INLINE int64_t block() const { return columns / blocks; }
  LILIMS_INLINE int64_t row_bytes() const { return columns * bits / 8; }
  // The code in the middle of the range, which signed codes are counted from: u = code + middle, 0 <= u < 2 · middle.
  LILIMS_INLINE int middle() const { return bits == 4 ? 8 : 128; }

  // Place of a row's first scale.
  LILIMS_INLINE int64_t first(int64_t row) const { return row * groups / rows * blocks; }

  LILIMS_INLINE float scale_at(int64_t place) const {
    return half_scale ? half_to_float(static_cast<const uint16_t*>(scale)[place])
                      : static_cast<const float*>(scale)[place];
  }

  LILIMS_INLINE float offset_at(int64_t place) const {
    const auto* bytes = static_cast<const uint8_t*>(offset);
    const int nibble = offset_kind == kInt4 || offset_kind == kUint4 ? bytes[place / 2] >> (place % 2 * 4) & 15 : 0;
    switch (offset_kind) {
      case kInt4: return float((nibble ^ 8) - 8);
      case kUint4: return float(nibble);
      case kInt8: return float(static_cast<const int8_t*>(offset)[place]);
      case kUint8: return float(bytes[place]);
      case kHalf: return half_to_float(static_cast<const uint16_t*>(offset)[place]);
      case kSingle: return static_cast<const float*>(offset)[place];
      default: return 0.0f;
    }
  }

  // An offset as one of codes that are counted from the middle.
  LILIMS_INLINE float centred_offset_at(int64_t place) const { return offset_at(place) - (is_signed ? 0.0f : float(middle())); }
  LILIMS_INLINE bool has_centred_offset() const { return offset_kind != kNoOffset || !is_signed; }

  LILIMS_INLINE int code_at(int64_t row, int64_t column) const {
    const uint8_t* bytes = codes + row * row_bytes();
    if (bits == 8) return is_signed ? int(static_cast<int8_t>(bytes[column])) : int(bytes[column]);
    const int nibble = bytes[column / 2] >> (column % 2 * 4) & 15;
    return is_signed ? (nibble ^ 8) - 8 : nibble;
  }
};

}  // namespace lilims
