// Builds a program: every rank adds the same tensors, ops and instructions of all devices, and the
// argument structs of its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "lib/program/image.h"
#include "lib/program/interleave.h"
#include "lib/program/program.h"

namespace tw {

/// Of ops that belong to none.
inline constexpr uint32_t kNoLayer = UINT32_MAX;

/// A program that has been checked, and this rank's part of it.
struct BuiltProgram {
  ProgramImage image;
  std::vector<std::string> op_names;
  std::vector<ProgramOp> ops;
  std::vector<char> arguments;  // of the ops, each aligned for any type

  /// What a launch of all of it, or of another image of the same ops, reads, but for what the tile
  /// set and the device give.
  ProgramArgs args() const { return args(image); }
  ProgramArgs args(const ProgramImage& of) const;
};

class ProgramBuilder {
 public:
  /// `workers`: the most blocks of a device.
  ProgramBuilder(int devices, int workers) : workers_(workers) {
    program_.devices = devices;
    program_.meets = true;
  }

  int tensor(std::string name, size_t rows, size_t cols);

  /// `kind`: place of the op's type in the kernel's list. `args`: this rank's; the op's number.
  template <class Args>
  int op(const std::string& name, uint32_t kind, uint32_t layer, Order order, const Args& args) {
    static_assert(std::is_trivially_copyable_v<Args> && alignof(Args) <= alignof(std::max_align_t));
    return add_op(name, {kind, layer, 0}, order, &args, sizeof args);
  }
  /// The same with an argument struct of `bytes` bytes; op.offset is found.
  int add_op(const std::string& name, ProgramOp op, Order order, const void* args, size_t bytes);

  /// The next instruction: it comes after those before it with which it conflicts. `accesses`: to
  /// its own or another device's memory.
  void add(int device, int op, const std::array<uint32_t, 4>& at, std::vector<Access> accesses);

  /// For each device an instruction of `take`, an op that does nothing when its `at` is zeros: it
  /// comes after what other devices access there, so that a launch is over when that is.
  void add_takes(int take);

  /// Interleaves, derives waits and counters, checks, and takes the part of `device`.
  BuiltProgram build(int device);
  /// As it was added; once it was built, interleaved and with its waits.
  const Program& program() const { return program_; }
  const std::vector<char>& arguments() const { return arguments_; }

 private:
  Program program_;
  const int workers_;
  std::vector<ProgramOp> ops_;
  std::vector<Order> orders_;  // of the ops
  std::vector<char> arguments_;
};

}  // namespace tw
