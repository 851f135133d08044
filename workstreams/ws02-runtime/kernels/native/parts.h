// What products with few and with many tokens share: activations as int8, scales of rows, room for what is unpacked.
//
// Knows layouts. Must not know instructions or loops over rows.
#pragma once

#include <new>

#include "products.h"

namespace lilims {
namespace {

constexpr int kSlack = 64;  // bytes behind every buffer, for loads of whole registers

// Room that a thread keeps for what it unpacks. Plain memory: no class of the standard library is compiled here.
struct Scratch {
  uint8_t* data = nullptr;
  size_t size = 0;
  ~Scratch() { ::operator delete[](data, std::align_val_t{64}); }
  uint8_t* reserve(size_t wanted) {
    if (wanted > size) {
      ::operator delete[](data, std::align_val_t{64});
      data = nullptr;
      size = 0;
      data = static_cast<uint8_t*>(::operator new[](wanted, std::align_val_t{64}));
      size = wanted;
    }
    return data;
  }
};

// Where the parts of a packed token lie; K is the padded number of columns.
//   values  int8 [K]: 4-bit codes meet all even places first, then all odd ones
//   start   int32, one for every four bytes of codes: what sums begin with
//   scales  float [K / 32]
//   sums    float [K / 16]: scale_a · Σ a of every half block
struct TokenLayout {
  int64_t start, scales, sums, size;
  TokenLayout(int64_t k, int bits)
      : start(k), scales(start + k * bits / 8), sums(scales + k / 8), size((sums + k / 4 + kSlack + 63) / 64 * 64) {}
};

// Where the parts of a packed tile of W tokens lie.
//   values  int8 [K / 4, W, 4]
//   start   int32 [K / unit, W]
//   scales  float [K / 32, W]
//   sums    float [K / unit, W]
struct TileLayout {
  int64_t start, scales, sums, size;
  TileLayout(int64_t k, int unit, int lanes)
      : start(k * lanes), scales(start + k / unit * lanes * 4), sums(scales + k / 8 * lanes),
        size(sums + k / unit * lanes * 4 + kSlack) {}
};

struct QuantisedBlock {
  int8_t values[kBlock];
  int sums[2];  // of both halves
  float scale;
};

inline void quantise_whole(const float* x, QuantisedBlock& out) {
  int32_t largest = 0;
  for (int i = 0; i < kBlock; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, 4);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  float most;
  std::memcpy(&most, &largest, 4);
  out.scale = most / 127.0f;
  const float inverse = most > 1e-35f ? 127.0f / most : 0.0f;
  int32_t whole[kBlock];
  for (int i = 0; i < kBlock; ++i) {  // adding 1.5 · 2^23 rounds to the nearest whole number
    const float shifted = x[i] * inverse + 12582912.0f;
    std::memcpy(whole + i, &shifted, 4);
    whole[i] -= 0x4b400000;
  }
  for (int i = 0; i < kBlock; ++i) out.values[i] = int8_t(whole[i]);
  for (int half = 0; half < 2; ++half) {
    int32_t sum = 0;
    for (int i = 0; i < 16; ++i) sum += whole[half * 16 + i];
    out.sums[half] = sum;
  }
}

// One block of a token; values that are not there count as zeros.
inline void quantise(const float* x, int64_t count, QuantisedBlock& out) {
  if (count >= kBlock) return quantise_whole(x, out);
  float v[kBlock] = {};
  for (int64_t i = 0; i < count; ++i) v[i] = x[i];
  quantise_whole(v, out);
}

// How a row's scales meet its units: worked out once, since divisions take as long as a good part of a row.
struct Spread {
  int64_t units;  // of a padded row
  int64_t there;  // of the row itself
  int64_t each;   // units of a block
  int64_t share;  // rows that share scales
  Spread(const Matrix& m, int unit)
      : units(padded(m.columns) / unit), there((m.columns + unit - 1) / unit),
        each(m.blocks == 1 ? there : m.block() / unit), share(m.rows / m.groups) {}
  int64_t first(const Matrix& m, int64_t row) const {
    if (share == 1) return row * m.blocks;
    return int64_t(uint32_t(row) / uint32_t(share)) * m.blocks;  // a division of 64 bits takes as long as a short row
  }
};

// Scales of a row for each unit, zeros behind the last. `out` has room for a register behind them.
template <class Lanes>
inline void row_scales(const Matrix& m, int64_t first, const Spread& spread, float* out) {
  if (spread.each == 1 && m.half_scale) {
    const auto* halves = static_cast<const uint16_t*>(m.scale) + first;
    const int64_t safe = m.groups * m.blocks - first - Lanes::kLanes;  // behind the last scale the file may end
    int64_t i = 0;
    for (; i < spread.there && i <= safe; i += Lanes::kLanes) Lanes::store(out + i, Lanes::from_halves(halves + i));
    for (; i < spread.there; ++i) out[i] = half_to_float(halves[i]);
  } else {
    for (int64_t block = 0, i = 0; block < m.blocks; ++block) {
      const float scale = m.scale_at(first + block);
      for (int64_t j = 0; j < spread.each; ++j) out[i++] = scale;
    }
  }
  for (int64_t i = spread.there; i < spread.units; ++i) out[i] = 0.0f;
}

// Scales that come some rows later, where each row has many.
template <class Lanes>
inline void prefetch_scales(const Matrix& m, int64_t first) {
  if (m.blocks < 16) return;
  const auto* next = static_cast<const uint8_t*>(m.scale) + (first + 4 * m.blocks) * (m.half_scale ? 2 : 4);
  for (int64_t i = 0; i < m.blocks * 2; i += 64) Lanes::prefetch(next + i);
}

// -offset · scale of a row for each unit.
inline void row_shifts(const Matrix& m, int64_t first, const Spread& spread, const float* scales, float* out) {
  for (int64_t block = 0, i = 0; block < m.blocks; ++block) {
    const float offset = m.centred_offset_at(first + block);
    for (int64_t j = 0; j < spread.each; ++j, ++i) out[i] = -offset * scales[i];
  }
  for (int64_t i = spread.there; i < spread.units; ++i) out[i] = 0.0f;
}

// The bits that make stored codes into those that `Lanes` multiplies.
template <class Lanes>
inline uint8_t flip_of(const Matrix& m) {
  if (m.bits == 4) return m.is_signed ? 0x88 : 0;
  return m.is_signed == Lanes::kUnsignedBytes ? 0x80 : 0;
}

// What a unit's sum begins with, over the sum of its activations.
template <class Lanes>
inline int start_of(const Matrix& m) {
  return m.bits == 4 ? -8 : Lanes::kUnsignedBytes ? -128 : 0;
}

}  // namespace
}  // namespace lilims
