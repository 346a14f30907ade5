#include "perf/runner/values.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace tw::perf {

const TypeRow kTypes[] = {
    {TW_INT8, "int8", "int8", 1},           {TW_UINT8, "uint8", "uint8", 1},
    {TW_INT32, "int32", "int32", 4},        {TW_UINT32, "uint32", "uint32", 4},
    {TW_INT64, "int64", "int64", 8},        {TW_UINT64, "uint64", "uint64", 8},
    {TW_FP16, "fp16", "half", 2},           {TW_BF16, "bf16", "bfloat16", 2},
    {TW_FP32, "fp32", "float", 4},          {TW_FP64, "fp64", "double", 8},
    {TW_FP8_E4M3, "fp8_e4m3", "f8e4m3", 1}, {TW_FP8_E5M2, "fp8_e5m2", "f8e5m2", 1},
    {TW_FP32, nullptr, nullptr, 0},
};

#define TW_REDOP(name, value, text) {name, text},
const RedopRow kRedops[] = {TW_OP_MAP(TW_REDOP){TW_SUM, nullptr}};
#undef TW_REDOP

const TypeRow* find_type(const char* name) {
  for (const TypeRow* row = kTypes; row->name; ++row)
    if (!std::strcmp(name, row->name) || !std::strcmp(name, row->nccl_name)) return row;
  return nullptr;
}

const RedopRow* find_redop(const char* name) {
  for (const RedopRow* row = kRedops; row->name; ++row)
    if (!std::strcmp(name, row->name)) return row;
  return nullptr;
}

const TypeRow& type_row(tw_type_t type) {
  const TypeRow* row = kTypes;
  while (row->name && row->type != type) ++row;
  return *row;
}

const char* redop_name(tw_op_t redop) {
  for (const RedopRow* row = kRedops; row->name; ++row)
    if (row->redop == redop) return row->name;
  return "?";
}

namespace {

// A float format of `exponent` and `mantissa` bits, without the specials that these inputs never
// reach. Values are built and taken apart with ldexp and frexp: slow and plainly right.
struct Format {
  int exponent, mantissa;
  int bias() const { return (1 << (exponent - 1)) - 1; }
};

double decode(uint32_t bits, Format f) {
  const uint32_t mantissa = bits & ((1u << f.mantissa) - 1);
  const int exponent = static_cast<int>(bits >> f.mantissa) & ((1 << f.exponent) - 1);
  const bool negative = (bits >> (f.mantissa + f.exponent)) & 1;
  const double value =
      exponent == 0 ? std::ldexp(mantissa, 1 - f.bias() - f.mantissa)
                    : std::ldexp(mantissa + (1u << f.mantissa), exponent - f.bias() - f.mantissa);
  return negative ? -value : value;
}

uint32_t encode(double value, Format f) {
  const uint32_t sign = std::signbit(value) ? 1u << (f.mantissa + f.exponent) : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  int power = 0;
  std::frexp(magnitude, &power);
  const int exponent = std::max(power - 1, 1 - f.bias());
  // nearbyint rounds to nearest even; a carry moves into the exponent by itself.
  const auto steps =
      static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, f.mantissa - exponent)));
  const uint32_t base = static_cast<uint32_t>(exponent + f.bias() - 1) << f.mantissa;
  return sign | (base + steps);
}

template <class T>
double load_as(const void* array, size_t i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(array) + i * sizeof(T), sizeof(T));
  return static_cast<double>(value);
}

template <class T>
void store_as(void* array, size_t i, T value) {
  std::memcpy(static_cast<char*>(array) + i * sizeof(T), &value, sizeof(T));
}

template <class Bits>
double load_float(const void* array, size_t i, Format f) {
  Bits bits;
  std::memcpy(&bits, static_cast<const char*>(array) + i * sizeof(Bits), sizeof(Bits));
  return decode(bits, f);
}

