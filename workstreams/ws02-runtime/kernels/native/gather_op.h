// Rows of a quantised table as float32: y[..., :] = table[indices[...], :].
#pragma once

#include "matrix_inputs.h"

namespace lilims {

struct GatherKernel {
  static constexpr const char* kName = "QuantizedGather";
  static constexpr ort::Element kInputs[] = {ort::kInt32, ort::kUint8, ort::kUndefined, ort::kUndefined};
  static constexpr size_t kFirstOptional = 3;

  GatherKernel(const ort::Api& given, const ort::KernelInfo* info) : api(given), matrix(matrix_attributes(given, info)) {}

  void compute(ort::KernelContext* context) {
    const Tensor indices = input(api, context, 0);
    Matrix table = matrix;
    bind(table, input(api, context, 1), input(api, context, 2), input(api, context, 3));
    std::vector<int64_t> sizes = indices.sizes;
    sizes.push_back(table.columns);
    float* y = output(api, context, sizes);
    const auto* wanted = static_cast<const int32_t*>(indices.data);
    for (size_t i = 0; i < indices.count; ++i, y += table.columns) {
      const int64_t row = wanted[i] < 0 ? wanted[i] + table.rows : wanted[i];
      if (row < 0 || row >= table.rows) throw std::runtime_error("lilims-kernels: an index is not a row of the table");
      unpack_row(table, row, y);
    }
  }

  static void unpack_row(const Matrix& table, int64_t row, float* y) {
    const int64_t width = table.block();
    for (int64_t block = 0; block < table.blocks; ++block) {
      const int64_t place = table.first(row) + block;
      const float scale = table.scale_at(place), offset = table.offset_at(place);
      for (int64_t k = block * width; k < (block + 1) * width; ++k) y[k] = scale * (float(table.code_at(row, k)) - offset);
    }
  }

  const ort::Api& api;
  Matrix matrix;
};

}  // namespace lilims
