// The tile block on GPUs: of sm_90a, three roles; of the others, one. Contracts: tile/tile_block.h.
#pragma once

#if defined(TW_TARGET_SM_80)
#include "tilewire/tile/impl/gpu/sm80/tile_block.h"
#else
#include "tilewire/tile/impl/gpu/sm90/tile_block.h"
#endif
