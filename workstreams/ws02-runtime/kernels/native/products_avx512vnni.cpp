// Registers of 16 lanes: AVX-512 (F, BW, VL, DQ) with VNNI.
#include <immintrin.h>

#include "kernels.h"

namespace lilims {
namespace {

struct Lanes512 {
  using Ints = __m512i;
  using Floats = __m512;
  static constexpr int kLanes = 16, kTiles = 2, kFewRows = 8;
  static constexpr bool kUnsignedBytes = true;

  static Ints load(const void* p) { return _mm512_loadu_si512(p); }
  static Floats load_floats(const void* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
  static Ints broadcast(const void* p) {
    int32_t v;
    std::memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
  }
  static Ints broadcast_byte(uint8_t v) { return _mm512_set1_epi8(char(v)); }
  static Floats broadcast_float(float v) { return _mm512_set1_ps(v); }
  static Floats zero() { return _mm512_setzero_ps(); }
  static Ints exclusive_or(Ints a, Ints b) { return _mm512_xor_si512(a, b); }
  static Ints low(Ints v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
  static Ints high(Ints v) { return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15)); }
  static Ints dot_nibbles(Ints sum, Ints u, Ints a) { return _mm512_dpbusd_epi32(sum, u, a); }
  static Ints dot_bytes(Ints sum, Ints u, Ints a) { return _mm512_dpbusd_epi32(sum, u, a); }
  static Floats to_float(Ints v) { return _mm512_cvtepi32_ps(v); }
  static Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static float sum(Floats v) { return _mm512_reduce_add_ps(v); }
  static Floats from_halves(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // Lane j of register i: values[(i · 16 + j) / Repeat].
  template <int Repeat>
  static Floats spread(const float* values, int64_t i) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i places = _mm512_srli_epi32(lanes, Repeat == 2 ? 1 : Repeat == 4 ? 2 : 3);
    const float* p = values + i * (16 / Repeat);
    const __m512 few = Repeat == 2 ? _mm512_castps256_ps512(_mm256_loadu_ps(p)) : _mm512_castps128_ps512(_mm_loadu_ps(p));
    return _mm512_permutexvar_ps(places, few);
  }
};

}  // namespace

const Products& avx512vnni_products() {
  static const Products found = products_of<Lanes512>("avx512vnni");
  return found;
}

}  // namespace lilims
