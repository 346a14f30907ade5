// recv slice r = rank r's send slice `rank`; even (`count` each) or uneven (all four arrays).
#include "kernels/coll/exchange.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

struct AllToAllSlices {
  static constexpr bool kSame = false;
  const CollArgs& args;

  TW_FN bool sends(int /*peer*/) const { return true; }
  TW_FN bool receives(int /*peer*/) const { return true; }
  TW_FN Range out(int peer) const {
    return in_bytes(slice_of(args.send_counts, args.send_displs, args.count, peer), args.element);
  }
  TW_FN Range in(int peer) const {
    return in_bytes(slice_of(args.recv_counts, args.recv_displs, args.count, peer), args.element);
  }
  TW_FN bool overlaps() const { return args.send == args.recv; }
};

template <class Block>
TW_FN void all_to_all(Block& block, const CollArgs& args) {
  exchange(block, args, AllToAllSlices{args});
}
TW_KERNEL(all_to_all, CollArgs)

}  // namespace TW_NS
