// Registers of 8 lanes: AVX2 with FMA and F16C, without VNNI or with it (LILIMS_VNNI).
#pragma once

#include <immintrin.h>

#include "kernels.h"

namespace lilims {
namespace {

struct Lanes256 {
  using Ints = __m256i;
  using Floats = __m256;
  static constexpr int kLanes = 8, kTiles = 2, kFewRows = 2;
#if defined(LILIMS_VNNI)
  static constexpr bool kUnsignedBytes = true;
  static Ints dot_nibbles(Ints sum, Ints u, Ints a) { return _mm256_dpbusd_avx_epi32(sum, u, a); }
  static Ints dot_bytes(Ints sum, Ints u, Ints a) { return _mm256_dpbusd_avx_epi32(sum, u, a); }
#else
  // Products of pairs are added in 16 bits: 2 · 15 · 127 fits, 2 · 255 · 127 would not; signed codes and |w| <= 128 do.
  static constexpr bool kUnsignedBytes = false;
  static Ints dot_nibbles(Ints sum, Ints u, Ints a) {
    const Ints pairs = _mm256_maddubs_epi16(u, a);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static Ints dot_bytes(Ints sum, Ints w, Ints a) {
    return dot_nibbles(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
  }
#endif

  static Ints load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static Floats load_floats(const void* p) { return _mm256_loadu_ps(static_cast<const float*>(p)); }
  static void store(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
  static Ints broadcast(const void* p) {
    int32_t v;
    std::memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
  }
  static Ints broadcast_byte(uint8_t v) { return _mm256_set1_epi8(char(v)); }
  static Floats broadcast_float(float v) { return _mm256_set1_ps(v); }
  static Floats zero() { return _mm256_setzero_ps(); }
  static Ints exclusive_or(Ints a, Ints b) { return _mm256_xor_si256(a, b); }
  static Ints low(Ints v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
  static Ints high(Ints v) { return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15)); }
  static Floats to_float(Ints v) { return _mm256_cvtepi32_ps(v); }
  static Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static float sum(Floats v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static Floats from_halves(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
  // Lane j of register i: values[(i · 8 + j) / Repeat].
  template <int Repeat>
  static Floats spread(const float* values, int64_t i) {
    const float* p = values + i * 8 / Repeat;
    if (Repeat == 8) return _mm256_broadcast_ss(p);
    const __m256i places = _mm256_srli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), Repeat == 2 ? 1 : 2);
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), places);
  }
};

}  // namespace
}  // namespace lilims
