// Products with many tokens: a register holds four values each of as many tokens as it has lanes; codes are unpacked once
// for all tiles of tokens.
#pragma once

#include "parts.h"

// Loops over registers have to be written out for their values to stay there.
#if defined(_MSC_VER)
#define LILIMS_UNROLL
#else
#define LILIMS_UNROLL _Pragma("GCC unroll 16")
#endif

namespace lilims {
namespace {

constexpr int kRows = 16;   // rows of the matrix that are unpacked at a time
constexpr int kGrain = 16;  // codes of one row that lie together where rows are unpacked

// Place of a row's code i among those of `few` rows: sixteen of a row and then the next row's.
inline int64_t place_of(int64_t i, int few) { return i / kGrain * kGrain * few + i % kGrain; }

// Unpacks a row, a byte for each code. The codes of a unit follow one another, those of 4 bits with the even places first.
template <int Bits, int Unit>
inline void unpack_row(const uint8_t* codes, int64_t bytes, uint8_t flip, int few, uint8_t* out) {
  constexpr int kBytes = Bits == 4 ? Unit / 2 : 8;
  constexpr uint64_t kEach = 0x0101010101010101;
  const auto put = [=](int64_t i, uint64_t eight) { std::memcpy(out + place_of(i, few), &eight, 8); };
  int64_t done = 0;
  for (; done + kBytes <= bytes; done += kBytes) {
    for (int j = 0; j < kBytes; j += 8) {  // eight at a time
      uint64_t eight;
      std::memcpy(&eight, codes + done + j, 8);
      eight ^= kEach * flip;
      if (Bits == 8) {
        put(done + j, eight);
      } else {
        put(2 * done + j, eight & kEach * 15);
        put(2 * done + kBytes + j, eight >> 4 & kEach * 15);
      }
    }
  }
  for (int64_t i = done; i < bytes; ++i) {
    const uint8_t code = uint8_t(codes[i] ^ flip);
    if (Bits == 4) {
      out[place_of(2 * done + (i - done), few)] = code & 15;
      out[place_of(2 * done + kBytes + (i - done), few)] = code >> 4;
    } else {
      out[place_of(i, few)] = code;
    }
  }
}

template <class Lanes, int Bits, int Unit>
void pack_tile(const Matrix& m, const float* x, int64_t tokens, uint8_t* packed) {
  constexpr int kLanes = Lanes::kLanes, kHalf = Unit / 2, kUnits = kBlock / Unit;
  const int64_t k = padded(m.columns);
  const TileLayout at(k, Unit, kLanes);
  auto* start = reinterpret_cast<int32_t*>(packed + at.start);
  auto* scales = reinterpret_cast<float*>(packed + at.scales);
  auto* sums = reinterpret_cast<float*>(packed + at.sums);
  const int factor = start_of<Lanes>(m);
  QuantisedBlock block;
  for (int64_t b = 0; b < k / kBlock; ++b) {
    for (int lane = 0; lane < kLanes; ++lane) {
      quantise(x + lane * m.columns + b * kBlock, lane < tokens ? m.columns - b * kBlock : 0, block);
      int8_t ordered[kBlock];
      if (Bits == 4) {
        for (int u = 0; u < kUnits; ++u) {
          for (int i = 0; i < kHalf; ++i) ordered[u * Unit + i] = block.values[u * Unit + 2 * i];
          for (int i = 0; i < kHalf; ++i) ordered[u * Unit + kHalf + i] = block.values[u * Unit + 2 * i + 1];
        }
      } else {
        std::memcpy(ordered, block.values, kBlock);
      }
      for (int i = 0; i < kBlock / 4; ++i) std::memcpy(packed + ((b * 8 + i) * kLanes + lane) * 4, ordered + 4 * i, 4);
      scales[b * kLanes + lane] = block.scale;
      for (int u = 0; u < kUnits; ++u) {
        const int sum = kUnits == 1 ? block.sums[0] + block.sums[1] : block.sums[u];
        start[(b * kUnits + u) * kLanes + lane] = factor * sum;
        sums[(b * kUnits + u) * kLanes + lane] = block.scale * float(sum);
      }
    }
  }
}

// Some unpacked rows.
struct Panel {
  const uint8_t* codes;  // [width / kGrain, rows, kGrain]
  const float* scales;   // [rows, units]
  const float* shifts;   // as scales, or null
  const float* bias;     // [rows]
  int64_t width, units;
  int64_t there;         // units that are not padding
};

// out is [Tiles, Rows, lanes]. Sums of a unit stay in registers, those of the row in `out`, which is read and written once
// a unit: so more rows meet a register of activations.
template <class Lanes, int Bits, int Unit, int Tiles, int Rows>
inline void tile_rows(const Panel& panel, const uint8_t* packed, const TileLayout& at, float* out) {
  constexpr int kLanes = Lanes::kLanes;
  using Floats = typename Lanes::Floats;
  using Ints = typename Lanes::Ints;
  for (int t = 0; t < Tiles; ++t)
    for (int r = 0; r < Rows; ++r) Lanes::store(out + (t * Rows + r) * kLanes, Lanes::broadcast_float(panel.bias[r]));
  for (int64_t u = 0; u < panel.there; ++u) {
    const uint8_t* codes = panel.codes + u * Unit * Rows;
    Ints sum[Rows][Tiles];
    LILIMS_UNROLL
    for (int t = 0; t < Tiles; ++t) {
      const Ints start = Lanes::load(packed + t * at.size + at.start + u * kLanes * 4);
      LILIMS_UNROLL
      for (int r = 0; r < Rows; ++r) sum[r][t] = start;
    }
    LILIMS_UNROLL
    for (int d = 0; d < Unit / 4; ++d) {
      Ints a[Tiles];
      LILIMS_UNROLL
      for (int t = 0; t < Tiles; ++t) a[t] = Lanes::load(packed + t * at.size + (u * Unit / 4 + d) * kLanes * 4);
      LILIMS_UNROLL
      for (int r = 0; r < Rows; ++r) {
        const Ints w = Lanes::broadcast(codes + place_of(4 * d, Rows) + r * kGrain);
        LILIMS_UNROLL
        for (int t = 0; t < Tiles; ++t)
          sum[r][t] = Bits == 4 ? Lanes::dot_nibbles(sum[r][t], w, a[t]) : Lanes::dot_bytes(sum[r][t], w, a[t]);
      }
    }
    LILIMS_UNROLL
    for (int t = 0; t < Tiles; ++t) {
      const uint8_t* tile = packed + t * at.size;
      const Floats scale = Lanes::load_floats(tile + at.scales + (Unit == kBlock ? u : u / 2) * kLanes * 4);
      const Floats sums = Lanes::load_floats(tile + at.sums + u * kLanes * 4);
      LILIMS_UNROLL
      for (int r = 0; r < Rows; ++r) {
        float* total = out + (t * Rows + r) * kLanes;
        const Floats both = Lanes::multiply(Lanes::broadcast_float(panel.scales[r * panel.units + u]), scale);
        Floats value = Lanes::multiply_add(Lanes::to_float(sum[r][t]), both, Lanes::load_floats(total));
        if (panel.shifts != nullptr)
          value = Lanes::multiply_add(Lanes::broadcast_float(panel.shifts[r * panel.units + u]), sums, value);
        Lanes::store(total, value);
      }
    }
  }
}

// kRows rows, unpacked, with `Tiles` tiles; out is [kRows / kFewRows, Tiles, kFewRows, lanes].
template <class Lanes, int Bits, int Unit, int Tiles>
inline void tile_panel(const Panel& panel, const uint8_t* packed, const TileLayout& at, float* out) {
  constexpr int kFew = Lanes::kFewRows;
  for (int row = 0; row < kRows; row += kFew) {
    const int64_t place = row * panel.units;
    const Panel few{panel.codes + row * panel.width, panel.scales + place,
                    panel.shifts == nullptr ? nullptr : panel.shifts + place, panel.bias + row,
                    panel.width, panel.units, panel.there};
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
  float* shifts = m.has_centred_offset() ? scales + kRows * units + kLanes : nullptr;
  std::memset(codes, 0, size_t(kRows * (k + 2 * units * 4)));
  alignas(64) float out[kTiles * kRows * kLanes];
  for (int64_t row = begin; row < end; row += kRows) {
    const int64_t there = end - row < kRows ? end - row : kRows;
    for (int64_t r = 0; r < there; ++r) {
      const int64_t first = spread.first(m, row + r);
      uint8_t* to = codes + r / kFew * kFew * k + r % kFew * kGrain;
      unpack_row<Bits, Unit>(m.codes + (row + r) * m.row_bytes(), m.row_bytes(), flip_of<Lanes>(m), kFew, to);
      row_scales<Lanes>(m, first, spread, scales + r * units);
      if (shifts != nullptr) row_shifts(m, first, spread, scales + r * units, shifts + r * units);
    }
    float own[kRows] = {};
    if (bias != nullptr) std::memcpy(own, bias + row, size_t(there) * 4);
    const Panel panel{codes, scales, shifts, own, k, units, spread.there};
    for (int64_t tile = 0, count; tile < tiles; tile += count) {
      const uint8_t* from = packed + tile * at.size;
      count = tiles - tile >= kTiles ? kTiles : 1;
      if (count == kTiles) tile_panel<Lanes, Bits, Unit, kTiles>(panel, from, at, out);
      else tile_panel<Lanes, Bits, Unit, 1>(panel, from, at, out);
      for (int64_t t = 0; t < count * kLanes && tile * kLanes + t < tokens; ++t) {
        const float* lane = out + t / kLanes * kFew * kLanes + t % kLanes;
        alignas(64) float turned[kRows];
        LILIMS_UNROLL
        for (int r = 0; r < kRows; ++r) turned[r] = lane[(r / kFew * count * kFew + r % kFew) * kLanes];
        float* to = y + (tile * kLanes + t) * m.rows + row;
        if (there == kRows) std::memcpy(to, turned, sizeof turned);
        else std::memcpy(to, turned, size_t(there) * 4);
      }
    }
  }
}

}  // namespace
}  // namespace lilims
