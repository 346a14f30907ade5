#include "lib/comm/call_text.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "lib/base/error.h"
#include "lib/device/device.h"
#include "lib/device/gpu_images.h"
#include "tilewire/kernels/coll.h"

namespace tw {
namespace {

#define TW_NAME(value, name) #name,
constexpr const char* kCallNames[] = {TW_COLL_MAP(TW_NAME) TW_FUSED_MAP(TW_NAME)
                                          TW_PROGRAM_MAP(TW_NAME)};
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
  if (is_program(static_cast<CollOp>(record.call)))
    return text("%s(program %u, rows %u%s)", call_name(record.call), record.part[1], record.part[0],
                record.part[2] == 0 ? "" : text(", op %u alone", record.part[2]).c_str());
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

namespace {

std::string number_text(uint32_t value) { return text("%u", value); }
std::string given_text(uint32_t given) { return given != 0 ? "given" : "NULL"; }
std::string float_text(uint32_t bits) {
  return text("%g", static_cast<double>(std::bit_cast<float>(bits)));
}
std::string way_text(uint32_t way) {
  constexpr const char* kWays[] = {"one_shot", "via_owner", "by its parts"};
  return way < std::size(kWays) ? kWays[way] : "unknown";
}
std::string target_text(uint32_t target) {
  constexpr const char* kGpuNames[kGpuTargets] = {"sm_90a", "sm_80"};
  if (target < kCpuTargets) return cpu_target_name(static_cast<CpuTarget>(target));
  return target < kCpuTargets + kGpuTargets ? kGpuNames[target - kCpuTargets] : "unknown";
}

/// A list of sizes by rank, up to the last one that is not 0.
std::string sizes_text(const uint32_t (&sizes)[TW_MAX_FUSED_RANKS]) {
  size_t n = std::size(sizes);
  while (n > 1 && sizes[n - 1] == 0) --n;
  std::string result;
  for (size_t i = 0; i < n; ++i) result += text(" %u", sizes[i]);
  return result;
}

}  // namespace

std::string fused_text(const FusedNote& note, const FusedNote& other) {
  std::string result = text("%s(m %u, n %u, k %u, %s", call_name(note.call), note.size[0],
                            note.size[1], note.size[2], type_name(static_cast<int>(note.type)));
  if (note.call == other.call) {
    std::string fields;
#define TW_NOTE_DIFFERS(name, in_words)                     \
  if (note.name != other.name) {                            \
    fields += fields.empty() ? "; " : ", ";                 \
    fields += std::string(#name " ") + in_words(note.name); \
  }
    TW_NOTE_MAP(TW_NOTE_DIFFERS)
#undef TW_NOTE_DIFFERS
    // Where the whole differs its parts do as well.
    if (note.size[0] == other.size[0] && !std::ranges::equal(note.rows, other.rows))
      fields += (fields.empty() ? "; rows" : ", rows") + sizes_text(note.rows);
    if (note.size[1] == other.size[1] && !std::ranges::equal(note.cols, other.cols))
      fields += (fields.empty() ? "; cols" : ", cols") + sizes_text(note.cols);
    // The way follows from all of these.
    if (fields.empty() && std::ranges::equal(note.size, other.size) && note.type == other.type &&
        note.way != other.way)
      fields = "; " + way_text(note.way);
    result += fields;
  }
  return result + ")";
}

std::string message_text(uint64_t digest) {
  const uint64_t count = digest & ((UINT64_C(1) << kMessageTypeShift) - 1);
  return text("%llu of %s", static_cast<unsigned long long>(count),
              type_name(static_cast<int>(digest >> kMessageTypeShift) - 1));
}

}  // namespace tw
