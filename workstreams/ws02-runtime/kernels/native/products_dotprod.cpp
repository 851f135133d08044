// Registers of 4 lanes: NEON with the dot products of ARMv8.2.
#include <arm_neon.h>

#include "kernels.h"

namespace lilims {
namespace {

struct Lanes128 {
  using Ints = int32x4_t;
  using Floats = float32x4_t;
  static constexpr int kLanes = 4, kTiles = 2, kFewRows = 4;
  static constexpr bool kUnsignedBytes = false;

  static Ints load(const void* p) { return vreinterpretq_s32_u8(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static Floats load_floats(const void* p) { return vreinterpretq_f32_u8(vld1q_u8(static_cast<const uint8_t*>(p))); }
  static void store(float* p, Floats v) { vst1q_f32(p, v); }
  static void prefetch(const void* p) { __builtin_prefetch(p); }
  static Ints broadcast(const void* p) {
    int32_t v;
    std::memcpy(&v, p, 4);
    return vdupq_n_s32(v);
  }
  static Ints broadcast_byte(uint8_t v) { return vreinterpretq_s32_u8(vdupq_n_u8(v)); }
  static Floats broadcast_float(float v) { return vdupq_n_f32(v); }
  static Floats zero() { return vdupq_n_f32(0.0f); }
  static Ints exclusive_or(Ints a, Ints b) { return veorq_s32(a, b); }
  static Ints low(Ints v) { return vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(v), vdupq_n_u8(15))); }
  static Ints high(Ints v) { return vreinterpretq_s32_u8(vshrq_n_u8(vreinterpretq_u8_s32(v), 4)); }
  static Ints dot_bytes(Ints sum, Ints w, Ints a) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a));
  }
  static Ints dot_nibbles(Ints sum, Ints u, Ints a) { return dot_bytes(sum, u, a); }
  static Floats to_float(Ints v) { return vcvtq_f32_s32(v); }
  static Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
  static float sum(Floats v) { return vaddvq_f32(v); }
  static Floats from_halves(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  // Lane j of register i: values[(i · 4 + j) / Repeat].
  template <int Repeat>
  static Floats spread(const float* values, int64_t i) {
    const float* p = values + i * 4 / Repeat;
    return Repeat == 2 ? vcombine_f32(vdup_n_f32(p[0]), vdup_n_f32(p[1])) : vdupq_n_f32(p[0]);
  }
};

}  // namespace

const Products& dotprod_products() {
  static const Products found = products_of<Lanes128>("dotprod");
  return found;
}

}  // namespace lilims
