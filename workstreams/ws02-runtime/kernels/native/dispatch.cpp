// Which products this processor can run.
#include <cstdlib>
#include <cstring>

#include "products.h"

#if defined(LILIMS_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(LILIMS_ARM) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace lilims {
namespace {

struct Candidate {
  bool can_run;
  const Products& (*products)();
};

#if defined(LILIMS_X86)

struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(uint32_t leaf, uint32_t part) {
  Registers r;
#if defined(_MSC_VER)
  int found[4];
  __cpuidex(found, int(leaf), int(part));
  r = {uint32_t(found[0]), uint32_t(found[1]), uint32_t(found[2]), uint32_t(found[3])};
#else
  __cpuid_count(leaf, part, r.a, r.b, r.c, r.d);
#endif
  return r;
}

// The registers that the system saves: XCR0.
uint64_t saved_registers() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
#endif
}

// Source of the bits: Intel 64 and IA-32 Architectures Software Developer's Manual, CPUID leaves 1 and 7.
struct Features {
  bool avx2 = false, avxvnni = false, avx512vnni = false;

  Features() {
    const uint32_t last = cpuid(0, 0).a;
    const Registers basic = cpuid(1, 0);
    if (last < 7 || !(basic.c >> 27 & 1)) return;  // no OSXSAVE
    const uint64_t saved = saved_registers();
    const Registers more = cpuid(7, 0), later = more.a >= 1 ? cpuid(7, 1) : Registers{};
    const bool fma = basic.c >> 12 & 1, half = basic.c >> 29 & 1;
    avx2 = (saved & 0x06) == 0x06 && (more.b >> 5 & 1) && fma && half;
    avxvnni = avx2 && (later.a >> 4 & 1);
    const bool f = more.b >> 16 & 1, dq = more.b >> 17 & 1, bw = more.b >> 30 & 1, vl = more.b >> 31 & 1;
    avx512vnni = avx2 && (saved & 0xe6) == 0xe6 && f && dq && bw && vl && (more.c >> 11 & 1);
  }
};

#endif

const Products& choose() {
#if defined(LILIMS_X86)
  const Features has;
  const Candidate candidates[] = {{has.avx512vnni, avx512vnni_products},
                                  {has.avxvnni, avxvnni_products},
                                  {has.avx2, avx2_products},
                                  {true, plain_products}};
#elif defined(LILIMS_ARM)
#if defined(__linux__)
  const bool dots = getauxval(AT_HWCAP) >> 20 & 1;  // HWCAP_ASIMDDP
#else
  const bool dots = true;  // every Mac with an ARM processor
#endif
  const Candidate candidates[] = {{dots, dotprod_products}, {true, plain_products}};
#else
  const Candidate candidates[] = {{true, plain_products}};
#endif
  const char* wanted = std::getenv("LILIMS_KERNELS_FEATURES");
  const Products* first = nullptr;
  for (const Candidate& candidate : candidates) {
    if (!candidate.can_run) continue;
    const Products& found = candidate.products();
    if (wanted != nullptr && std::strcmp(wanted, found.name) == 0) return found;
    if (first == nullptr) first = &found;
  }
  return *first;
}

}  // namespace

const Products& products() {
  static const Products& chosen = choose();
  return chosen;
}

}  // namespace lilims
