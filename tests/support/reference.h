// Scalar reference of element types and reductions, written without the library's formulas: values
// are decoded and rounded with ldexp and nearbyint.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tilewire.h"

namespace tw::test {

constexpr int kAllTypes = 12;
constexpr tw_op_t kAllOps[] = {TW_SUM, TW_PROD, TW_MIN, TW_MAX, TW_AVG};

size_t bytes_of(tw_type_t type);
const char* name_of(tw_type_t type);

/// The value of a 16- or 8-bit float, and the nearest code for a value.
float decode(tw_type_t type, uint32_t code);
uint32_t encode(tw_type_t type, float value);

/// One reduction: sources in order; `factors` null, or one element's bits for each source.
std::vector<unsigned char> reduce(tw_type_t type, tw_op_t op,
                                  const std::vector<std::vector<unsigned char>>& sources,
                                  const uint64_t* factors);

/// `bytes` pseudo-random bytes.
std::vector<unsigned char> noise(size_t bytes, uint64_t seed);

}  // namespace tw::test
