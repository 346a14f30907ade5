// A program of the user's, from its declaration to its launches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/program/declared_program.h"
#include "lib/program/launcher.h"

namespace tw {

/// What runs it: the library's kernel, or one of the user's with ops of its own.
struct UserProgramKernel {
  CpuEntry entry;
  size_t row = 0;  // floats and bytes of a block that own ops want
  size_t op_scratch = 0;
};

class UserProgram {
 public:
  UserProgram(Comm& comm, uint32_t rows, const UserProgramKernel& kernel);
  /// Collective once it was built, unless the comm has ended.
  ~UserProgram();
  UserProgram(const UserProgram&) = delete;
  UserProgram& operator=(const UserProgram&) = delete;

  Comm& comm() const { return comm_; }
  /// To be added to until it is built. What is added has been checked.
  Declaration& declaration() { return mine_; }
  const Declaration& declaration() const { return mine_; }

  /// Collective. Throws as `agree`, INVALID_ARGUMENT of the check, and what lacks memory.
  void build(StorePolicy store);
  bool built() const { return launcher_ != nullptr; }

  /// The instructions of all devices.
  const Program& program() const { return program_; }
  /// Those of this rank.
  size_t instructions() const { return built_.image.list.size(); }
  size_t bytes() const { return launcher_->bytes(); }
  /// Where `rank` has a tensor, as mapped here; null for memory of another rank's own.
  char* address(int tensor, int rank) const;

  /// Another argument struct for a declared op of the user's own. Nothing is running.
  void set_args(int op, const void* args);

  /// A launch of so many rows, as ProgramLauncher::number.
  ProgramCall number(uint32_t rows) { return launcher_->number(rows, 0); }
  /// In the device's order.
  void run(const ProgramCall& call);
  /// Later launches note their instructions' times. In the device's order.
  void set_tracing(bool on) { tracing_ = on; }
  /// Collective.
  void write_trace(const std::string& path);

 private:
  Comm& comm_;
  const UserProgramKernel kernel_;
  Declaration mine_;
  Program program_;
  BuiltProgram built_;
  std::vector<int> op_numbers_;  // of declared ops
  std::unique_ptr<ProgramLauncher> launcher_;
  uint32_t live_ = 0;             // rows of the running launch
  const std::string trace_path_;  // TW_PROGRAM_TRACE
  bool tracing_;
  bool traced_ = false;
};

}  // namespace tw
