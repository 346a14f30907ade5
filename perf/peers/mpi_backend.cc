// The peer: the benchmark's ops on an MPI. Compiled once against each of them (perf.mk); everything
// around the calls is the code that measures tilewire.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <mpi.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "perf/peers/bf16_sum.h"
#include "perf/runner/backend.h"
#include "perf/runner/loops.h"
#include "perf/runner/values.h"

namespace tw::perf {

namespace {

void must(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(status, text, &length);
  throw std::runtime_error(std::string(what) + ": " + text);
}

Bf16Sum bf16_sum;

void bf16_sum_function(void* in, void* inout, int* count, MPI_Datatype*) {
  bf16_sum(static_cast<const uint16_t*>(in), static_cast<uint16_t*>(inout),
           static_cast<size_t>(*count));
}

MPI_Datatype mpi_type(tw_type_t type) {
  switch (type) {
    case TW_INT8:
      return MPI_INT8_T;
    case TW_UINT8:
      return MPI_UINT8_T;
    case TW_INT32:
      return MPI_INT32_T;
    case TW_UINT32:
      return MPI_UINT32_T;
    case TW_INT64:
      return MPI_INT64_T;
    case TW_UINT64:
      return MPI_UINT64_T;
    case TW_BF16:
      return MPI_UINT16_T;
    case TW_FP32:
      return MPI_FLOAT;
    case TW_FP64:
      return MPI_DOUBLE;
    default:
      throw std::runtime_error(std::string("no MPI type for ") + type_row(type).name);
  }
}

class MpiBackend final : public Backend {
 public:
  MpiBackend() {
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    const char* name;
    bf16_sum = choose_bf16_sum(&name);
    must(MPI_Op_create(bf16_sum_function, 1, &bf16_op_), "MPI_Op_create");
  }
  ~MpiBackend() override { MPI_Op_free(&bf16_op_); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  char* allocate(size_t bytes, Memory) override { return allocate_private(bytes); }

  void all_reduce(const Call& c) override {
    must(MPI_Allreduce(c.send == c.recv ? MPI_IN_PLACE : c.send, c.recv, count(c), mpi_type(c.type),
                       op(c), MPI_COMM_WORLD),
         "MPI_Allreduce");
  }

  void all_gather(const Call& c) override {
    const MPI_Datatype type = mpi_type(c.type);
    const void* send = c.send == part(c.recv, c) ? MPI_IN_PLACE : c.send;
    must(MPI_Allgather(send, count(c), type, c.recv, count(c), type, MPI_COMM_WORLD),
         "MPI_Allgather");
  }

  // MPI's in-place form leaves the result at the buffer's start, NCCL's at this rank's part.
  void reduce_scatter(const Call& c) override {
    const bool in_place = c.recv == part(const_cast<void*>(c.send), c);
    void* recv = in_place ? const_cast<void*>(c.send) : c.recv;
    must(MPI_Reduce_scatter_block(in_place ? MPI_IN_PLACE : c.send, recv, count(c),
                                  mpi_type(c.type), op(c), MPI_COMM_WORLD),
         "MPI_Reduce_scatter_block");
    if (recv != c.recv) std::memcpy(c.recv, recv, bytes(c));
  }

  void all_to_all(const Call& c) override {
    const MPI_Datatype type = mpi_type(c.type);
    must(MPI_Alltoall(c.send == c.recv ? MPI_IN_PLACE : c.send, count(c), type, c.recv, count(c),
                      type, MPI_COMM_WORLD),
         "MPI_Alltoall");
  }

  // MPI broadcasts in place only; out of place costs its user this copy.
  void broadcast(const Call& c) override {
    if (rank_ == c.root && c.send != c.recv) std::memcpy(c.recv, c.send, bytes(c));
    must(MPI_Bcast(c.recv, count(c), mpi_type(c.type), c.root, MPI_COMM_WORLD), "MPI_Bcast");
  }

  void reduce(const Call& c) override {
    const bool in_place = c.send == c.recv && rank_ == c.root;
    must(MPI_Reduce(in_place ? MPI_IN_PLACE : c.send, c.recv, count(c), mpi_type(c.type), op(c),
                    c.root, MPI_COMM_WORLD),
         "MPI_Reduce");
  }

  void gather(const Call& c) override {
    const MPI_Datatype type = mpi_type(c.type);
    const bool in_place = c.send == part(c.recv, c) && rank_ == c.root;
    must(MPI_Gather(in_place ? MPI_IN_PLACE : c.send, count(c), type, c.recv, count(c), type,
                    c.root, MPI_COMM_WORLD),
         "MPI_Gather");
  }

  void scatter(const Call& c) override {
    const MPI_Datatype type = mpi_type(c.type);
    const bool in_place = c.recv == part(const_cast<void*>(c.send), c) && rank_ == c.root;
    must(MPI_Scatter(c.send, count(c), type, in_place ? MPI_IN_PLACE : c.recv, count(c), type,
                     c.root, MPI_COMM_WORLD),
         "MPI_Scatter");
  }

  void barrier() override { must(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier"); }

  void send(const Call& c, int peer) override {
    must(MPI_Send(c.send, count(c), mpi_type(c.type), peer, 0, MPI_COMM_WORLD), "MPI_Send");
  }
  void recv(const Call& c, int peer) override {
    must(MPI_Recv(c.recv, count(c), mpi_type(c.type), peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
         "MPI_Recv");
  }

  double max(double value) override { return over_ranks(value, MPI_MAX); }
  double sum(double value) override { return over_ranks(value, MPI_SUM); }

 private:
  static int count(const Call& c) { return static_cast<int>(c.count); }
  static size_t bytes(const Call& c) { return c.count * type_row(c.type).bytes; }
  char* part(void* buffer, const Call& c) const {
    return static_cast<char*>(buffer) + static_cast<size_t>(rank_) * bytes(c);
  }

  MPI_Op op(const Call& c) const {
    if (c.type == TW_BF16) {
      if (c.redop == TW_SUM) return bf16_op_;
      throw std::runtime_error("the bf16 user op of this peer is sum");
    }
    switch (c.redop) {
      case TW_SUM:
        return MPI_SUM;
      case TW_PROD:
        return MPI_PROD;
      case TW_MIN:
        return MPI_MIN;
      case TW_MAX:
        return MPI_MAX;
      default:
        throw std::runtime_error(std::string("no MPI op for ") + redop_name(c.redop));
    }
  }

  static double over_ranks(double value, MPI_Op op) {
    double result = 0;
    must(MPI_Allreduce(&value, &result, 1, MPI_DOUBLE, op, MPI_COMM_WORLD), "MPI_Allreduce");
    return result;
  }

  int rank_ = 0, size_ = 1;
  MPI_Op bf16_op_ = MPI_OP_NULL;
};

}  // namespace

std::string backend_name() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  std::string name(text);
  name.resize(std::min(name.find_first_of("\n\""), name.size()));
  std::replace(name.begin(), name.end(), '\t', ' ');
  const char* sum = "";
  choose_bf16_sum(&sum);
  return name + "; bf16 sum: " + sum;
}

bool backend_threads_allowed() { return false; }
void backend_start(int) { must(MPI_Init(nullptr, nullptr), "MPI_Init"); }
void backend_stop() { MPI_Finalize(); }

int backend_processes() {
  int size = 1;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  return size;
}

int backend_process() {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  return rank;
}

std::unique_ptr<Backend> backend_join(const BackendOptions&, int) {
  return std::make_unique<MpiBackend>();
}

}  // namespace tw::perf
