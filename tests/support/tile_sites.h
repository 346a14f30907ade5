// The places in the sources of tile programs that signal or wait, found by their text: what a test
// that leaves each of them out must come to.
#pragma once

#include <string>
#include <vector>

namespace tw::test {

struct TileSite {
  std::string file;
  int line;
  std::string op;  // "signal", "wait_slots" ...; "TileCall": where a call is opened
};

/// All places, in kernels/ and in the tile layer itself. A place is a use of an op that takes an
/// At, given or not. The ops are those that tile/tile_call.h and tile/tile_block.h declare.
std::vector<TileSite> tile_sites();

/// The same for programs: in tile/program.h and in the ops, whose block is called `program`.
std::vector<TileSite> program_sites();

/// A line of a file, without what it is indented by.
std::string source_line(const std::string& file, int line);

/// The struct that the line is in, or the last before it.
std::string enclosing_struct(const std::string& file, int line);

}  // namespace tw::test
