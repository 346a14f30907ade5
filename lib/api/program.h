// What the entry points of programs share: who uses a program, and what they ask of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/program/user_program.h"

namespace tw {

struct ProgramHandle {
  ProgramHandle(Comm& comm, uint32_t rows, const UserProgramKernel& kernel, bool own)
      : program(comm, rows, kernel), own_ops(own) {}

  UserProgram program;
  const bool own_ops;                // it has a kernel of the user's
  std::vector<tw_window_t> windows;  // of its tensors
};

namespace api {

/// The program of a handle, its comm used by this thread alone for the scope's life. Throws
/// INVALID_HANDLE, and INVALID_STATE while another thread uses the comm.
class ProgramInUse {
 public:
  explicit ProgramInUse(tw_program_t handle)
      : pinned_(pin(handle)), use_((*pinned_).program.comm()) {}
  ProgramHandle& handle() const { return *pinned_; }
  UserProgram& operator*() const { return (*pinned_).program; }
  UserProgram* operator->() const { return &(*pinned_).program; }

 private:
  decltype(pin(tw_program_t())) pinned_;
  InUse use_;
};

/// Throw INVALID_STATE.
void require_built(const UserProgram& program, const char* function);
void require_open(const UserProgram& program, const char* function);

/// `name`, or what stands for it; throws INVALID_ARGUMENT for one that is too long. `to` has room
/// for kMostName bytes and a NUL.
void copy_name(const char* name, const char* otherwise, const char* function, char* to);

/// A tensor's number as argument `name` gives it, which must be there. Throws INVALID_ARGUMENT.
const DeclaredTensor& tensor_of(const UserProgram& program, int tensor, const char* function,
                                const char* name);

}  // namespace api
}  // namespace tw
