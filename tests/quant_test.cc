// Expansion of weight blocks, against what gguf-py makes of the same bytes (make model-fixtures).
#include "lib/model/quant.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "lib/model/gguf.h"
#include "tests/support/model_files.h"

namespace tw {
namespace {

template <class T>
struct Expected {
  std::string bytes;
  size_t at = 0;
  explicit Expected(const char* name) : bytes(read_text(fixture(name))) {}

  std::vector<T> next(size_t count) {
    std::vector<T> values(count);
    EXPECT_LE(at + count * sizeof(T), bytes.size());
    std::memcpy(values.data(), bytes.data() + at, count * sizeof(T));
    at += count * sizeof(T);
    return values;
  }
};

template <class T>
std::vector<T> expanded(const GgufTensor& tensor, const void* from) {
  const size_t count = tensor.row() * tensor.rows();
  // Poisoned, and with room behind it: what is not written or written beyond shows.
  std::vector<T> values(count + 8);
  std::memset(values.data(), 0xa5, values.size() * sizeof(T));
  expand(tensor.type, from, count / quant_format(tensor.type).block, values.data());
  for (size_t i = 0; i < 8 * sizeof(T); ++i)
    EXPECT_EQ(reinterpret_cast<const unsigned char*>(values.data() + count)[i], 0xa5);
  values.resize(count);
  return values;
}

uint32_t bits_of(float value) { return std::bit_cast<uint32_t>(value); }
uint32_t bits_of(uint16_t value) { return value; }

/// The first element whose bytes differ, -1 when none does. NaNs need only be NaNs: hardware that
/// gguf-py runs on makes them quiet or not.
template <class T>
int64_t first_difference(const std::vector<T>& a, const std::vector<T>& b) {
  const auto is_nan = [](T value) {
    if constexpr (std::is_same_v<T, float>)
      return std::isnan(value);
    else
      return (value & 0x7fff) > 0x7f80;
  };
  for (size_t i = 0; i < a.size(); ++i)
    if (bits_of(a[i]) != bits_of(b[i]) && !(is_nan(a[i]) && is_nan(b[i])))
      return static_cast<int64_t>(i);
  return -1;
}

TEST(Quant, EveryTypeIsExpandedByteForByte) {
  const Gguf gguf(fixture("quant_types.gguf"));
  Expected<float> fp32("quant_types.f32");
  Expected<uint16_t> bf16("quant_types.bf16");
  size_t types = 0;
  for (const GgufTensor& tensor : gguf.tensors()) {
    const std::string name(tensor.name);
    EXPECT_STREQ(quant_format(tensor.type).name, name.c_str());
    const size_t count = tensor.row() * tensor.rows();
    EXPECT_EQ(count, 3u * 512u) << name;
    EXPECT_EQ(first_difference(expanded<float>(tensor, tensor.data.data()), fp32.next(count)), -1)
        << name;
    EXPECT_EQ(first_difference(expanded<uint16_t>(tensor, tensor.data.data()), bf16.next(count)),
              -1)
        << name;
    ++types;
  }
  EXPECT_EQ(types, 11u);
  EXPECT_EQ(fp32.at, fp32.bytes.size());
  EXPECT_EQ(bf16.at, bf16.bytes.size());
}

TEST(Quant, BlocksMayLieAnywhere) {
  const Gguf gguf(fixture("quant_types.gguf"));
  for (const GgufTensor& tensor : gguf.tensors()) {
    const std::string moved = "x" + std::string(tensor.data);
    EXPECT_EQ(first_difference(expanded<float>(tensor, moved.data() + 1),
                               expanded<float>(tensor, tensor.data.data())),
              -1)
        << tensor.name;
  }
}

TEST(Quant, Bf16IsRoundedToNearestEven) {
  const struct {
    uint32_t from;
    uint16_t to;
  } cases[] = {
      {0x3f800000, 0x3f80}, {0x3f807fff, 0x3f80}, {0x3f808000, 0x3f80},  // halfway, even below
      {0x3f818000, 0x3f82},                                              // halfway, even above
      {0x3f808001, 0x3f81}, {0x7f7fffff, 0x7f80},                        // overflows
      {0x7f800000, 0x7f80}, {0xff800000, 0xff80}, {0x80000000, 0x8000},
      {0x00000001, 0x0000}, {0x7f800001, 0x7fc0},  // stays NaN, though its upper half is infinity's
  };
  for (const auto& [from, to] : cases) {
    uint16_t result = 0;
    expand(QuantType::kF32, &from, 1, &result);
    EXPECT_EQ(result, to) << std::hex << from;
  }
}

TEST(Quant, EveryHalfIsItsValue) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const uint32_t exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent == 0 ? std::ldexp(mantissa, -24)
                                 : std::ldexp(1024 + mantissa, static_cast<int>(exponent) - 25);
    if (exponent == 31)
      value = mantissa == 0 ? std::numeric_limits<double>::infinity()
                            : std::numeric_limits<double>::quiet_NaN();
    if (bits & 0x8000) value = -value;
    float result = 1;
    expand(QuantType::kF16, &half, 1, &result);
    if (std::isnan(value))
      ASSERT_TRUE(std::isnan(result)) << bits;
    else
      ASSERT_EQ(std::bit_cast<uint32_t>(result), std::bit_cast<uint32_t>(static_cast<float>(value)))
          << bits;
  }
}

TEST(Quant, OnlyWhatIsSupportedIsFound) {
  EXPECT_EQ(find_quant_format(4), nullptr);
  EXPECT_EQ(find_quant_format(10), nullptr);  // Q2_K
  EXPECT_EQ(find_quant_format(0xffffffff), nullptr);
  EXPECT_EQ(supported_quant_types(), "F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K BF16");
}

}  // namespace
}  // namespace tw
