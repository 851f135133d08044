// What this library uses of ONNX Runtime's C API: the places of some functions, and the table that describes an op.
//
// Knows the ABI alone. Must not know any op. The API is a table of function pointers; entries are only ever appended,
// so a place never changes, and a table of version N or later holds everything up to N.
// Source: include/onnxruntime/core/session/onnxruntime_c_api.h in microsoft/onnxruntime (structs OrtApi, OrtCustomOp).
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>

#if defined(_WIN32)
#define ORT_CALL __stdcall
#define LILIMS_EXPORT extern "C" __declspec(dllexport)
#else
#define ORT_CALL
#define LILIMS_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace ort {

constexpr uint32_t kApiVersion = 18;  // the first that has everything below

struct Status;
struct Value;
struct Shape;  // OrtTensorTypeAndShapeInfo
struct KernelInfo;
struct KernelContext;
struct SessionOptions;
struct Domain;

enum Element : int { kUndefined = 0, kFloat = 1, kUint8 = 2, kInt8 = 3, kInt32 = 6, kFloat16 = 10 };
enum Characteristic : int { kRequired = 0, kOptional = 1 };
enum Code : int { kFail = 1, kInvalidArgument = 2 };

using Loop = void(ORT_CALL*)(void* user, size_t index);

// The table, and the functions in it by their place.
struct Api {
  const void* entries[1];

  template <class Result, class... Arguments>
  Result call(int place, Arguments... arguments) const {
    return reinterpret_cast<Result(ORT_CALL*)(Arguments...)>(const_cast<void*>(entries[place]))(arguments...);
  }

  Status* create_status(Code code, const char* message) const { return call<Status*>(0, code, message); }
  Status* create_domain(const char* name, Domain** out) const { return call<Status*>(26, name, out); }
  Status* domain_add(Domain* domain, const struct CustomOp* op) const { return call<Status*>(27, domain, op); }
  Status* add_domain(SessionOptions* options, Domain* domain) const { return call<Status*>(28, options, domain); }
  Status* data(Value* value, void** out) const { return call<Status*>(51, value, out); }
  Status* element_type(const Shape* shape, Element* out) const { return call<Status*>(60, shape, out); }
  Status* rank(const Shape* shape, size_t* out) const { return call<Status*>(61, shape, out); }
  Status* sizes(const Shape* shape, int64_t* out, size_t rank) const { return call<Status*>(62, shape, out, rank); }
  Status* count(const Shape* shape, size_t* out) const { return call<Status*>(64, shape, out); }
  Status* shape_of(const Value* value, Shape** out) const { return call<Status*>(65, value, out); }
  Status* attribute(const KernelInfo* info, const char* name, int64_t* out) const {
    return call<Status*>(86, info, name, out);
  }
  Status* input_count(const KernelContext* context, size_t* out) const { return call<Status*>(88, context, out); }
  Status* input(const KernelContext* context, size_t index, const Value** out) const {
    return call<Status*>(90, context, index, out);
  }
  Status* output(KernelContext* context, size_t index, const int64_t* sizes, size_t rank, Value** out) const {
    return call<Status*>(91, context, index, sizes, rank, out);
  }
  void release(Status* status) const { call<void>(93, status); }
  void release(Shape* shape) const { call<void>(99, shape); }
  void release(Domain* domain) const { call<void>(101, domain); }
  Status* parallel_for(const KernelContext* context, Loop loop, size_t total, size_t batches, void* user) const {
    return call<Status*>(274, context, loop, total, batches, user);
  }
};

struct ApiBase {
  const Api*(ORT_CALL* get_api)(uint32_t version);
  const char*(ORT_CALL* version)();
};

// OrtCustomOp up to its version 17.
struct CustomOp {
  uint32_t version;
  void*(ORT_CALL* create)(const CustomOp*, const Api*, const KernelInfo*);
  const char*(ORT_CALL* name)(const CustomOp*);
  const char*(ORT_CALL* provider)(const CustomOp*);
  Element(ORT_CALL* input_type)(const CustomOp*, size_t);
  size_t(ORT_CALL* input_count)(const CustomOp*);
  Element(ORT_CALL* output_type)(const CustomOp*, size_t);
  size_t(ORT_CALL* output_count)(const CustomOp*);
  void(ORT_CALL* compute)(void*, KernelContext*);
  void(ORT_CALL* destroy)(void*);
  Characteristic(ORT_CALL* input_characteristic)(const CustomOp*, size_t);
  Characteristic(ORT_CALL* output_characteristic)(const CustomOp*, size_t);
  int(ORT_CALL* input_memory)(const CustomOp*, size_t);
  int(ORT_CALL* variadic_input_arity)(const CustomOp*);
  int(ORT_CALL* variadic_input_homogeneity)(const CustomOp*);
  int(ORT_CALL* variadic_output_arity)(const CustomOp*);
  int(ORT_CALL* variadic_output_homogeneity)(const CustomOp*);
  Status*(ORT_CALL* create_v2)(const CustomOp*, const Api*, const KernelInfo*, void**);
  Status*(ORT_CALL* compute_v2)(void*, KernelContext*);
  Status*(ORT_CALL* infer_shapes)(const CustomOp*, void*);
  int(ORT_CALL* first_version)(const CustomOp*);
  int(ORT_CALL* last_version)(const CustomOp*);
};

}  // namespace ort