constexpr Format kFp16{5, 10}, kBf16{8, 7}, kE4m3{4, 3}, kE5m2{5, 2};

bool is_integer(tw_type_t type) { return type <= TW_UINT64; }

}  // namespace

double load_value(const void* array, size_t i, tw_type_t type) {
  switch (type) {
    case TW_INT8:
      return load_as<int8_t>(array, i);
    case TW_UINT8:
      return load_as<uint8_t>(array, i);
    case TW_INT32:
      return load_as<int32_t>(array, i);
    case TW_UINT32:
      return load_as<uint32_t>(array, i);
    case TW_INT64:
      return load_as<int64_t>(array, i);
    case TW_UINT64:
      return load_as<uint64_t>(array, i);
    case TW_FP16:
      return load_float<uint16_t>(array, i, kFp16);
    case TW_BF16:
      return load_float<uint16_t>(array, i, kBf16);
    case TW_FP32:
      return load_as<float>(array, i);
    case TW_FP64:
      return load_as<double>(array, i);
    case TW_FP8_E4M3:
      return load_float<uint8_t>(array, i, kE4m3);
    case TW_FP8_E5M2:
      return load_float<uint8_t>(array, i, kE5m2);
    default:
      break;
  }
  return 0;
}

void store_value(void* array, size_t i, tw_type_t type, double value) {
  const auto whole = is_integer(type) ? static_cast<int64_t>(value) : 0;
  switch (type) {
    case TW_INT8:
      return store_as(array, i, static_cast<int8_t>(whole));
    case TW_UINT8:
      return store_as(array, i, static_cast<uint8_t>(whole));
    case TW_INT32:
      return store_as(array, i, static_cast<int32_t>(whole));
    case TW_UINT32:
      return store_as(array, i, static_cast<uint32_t>(whole));
    case TW_INT64:
      return store_as(array, i, whole);
    case TW_UINT64:
      return store_as(array, i, static_cast<uint64_t>(whole));
    case TW_FP16:
      return store_as(array, i, static_cast<uint16_t>(encode(value, kFp16)));
    case TW_BF16:
      return store_as(array, i, static_cast<uint16_t>(encode(value, kBf16)));
    case TW_FP32:
      return store_as(array, i, static_cast<float>(value));
    case TW_FP64:
      return store_as(array, i, value);
    case TW_FP8_E4M3:
      return store_as(array, i, static_cast<uint8_t>(encode(value, kE4m3)));
    case TW_FP8_E5M2:
      return store_as(array, i, static_cast<uint8_t>(encode(value, kE5m2)));
    default:
      break;
  }
}

double input_value(int rank, size_t index, tw_type_t type, tw_op_t redop) {
  const size_t at = index % kInputPeriod;
  const size_t mixed = at * 7 + static_cast<size_t>(rank) * 3 + (at >> 5) * 5;
  // A product over 64 ranks must fit int8 and fp8: powers of two, few of them not 1.
  if (redop == TW_PROD) return (mixed + static_cast<size_t>(rank) * 5) % 13 == 0 ? 2 : 1;
  const bool tiny = type_row(type).bytes == 1;
  return static_cast<double>(tiny ? mixed % 3 : 1 + mixed % 11);
}

double reduced_value(const double* inputs, int n, tw_type_t type, tw_op_t redop) {
  double result = inputs[0];
  for (int r = 1; r < n; ++r) {
    const double x = inputs[r];
    switch (redop) {
      case TW_PROD:
        result *= x;
        break;
      case TW_MIN:
        result = std::min(result, x);
        break;
      case TW_MAX:
        result = std::max(result, x);
        break;
      default:
        result += x;
        break;
    }
  }
  if (redop != TW_AVG) return result;
  if (is_integer(type)) return std::trunc(result / n);
  // The accumulator is fp32 for every float type but fp64.
  return type == TW_FP64 ? result / n
                         : static_cast<double>(static_cast<float>(result) / static_cast<float>(n));
}

}  // namespace tw::perf
