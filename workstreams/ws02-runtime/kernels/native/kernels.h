// The products, written once for all kinds of processors: `Lanes` says what a register is and does.
//
// Knows layouts and loops. Must not know instructions. Included by one file for each kind of processor, which is
// compiled for it; all is in an unnamed namespace, so that no two of those files share a function.
//
// For the product of one unit of a row (32 or 16 values) with that of a token, codes are counted as unsigned, u = code +
// middle, and what that adds, middle · sum(a), is the sum that the registers begin with:
//
//     y = Σ units  scale_w · scale_a · (Σ u · a  -  middle · Σ a)  -  offset · scale_w · scale_a · Σ a
#pragma once

#include <new>

#include "products.h"

namespace lilims {
namespace {

constexpr int kRows = 16;        // rows of the matrix that are unpacked at a time
constexpr int kAhead = 2048;     // bytes of codes that are asked for before they are needed
constexpr int kSlack = 64;       // bytes behind every buffer, for loads of whole registers

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

// One block of a token; values that are not there count as zeros.
inline void quantise(const float* x, int64_t count, QuantisedBlock& out) {
  float v[kBlock] = {};
  for (int64_t i = 0; i < (count < kBlock ? count : kBlock); ++i) v[i] = x[i];
  int32_t largest = 0;
  for (int i = 0; i < kBlock; ++i) {
    int32_t bits;
    std::memcpy(&bits, v + i, 4);
    bits &= 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  float most;
  std::memcpy(&most, &largest, 4);
  out.scale = most / 127.0f;
  const float inverse = most > 1e-35f ? 127.0f / most : 0.0f;
  int32_t whole[kBlock];
  for (int i = 0; i < kBlock; ++i) {  // adding 1.5 · 2^23 rounds to the nearest whole number
    const float shifted = v[i] * inverse + 12582912.0f;
    std::memcpy(whole + i, &shifted, 4);
    whole[i] -= 0x4b400000;
  }
  out.sums[0] = out.sums[1] = 0;
  for (int i = 0; i < kBlock; ++i) {
    out.values[i] = int8_t(whole[i]);
    out.sums[i / 16] += whole[i];
  }
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
  int64_t first(const Matrix& m, int64_t row) const { return (share == 1 ? row : row / share) * m.blocks; }
};

// Scales of a row for each unit, zeros behind the last.
template <class Lanes>
inline void row_scales(const Matrix& m, int64_t first, const Spread& spread, float* out) {
  if (spread.each == 1 && m.half_scale) {
    const auto* halves = static_cast<const uint16_t*>(m.scale) + first;
    int64_t i = 0;
    for (; i + Lanes::kLanes <= spread.there; i += Lanes::kLanes) Lanes::store(out + i, Lanes::from_halves(halves + i));
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

// -- few tokens: a register holds codes of one row, as they lie in the file -------------------------------------------

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
      for (int64_t u = 0; u < units; ++u) both[u] = own[u] * scales[Unit == kBlock ? u : u / 2];
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

// -- many tokens: a register holds four values each of as many tokens; codes are unpacked once for all tiles -----------

// The codes of a unit one after the other, a byte each; those of 4 bits with the even places first.
template <int Bits, int Unit>
inline void unpack_row(const uint8_t* codes, int64_t bytes, uint8_t flip, uint8_t* out) {
  constexpr int kHalf = Unit / 2;
  constexpr uint64_t kEach = 0x0101010101010101;
  if (Bits == 8) {
    for (int64_t i = 0; i < bytes; ++i) out[i] = uint8_t(codes[i] ^ flip);
    return;
  }
  const int64_t whole = bytes / kHalf;
  for (int64_t u = 0; u < whole; ++u) {
    for (int j = 0; j < kHalf; j += 8) {  // eight at a time
      uint64_t few;
      std::memcpy(&few, codes + u * kHalf + j, 8);
      few ^= kEach * flip;
      const uint64_t low = few & kEach * 15, high = few >> 4 & kEach * 15;
      std::memcpy(out + u * Unit + j, &low, 8);
      std::memcpy(out + u * Unit + kHalf + j, &high, 8);
    }
  }
  for (int64_t i = whole * kHalf; i < bytes; ++i) {
    out[whole * Unit + i % kHalf] = uint8_t((codes[i] ^ flip) & 15);
    out[whole * Unit + kHalf + i % kHalf] = uint8_t((codes[i] ^ flip) >> 4);
  }
}

template <class Lanes>
void pack_tile(const Matrix& m, const float* x, int64_t tokens, int unit, uint8_t* packed) {
  constexpr int kLanes = Lanes::kLanes;
  const int64_t k = padded(m.columns);
  const TileLayout at(k, unit, kLanes);
  auto* values = reinterpret_cast<int8_t*>(packed);
  auto* start = reinterpret_cast<int32_t*>(packed + at.start);
  auto* scales = reinterpret_cast<float*>(packed + at.scales);
  auto* sums = reinterpret_cast<float*>(packed + at.sums);
  const int factor = start_of<Lanes>(m), halves = 32 / unit;
  QuantisedBlock block;
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int64_t b = 0; b < k / kBlock; ++b) {
      quantise(x + lane * m.columns + b * kBlock, lane < tokens ? m.columns - b * kBlock : 0, block);
      for (int i = 0; i < kBlock; ++i) {
        const int j = i % unit, even = j < unit / 2 ? 2 * j : 2 * j - unit + 1;
        values[((b * 8 + i / 4) * kLanes + lane) * 4 + i % 4] = block.values[m.bits == 8 ? i : i - j + even];
      }
      scales[b * kLanes + lane] = block.scale;
      for (int u = 0; u < halves; ++u) {
        const int sum = halves == 1 ? block.sums[0] + block.sums[1] : block.sums[u];
        start[(b * halves + u) * kLanes + lane] = factor * sum;
        sums[(b * halves + u) * kLanes + lane] = block.scale * float(sum);
      }
    }
  }
}

// Some unpacked rows.
struct Panel {
  const uint8_t* codes;  // [rows, width]
  const float* scales;   // [rows, units]
  const float* shifts;   // as scales, or null
  int64_t width, units;
  int64_t there;         // units that are not padding
};

template <class Lanes, int Bits, int Unit, int Tiles, int Rows>
inline void tile_rows(const Panel& panel, const uint8_t* packed, const TileLayout& at, float* out) {
  constexpr int kLanes = Lanes::kLanes;
  using Floats = typename Lanes::Floats;
  using Ints = typename Lanes::Ints;
  Floats total[Rows][Tiles];
  for (int r = 0; r < Rows; ++r)
    for (int t = 0; t < Tiles; ++t) total[r][t] = Lanes::zero();
  for (int64_t u = 0; u < panel.there; ++u) {
    Ints sum[Rows][Tiles];
    for (int t = 0; t < Tiles; ++t) {
      const Ints start = Lanes::load(packed + t * at.size + at.start + u * kLanes * 4);
      for (int r = 0; r < Rows; ++r) sum[r][t] = start;
    }
    for (int d = 0; d < Unit / 4; ++d) {
      Ints a[Tiles];
      for (int t = 0; t < Tiles; ++t) a[t] = Lanes::load(packed + t * at.size + (u * Unit / 4 + d) * kLanes * 4);
      for (int r = 0; r < Rows; ++r) {
        const Ints w = Lanes::broadcast(panel.codes + r * panel.width + u * Unit + d * 4);
        for (int t = 0; t < Tiles; ++t)
          sum[r][t] = Bits == 4 ? Lanes::dot_nibbles(sum[r][t], w, a[t]) : Lanes::dot_bytes(sum[r][t], w, a[t]);
      }
    }
    for (int t = 0; t < Tiles; ++t) {
      const uint8_t* tile = packed + t * at.size;
      const Floats scale = Lanes::load_floats(tile + at.scales + (Unit == kBlock ? u : u / 2) * kLanes * 4);
      for (int r = 0; r < Rows; ++r) {
        const Floats both = Lanes::multiply(Lanes::broadcast_float(panel.scales[r * panel.units + u]), scale);
        total[r][t] = Lanes::multiply_add(Lanes::to_float(sum[r][t]), both, total[r][t]);
      }
      if (panel.shifts != nullptr) {
        const Floats sums = Lanes::load_floats(tile + at.sums + u * kLanes * 4);
        for (int r = 0; r < Rows; ++r) {
          const Floats shift = Lanes::broadcast_float(panel.shifts[r * panel.units + u]);
          total[r][t] = Lanes::multiply_add(shift, sums, total[r][t]);
        }
      }
    }
  }
  for (int t = 0; t < Tiles; ++t)
    for (int r = 0; r < Rows; ++r) Lanes::store(out + (t * Rows + r) * kLanes, total[r][t]);
}

// kRows rows, unpacked, with `Tiles` tiles; out is [kRows / kFewRows, Tiles, kFewRows, lanes].
template <class Lanes, int Bits, int Unit, int Tiles>
inline void tile_panel(const Panel& panel, const uint8_t* packed, const TileLayout& at, float* out) {
  constexpr int kFew = Lanes::kFewRows;
  for (int row = 0; row < kRows; row += kFew) {
    const int64_t place = row * panel.units;
    const Panel few{panel.codes + row * panel.width, panel.scales + place,
                    panel.shifts == nullptr ? nullptr : panel.shifts + place, panel.width, panel.units, panel.there};
    tile_rows<Lanes, Bits, Unit, Tiles, kFew>(few, packed, at, out + row * Tiles * Lanes::kLanes);
  }
}

template <class Lanes, int Bits, int Unit>
void tiled_rows(const Matrix& m, const uint8_t* packed, int64_t tokens, int64_t begin, int64_t end, const float* bias,
                float* y) {
  constexpr int kLanes = Lanes::kLanes, kTiles = Lanes::kTiles, kFew = Lanes::kFewRows;
  const int64_t k = padded(m.columns), units = k / Unit, tiles = (tokens + kLanes - 1) / kLanes;
  const TileLayout at(k, Unit, kLanes);
  const Spread spread(m, Unit);
  thread_local Scratch scratch;
  uint8_t* codes = scratch.reserve(size_t(kRows * (k + 2 * units * 4) + 4 * kSlack));
  auto* scales = reinterpret_cast<float*>(codes + kRows * k);
  float* shifts = m.has_centred_offset() ? scales + kRows * units : nullptr;
  std::memset(codes, 0, size_t(kRows * (k + 2 * units * 4)));
  alignas(64) float out[kTiles * kRows * kLanes];
  for (int64_t row = begin; row < end; row += kRows) {
    const int64_t there = end - row < kRows ? end - row : kRows;
    for (int64_t r = 0; r < there; ++r) {
      const int64_t first = spread.first(m, row + r);
      unpack_row<Bits, Unit>(m.codes + (row + r) * m.row_bytes(), m.row_bytes(), flip_of<Lanes>(m), codes + r * k);
      row_scales<Lanes>(m, first, spread, scales + r * units);
      if (shifts != nullptr) row_shifts(m, first, spread, scales + r * units, shifts + r * units);
    }
    const Panel panel{codes, scales, shifts, k, units, spread.there};
    for (int64_t tile = 0, count; tile < tiles; tile += count) {
      const uint8_t* from = packed + tile * at.size;
      count = tiles - tile >= kTiles ? kTiles : 1;
      if (count == kTiles) tile_panel<Lanes, Bits, Unit, kTiles>(panel, from, at, out);
      else tile_panel<Lanes, Bits, Unit, 1>(panel, from, at, out);
      for (int64_t t = 0; t < count * kLanes && tile * kLanes + t < tokens; ++t) {
        float* to = y + (tile * kLanes + t) * m.rows + row;
        for (int64_t r = 0; r < there; ++r) {
          const float* few = out + r / kFew * kFew * count * kLanes;
          to[r] = few[(t / kLanes * kFew + r % kFew) * kLanes + t % kLanes] + (bias == nullptr ? 0.0f : bias[row + r]);
        }
      }
    }
  }
}

// -- the table ---------------------------------------------------------------------------------------------------------

template <class Lanes>
int64_t packed_size(const Matrix& m, int64_t tokens, bool tiled) {
  const int64_t k = padded(m.columns);
  if (!tiled) return tokens * TokenLayout(k, m.bits).size;
  return (tokens + Lanes::kLanes - 1) / Lanes::kLanes * TileLayout(k, unit_of(m), Lanes::kLanes).size;
}

template <class Lanes>
void pack(const Matrix& m, const float* x, int64_t tokens, int64_t part, bool tiled, uint8_t* packed) {
  if (!tiled) {
    pack_token<Lanes>(m, x + part * m.columns, packed + part * packed_size<Lanes>(m, 1, false));
    return;
  }
  const int64_t first = part * Lanes::kLanes;
  pack_tile<Lanes>(m, x + first * m.columns, tokens - first, unit_of(m), packed + part * packed_size<Lanes>(m, 1, true));
}

template <class Lanes>
void multiply(const Matrix& m, const uint8_t* packed, int64_t tokens, bool tiled, int64_t begin, int64_t end,
              const float* bias, float* y) {
  using Rows = void (*)(const Matrix&, const uint8_t*, int64_t, int64_t, int64_t, const float*, float*);
  static constexpr Rows kForms[2][2][2] = {
      {{token_rows<Lanes, 4, 16>, token_rows<Lanes, 4, 32>}, {token_rows<Lanes, 8, 16>, token_rows<Lanes, 8, 32>}},
      {{tiled_rows<Lanes, 4, 16>, tiled_rows<Lanes, 4, 32>}, {tiled_rows<Lanes, 8, 16>, tiled_rows<Lanes, 8, 32>}},
  };
  kForms[tiled][m.bits == 8][unit_of(m) == 32](m, packed, tokens, begin, end, bias, y);
}

template <class Lanes>
Products products_of(const char* name) {
  return {name, Lanes::kLanes, packed_size<Lanes>, pack<Lanes>, multiply<Lanes>};
}

}  // namespace
}  // namespace lilims
