// How the work of a program is cut into instructions: tiles of products, pieces of rows.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/program/builder.h"
#include "tilewire/kernels/program.h"

namespace tw {

/// Who builds a program, for whom.
struct ProgramRanks {
  int rank, ranks;
  int workers;  // the most that a rank has
};

/// Rows of one row instruction, at most.
inline constexpr uint32_t kRowBlock = 32;
/// From so many rows on, sums over ranks have owners of rows, who give their results to all.
inline constexpr uint32_t kOwnedRows = 64;

constexpr bool rows_have_owners(uint32_t rows, int ranks) {
  return rows >= kOwnedRows && ranks > 1;
}

struct RowRange {
  uint32_t first, count;
};
/// The rows that a device owns of `rows`: nearly equal parts.
RowRange owned_rows(uint32_t rows, int ranks, int device);

/// f(first, rows) for the pieces in which row instructions take `all`.
template <class F>
void each_piece(const ProgramRanks& p, RowRange all, F f) {
  const auto pieces = static_cast<uint32_t>(p.workers == 1 ? 1 : 4 * p.workers);
  const uint32_t step = std::clamp<uint32_t>((all.count + pieces - 1) / pieces, 1, kRowBlock);
  for (uint32_t i = 0; i < all.count; i += step) f(all.first + i, std::min(step, all.count - i));
}

/// A product and the instructions of its tiles, on every device.
struct Product {
  std::string name;
  uint32_t layer;
  uint32_t rows;
  bool owned;  // rows are cut by owner
  bool to_peers;
  ProgramGemm own;                         // this rank's: all but the grid
  std::function<size_t(int device)> cols;  // of the result
  std::function<std::vector<Access>(int device, const Tile&)> reads;
  /// Which ranks get a tile, and where it lies at one of them.
  std::function<uint32_t(int device, const Tile&)> receivers;
  std::function<Region(int device, int receiver, const Tile&)> to;
};

/// Adds it as an op of `kind`; the op's number. Tiles that peers wait for come first; of what peers
/// send, what is here first. Devices take turns, as they will when it runs.
int add_product(ProgramBuilder* builder, const ProgramRanks& ranks, uint32_t kind, Product p);

}  // namespace tw
