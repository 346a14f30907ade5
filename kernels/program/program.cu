// Runs programs of the library's general ops.
#include "tilewire/tile/program_ops.h"

namespace TW_NS {

template <class Block>
TW_FN void program(Block& block, const ProgramArgs& args) {
  run_program<ProgramOpsAnd<>>(block, args);
}
TW_TILE_KERNEL(program, ProgramArgs)

}  // namespace TW_NS
