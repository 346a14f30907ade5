// How ranks that mpirun started find each other without MPI: rank 0 leaves the comm's unique id in
// a file that only this user can read, in a folder of this machine; the others wait for it.
#pragma once

#include <string>

#include "tilewire.h"

namespace tw::cli {

/// Text that all ranks of this launch have in common and no other launch has: what Open MPI calls
/// the job, else the parent process (MPICH and Intel MPI start a machine's ranks from one process)
/// and when it was started.
std::string job_name();

/// Makes the comm. Throws cpp::Failure, and std::runtime_error for what the files say.
tw_comm_t meet(int rank, int size, const tw_comm_config_t& config);

/// The folder of such files: XDG_RUNTIME_DIR, else /tmp/tilewire-<user>, made when there is none.
/// Throws std::runtime_error when it is another user's or others may read it.
std::string meeting_folder();

}  // namespace tw::cli
