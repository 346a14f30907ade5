// As all_reduce, at the root only.
#include "kernels/coll/reduction.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void reduce(Block& block, const CollArgs& args) {
  reduce_message<ReduceTo::kRoot>(block, args);
}
TW_KERNEL(reduce, CollArgs)

}  // namespace TW_NS
