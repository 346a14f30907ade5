// The small ops of a Llama program as a kernel of their own.
#include "kernels/llama/ops.h"

namespace TW_NS {

template <class Block>
TW_FN void llama_ops(Block& block, const ProgramArgs& args) {
  run_program<ProgramOps<EmbedOp, PlaceOp, GatherOp, SampleLocalOp, SampleOp>>(block, args);
}
TW_TILE_KERNEL(llama_ops, ProgramArgs)

}  // namespace TW_NS
