// Recorded calls in words, for messages.
#pragma once

#include <cstdint>
#include <string>

#include "tilewire/tile/comm_view.h"

namespace tw {

/// "all_reduce", "TW_FP32", "TW_SUM"; "unknown ..." for values that are none.
const char* call_name(uint32_t call);
const char* type_name(int type);
const char* op_name(int op);

/// "all_reduce(count 1024, TW_FP32, TW_SUM)", "gemm_all_reduce(m 8, n 8192, k 4096, TW_BF16)",
/// "program_launch(program 1, rows 8)".
std::string call_text(const CallRecord& record);

/// What ranks compare in a fused call beyond sizes and type: the fields by name, and what they are.
#define TW_NOTE_MAP(X)         \
  X(out_type, type_name)       \
  X(partial_type, type_name)   \
  X(activation, number_text)   \
  X(bias, given_text)          \
  X(residual, given_text)      \
  X(norm_weight, given_text)   \
  X(norm_eps, float_text)      \
  X(hidden, given_text)        \
  X(a_transposed, number_text) \
  X(target, target_text)

/// How a fused call is carried out: by a path in one kernel, or by its parts.
enum class FusedWay : uint32_t { kOneShot, kViaOwner, kParts };

/// A fused call as a rank made it, beside its record: for messages only.
struct FusedNote {
  uint64_t seq;   // as CallRecord::seq
  uint32_t call;  // CollOp
  uint32_t type;
  uint32_t size[3];  // m, n, k
#define TW_NOTE_FIELD(name, text) uint32_t name;
  TW_NOTE_MAP(TW_NOTE_FIELD)
#undef TW_NOTE_FIELD
  uint32_t way;  // FusedWay
  uint32_t rows[TW_MAX_FUSED_RANKS];
  uint32_t cols[TW_MAX_FUSED_RANKS];
};
static_assert(sizeof(FusedNote) % sizeof(uint64_t) == 0);

/// As call_text, with what differs from `other`:
/// "gemm_all_reduce(m 8, n 8192, k 4096, TW_BF16; bias given)".
std::string fused_text(const FusedNote& note, const FusedNote& other);

/// Type and count of a message (tw_send, tw_recv) in one word, and in words.
constexpr int kMessageTypeShift = 56;
constexpr uint64_t message_digest(int type, size_t count) {
  return static_cast<uint64_t>(type + 1) << kMessageTypeShift | count;
}
std::string message_text(uint64_t digest);

}  // namespace tw
