// How the result of a GEMM call is cut into tiles. Part of what ranks agree on: everything here
// but the order of visits follows from the call's sizes and from `blocks`, which are equal on all
// ranks.
#pragma once

#include "lib/coll/gemm_call.h"
#include "tilewire/tile/grid.h"

namespace tw {

/// Up to so many rows B is what a product costs: it is read once, column by column.
inline constexpr size_t kFewRows = 64;

/// The grid of a call, as `place` visits it. `by_owner`: rows, or columns, are cut by rank.
/// `blocks`: the most that a launch of the comm may have.
TileGrid gemm_grid(const GemmCall& call, const Place& place, bool by_owner, int blocks);

size_t largest(const RankSizes& sizes);

/// How many rows of a call's matrices are each rank's.
RankSizes row_owners(const GemmCall& call, int ranks);

/// The grid of a call whose tiles are whole rows.
TileGrid row_grid(size_t m, size_t n, const Place& place, bool by_owner, int blocks);

/// The most tiles of any owner.
size_t most_owned_tiles(const TileGrid& grid);

}  // namespace tw
