// The words of the tuning files, and what a line of a table is made of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lib/coll/fused_choice.h"
#include "tilewire/kernels/coll.h"

namespace tw::words {

#define TW_WORD(value, name) inline constexpr CollOp name = value;
TW_COLL_MAP(TW_WORD)
TW_FUSED_MAP(TW_WORD)
#undef TW_WORD
inline constexpr RanksClass two = RanksClass::kTwo, fits = RanksClass::kFits,
                            over = RanksClass::kOver;
inline constexpr CollAlgo packet = CollAlgo::kPacket, slot = CollAlgo::kSlot,
                          pull = CollAlgo::kPull, direct = CollAlgo::kDirect;
inline constexpr StorePolicy plain = StorePolicy::kPlain, nontemporal = StorePolicy::kNonTemporal;
inline constexpr FusedHow fused = FusedHow::kFused, one_shot = FusedHow::kOneShot,
                          via_owner = FusedHow::kViaOwner, parts = FusedHow::kParts;

/// A line's bytes: 0 says that there is no end.
constexpr size_t up_to(size_t bytes) { return bytes == 0 ? SIZE_MAX : bytes; }

}  // namespace tw::words

/// A ChoiceLine and a FusedLine of the words of TW_CHOICE and TW_FUSED (lib/coll/tuning.def).
#define TW_CHOICE_LINE(op, ranks, bytes, algo, store, chunk) \
  { words::op, words::ranks, words::up_to(bytes), words::algo, words::store, chunk }
#define TW_FUSED_LINE(op, ranks, bytes, how) \
  { words::op, words::ranks, words::up_to(bytes), words::how }
