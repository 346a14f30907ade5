#include "lib/comm/call_text.h"

#include <iterator>

#include "lib/base/error.h"
#include "tilewire/kernels/coll.h"

namespace tw {
namespace {

#define TW_NAME(value, name) #name,
constexpr const char* kCallNames[] = {TW_COLL_MAP(TW_NAME) TW_FUSED_MAP(TW_NAME)};
#undef TW_NAME
#define TW_NAME(name, ...) #name,
constexpr const char* kTypeNames[] = {TW_TYPE_MAP(TW_NAME)};
constexpr const char* kOpNames[] = {TW_OP_MAP(TW_NAME)};
#undef TW_NAME

}  // namespace

const char* call_name(uint32_t call) {
  return call < std::size(kCallNames) ? kCallNames[call] : "unknown call";
}
const char* type_name(int type) {
  return type >= 0 && static_cast<size_t>(type) < std::size(kTypeNames) ? kTypeNames[type]
                                                                        : "unknown type";
}
const char* op_name(int op) {
  return op >= 0 && static_cast<size_t>(op) < std::size(kOpNames) ? kOpNames[op] : "unknown op";
}

std::string call_text(const CallRecord& record) {
  if (record.call == kBarrier) return "barrier()";
  if (is_fused(static_cast<CollOp>(record.call)))
    return text("%s(m %u, n %u, k %u, %s)", call_name(record.call), record.part[0], record.part[1],
                record.part[2], type_name(static_cast<int>(record.type)));
  std::string counts = text("count %llu", static_cast<unsigned long long>(record.count));
  if (record.parts != 0) {
    counts = "counts";
    for (uint32_t i = 0; i < record.parts && i < std::size(record.part); ++i)
      counts += text(" %u", record.part[i]);
    counts += text(" ... of %llu in all", static_cast<unsigned long long>(record.count));
  }
  std::string result = text("%s(%s, %s", call_name(record.call), counts.c_str(),
                            type_name(static_cast<int>(record.type)));
  if (reduces(static_cast<CollOp>(record.call)))
    result += text(", %s%s", record.op >= kScaledRecord ? "scaled " : "",
                   op_name(static_cast<int>(record.op % kScaledRecord)));
  if (record.root >= 0) result += text(", root %d", record.root);
  return result + ")";
}

std::string message_text(uint64_t digest) {
  const uint64_t count = digest & ((UINT64_C(1) << kMessageTypeShift) - 1);
  return text("%llu of %s", static_cast<unsigned long long>(count),
              type_name(static_cast<int>(digest >> kMessageTypeShift) - 1));
}

}  // namespace tw
