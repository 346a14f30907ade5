#include "tests/support/number_lines.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tests/runner/values.h"
#include "tests/support/unseen.h"

namespace tw::test {
namespace {

constexpr size_t kPart = 512;  // elements that are copied at once

template <tw_type_t type>
constexpr FloatFormat kFormat = type == TW_BF16 ? kBf16 : kFp16;

template <tw_type_t type>
TW_UNSEEN void encode_all(uint16_t* to, const float* from, size_t n) {
  for (size_t i = 0; i < n; ++i)
    to[i] = static_cast<uint16_t>(encode(kFormat<type>, static_cast<double>(from[i])));
}

template <tw_type_t type>
TW_UNSEEN void decode_all(float* to, const uint16_t* from, size_t n) {
  for (size_t i = 0; i < n; ++i) to[i] = static_cast<float>(decode(kFormat<type>, from[i]));
}

template <tw_type_t type>
void write_codes(void* to, const float* from, size_t n) {
  uint16_t codes[kPart];
  for (size_t i = 0; i < n; i += kPart) {
    const size_t count = std::min(kPart, n - i);
    encode_all<type>(codes, from + i, count);
    std::memcpy(static_cast<uint16_t*>(to) + i, codes, count * sizeof *codes);
  }
}

template <tw_type_t type>
void read_codes(float* to, const void* from, size_t n) {
  uint16_t codes[kPart];
  for (size_t i = 0; i < n; i += kPart) {
    const size_t count = std::min(kPart, n - i);
    std::memcpy(codes, static_cast<const uint16_t*>(from) + i, count * sizeof *codes);
    decode_all<type>(to + i, codes, count);
  }
}

template <tw_type_t type>
TW_UNSEEN void round_all(float* line, size_t n) {
  for (size_t i = 0; i < n; ++i)
    line[i] = static_cast<float>(
        decode(kFormat<type>, encode(kFormat<type>, static_cast<double>(line[i]))));
}

}  // namespace

void write_line(tw_type_t type, void* to, const float* from, size_t n) {
  if (n == 0) return;
  switch (type) {
    case TW_BF16:
      return write_codes<TW_BF16>(to, from, n);
    case TW_FP16:
      return write_codes<TW_FP16>(to, from, n);
    case TW_FP32:
      std::memcpy(to, from, n * sizeof *from);
      return;
    default:
      std::abort();
  }
}

void read_line(tw_type_t type, float* to, const void* from, size_t n) {
  if (n == 0) return;
  switch (type) {
    case TW_BF16:
      return read_codes<TW_BF16>(to, from, n);
    case TW_FP16:
      return read_codes<TW_FP16>(to, from, n);
    case TW_FP32:
      std::memcpy(to, from, n * sizeof *to);
      return;
    default:
      std::abort();
  }
}

void round_line(tw_type_t type, float* line, size_t n) {
  if (type == TW_BF16) round_all<TW_BF16>(line, n);
  if (type == TW_FP16) round_all<TW_FP16>(line, n);
}

}  // namespace tw::test
