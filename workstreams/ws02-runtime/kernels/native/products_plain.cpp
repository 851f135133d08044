// Registers of 4 lanes as plain arrays, for any processor: what the others are compared with, too.
#include "kernels.h"

namespace lilims {
namespace {

struct LanesPlain {
  static constexpr int kLanes = 4, kTiles = 1, kFewRows = 1;
  static constexpr bool kUnsignedBytes = false;
  struct Ints { int32_t v[kLanes]; };
  struct Floats { float v[kLanes]; };

  template <class Result, class Function>
  static Result each(Function function) {
    Result r;
    for (int i = 0; i < kLanes; ++i) r.v[i] = function(i);
    return r;
  }
  template <class Function>
  static Ints each_byte(Ints a, Function function) {
    uint8_t bytes[4 * kLanes];
    std::memcpy(bytes, a.v, sizeof bytes);
    for (auto& byte : bytes) byte = uint8_t(function(byte));
    std::memcpy(a.v, bytes, sizeof bytes);
    return a;
  }

  static Ints load(const void* p) {
    Ints r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static Floats load_floats(const void* p) {
    Floats r;
    std::memcpy(r.v, p, sizeof r.v);
    return r;
  }
  static void store(float* p, Floats v) { std::memcpy(p, v.v, sizeof v.v); }
  static void prefetch(const void*) {}
  static Ints broadcast(const void* p) {
    int32_t v;
    std::memcpy(&v, p, 4);
    return each<Ints>([=](int) { return v; });
  }
  static Ints broadcast_byte(uint8_t v) {
    return each_byte(Ints{}, [=](uint8_t) { return v; });
  }
  static Floats broadcast_float(float v) { return each<Floats>([=](int) { return v; }); }
  static Floats zero() { return broadcast_float(0.0f); }
  static Ints exclusive_or(Ints a, Ints b) { return each<Ints>([=](int i) { return a.v[i] ^ b.v[i]; }); }
  static Ints low(Ints a) { return each_byte(a, [](uint8_t v) { return v & 15; }); }
  static Ints high(Ints a) { return each_byte(a, [](uint8_t v) { return v >> 4; }); }
  static Ints dot_bytes(Ints sum, Ints w, Ints a) {
    int8_t x[4 * kLanes], y[4 * kLanes];
    std::memcpy(x, w.v, sizeof x);
    std::memcpy(y, a.v, sizeof y);
    for (int i = 0; i < 4 * kLanes; ++i) sum.v[i / 4] += x[i] * y[i];
    return sum;
  }
  static Ints dot_nibbles(Ints sum, Ints u, Ints a) { return dot_bytes(sum, u, a); }
  static Floats to_float(Ints a) { return each<Floats>([=](int i) { return float(a.v[i]); }); }
  static Floats multiply(Floats a, Floats b) { return each<Floats>([=](int i) { return a.v[i] * b.v[i]; }); }
  static Floats multiply_add(Floats a, Floats b, Floats c) {
    return each<Floats>([=](int i) { return a.v[i] * b.v[i] + c.v[i]; });
  }
  static float sum(Floats a) { return (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]); }
  static Floats from_halves(const uint16_t* p) { return each<Floats>([=](int i) { return half_to_float(p[i]); }); }
  template <int Repeat>
  static Floats spread(const float* values, int64_t i) {
    return each<Floats>([=](int j) { return values[(i * kLanes + j) / Repeat]; });
  }
};

}  // namespace

const Products& plain_products() {
  static const Products found = products_of<LanesPlain>("plain");
  return found;
}

}  // namespace lilims
