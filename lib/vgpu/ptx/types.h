// PTX's fundamental types.
#pragma once

#include <cstdint>
#include <string_view>

namespace tw::vgpu::ptx {

enum class Kind : uint8_t { kBits, kSigned, kUnsigned, kFloat, kPredicate };

// X(name, spelling, bytes, kind). Packed types count as floats of their whole width.
#define TW_VGPU_TYPES(X)          \
  X(kNone, "", 0, kBits)          \
  X(kS8, "s8", 1, kSigned)        \
  X(kU8, "u8", 1, kUnsigned)      \
  X(kB8, "b8", 1, kBits)          \
  X(kS16, "s16", 2, kSigned)      \
  X(kU16, "u16", 2, kUnsigned)    \
  X(kB16, "b16", 2, kBits)        \
  X(kF16, "f16", 2, kFloat)       \
  X(kBf16, "bf16", 2, kFloat)     \
  X(kE4m3x2, "e4m3x2", 2, kFloat) \
  X(kE5m2x2, "e5m2x2", 2, kFloat) \
  X(kE4m3, "e4m3", 1, kFloat)     \
  X(kE5m2, "e5m2", 1, kFloat)     \
  X(kS32, "s32", 4, kSigned)      \
  X(kU32, "u32", 4, kUnsigned)    \
  X(kB32, "b32", 4, kBits)        \
  X(kF32, "f32", 4, kFloat)       \
  X(kTf32, "tf32", 4, kFloat)     \
  X(kF16x2, "f16x2", 4, kFloat)   \
  X(kBf16x2, "bf16x2", 4, kFloat) \
  X(kS64, "s64", 8, kSigned)      \
  X(kU64, "u64", 8, kUnsigned)    \
  X(kB64, "b64", 8, kBits)        \
  X(kF64, "f64", 8, kFloat)       \
  X(kB128, "b128", 16, kBits)     \
  X(kPred, "pred", 0, kPredicate)

enum class Type : uint8_t {
#define TW_VGPU_TYPE(name, spelling, bytes, kind) name,
  TW_VGPU_TYPES(TW_VGPU_TYPE)
#undef TW_VGPU_TYPE
};

/// The type that a modifier such as "u32" spells; kNone when it spells none.
Type type_named(std::string_view word);

int bytes_of(Type type);
Kind kind_of(Type type);
const char* name_of(Type type);

}  // namespace tw::vgpu::ptx
