// What both ops share: how an op is described to ONNX Runtime, and how a kernel reads its inputs.
//
// Knows ONNX Runtime's conventions. Must not know what an op computes. No exception leaves a kernel: a failure is a
// C++ exception inside and a status outside.
#pragma once

#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace lilims {

// Throws what a status says; only that something failed, since its text would need more of the API.
inline void check(const ort::Api& api, ort::Status* status, const char* what) {
  if (status != nullptr) {
    api.release(status);
    throw std::runtime_error(std::string("lilims-kernels: ") + what);
  }
}

struct Tensor {
  void* data = nullptr;
  ort::Element type = ort::kUndefined;
  std::vector<int64_t> sizes;
  size_t count = 0;

  explicit operator bool() const { return data != nullptr; }
};

inline Tensor read(const ort::Api& api, const ort::Value* value) {
  Tensor tensor;
  if (value == nullptr) return tensor;
  ort::Shape* shape = nullptr;
  check(api, api.shape_of(value, &shape), "an input has no shape");
  size_t rank = 0;
  ort::Status* failed = api.rank(shape, &rank);
  if (failed == nullptr) {
    tensor.sizes.resize(rank);
    failed = api.sizes(shape, tensor.sizes.data(), rank);
  }
  if (failed == nullptr) failed = api.element_type(shape, &tensor.type);
  if (failed == nullptr) failed = api.count(shape, &tensor.count);
  api.release(shape);
  check(api, failed, "an input's shape cannot be read");
  check(api, api.data(const_cast<ort::Value*>(value), &tensor.data), "an input cannot be read");
  return tensor;
}

inline Tensor input(const ort::Api& api, const ort::KernelContext* context, size_t index) {
  size_t count = 0;
  check(api, api.input_count(context, &count), "inputs cannot be counted");
  if (index >= count) return {};
  const ort::Value* value = nullptr;
  check(api, api.input(context, index, &value), "an input cannot be read");
  return read(api, value);
}

inline float* output(const ort::Api& api, ort::KernelContext* context, const std::vector<int64_t>& sizes) {
  ort::Value* value = nullptr;
  void* data = nullptr;
  check(api, api.output(context, 0, sizes.data(), sizes.size(), &value), "no memory for the output");
  check(api, api.data(value, &data), "the output cannot be written");
  return static_cast<float*>(data);
}

inline int64_t attribute(const ort::Api& api, const ort::KernelInfo* info, const char* name) {
  int64_t value = 0;
  check(api, api.attribute(info, name, &value), name);
  return value;
}

// Runs body(i) for each i below total on ONNX Runtime's own threads.
template <class Body>
void parallel_for(const ort::Api& api, const ort::KernelContext* context, size_t total, Body& body) {
  if (total == 1) return body(0);
  struct Call {
    static void ORT_CALL run(void* user, size_t index) { (*static_cast<Body*>(user))(index); }
  };
  check(api, api.parallel_for(context, &Call::run, total, 0, &body), "threads cannot be used");
}

// An op whose kernels are `Kernel(api, info)` with `void compute(context)`; inputs from `kFirstOptional` on may be absent.
template <class Kernel>
const ort::CustomOp* described() {
  static ort::CustomOp op = [] {
    ort::CustomOp made{};
    made.version = 17;
    made.name = [](const ort::CustomOp*) { return Kernel::kName; };
    made.provider = [](const ort::CustomOp*) -> const char* { return nullptr; };
    made.input_type = [](const ort::CustomOp*, size_t i) { return Kernel::kInputs[i]; };
    made.input_count = [](const ort::CustomOp*) { return sizeof(Kernel::kInputs) / sizeof(Kernel::kInputs[0]); };
    made.output_type = [](const ort::CustomOp*, size_t) { return ort::kFloat; };
    made.output_count = [](const ort::CustomOp*) { return size_t{1}; };
    made.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    made.input_characteristic = [](const ort::CustomOp*, size_t i) {
      return i < Kernel::kFirstOptional ? ort::kRequired : ort::kOptional;
    };
    made.output_characteristic = [](const ort::CustomOp*, size_t) { return ort::kRequired; };
    made.input_memory = [](const ort::CustomOp*, size_t) { return 0; };
    made.variadic_input_arity = made.variadic_output_arity = [](const ort::CustomOp*) { return 1; };
    made.variadic_input_homogeneity = made.variadic_output_homogeneity = [](const ort::CustomOp*) { return 0; };
    made.create_v2 = [](const ort::CustomOp*, const ort::Api* api, const ort::KernelInfo* info, void** out) {
      try {
        *out = new Kernel(*api, info);
        return static_cast<ort::Status*>(nullptr);
      } catch (const std::exception& failure) {
        return api->create_status(ort::kInvalidArgument, failure.what());
      }
    };
    made.compute_v2 = [](void* kernel, ort::KernelContext* context) {
      auto* self = static_cast<Kernel*>(kernel);
      try {
        self->compute(context);
        return static_cast<ort::Status*>(nullptr);
      } catch (const std::exception& failure) {
        return self->api.create_status(ort::kFail, failure.what());
      }
    };
    made.first_version = [](const ort::CustomOp*) { return 1; };
    made.last_version = [](const ort::CustomOp*) { return INT_MAX; };
    return made;
  }();
  return &op;
}

}  // namespace lilims
