#include "perf/runner/op.h"

#include <cstring>

namespace tw::perf {

const Op* op_at(size_t index) {
  const Op* const ops[] = {
#define TW_PERF_OP(op) &op##_op(),
#include "perf/runner/ops.def"
#undef TW_PERF_OP
  };
  return index < sizeof(ops) / sizeof(ops[0]) ? ops[index] : nullptr;
}

const Op* find_op(const char* name) {
  for (size_t i = 0; const Op* op = op_at(i); ++i)
    if (std::strcmp(op->name(), name) == 0) return op;
  return nullptr;
}

}  // namespace tw::perf
