// What the products of one kind of processor are, and which are taken here.
//
// Knows buffers and shapes. Must not know instructions (lanes_*.h) or ONNX Runtime.
//
// Activations become int8 in blocks of 32 with a float32 scale each, the largest value 127. They are laid out in one of
// two ways: a token by itself, for few tokens, or tiles of as many tokens as a register has lanes.
#pragma once

#include "matrix.h"

namespace lilims {

constexpr int kBlock = 32;   // values of an activation that share a scale
constexpr int kPadding = 128;  // rows of activations are filled up with zeros to a multiple of this

// Values of a row that share a weight scale and an activation scale: 32, or 16 where blocks of weights need it.
LILIMS_INLINE int unit_of(const Matrix& m) { return m.blocks == 1 || m.block() % 32 == 0 ? 32 : 16; }

LILIMS_INLINE int64_t padded(int64_t columns) { return (columns + kPadding - 1) / kPadding * kPadding; }

struct Products {
  const char* name;
  int tile;  // tokens of a tile

  // Bytes of `tokens` packed activations; tokens of a tile that are missing count.
  int64_t (*packed_size)(const Matrix&, int64_t tokens, bool tiled);
  // Packs one token, or tile number `part`, of x [tokens, columns] into its place.
  void (*pack)(const Matrix&, const float* x, int64_t tokens, int64_t part, bool tiled, uint8_t* packed);
  // y[t, n] of rows begin <= n < end, for all tokens t; y is [tokens, rows]. bias [rows] may be absent.
  void (*multiply)(const Matrix&, const uint8_t* packed, int64_t tokens, bool tiled, int64_t begin, int64_t end,
                   const float* bias, float* y);
};

const Products& plain_products();
#if defined(LILIMS_X86)
const Products& avx2_products();
const Products& avxvnni_products();
const Products& avx512vnni_products();
#elif defined(LILIMS_ARM)
const Products& dotprod_products();
#endif

// The fastest that this processor can run; LILIMS_KERNELS_FEATURES names another one that it can run too.
const Products& products();

}  // namespace lilims
