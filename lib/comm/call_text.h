// A recorded collective call in words, for messages.
#pragma once

#include <string>

#include "tilewire/tile/comm_view.h"

namespace tw {

/// "all_reduce(count 1024, TW_FP32, TW_SUM)".
std::string call_text(const CallRecord& record);

}  // namespace tw
