// The tile block on sm_90a, and how one program is run by three roles.
#pragma once

#include "tilewire/tile/impl/gpu/sm90/consumer.h"
#include "tilewire/tile/impl/gpu/sm90/loader.h"
#include "tilewire/tile/impl/gpu/sm90/storer.h"

namespace TW_NS {

/// Runs `program(block)` once in each role. Every thread of the block calls it.
template <Element element, class Program>
TW_FN void run_roles(const char* name, const tw_tile_view& view, tw_type_t type,
                     const Program& program) {
  Sm90Memory& memory = block_memory();
  if (threadIdx.x == 0) {
    open_control(memory.control, static_cast<int>(blockIdx.x), name, view.comm.wait);
    open_memory(memory);
  }
  ptx::barrier_sync(kWholeBlock, kBlockThreads);
  const int warp = static_cast<int>(threadIdx.x / 32);
  if (warp >= kTileWarps) {
    ptx::fewer_registers<kOtherRegisters>();
    if (warp == kLoaderWarp)
      run_role<Sm90Loader>(program, memory, view);
    else if (warp == kStorerWarp)
      run_role<Sm90Storer>(program, memory, view);
    else
      ptx::barrier_sync(kWholeBlock, kBlockThreads);  // Sm90Role::leave
    return;
  }
  ptx::more_registers<kConsumerRegisters>();
  run_sum_role<Sm90Consumer, element>(type, program, memory, view);
}

}  // namespace TW_NS
