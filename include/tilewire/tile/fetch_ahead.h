// What a core does while its block waits: it fetches weights that the instructions to come multiply
// by. They depend on nothing, and products of a few rows read them at the speed of memory; so the
// time of a wait is not lost. (On sm_90a the loader runs ahead of waits by itself, sm_80 does not.)
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/program.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

class FetchAhead {
 public:
  /// Part 0 or 1 of what an instruction multiplies by; empty: it has none.
  using RightOf = PackedPart (*)(const ProgramArgs& args, const ProgramInstruction& instruction,
                                 int part);

  /// `blocks`: of the launch. Which instructions will be this block's is a guess: every blocks-th.
  TW_FN FetchAhead(RightOf right_of, int blocks)
      : right_of_(right_of), step_(static_cast<uint32_t>(blocks)) {}

  /// Fetches the next piece for instruction `now` and those after it; false: that is enough.
  template <class Block>
  TW_FN bool more(Block& block, const ProgramArgs& args, uint32_t now) {
    if (next_ < now) {  // what was fetched has been used
      next_ = now;
      part_ = 0;
      at_ = fetched_ = 0;
    }
    while (next_ < args.count && fetched_ < kMost) {
      const PackedPart right = right_of_(args, args.list[next_], part_);
      if (at_ < right.bytes) {
        const size_t bytes = right.bytes - at_ < kPiece ? right.bytes - at_ : kPiece;
        block.fetch(right.data + at_, bytes);
        at_ += bytes;
        fetched_ += bytes;
        return true;
      }
      at_ = 0;
      next_ += part_ == 0 ? 0 : step_;
      part_ = 1 - part_;
    }
    return false;
  }

 private:
  static constexpr size_t kPiece = 2048;            // between two looks at what is waited for
  static constexpr size_t kMost = size_t{1} << 20;  // half of a core's cache, or all of a small one

  const RightOf right_of_;
  const uint32_t step_;
  uint32_t next_ = 0;  // the instruction for which is fetched,
  int part_ = 0;       // which part,
  size_t at_ = 0;      // from which byte on
  size_t fetched_ = 0;
};

}  // namespace TW_NS
