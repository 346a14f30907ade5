#include "lib/program/builder.h"

#include <utility>

#include "lib/program/check.h"
#include "lib/program/derive.h"
#include "lib/program/parts.h"

namespace tw {

ProgramArgs BuiltProgram::args(const ProgramImage& of) const {
  ProgramArgs a{};
  a.list = of.list.data();
  a.waits = of.waits.data();
  a.raises = of.raises.data();
  a.counters = of.counters.data();
  a.ops = ops.data();
  a.arguments = arguments.data();
  a.count = static_cast<uint32_t>(of.list.size());
  return a;
}

int ProgramBuilder::tensor(std::string name, size_t rows, size_t cols) {
  program_.tensors.push_back({std::move(name), rows, cols});
  return static_cast<int>(program_.tensors.size()) - 1;
}

int ProgramBuilder::add_op(const std::string& name, ProgramOp op, Order order, const void* args,
                           size_t bytes) {
  constexpr size_t kAlign = alignof(std::max_align_t);
  op.offset = (arguments_.size() + kAlign - 1) / kAlign * kAlign;
  arguments_.resize(op.offset + bytes);
  std::memcpy(arguments_.data() + op.offset, args, bytes);
  ops_.push_back(op);
  orders_.push_back(order);
  program_.ops.push_back(name);
  return static_cast<int>(ops_.size()) - 1;
}

void ProgramBuilder::add(int device, int op, const std::array<uint32_t, 4>& at,
                         std::vector<Access> accesses) {
  Instruction instruction;
  instruction.device = device;
  instruction.op = op;
  instruction.accesses = std::move(accesses);
  instruction.at = at;
  program_.instructions.push_back(std::move(instruction));
}

void ProgramBuilder::add_takes(int take) { tw::add_takes(&program_, take); }

BuiltProgram ProgramBuilder::build(int device) {
  interleave(&program_, orders_,
             static_cast<size_t>(program_.devices) * static_cast<size_t>(workers_));
  derive_waits(&program_);
  check_program(program_);
  return {image_of(program_, device), program_.ops, ops_, arguments_};
}

}  // namespace tw
