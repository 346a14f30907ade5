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

/// "all_reduce(count 1024, TW_FP32, TW_SUM)", "gemm_all_reduce(m 8, n 8192, k 4096, TW_BF16)".
std::string call_text(const CallRecord& record);

/// Type and count of a message (tw_send, tw_recv) in one word, and in words.
constexpr int kMessageTypeShift = 56;
constexpr uint64_t message_digest(int type, size_t count) {
  return static_cast<uint64_t>(type + 1) << kMessageTypeShift | count;
}
std::string message_text(uint64_t digest);

}  // namespace tw
