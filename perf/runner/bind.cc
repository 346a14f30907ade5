#include "perf/runner/bind.h"

#include <sched.h>

#include <cstdlib>
#include <initializer_list>

namespace tw::perf {

namespace {

// The first of these environment variables as a number; -1 without one. The launchers that set
// them: Open MPI, Hydra (MPICH and Intel MPI), tw_run.
int launcher_number(const char* open_mpi, const char* hydra, const char* tw_run) {
  for (const char* name : {open_mpi, hydra, tw_run})
    if (const char* text = std::getenv(name)) return std::atoi(text);
  return -1;
}

}  // namespace

void bind_to_cores(int threads, int thread, int cores) {
  int rank = launcher_number("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "TW_RANK");
  int ranks = launcher_number("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "TW_WORLD_SIZE");
  if (rank < 0 || ranks < 1) rank = 0, ranks = 1;
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  if (CPU_COUNT(&allowed) < ranks * threads * cores) return;
  int left = (rank * threads + thread) * cores;
  cpu_set_t own;
  CPU_ZERO(&own);
  for (int core = 0; core < CPU_SETSIZE && CPU_COUNT(&own) < cores; ++core)
    if (CPU_ISSET(core, &allowed) && left-- <= 0) CPU_SET(core, &own);
  sched_setaffinity(0, sizeof(own), &own);
}

}  // namespace tw::perf
