// Runs programs of the library's general ops (kernels/program/ops.h).
#include "kernels/program/ops.h"

namespace TW_NS {

template <class Block>
TW_FN void program(Block& block, const ProgramArgs& args) {
  run_program<ProgramOps<GemmOp, ReduceNormOp>>(block, args);
}
TW_TILE_KERNEL(program, ProgramArgs)

}  // namespace TW_NS
