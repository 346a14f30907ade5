#include "tests/support/reference.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace tw::test {
namespace {

struct Format {
  int mantissa, bias;
  uint32_t sign, max, infinity, nan;  // infinity 0: none
};

Format format_of(tw_type_t type) {
  switch (type) {
    case TW_FP16:
      return {10, 15, 0x8000, 0x7bff, 0x7c00, 0x7e00};
    case TW_BF16:
      return {7, 127, 0x8000, 0x7f7f, 0x7f80, 0x7fc0};
    case TW_FP8_E4M3:
      return {3, 7, 0x80, 0x7e, 0, 0x7f};
    default:
      return {2, 15, 0x80, 0x7b, 0x7c, 0x7e};
  }
}

template <class T>
T get(const std::vector<unsigned char>& bytes, size_t i) {
  T x;
  std::memcpy(&x, bytes.data() + i * sizeof(T), sizeof x);
  return x;
}

template <class T>
void set(std::vector<unsigned char>& bytes, size_t i, T x) {
  std::memcpy(bytes.data() + i * sizeof(T), &x, sizeof x);
}

template <class T>
T factor_of(const uint64_t* factors, size_t source) {
  T f;
  std::memcpy(&f, factors + source, sizeof f);
  return f;
}

template <class T>
T combine(tw_op_t op, T a, T b) {
  switch (op) {
    case TW_PROD:
      return static_cast<T>(a * b);
    case TW_MIN:
      return b < a || a != a ? b : a;
    case TW_MAX:
      return b > a || a != a ? b : a;
    default:
      return static_cast<T>(a + b);
  }
}

template <class T>
T quiet(T x) {
  return x != x ? std::numeric_limits<T>::quiet_NaN() : x;
}

using Sources = std::vector<std::vector<unsigned char>>;

template <class T>
void reduce_floats(std::vector<unsigned char>& to, tw_op_t op, const Sources& in,
                   const uint64_t* factors) {
  for (size_t i = 0; i < to.size() / sizeof(T); ++i) {
    T sum = 0;
    for (size_t s = 0; s < in.size(); ++s) {
      T x = get<T>(in[s], i);
      if (factors != nullptr) x *= factor_of<T>(factors, s);
      sum = s == 0 ? x : combine(op, sum, x);
    }
    if (op == TW_AVG) sum /= static_cast<T>(in.size());
    set(to, i, quiet(sum));
  }
}

template <class Code>
void reduce_small(std::vector<unsigned char>& to, tw_type_t type, tw_op_t op, const Sources& in,
                  const uint64_t* factors) {
  for (size_t i = 0; i < to.size() / sizeof(Code); ++i) {
    float sum = 0;
    for (size_t s = 0; s < in.size(); ++s) {
      float x = decode(type, get<Code>(in[s], i));
      if (factors != nullptr) {
        const float f = decode(type, factor_of<Code>(factors, s));
        x = decode(type, encode(type, x * f));
      }
      sum = s == 0 ? x : combine(op, sum, x);
    }
    if (op == TW_AVG) sum /= static_cast<float>(in.size());
    set(to, i, static_cast<Code>(encode(type, sum)));
  }
}

/// T: the type; U: unsigned of 64 bits, in which everything wraps as in T.
template <class T>
void reduce_integers(std::vector<unsigned char>& to, tw_op_t op, const Sources& in,
                     const uint64_t* factors) {
  using Wide = std::conditional_t<std::is_signed_v<T>, int64_t, uint64_t>;
  for (size_t i = 0; i < to.size() / sizeof(T); ++i) {
    uint64_t sum = 0;
    T extreme = 0;
    for (size_t s = 0; s < in.size(); ++s) {
      const T x = get<T>(in[s], i);
      uint64_t wide = static_cast<uint64_t>(static_cast<Wide>(x));
      if (factors != nullptr)
        wide = static_cast<uint64_t>(static_cast<Wide>(
            static_cast<T>(wide * static_cast<uint64_t>(factor_of<T>(factors, s)))));
      sum = s == 0 ? wide : op == TW_PROD ? sum * wide : sum + wide;
      if (s == 0 || (op == TW_MIN ? x < extreme : x > extreme)) extreme = x;
    }
    T result = static_cast<T>(sum);
    if (op == TW_AVG)
      result = static_cast<T>(static_cast<Wide>(sum) / static_cast<Wide>(in.size()));
    set(to, i, op == TW_MIN || op == TW_MAX ? extreme : result);
  }
}

}  // namespace

