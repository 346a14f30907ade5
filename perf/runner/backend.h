// The seam between a benchmark and the library that carries it out. Implementations:
// tilewire_backend.cc (the product) and peers/mpi_backend.cc (compiled once against each MPI).
// A failed call throws std::runtime_error: a benchmark has nothing to recover.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "perf/runner/op.h"

namespace tw::perf {

enum class Memory { kWindow, kPrivate };

struct BackendOptions {
  Memory memory = Memory::kWindow;
  int threads = 1;      // ranks in this process
  bool queued = false;  // calls go through a stream instead of running inline
};

// One rank. Used by one thread.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Zeroed, huge-page aligned memory that lives as long as the backend. Collective.
  virtual char* allocate(size_t bytes, Memory memory) = 0;

  // Returns when queued calls are done.
  virtual void synchronize() {}

  virtual void all_reduce(const Call& call) = 0;
  virtual void all_gather(const Call& call) = 0;
  virtual void reduce_scatter(const Call& call) = 0;
  virtual void all_to_all(const Call& call) = 0;
  virtual void broadcast(const Call& call) = 0;
  virtual void reduce(const Call& call) = 0;
  virtual void gather(const Call& call) = 0;
  virtual void scatter(const Call& call) = 0;
  virtual void barrier() = 0;
  virtual void send(const Call& call, int peer) = 0;
  virtual void recv(const Call& call, int peer) = 0;

  // The comm of ours, for calls that no other library has; null for a peer.
  virtual tw_comm_t comm() { return nullptr; }

  // The largest and the sum of all ranks' values. Outside every timed region.
  virtual double max(double value) = 0;
  virtual double sum(double value) = 0;
};

// What a program is linked with: makes the ranks of this process, one per thread.
std::string backend_name();      // "tilewire 0.1.0", "Open MPI v4.1.4, ..."
bool backend_threads_allowed();  // whether several ranks may live in one process
// Called once, before and after everything else, in the main thread. `threads`: ranks in this
// process.
void backend_start(int threads);
void backend_stop();
// How many processes were started together, and which of them this is.
int backend_processes();
int backend_process();
// Called by each of `options.threads` threads with its number; returns when all ranks did.
std::unique_ptr<Backend> backend_join(const BackendOptions& options, int thread);

}  // namespace tw::perf
