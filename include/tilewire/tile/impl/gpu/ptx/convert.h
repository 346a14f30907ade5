// Conversions that the hardware has. All round to nearest even.
#pragma once

#include <cstdint>

#include "tilewire/tile/target.h"
#include "tilewire/tile/types.h"

namespace TW_NS::ptx {

TW_FN float float_of_fp16(uint32_t code) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<uint16_t>(code)));
  return value;
}

TW_FN uint32_t fp16_of(float value) {
  uint16_t code;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(value));
  return code;
}

TW_FN uint32_t bf16_of(float value) {
  uint16_t code;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(code) : "f"(value));
  return code;
}

/// Two bf16, `low` in the low half.
TW_FN uint32_t bf16x2_of(float low, float high) {
  uint32_t two;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(high), "f"(low));
  return two;
}

/// 2^x, relative error below 2^-22; 1 for 0, 0 for less than 2^-126 and for -infinity.
TW_FN float power_of_two(float x) {
  float value;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
  return value;
}

/// x, of which the compiler knows nothing: what is made of it is made there, and neither before a
/// loop nor from what the loop's last turn had.
TW_FN int unknown(int x) {
  int same;
  asm volatile("mov.b32 %0, %1;" : "=r"(same) : "r"(x));
  return same;
}
template <class T>
TW_FN T* unknown(T* x) {
  T* same;
  asm volatile("mov.b64 %0, %1;" : "=l"(same) : "l"(x));
  return same;
}

#if !defined(TW_TARGET_SM_80)

/// Two fp8_e4m3 in the low half of `codes` as two fp16.
TW_FN uint32_t fp16x2_of_e4m3x2(uint32_t codes) {
  uint32_t two;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(two) : "h"(static_cast<uint16_t>(codes)));
  return two;
}

/// Saturates. NaN gives 0x7f.
TW_FN uint32_t e4m3x2_of(float low, float high) {
  uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  return codes;
}

#else  // no fp8 before sm_89: by the formulas of tile/types.h, which give the same codes

TW_FN uint32_t fp16x2_of_e4m3x2(uint32_t codes) {
  const uint32_t low = fp16_of(Fp8E4m3::widen<float>(codes));
  return low | fp16_of(Fp8E4m3::widen<float>(codes >> 8)) << 16;
}

TW_FN uint32_t e4m3x2_of(float low, float high) {
  return Fp8E4m3::narrow<float, uint32_t>(low) | Fp8E4m3::narrow<float, uint32_t>(high) << 8;
}

#endif

}  // namespace TW_NS::ptx
