// One device's part of a program, in the form in which launches read it.
#pragma once

#include <cstddef>
#include <vector>

#include "lib/program/program.h"
#include "tilewire/kernels/program.h"

namespace tw {

/// Counters are numbered by device, and a device's counter c is the tile set's slot c.
struct ProgramImage {
  std::vector<ProgramInstruction> list;
  std::vector<uint32_t> numbers;  // of the list's instructions in the program, for messages
  std::vector<ProgramWait> waits;
  std::vector<uint32_t> raises;
  std::vector<ProgramCounter> counters;
  size_t slots = 0;    // that the tile set must have: the most counters of a device
  size_t longest = 0;  // the most instructions of a device
};

/// Of a program that meets, for `device`. Throws INVALID_ARGUMENT when an instruction waits for the
/// launch before, or for some of a counter's raises.
ProgramImage image_of(const Program& program, int device);

}  // namespace tw
