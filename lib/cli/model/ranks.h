// The ranks of a program that runs a model: threads of this process, or what a launcher started.
#pragma once

#include <functional>
#include <string>

#include "tilewire/cpp.h"

namespace tw::cli {

/// This process among those of a launcher.
struct Place {
  enum class By { kAlone, kTwRun, kMpi };
  By by = By::kAlone;
  int rank = 0;
  int size = 1;
};

/// From TW_RANK and TW_WORLD_SIZE (tw_run), OMPI_COMM_WORLD_* (Open MPI) or PMI_* (MPICH, Intel
/// MPI). Throws std::runtime_error naming a variable whose value is no number in range.
Place find_place();

/// What a rank does. It makes its model in `model`, which is destroyed when all is over: after the
/// comm's end where the rank threw, so that nobody waits for a rank that left.
using RankBody = std::function<void(tw_comm_t comm, cpp::Model& model)>;

/// Runs `body` at each rank of this process: in `threads` threads, the ranks of one comm, or, when
/// `threads` is 0, in this one, at its place. A rank that throws says so on standard error, once,
/// and ends the comm. The status to exit with.
int run_ranks(const std::string& program, int threads, const tw_comm_config_t& config,
              const RankBody& body);

/// "program: sentence" on standard error.
void say(const std::string& program, const std::string& sentence);

}  // namespace tw::cli
