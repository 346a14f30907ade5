// A program of nothing but attention, for every CPU target of this build.
#include "kernels/attention/attention.h"

namespace TW_NS {

template <class Block>
TW_FN void attention_program(Block& block, const ProgramArgs& args) {
  run_program<ProgramOps<PlanAttentionOp, AttendOp, MergeOp>>(block, args);
}
TW_TILE_KERNEL(attention_program, ProgramArgs)

}  // namespace TW_NS
