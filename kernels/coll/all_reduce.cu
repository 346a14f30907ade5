// recv[i] = op over ranks of send[i], on every rank.
#include "kernels/coll/reduction.h"
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void all_reduce(Block& block, const CollArgs& args) {
  reduce_message<ReduceTo::kEveryone>(block, args);
}
TW_KERNEL(all_reduce, CollArgs)

}  // namespace TW_NS
