// Elements of every type as doubles, and the input values of the correctness check: small integers
// (eighths where a product is taken), so that every reduction in any order is exact before its one
// rounding.
#pragma once

#include <cstddef>

#include "tilewire.h"

namespace tw::perf {

struct TypeRow {
  tw_type_t type;
  const char* name;       // "fp32": what --json prints
  const char* nccl_name;  // "float": accepted by -d, as nccl-tests does
  size_t bytes;
};
struct RedopRow {
  tw_op_t redop;
  const char* name;
};

// nullptr when there is none. The arrays end with a row whose name is nullptr.
extern const TypeRow kTypes[];
extern const RedopRow kRedops[];
const TypeRow* find_type(const char* name);
const RedopRow* find_redop(const char* name);
const TypeRow& type_row(tw_type_t type);
const char* redop_name(tw_op_t redop);

// Element `i` of an array, and its inverse with round-to-nearest-even (integers wrap).
double load_value(const void* array, size_t i, tw_type_t type);
void store_value(void* array, size_t i, tw_type_t type, double value);

// Input element `index` of `rank`: small, and the same for indices that differ by kInputPeriod (a
// prime, so that a displaced block never fits).
constexpr size_t kInputPeriod = 1009;
double input_value(int rank, size_t index, tw_type_t type, tw_op_t redop);

// What the op makes of those values over ranks 0 .. n-1, before the rounding of store_value.
double reduced_value(const double* inputs, int n, tw_type_t type, tw_op_t redop);

}  // namespace tw::perf
