// Sizes and numbers of element types and reductions.
#pragma once

#include <cstddef>

#include "tilewire.h"

namespace tw {

/// Bytes of an element of a valid type.
#define TW_BYTES(name, value, bytes, text) bytes,
constexpr size_t kTypeBytes[] = {TW_TYPE_MAP(TW_BYTES)};
#undef TW_BYTES
#define TW_ONE(...) +1
constexpr int kTypes = 0 TW_TYPE_MAP(TW_ONE);
constexpr int kOps = 0 TW_OP_MAP(TW_ONE);
#undef TW_ONE

}  // namespace tw
