// Element types: every code of the small floats is widened right, and every rounding boundary is
// narrowed right, against the scalar reference.
#include "tilewire/tile/types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/support/reference.h"

namespace tw::test {
namespace {

template <class Format>
void check_widen(tw_type_t type) {
  for (uint32_t code = 0; code < (1u << Format::kBits); ++code) {
    const float expected = decode(type, code);
    const float got = Format::template widen<float>(code);
    if (expected != expected) {
      EXPECT_NE(got, got) << name_of(type) << " code " << code;
    } else {
      EXPECT_EQ(got, expected) << name_of(type) << " code " << code;
      EXPECT_EQ(std::signbit(got), std::signbit(expected)) << name_of(type) << " code " << code;
    }
    // What lies above the code's bits must not matter.
    const uint32_t dirty = Format::template narrow<float, uint32_t>(
        Format::template widen<float>(code | 0x5a5a5a5au << (Format::kBits - 1) << 1));
    EXPECT_EQ(dirty, encode(type, expected));
  }
}

template <class Format>
void check_narrow(tw_type_t type, float value) {
  const uint32_t got = Format::template narrow<float, uint32_t>(value);
  ASSERT_EQ(got, encode(type, value)) << name_of(type) << " of " << value;
}

/// Every representable value, the ties between neighbours, and the floats next to those.
template <class Format>
void check_boundaries(tw_type_t type) {
  for (uint32_t code = 0; code + 1 < (1u << (Format::kBits - 1)); ++code) {
    const float here = decode(type, code), next = decode(type, code + 1);
    if (!std::isfinite(here)) break;
    const float above = std::isfinite(next) ? next : here * 1.25F;
    const float tie = here + (above - here) / 2;
    for (float x : {here, tie, std::nextafter(tie, 0.0F), std::nextafter(tie, above),
                    std::nextafter(here, above)}) {
      check_narrow<Format>(type, x);
      check_narrow<Format>(type, -x);
    }
  }
  for (float x : {INFINITY, -INFINITY, 1e38F, -1e38F, 3.4e38F, 1e-45F, -1e-45F, 1e-40F, 464.0F,
                  465.0F, 480.0F, 57344.0F, 61440.0F, 65519.0F, 65520.0F, std::nanf("")})
    check_narrow<Format>(type, x);
}

template <class Format>
void check_noise(tw_type_t type) {
  const auto bytes = noise(4 * 200000, 7);
  for (size_t i = 0; i < bytes.size(); i += 4) {
    float x;
    std::memcpy(&x, bytes.data() + i, 4);
    check_narrow<Format>(type, x);
  }
}

template <class Format>
void check_all(tw_type_t type) {
  check_widen<Format>(type);
  check_boundaries<Format>(type);
  check_noise<Format>(type);
}

TEST(Types, Fp16) { check_all<cpu_portable::Fp16>(TW_FP16); }
TEST(Types, Bf16) { check_all<cpu_portable::Bf16>(TW_BF16); }
TEST(Types, Fp8E4m3) { check_all<cpu_portable::Fp8E4m3>(TW_FP8_E4M3); }
TEST(Types, Fp8E5m2) { check_all<cpu_portable::Fp8E5m2>(TW_FP8_E5M2); }

TEST(Types, E4m3SaturatesAndE5m2Overflows) {
  EXPECT_EQ((cpu_portable::Fp8E4m3::narrow<float, uint32_t>(1e9F)), 0x7eu);
  EXPECT_EQ((cpu_portable::Fp8E4m3::narrow<float, uint32_t>(-INFINITY)), 0xfeu);
  EXPECT_EQ((cpu_portable::Fp8E5m2::narrow<float, uint32_t>(1e9F)), 0x7cu);
  EXPECT_EQ((cpu_portable::Fp16::narrow<float, uint32_t>(-65520.0F)), 0xfc00u);
  EXPECT_EQ((cpu_portable::Bf16::narrow<float, uint32_t>(std::nanf(""))), 0x7fc0u);
}

}  // namespace
}  // namespace tw::test
