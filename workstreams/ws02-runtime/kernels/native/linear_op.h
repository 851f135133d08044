// A product with a quantised matrix: y[..., N] = x[..., K] · W[N, K]ᵀ + bias[N].
//
// Knows how work is shared out among threads. Must not know how products are made (kernels.h).
#pragma once

#include <memory>

#include "matrix_inputs.h"
#include "products.h"

namespace lilims {

struct LinearKernel {
  static constexpr const char* kName = "QuantizedLinear";
  static constexpr ort::Element kInputs[] = {ort::kFloat, ort::kUint8, ort::kUndefined, ort::kUndefined, ort::kFloat};
  static constexpr size_t kFirstOptional = 3;
  static constexpr int64_t kTaskBytes = 32 << 10;  // codes that are worth a task of their own
  static constexpr int64_t kAlone = 256 << 10;  // codes met by tokens: what takes less is done before a thread has woken

  LinearKernel(const ort::Api& given, const ort::KernelInfo* info) : api(given), matrix(matrix_attributes(given, info)) {
    if (matrix.blocks > 1 && matrix.block() % 16 != 0) throw std::runtime_error("lilims-kernels: blocks of that size");
  }

  void compute(ort::KernelContext* context) {
    const Tensor x = input(api, context, 0), bias = input(api, context, 4);
    Matrix m = matrix;
    bind(m, input(api, context, 1), input(api, context, 2), input(api, context, 3));
    if (x.sizes.empty() || x.sizes.back() != m.columns) throw std::runtime_error("lilims-kernels: x has another K");
    if (bias && bias.count != size_t(m.rows)) throw std::runtime_error("lilims-kernels: bias has another N");
    std::vector<int64_t> sizes = x.sizes;
    sizes.back() = m.rows;
    float* y = output(api, context, sizes);
    const int64_t tokens = int64_t(x.count) / m.columns;
    if (tokens > 0) multiply(context, m, static_cast<const float*>(x.data), tokens, static_cast<const float*>(bias.data), y);
  }

  void multiply(ort::KernelContext* context, const Matrix& m, const float* x, int64_t tokens, const float* bias, float* y) {
    const Products& with = products();
    const bool tiled = tokens > with.tile / 2;
    const int64_t size = with.packed_size(m, tokens, tiled);
    const auto room = std::unique_ptr<uint8_t[]>(new uint8_t[size_t(size) + 64]);
    uint8_t* packed = room.get() + (64 - reinterpret_cast<uintptr_t>(room.get()) % 64) % 64;
    const int64_t parts = tiled ? (tokens + with.tile - 1) / with.tile : tokens;
    auto pack = [&](size_t part) { with.pack(m, x, tokens, int64_t(part), tiled, packed); };
    const bool alone = m.row_bytes() * m.rows * tokens < kAlone;
    if (tiled && !alone) parallel_for(api, context, size_t(parts), pack);
    else for (int64_t part = 0; part < parts; ++part) pack(size_t(part));
    if (alone) return with.multiply(m, packed, tokens, tiled, 0, m.rows, bias, y);
    const int64_t step = (kTaskBytes / m.row_bytes() / 16 + 1) * 16, tasks = (m.rows + step - 1) / step;
    auto rows = [&](size_t task) {
      const int64_t begin = int64_t(task) * step, end = begin + step < m.rows ? begin + step : m.rows;
      with.multiply(m, packed, tokens, tiled, begin, end, bias, y);
    };
    parallel_for(api, context, size_t(tasks), rows);
  }

  const ort::Api& api;
  Matrix matrix;
};

}  // namespace lilims
