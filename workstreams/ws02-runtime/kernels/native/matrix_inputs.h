// A quantised matrix from a node: its form from the attributes, its bytes from three inputs.
#pragma once

#include "matrix.h"
#include "op.h"

namespace lilims {

inline Matrix matrix_attributes(const ort::Api& api, const ort::KernelInfo* info) {
  Matrix m;
  m.rows = attribute(api, info, "N");
  m.columns = attribute(api, info, "K");
  m.groups = attribute(api, info, "groups");
  m.blocks = attribute(api, info, "blocks");
  m.bits = int(attribute(api, info, "bits"));
  m.is_signed = attribute(api, info, "signed") != 0;
  m.offset_kind = OffsetKind(attribute(api, info, "offset_kind"));
  const bool sound = m.rows > 0 && m.rows <= UINT32_MAX && m.columns > 0 && m.groups > 0 && m.blocks > 0 && m.rows % m.groups == 0 &&
                     m.columns % m.blocks == 0 && (m.bits == 8 || (m.bits == 4 && m.columns % 2 == 0)) &&
                     m.offset_kind >= kNoOffset && m.offset_kind <= kSingle;
  if (!sound) throw std::runtime_error("lilims-kernels: the attributes contradict each other");
  return m;
}

// Points a matrix at its bytes, which must be as many as its form says.
inline void bind(Matrix& m, const Tensor& codes, const Tensor& scale, const Tensor& offset) {
  const size_t places = size_t(m.groups) * size_t(m.blocks);
  m.half_scale = scale.type == ort::kFloat16;
  const bool packed = m.offset_kind == kInt4 || m.offset_kind == kUint4;
  const size_t wanted = m.offset_kind == kNoOffset ? 0 : packed ? (places + 1) / 2 : places;
  const ort::Element kind = m.offset_kind == kHalf ? ort::kFloat16 : m.offset_kind == kSingle ? ort::kFloat : ort::kUint8;
  const bool sound = codes.type == ort::kUint8 && codes.count == size_t(m.rows) * size_t(m.row_bytes()) &&
                     (m.half_scale || scale.type == ort::kFloat) && scale.count == places && offset.count == wanted &&
                     (wanted == 0 || offset.type == kind);
  if (!sound) throw std::runtime_error("lilims-kernels: codes, scales and offsets do not fit each other");
  m.codes = static_cast<const uint8_t*>(codes.data);
  m.scale = scale.data;
  m.offset = offset.data;
}

}  // namespace lilims
