// recv = slice `rank` of the root's send.
#include "kernels/coll/exchange.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

struct ScatterSlices {
  static constexpr bool kSame = false;
  const CollArgs& args;

  TW_FN bool sends(int /*peer*/) const { return args.comm.rank == args.root; }
  TW_FN bool receives(int peer) const { return peer == args.root; }
  TW_FN Range out(int peer) const {
    return in_bytes(slice_of(nullptr, nullptr, args.count, peer), args.element);
  }
  TW_FN Range in(int /*peer*/) const { return {0, args.count * args.element}; }
  TW_FN bool overlaps() const { return false; }
};

template <class Block>
TW_FN void scatter(Block& block, const CollArgs& args) {
  exchange(block, args, ScatterSlices{args});
}
TW_KERNEL(scatter, CollArgs)

}  // namespace TW_NS
