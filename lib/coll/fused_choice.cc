#include "lib/coll/fused_choice.h"

#include <iterator>

#include "lib/base/config.h"
#include "lib/base/error.h"

namespace tw {
namespace {

constexpr const char* kHowNames[] = {"fused", "one_shot", "via_owner", "parts"};
constexpr const char* kUseNames[] = {"always", "never"};
constexpr const char* kPathNames[] = {"one_shot", "via_owner"};

/// The line with the least `up_to` that holds; kFused when there is none.
FusedHow look_up(const std::vector<FusedLine>& lines, RanksClass ranks, CollOp op, size_t bytes) {
  const FusedLine* best = nullptr;
  for (const FusedLine& line : lines)
    if (line.op == op && line.ranks == ranks && bytes <= line.up_to &&
        (best == nullptr || line.up_to < best->up_to))
      best = &line;
  return best == nullptr ? FusedHow::kFused : best->how;
}

}  // namespace

const char* name_of(FusedHow how) { return kHowNames[static_cast<int>(how)]; }

FusedForced FusedForced::from_environment() {
  FusedForced forced;
  forced.use = static_cast<Use>(1 + config::choice("TW_FUSED", kUseNames, std::size(kUseNames)));
  forced.path =
      static_cast<Path>(1 + config::choice("TW_FUSED_PATH", kPathNames, std::size(kPathNames)));
  return forced;
}

std::string FusedForced::agreement() const {
  return text("TW_FUSED=%s\nTW_FUSED_PATH=%s\n",
              use == Use::kAuto ? "auto" : kUseNames[static_cast<int>(use) - 1],
              path == Path::kAuto ? "auto" : kPathNames[static_cast<int>(path) - 1]);
}

FusedChoice choose_fused(const std::vector<FusedLine>& lines, RanksClass ranks,
                         const FusedForced& forced, CollOp op, size_t bytes) {
  FusedHow how = look_up(lines, ranks, op, bytes);
  if (forced.use == FusedForced::Use::kNever) how = FusedHow::kParts;
  if (forced.use == FusedForced::Use::kAlways && how == FusedHow::kParts) how = FusedHow::kFused;
  bool one_shot = how == FusedHow::kOneShot || (how == FusedHow::kFused && bytes <= kOneShotBytes);
  if (forced.path != FusedForced::Path::kAuto)
    one_shot = forced.path == FusedForced::Path::kOneShot;
  return {how == FusedHow::kParts, one_shot ? ReducePath::kOneShot : ReducePath::kViaOwner};
}

}  // namespace tw
