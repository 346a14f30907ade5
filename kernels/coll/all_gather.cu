// recv slice r = rank r's send; even (`count` each) or uneven (recv_counts, recv_displs).
#include "kernels/coll/exchange.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

struct AllGatherSlices {
  static constexpr bool kSame = true;
  const CollArgs& args;

  TW_FN bool sends(int /*peer*/) const { return true; }
  TW_FN bool receives(int /*peer*/) const { return true; }
  TW_FN Range out(int /*peer*/) const { return {0, in(args.comm.rank).size()}; }
  TW_FN Range in(int peer) const {
    return in_bytes(slice_of(args.recv_counts, args.recv_displs, args.count, peer), args.element);
  }
  TW_FN bool overlaps() const { return false; }
};

template <class Block>
TW_FN void all_gather(Block& block, const CollArgs& args) {
  exchange(block, args, AllGatherSlices{args});
}
TW_KERNEL(all_gather, CollArgs)

}  // namespace TW_NS
