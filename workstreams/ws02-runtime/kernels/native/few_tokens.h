// Products with few tokens: a register holds codes of one row, as they lie in the file.
#pragma once

#include "parts.h"

namespace lilims {
namespace {

constexpr int kAhead = 2048;  // bytes of codes that are asked for before they are needed

template <class Lanes>
void pack_token(const Matrix& m, const float* x, uint8_t* packed) {
  const int64_t k = padded(m.columns);
  const TokenLayout at(k, m.bits);
  auto* values = reinterpret_cast<int8_t*>(packed);
  auto* start = reinterpret_cast<int32_t*>(packed + at.start);
  auto* scales = reinterpret_cast<float*>(packed + at.scales);
  auto* sums = reinterpret_cast<float*>(packed + at.sums);
  const int each = m.bits == 4 ? 4 : 8, factor = start_of<Lanes>(m);
  QuantisedBlock block;
  for (int64_t b = 0; b < k / kBlock; ++b) {
    quantise(x + b * kBlock, m.columns - b * kBlock, block);
    if (m.bits == 4) {
      for (int i = 0; i < 16; ++i) {
        values[b * 16 + i] = block.values[2 * i];
        values[k / 2 + b * 16 + i] = block.values[2 * i + 1];
      }
    } else {
      std::memcpy(values + b * kBlock, block.values, kBlock);
    }
    for (int i = 0; i < each; ++i) start[b * each + i] = 0;
    for (int half = 0; half < 2; ++half) {
      start[b * each + half * each / 2] = factor * block.sums[half];
      sums[b * 2 + half] = block.scale * float(block.sums[half]);
    }
    scales[b] = block.scale;
  }
}

template <class Lanes, int Bits, int Unit>
inline float token_row(const uint8_t* codes, int64_t bytes, uint8_t flip, const uint8_t* packed, const TokenLayout& at,
                       int64_t k, const float* scales) {
  constexpr int kBytes = 4 * Lanes::kLanes, kRepeat = (Bits == 4 ? 4 : 8) * Unit / 32;
  const auto mask = Lanes::broadcast_byte(flip);
  const uint8_t* start = packed + at.start;
  auto total = Lanes::zero();
  auto add = [&](const uint8_t* from, int64_t i) {
    auto sum = Lanes::load(start + i * kBytes);
    const auto v = Lanes::exclusive_or(Lanes::load(from), mask);
    if (Bits == 4) {
      sum = Lanes::dot_nibbles(sum, Lanes::low(v), Lanes::load(packed + i * kBytes));
      sum = Lanes::dot_nibbles(sum, Lanes::high(v), Lanes::load(packed + k / 2 + i * kBytes));
    } else {
      sum = Lanes::dot_bytes(sum, v, Lanes::load(packed + i * kBytes));
    }
    total = Lanes::multiply_add(Lanes::to_float(sum), Lanes::template spread<kRepeat>(scales, i), total);
  };
  const int64_t whole = bytes / kBytes;
  for (int64_t i = 0; i < whole; ++i) {
    Lanes::prefetch(codes + i * kBytes + kAhead);
    add(codes + i * kBytes, i);
  }
  if (whole * kBytes < bytes) {  // what lies behind a row may lie behind the file
    uint8_t rest[kBytes] = {};
    std::memcpy(rest, codes + whole * kBytes, size_t(bytes - whole * kBytes));
    add(rest, whole);
  }
  return Lanes::sum(total);
}

template <class Lanes, int Bits, int Unit>
void token_rows(const Matrix& m, const uint8_t* packed, int64_t tokens, int64_t begin, int64_t end, const float* bias,
                float* y) {
  const int64_t k = padded(m.columns), units = k / Unit, bytes = m.row_bytes();
  const TokenLayout at(k, Bits);
  const Spread spread(m, Unit);
  const bool shifted = m.has_centred_offset();
  thread_local Scratch scratch;
  auto* own = reinterpret_cast<float*>(scratch.reserve(size_t(3 * (units + kSlack) * 4)));
  float *both = own + units + kSlack, *shifts = both + units + kSlack;
  const uint8_t flip = flip_of<Lanes>(m);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t first = spread.first(m, row);
    row_scales<Lanes>(m, first, spread, own);
    prefetch_scales<Lanes>(m, first);
    if (shifted) row_shifts(m, first, spread, own, shifts);
    for (int64_t t = 0; t < tokens; ++t) {
      const uint8_t* token = packed + t * at.size;
      const auto* scales = reinterpret_cast<const float*>(token + at.scales);
      const auto* sums = reinterpret_cast<const float*>(token + at.sums);
      if (Unit == kBlock) {  // a register may reach over the last: both have room behind
        for (int64_t u = 0; u < units; u += Lanes::kLanes)
          Lanes::store(both + u, Lanes::multiply(Lanes::load_floats(own + u), Lanes::load_floats(scales + u)));
      } else {
        for (int64_t u = 0; u < units; ++u) both[u] = own[u] * scales[u / 2];
      }
      float value = token_row<Lanes, Bits, Unit>(m.codes + row * bytes, bytes, flip, token, at, k, both);
      if (shifted) {
        float shift = 0.0f;
        for (int64_t u = 0; u < units; ++u) shift += shifts[u] * (Unit == 16 ? sums[u] : sums[2 * u] + sums[2 * u + 1]);
        value += shift;
      }
      y[t * m.rows + row] = value + (bias == nullptr ? 0.0f : bias[row]);
    }
  }
}

}  // namespace
}  // namespace lilims
