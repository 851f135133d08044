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

#include "few_tokens.h"
#include "many_tokens.h"

namespace lilims {
namespace {

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
  using Tile = void (*)(const Matrix&, const float*, int64_t, uint8_t*);
  static constexpr Tile kForms[2][2] = {{pack_tile<Lanes, 4, 16>, pack_tile<Lanes, 4, 32>},
                                        {pack_tile<Lanes, 8, 16>, pack_tile<Lanes, 8, 32>}};
  const int64_t first = part * Lanes::kLanes;
  uint8_t* tile = packed + part * packed_size<Lanes>(m, 1, true);
  kForms[m.bits == 8][unit_of(m) == 32](m, x + first * m.columns, tokens - first, tile);
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
