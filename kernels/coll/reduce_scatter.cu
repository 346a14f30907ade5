// recv = slice `rank` of the sum of all sends; even (`count` each) or uneven (send_counts).
#include "kernels/coll/reduction.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void reduce_scatter(Block& block, const CollArgs& args) {
  reduce_message<ReduceTo::kOwner>(block, args);
}
TW_KERNEL(reduce_scatter, CollArgs)

}  // namespace TW_NS
