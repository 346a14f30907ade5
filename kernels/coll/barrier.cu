// Returns when every rank has called it.
#include "tilewire/kernels/coll.h"
#include "tilewire/tile/call.h"
#include "tilewire/tile/kernel.h"

namespace TW_NS {

template <class Block>
TW_FN void barrier(Block& block, const CollArgs& args) {
  Call call(block, args);
  call.signal_step(0);
  if (call.wait_step(0)) call.close();
}
TW_KERNEL(barrier, CollArgs)

}  // namespace TW_NS
