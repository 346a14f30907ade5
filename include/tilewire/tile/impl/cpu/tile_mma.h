// sum += A x B, one step of K (at most kCpuTile.k). Operands come in the orders of tile_pack.h; the
// target's instructions are in mma_amx.h and mma_vector.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/grid.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile/target.h"

namespace TW_NS {

/// What a step multiplies. A: rows, bf16 where instructions take them, else fp32.
struct MmaStep {
  const void* a;
  size_t a_stride;     // elements; vectors: kCpuTile.k
  size_t rows;         // of A; more than 16: memory has whole tile registers of them
  size_t ks;           // elements of K
  const char* b;       // this step's part of the first panel
  size_t panel_bytes;  // from a panel to the next
  size_t panels;
  size_t ahead;       // bytes from this step of a panel to what is multiplied next in its place
  float* sums;        // row 0 of panel 0
  size_t panel_rows;  // rows of sums in a panel
  bool first;         // sums are not there yet
  bool again;         // B was read just now: nothing of it is fetched
};

}  // namespace TW_NS