size_t bytes_of(tw_type_t type) {
  constexpr size_t kBytes[kAllTypes] = {1, 1, 4, 4, 8, 8, 2, 2, 4, 8, 1, 1};
  return kBytes[type];
}

const char* name_of(tw_type_t type) {
  constexpr const char* kNames[kAllTypes] = {"int8",  "uint8",  "int32",    "uint32",
                                             "int64", "uint64", "fp16",     "bf16",
                                             "fp32",  "fp64",   "fp8_e4m3", "fp8_e5m2"};
  return kNames[type];
}

float decode(tw_type_t type, uint32_t code) {
  const Format f = format_of(type);
  const uint32_t magnitude = code & (f.sign - 1);
  const float sign = (code & f.sign) != 0 ? -1.0F : 1.0F;
  if (f.infinity != 0 && magnitude == f.infinity)
    return sign * std::numeric_limits<float>::infinity();
  if (magnitude > f.max) return std::numeric_limits<float>::quiet_NaN();
  const int exponent = static_cast<int>(magnitude >> f.mantissa);
  const uint32_t fraction = magnitude & ((1u << f.mantissa) - 1);
  if (exponent == 0)
    return sign * std::ldexp(static_cast<float>(fraction), 1 - f.bias - f.mantissa);
  return sign * std::ldexp(static_cast<float>(fraction + (1u << f.mantissa)),
                           exponent - f.bias - f.mantissa);
}

uint32_t encode(tw_type_t type, float value) {
  const Format f = format_of(type);
  if (value != value) return f.nan;
  const uint32_t sign = std::signbit(value) ? f.sign : 0;
  const uint32_t overflow = f.infinity != 0 ? f.infinity : f.max;
  const double x = std::fabs(static_cast<double>(value));
  if (x == 0) return sign;
  if (std::isinf(x)) return sign | overflow;
  int exponent = std::ilogb(x);
  if (exponent < 1 - f.bias) exponent = 1 - f.bias;
  // In units of the last place; a carry out of the mantissa moves to the next exponent by itself.
  const double units = std::nearbyint(std::ldexp(x, f.mantissa - exponent));
  const double base = static_cast<double>(exponent + f.bias - 1) * (1 << f.mantissa);
  const double code = base + units;
  return sign | (code > f.max ? overflow : static_cast<uint32_t>(code));
}

std::vector<unsigned char> reduce(tw_type_t type, tw_op_t op, const Sources& sources,
                                  const uint64_t* factors) {
  std::vector<unsigned char> to(sources[0].size());
  switch (type) {
    case TW_INT8:
      reduce_integers<int8_t>(to, op, sources, factors);
      break;
    case TW_UINT8:
      reduce_integers<uint8_t>(to, op, sources, factors);
      break;
    case TW_INT32:
      reduce_integers<int32_t>(to, op, sources, factors);
      break;
    case TW_UINT32:
      reduce_integers<uint32_t>(to, op, sources, factors);
      break;
    case TW_INT64:
      reduce_integers<int64_t>(to, op, sources, factors);
      break;
    case TW_UINT64:
      reduce_integers<uint64_t>(to, op, sources, factors);
      break;
    case TW_FP32:
      reduce_floats<float>(to, op, sources, factors);
      break;
    case TW_FP64:
      reduce_floats<double>(to, op, sources, factors);
      break;
    case TW_FP16:
    case TW_BF16:
      reduce_small<uint16_t>(to, type, op, sources, factors);
      break;
    default:
      reduce_small<uint8_t>(to, type, op, sources, factors);
  }
  return to;
}

std::vector<unsigned char> noise(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<unsigned char> out(bytes);
  for (size_t i = 0; i < bytes; i += sizeof(uint64_t)) {
    const uint64_t word = random();
    std::memcpy(out.data() + i, &word, bytes - i < sizeof word ? bytes - i : sizeof word);
  }
  return out;
}

}  // namespace tw::test
