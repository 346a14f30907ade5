#include "lib/program/parts.h"

#include <set>
#include <tuple>

#include "lib/program/check.h"
#include "lib/program/derive.h"

namespace tw {
namespace {

/// Instruction `i` without waits and raises.
Instruction bare(const Program& program, size_t i) {
  Instruction bare = program.instructions[i];
  bare.waits.clear();
  bare.raises.clear();
  return bare;
}

}  // namespace

void add_takes(Program* part, int take) {
  std::vector<std::vector<Access>> accessed(static_cast<size_t>(part->devices));
  std::set<std::tuple<int, int, size_t, size_t, size_t, size_t, bool>> seen;
  for (const Instruction& instruction : part->instructions)
    for (const Access& access : instruction.accesses) {
      const Region& r = access.region;
      if (r.device == instruction.device) continue;
      if (!seen.emplace(r.device, r.tensor, r.row, r.rows, r.col, r.cols, access.writes).second)
        continue;
      accessed[static_cast<size_t>(r.device)].push_back({r, !access.writes});
    }
  for (int d = 0; d < part->devices; ++d) {
    if (accessed[static_cast<size_t>(d)].empty()) continue;
    Instruction instruction;
    instruction.device = d;
    instruction.op = take;
    instruction.accesses = accessed[static_cast<size_t>(d)];
    part->instructions.push_back(std::move(instruction));
  }
}

std::vector<ProgramImage> parts_of(const Program& program, int take, int device) {
  std::vector<ProgramImage> parts;
  for (size_t i = 0; i < program.instructions.size();) {
    Program part;
    part.devices = program.devices;
    part.meets = program.meets;
    part.tensors = program.tensors;
    part.ops = program.ops;
    const int op = program.instructions[i].op;
    for (; i < program.instructions.size() && program.instructions[i].op == op; ++i)
      part.instructions.push_back(bare(program, i));
    add_takes(&part, take);
    derive_waits(&part);
    check_program(part);
    parts.push_back(image_of(part, device));
  }
  return parts;
}

}  // namespace tw
