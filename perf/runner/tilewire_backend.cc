// The benchmark's ops on tilewire. Ranks come from mpirun (tilewire/mpi.h; several a process with
// -g), from tw_run, or are the threads of this one process.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <cstdlib>
#include <stdexcept>

#include "perf/runner/backend.h"
#include "perf/runner/loops.h"
#include "tilewire.h"
#include "tilewire/mpi.h"

namespace tw::perf {

namespace {

void must(tw_status_t status) {
  if (status != TW_OK)
    throw std::runtime_error(std::string(tw_status_name(status)) + ": " + tw_last_error());
}

enum class Launcher { kNone, kMpi, kTwRun };

Launcher launcher() {
  if (std::getenv("TW_WORLD_SIZE")) return Launcher::kTwRun;
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"})
    if (std::getenv(name)) return Launcher::kMpi;
  return Launcher::kNone;
}

int environment_number(const char* name) {
  const char* text = std::getenv(name);
  return text ? std::atoi(text) : 0;
}

// Where the ranks of this run meet when they are threads; made by process 0.
tw_unique_id_t meeting;

class TilewireBackend final : public Backend {
 public:
  TilewireBackend(const BackendOptions& options, int thread) {
    const int n = backend_processes() * options.threads;
    const int rank = backend_process() * options.threads + thread;
    if (launcher() == Launcher::kTwRun) {
      if (options.threads > 1) throw std::runtime_error("-g needs mpirun, or no launcher at all");
      must(tw_comm_create_env(nullptr, &comm_));
    } else if (launcher() == Launcher::kMpi && options.threads == 1) {
      must(tw_comm_create_mpi(MPI_COMM_WORLD, nullptr, &comm_));
    } else {
      must(tw_comm_create(n, rank, &meeting, nullptr, &comm_));
    }
    must(tw_comm_rank(comm_, &rank_));
    must(tw_comm_size(comm_, &size_));
    if (options.queued) must(tw_stream_create(nullptr, &stream_));
  }

  ~TilewireBackend() override {
    if (stream_) tw_stream_destroy(stream_);
    for (const tw_window_t window : windows_) tw_window_destroy(window);
    tw_comm_destroy(comm_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  char* allocate(size_t bytes, Memory memory) override {
    if (memory == Memory::kPrivate) return allocate_private(bytes);
    void* own = nullptr;
    windows_.push_back(nullptr);
    must(tw_window_create(comm_, bytes, &windows_.back()));
    must(tw_window_ptr(windows_.back(), rank_, &own));
    return static_cast<char*>(own);
  }

  void synchronize() override { must(tw_stream_synchronize(stream_)); }

  void all_reduce(const Call& c) override {
    must(tw_all_reduce(c.send, c.recv, c.count, c.type, c.redop, comm_, stream_));
  }
  void all_gather(const Call& c) override {
    must(tw_all_gather(c.send, c.recv, c.count, c.type, comm_, stream_));
  }
  void reduce_scatter(const Call& c) override {
    must(tw_reduce_scatter(c.send, c.recv, c.count, c.type, c.redop, comm_, stream_));
  }
  void all_to_all(const Call& c) override {
    must(tw_all_to_all(c.send, c.recv, c.count, c.type, comm_, stream_));
  }
  void broadcast(const Call& c) override {
    must(tw_broadcast(c.send, c.recv, c.count, c.type, c.root, comm_, stream_));
  }
  void reduce(const Call& c) override {
    must(tw_reduce(c.send, c.recv, c.count, c.type, c.redop, c.root, comm_, stream_));
  }
  void gather(const Call& c) override {
    must(tw_gather(c.send, c.recv, c.count, c.type, c.root, comm_, stream_));
  }
  void scatter(const Call& c) override {
    must(tw_scatter(c.send, c.recv, c.count, c.type, c.root, comm_, stream_));
  }
  void barrier() override { must(tw_barrier(comm_, stream_)); }
  void send(const Call& c, int peer) override {
    must(tw_send(c.send, c.count, c.type, peer, comm_, stream_));
  }
  void recv(const Call& c, int peer) override {
    must(tw_recv(c.recv, c.count, c.type, peer, comm_, stream_));
  }

  tw_comm_t comm() override { return comm_; }

  double max(double value) override { return over_ranks(value, TW_MAX); }
  double sum(double value) override { return over_ranks(value, TW_SUM); }

 private:
  double over_ranks(double value, tw_op_t op) {
    synchronize();
    double result = 0;
    must(tw_all_reduce(&value, &result, 1, TW_FP64, op, comm_, nullptr));
    return result;
  }

  tw_comm_t comm_ = nullptr;
  tw_stream_t stream_ = nullptr;
  std::vector<tw_window_t> windows_;
  int rank_ = 0, size_ = 1;
};

}  // namespace

std::string backend_name() {
  const int version = tw_version();
  return "tilewire " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) +
         "." + std::to_string(version % 100);
}

bool backend_threads_allowed() { return true; }

void backend_start(int threads) {
  if (launcher() == Launcher::kMpi) MPI_Init(nullptr, nullptr);
  // Otherwise tilewire/mpi.h or tw_run see to where the ranks meet.
  const bool by_id = launcher() == Launcher::kNone || threads > 1;
  if (by_id && backend_process() == 0) must(tw_unique_id_create(&meeting));
  if (by_id && launcher() == Launcher::kMpi)
    MPI_Bcast(&meeting, sizeof(meeting), MPI_BYTE, 0, MPI_COMM_WORLD);
}

void backend_stop() {
  if (launcher() == Launcher::kMpi) MPI_Finalize();
}

int backend_processes() {
  int size = 1;
  if (launcher() == Launcher::kTwRun) return environment_number("TW_WORLD_SIZE");
  if (launcher() == Launcher::kMpi) MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

int backend_process() {
  int rank = 0;
  if (launcher() == Launcher::kTwRun) return environment_number("TW_RANK");
  if (launcher() == Launcher::kMpi) MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

std::unique_ptr<Backend> backend_join(const BackendOptions& options, int thread) {
  return std::make_unique<TilewireBackend>(options, thread);
}

}  // namespace tw::perf
