#include "lib/comm/call_text.h"

#include <iterator>

#include "lib/base/error.h"
#include "tilewire/kernels/coll.h"

namespace tw {
namespace {

constexpr const char* kCalls[] = {
    "all_reduce", "reduce",  "broadcast",    "all_gather",       "reduce_scatter", "all_to_all",
    "gather",     "scatter", "all_gather_v", "reduce_scatter_v", "all_to_all_v",   "barrier"};
static_assert(std::size(kCalls) == kCollOps);
constexpr const char* kTypes[] = {"TW_INT8",  "TW_UINT8",  "TW_INT32",    "TW_UINT32",
                                  "TW_INT64", "TW_UINT64", "TW_FP16",     "TW_BF16",
                                  "TW_FP32",  "TW_FP64",   "TW_FP8_E4M3", "TW_FP8_E5M2"};
constexpr const char* kOps[] = {"TW_SUM", "TW_PROD", "TW_MIN", "TW_MAX", "TW_AVG"};

template <size_t n>
const char* name_in(const char* const (&names)[n], uint32_t value) {
  return value < n ? names[value] : "?";
}

bool reduces(uint32_t call) {
  return call == kAllReduce || call == kReduce || call == kReduceScatter || call == kReduceScatterV;
}

}  // namespace

std::string call_text(const CallRecord& record) {
  if (record.call == kBarrier) return "barrier()";
  std::string result =
      text("%s(count %llu, %s", name_in(kCalls, record.call),
           static_cast<unsigned long long>(record.count), name_in(kTypes, record.type));
  if (reduces(record.call))
    result += text(", %s%s", record.op >= kScaledRecord ? "scaled " : "",
                   name_in(kOps, record.op % kScaledRecord));
  if (record.root >= 0) result += text(", root %d", record.root);
  return result + ")";
}

std::string message_text(uint64_t digest) {
  const uint64_t count = digest & ((UINT64_C(1) << kMessageTypeShift) - 1);
  return text("%llu of %s", static_cast<unsigned long long>(count),
              name_in(kTypes, static_cast<uint32_t>(digest >> kMessageTypeShift) - 1));
}

}  // namespace tw
