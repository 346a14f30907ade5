// What a thread knows to have happened: vector clocks, shared until they change.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace tw::vgpu {

/// Clocks of a block's threads, up to which all their accesses have happened.
using Clocks = std::shared_ptr<const std::vector<uint32_t>>;

struct Knowledge {
  struct Entry {
    uint64_t block;
    Clocks clocks;
  };
  uint64_t floor = 0;              // launches up to this number are complete
  std::vector<uint64_t> launches;  // and so are these, by number
  std::vector<Entry> blocks;       // by number

  bool has_launch(uint64_t launch) const;
  /// The clock of a thread; 0 when nothing is known of it.
  uint32_t clock(uint64_t block, uint32_t thread) const;
};

using Known = std::shared_ptr<const Knowledge>;

/// What both know together. Either may be null: nothing.
Known joined(const Known& a, const Known& b);
/// `known` with the clocks of one block (joined with what it has).
Known with_block(const Known& known, uint64_t block, const Clocks& clocks);

}  // namespace tw::vgpu
