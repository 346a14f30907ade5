// How a fused call is carried out: in one kernel, and by which path, or by its parts. From the
// machine's table; equal arguments give equal choices on all ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tilewire/kernels/gemm.h"

namespace tw {

/// How the ranks relate to the cores that they may run on.
enum class RanksClass : uint32_t {
  kTwo,   // one rank, or two, a core each: hand-over between two caches
  kFits,  // three or more ranks, a core each
  kOver,  // more ranks than cores
};
inline constexpr int kRanksClasses = 3;

/// The words of the tuning files. `kFused`: in one kernel, reductions by the path that the default
/// has for the size.
enum class FusedHow : uint32_t { kFused, kOneShot, kViaOwner, kParts };
const char* name_of(FusedHow how);

/// A line of a machine's table: for exchanged results (m x n in the type in which they travel) of
/// up to `up_to` bytes, where the lines of the same (op, ranks) with a smaller `up_to` do not
/// apply.
struct FusedLine {
  CollOp op;
  RanksClass ranks;
  size_t up_to;
  FusedHow how;
};

/// Reductions of up to so many bytes go in one shot where no line says otherwise: one hand-over
/// less is worth the bytes that it costs.
inline constexpr size_t kOneShotBytes = size_t{256} << 10;

struct FusedChoice {
  bool parts;
  ReducePath path;  // of reductions in one kernel
};

/// What TW_FUSED and TW_FUSED_PATH force.
struct FusedForced {
  enum class Use { kAuto, kAlways, kNever } use = Use::kAuto;
  enum class Path { kAuto, kOneShot, kViaOwner } path = Path::kAuto;

  /// Throws INVALID_ARGUMENT naming variable, value and the valid ones.
  static FusedForced from_environment();
  /// "key=value" lines, which must be equal on all ranks.
  std::string agreement() const;
};

/// The choice by `lines` (a machine's, or none: the default). What is forced wins. Ops that do not
/// reduce know no path: theirs means nothing.
FusedChoice choose_fused(const std::vector<FusedLine>& lines, RanksClass ranks,
                         const FusedForced& forced, CollOp op, size_t bytes);

}  // namespace tw
