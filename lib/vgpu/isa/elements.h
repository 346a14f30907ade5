// What matrices are made of: an element's bits as the number that is multiplied.
#pragma once

#include <bit>
#include <cstdint>

#include "lib/vgpu/isa/floats.h"

namespace tw::vgpu {

struct FromHalf {
  using Bits = uint16_t;
  static float value(Bits bits) { return from_half(bits); }
};
struct FromBfloat {
  using Bits = uint16_t;
  static float value(Bits bits) { return from_bfloat(bits); }
};
struct FromTf32 {
  using Bits = uint32_t;
  static float value(Bits bits) { return std::bit_cast<float>(bits & 0xffffe000); }
};
struct FromE4m3 {
  using Bits = uint8_t;
  static float value(Bits bits) { return static_cast<float>(decode_float(bits, kE4m3Format)); }
};
struct FromE5m2 {
  using Bits = uint8_t;
  static float value(Bits bits) { return static_cast<float>(decode_float(bits, kE5m2Format)); }
};
struct FromSigned {
  using Bits = int8_t;
  static int32_t value(Bits bits) { return bits; }
};
struct FromUnsigned {
  using Bits = uint8_t;
  static int32_t value(Bits bits) { return bits; }
};

}  // namespace tw::vgpu
