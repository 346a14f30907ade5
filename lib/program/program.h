// A program: what the devices of a comm do in one launch, an instruction at a time.
//
// Order. Instructions stand in one global order. A device's list is that order without the other
// devices' instructions, and its blocks take the next instruction from the list. An instruction
// waits only for earlier ones, or for ones of the launch before. So, with any number of blocks, the
// earliest instruction that is not done has been taken or is the next to be, and has nothing left
// to wait for: no program deadlocks.
//
// Signals. A counter belongs to a device. Each launch, `raises` instructions of that device raise
// it by one after their accesses; it is never set back, so in launch e (0, 1, ...) a wait is for
// (e - launches_ago) * raises + count. Whoever raises it last in a launch tells the devices of
// `told`, a word per sender, which is what their instructions poll.
//
// Meeting. Launches of a program that `meets` come in any sequence with other such programs on the
// same memory. An instruction that accesses another device's memory first waits until that device
// is in the same launch, so all of its launches before are over; and what a device's memory is
// accessed for by others in a launch, that device waits for in it. Then waits of the launch before
// are never needed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tw {

/// A matrix of which every device has one.
struct ProgramTensor {
  std::string name;
  size_t rows = 0;
  size_t cols = 0;
};

/// Rows row .. row + rows - 1 and columns col .. col + cols - 1 of a tensor on a device.
struct Region {
  int device = 0;
  int tensor = 0;
  size_t row = 0, rows = 0;
  size_t col = 0, cols = 0;

  bool empty() const { return rows == 0 || cols == 0; }
  bool overlaps(const Region& other) const;
  /// No part of `other` lies outside.
  bool covers(const Region& other) const;
  /// What is left of this one outside `other`, in two regions, the second or both of them empty
  /// where they are not needed; all of it where two are not enough.
  std::array<Region, 2> without(const Region& other) const;
};

struct Access {
  Region region;
  bool writes = false;
};

struct Wait {
  int counter = 0;
  uint32_t count = 0;
  int launches_ago = 0;  // 0 or 1; what the first launch waits for of the one before has happened
};

struct Instruction {
  int device = 0;
  int op = 0;
  std::vector<Access> accesses;
  std::vector<Wait> waits;          // before the accesses
  std::vector<int> raises;          // after them
  std::array<uint32_t, 4> at = {};  // which piece of its op it is: for whoever runs it
};

struct Counter {
  int device = 0;
  uint32_t raises = 0;
  std::vector<int> told;
};

/// Launches of a program follow one another on each device.
struct Program {
  int devices = 0;
  bool meets = false;
  std::vector<ProgramTensor> tensors;
  std::vector<std::string> ops;  // names, for messages
  std::vector<Instruction> instructions;
  std::vector<Counter> counters;

  /// As messages name it: "instruction 12 (gemm, device 1)".
  std::string name_of(int instruction) const;
};

}  // namespace tw
