// From what the ranks declare to instructions.
//
// Sums over ranks. Each rank with columns of the first factor gives its addend, a slot a rank, to
// all (few rows) or to the rows' owner, who adds in rank order and gives the result to all. Slots
// of sums that are as wide and of the same type are two sets in turn.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "lib/program/builder.h"
#include "lib/program/declared.h"
#include "lib/program/products.h"

namespace tw {

/// Slots for the addends of one sum: at each rank, for the rows that it keeps of each sender.
struct SumSlots {
  uint32_t rows;  // of the sum
  uint32_t kept;  // the most that a rank keeps
  bool by_owner;  // rows have owners, who keep them; else every rank keeps all
  size_t cols;
  tw_type_t type;
  size_t offset;

  size_t sender_bytes() const { return size_t{kept} * cols * packed_element(type); }
};

/// Where what the program has itself lies in each rank's data.
struct DeclaredLayout {
  DeclaredLayout(const std::vector<Terms>& all);

  std::vector<size_t> tensors;  // offset of each, where it is the program's
  std::vector<size_t> strides;
  std::vector<SumSlots> slots;
  std::vector<size_t> slots_of;  // by op: which slots a sum has
  size_t bytes = 0;
};

/// What a rank's argument structs refer to. All of it outlives the program.
struct DeclaredContext {
  const Declaration& mine;
  const std::vector<Terms>& all;
  const DeclaredLayout& layout;
  ProgramRanks ranks;
  std::vector<char*> data;  // by rank, the program's memory; empty: not there yet
  const uint32_t* live;     // rows of the launch
};

/// Adds all of it. `op_numbers`: by declared op, the number of the op in the program (its last).
/// Without memory the arguments are of no use; instructions do not depend on it.
void write_declared(const DeclaredContext& context, ProgramBuilder* builder,
                    std::vector<int>* op_numbers);

/// Floats of the longest row that ops hold, and the longest K, on this rank.
size_t longest_row(const Declaration& mine);
size_t longest_k(const Declaration& mine);

}  // namespace tw
