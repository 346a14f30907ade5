// Launches of programs and steps of models are calls of their comm: a rank that makes another one
// ends the comm with a sentence that names both, on every rank, inline and queued. And a wait in a
// program that lasts too long names the instruction.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/llama_model.h"
#include "tests/support/model_ranks.h"
#include "tilewire/kernels/program_ops.h"
#include "tilewire/tile/program_ops.h"

using tw::ProgramArgs;

/// Until *go is not 0.
struct Stall {
  const uint64_t* go;
};

#define TW_KERNEL_ROWS "tests/support/program_mismatch.def"
#include "tilewire/kernels/table.h"

namespace TW_NS {

struct StallOp {
  using Args = Stall;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* /*at*/) {
    program.come();
    while (__atomic_load_n(args.go, __ATOMIC_ACQUIRE) == 0) continue;
  }
};

template <class Block>
TW_FN void stalling_program(Block& block, const ProgramArgs& args) {
  run_program<ProgramOpsAnd<StallOp>>(block, args);
}
TW_TILE_KERNEL(stalling_program, ProgramArgs)

}  // namespace TW_NS

namespace tw::test {
namespace {

void checked(tw_status_t status, const char* call) {
  if (status == TW_OK) return;
  ADD_FAILURE() << call << ": " << tw_last_error();
  std::abort();
}
#define CHECKED_OK(call) checked(call, #call)

constexpr uint32_t kRows = 6;
constexpr size_t kCols = 10;

/// y = z + z of every rank, one below the other, at all ranks; z = x + x. x is as filled.
class Gather {
 public:
  /// `adds`: else y is x of every rank, the first that is done.
  Gather(tw_comm_t comm, int rank, int size, bool adds = true) : rank_(rank), size_(size) {
    tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
    config.rows = kRows;
    CHECKED_OK(tw_program_create(comm, &config, &program_));
    const auto tensor = [&](const char* name, uint32_t rows) {
      tw_tensor_t t = TW_TENSOR_INIT;
      t.name = name;
      t.type = TW_FP32;
      t.rows = rows;
      t.cols = kCols;
      int number;
      CHECKED_OK(tw_program_add_tensor(program_, &t, &number));
      return number;
    };
    const int x = tensor("x", 0), z = tensor("z", 0);
    const int y = tensor("y", kRows * static_cast<uint32_t>(size));
    if (adds) CHECKED_OK(tw_program_add(program_, x, x, z));
    if (adds) CHECKED_OK(tw_program_add(program_, z, z, z));
    tw_program_copy_t copy = TW_PROGRAM_COPY_INIT;
    copy.x = adds ? z : x;
    copy.y = y;
    copy.to_row = kRows * static_cast<uint32_t>(rank);
    CHECKED_OK(tw_program_copy(program_, &copy));
    CHECKED_OK(tw_program_build(program_));
    x_ = address(x);
    y_ = address(y);
  }
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;
  ~Gather() { EXPECT_EQ(tw_program_destroy(program_), TW_OK) << tw_last_error(); }
  tw_program_t program() const { return program_; }

  void fill(uint32_t turn) const {
    for (size_t i = 0; i < kRows * kCols; ++i) x_[i] = value(rank_, turn, i);
    const size_t own = static_cast<size_t>(rank_) * kRows * kCols;
    std::fill_n(y_ + own, kRows * kCols, -1.0F);  // others' rows may have come already
  }
  /// What a launch of `rows` rows gave, of every rank.
  bool right(uint32_t turn, uint32_t rows) const {
    for (int r = 0; r < size_; ++r)
      for (size_t i = 0; i < rows * kCols; ++i)
        if (y_[static_cast<size_t>(r) * kRows * kCols + i] != 4 * value(r, turn, i)) return false;
    return true;
  }

 private:
  float* address(int tensor) const {
    void* at;
    size_t stride;
    CHECKED_OK(tw_program_tensor_ptr(program_, tensor, rank_, &at, &stride));
    EXPECT_EQ(stride, kCols);
    return static_cast<float*>(at);
  }
  static float value(int rank, uint32_t turn, size_t i) {
    return static_cast<float>((turn * 31 + static_cast<uint32_t>(rank) * 1000 + i) % 4096);
  }

  const int rank_, size_;
  tw_program_t program_ = nullptr;
  float* x_ = nullptr;
  float* y_ = nullptr;
};

constexpr size_t kVocab = 50;

ReferenceModel small_model() {
  LlamaConfig c;
  c.layers = 1;
  c.hidden = 32;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_size = 16;
  c.ffn = 40;
  c.vocab = kVocab;
  return random_model(c, 5);
}

tw_model_limits_t limits() {
  tw_model_limits_t l = TW_MODEL_LIMITS_INIT;
  l.rows = l.logit_rows = l.sequences = 4;
  l.context = 64;
  l.page_size = 16;
  l.pages = l.table_pages = 8;
  return l;
}

/// What a rank may call: two programs and two models are there, built in this order on all ranks.
struct There {
  tw_comm_t comm;
  tw_program_t programs[2];
  tw_model_t models[2];
};

tw_status_t step(tw_model_t model, bool by_ops, tw_stream_t stream, float* logits = nullptr,
                 int32_t token = 1) {
  const std::vector<int32_t> tokens{token, 2}, positions{0, 1};
  const std::vector<int64_t> slots{0, 1};
  const uint32_t query_begin[] = {0, 2}, page_begin[] = {0, 1}, page = 0;
  tw_step_t s = TW_STEP_INIT;
  s.rows = 2;
  s.sequences = 1;
  s.tokens = tokens.data();
  s.positions = positions.data();
  s.slots = slots.data();
  s.query_begin = query_begin;
  s.page_begin = page_begin;
  s.pages = &page;
  const uint32_t both[] = {0, 1};
  if (logits != nullptr) {
    s.logit_rows = 2;
    s.logit_row = both;
    s.logits_to = TW_LOGITS_TO_ALL;
    s.logits = logits;
  }
  return by_ops ? tw_model_step_by_ops(model, &s) : tw_model_step(model, &s, stream);
}

struct What {
  const char* says;  // of the sentence
  std::function<tw_status_t(const There&, tw_stream_t)> call;
};
const What kLaunch{"program_launch(program 1, rows 6)", [](const There& t, tw_stream_t s) {
                     return tw_program_launch(t.programs[0], 0, s);
                   }};
const What kFewerRows{"program_launch(program 1, rows 5)", [](const There& t, tw_stream_t s) {
                        return tw_program_launch(t.programs[0], 5, s);
                      }};
const What kOther{"program_launch(program 2, rows 6)", [](const There& t, tw_stream_t s) {
                    return tw_program_launch(t.programs[1], 0, s);
                  }};
const What kStep{"model_step(program 3, rows 2)",
                 [](const There& t, tw_stream_t s) { return step(t.models[0], false, s); }};
const What kOtherStep{"model_step(program 4, rows 2)",
                      [](const There& t, tw_stream_t s) { return step(t.models[1], false, s); }};
const What kByOps{"model_step(program 3, rows 2, op 1 alone)",
                  [](const There& t, tw_stream_t) { return step(t.models[0], true, nullptr); }};
const What kReduce{"all_reduce(count 3, TW_FP32, TW_SUM)", [](const There& t, tw_stream_t s) {
                     static thread_local float x[3] = {1, 2, 3};
                     return tw_all_reduce(x, x, 3, TW_FP32, TW_SUM, t.comm, s);
                   }};
const What kBarrier{"barrier()",
                    [](const There& t, tw_stream_t s) { return tw_barrier(t.comm, s); }};

const What kFused{"gemm_all_reduce(m 4, n 16, k 8, TW_FP32)", [](const There& t, tw_stream_t s) {
                    static thread_local float a[4 * 8] = {1}, b[8 * 16] = {2}, c[4 * 16];
                    tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
                    args.m = 4;
                    args.n = 16;
                    args.k = 8;
                    args.type = args.out_type = TW_FP32;
                    args.a = a;
                    args.b = b;
                    args.c = c;
                    return tw_gemm_all_reduce(&args, t.comm, s);
                  }};

struct Pair {
  const char* name;
  const What& first;
  const What& second;
};
const Pair kPairs[] = {
    {"OtherRows", kLaunch, kFewerRows}, {"OtherProgram", kLaunch, kOther},
    {"Reduce", kLaunch, kReduce},       {"Barrier", kBarrier, kOther},
    {"Step", kLaunch, kStep},           {"OtherModel", kStep, kOtherStep},
    {"Fused", kLaunch, kFused},         {"FusedStep", kFused, kStep},
    {"ByOps", kStep, kByOps},           {"StepReduce", kReduce, kStep},
};

class ProgramMismatch : public testing::TestWithParam<Pair> {};

/// Two ranks make `before` equal calls, then the pair's. What each says of the last.
void expect_named(const Pair& pair, int before, bool queued) {
  const ReferenceModel reference = small_model();
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 60000;
  const ThreadRanks ranks(2, &config);
  const auto begin = std::chrono::steady_clock::now();
  ranks.run([&](int rank, tw_comm_t comm) {
    const Gather first(comm, rank, 2), second(comm, rank, 2);
    const There there{
        comm,
        {first.program(), second.program()},
        {make_model(comm, reference, limits()), make_model(comm, reference, limits())}};
    for (const tw_model_t model : there.models) CHECKED_OK(tw_model_kv_create(model, 16, 8));
    tw_stream_t stream = nullptr;
    if (queued) CHECKED_OK(tw_stream_create(nullptr, &stream));
    for (int i = 0; i < before; ++i)
      for (const What* what : {&kLaunch, &kStep, &kReduce, &kFused, &kOther})
        EXPECT_EQ(what->call(there, stream), TW_OK) << tw_last_error();
    const What& mine = rank == 0 ? pair.first : pair.second;
    tw_status_t status = mine.call(there, stream);
    if (stream != nullptr && status == TW_OK) status = tw_stream_synchronize(stream);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    const std::string said = tw_last_error();
    for (const What* what : {&pair.first, &pair.second})
      EXPECT_NE(said.find(what->says), std::string::npos)
          << "rank " << rank << " does not say " << what->says << ": " << said;
    if (queued) CHECKED_OK(tw_stream_destroy(stream));
    for (const tw_model_t model : there.models)
      EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST_P(ProgramMismatch, NamesBothCalls) {
  expect_named(GetParam(), 0, false);
  expect_named(GetParam(), 3, false);
}
TEST_P(ProgramMismatch, NamesBothQueuedCalls) {
  if (GetParam().name == std::string("ByOps")) return;  // these are never queued
  expect_named(GetParam(), 1, true);
}
INSTANTIATE_TEST_SUITE_P(Pairs, ProgramMismatch, testing::ValuesIn(kPairs),
                         [](const auto& pair) { return std::string(pair.param.name); });

/// What a rank goes through in ProgramCalls: equal sequences on all ranks.
class Sequence {
 public:
  Sequence(tw_comm_t comm, int rank, int size)
      : comm_(comm),
        rank_(rank),
        size_(size),
        gather_(comm, rank, size),
        other_(comm, rank, size),
        model_(make_model(comm, small_model(), limits())) {
    CHECKED_OK(tw_model_kv_create(model_, 16, 8));
    expect_step(false);
  }
  Sequence(const Sequence&) = delete;
  Sequence& operator=(const Sequence&) = delete;
  ~Sequence() { EXPECT_EQ(tw_model_destroy(model_), TW_OK) << tw_last_error(); }

  void run(uint32_t number) {
    switch (number >> 29) {
      case 0:
      case 1:
        return expect_gather(gather_, number, 1 + number % kRows);
      case 2:
        return expect_gather(other_, number, kRows);
      case 3:
        return expect_step(true);
      case 4:
        EXPECT_EQ(tw_barrier(comm_, nullptr), TW_OK) << tw_last_error();
        return;
      case 5:
        return expect_sum(size_t{1} << number % 18);
      default:
        return expect_step(false);
    }
  }

 private:
  static void expect_gather(const Gather& gather, uint32_t turn, uint32_t rows) {
    gather.fill(turn);
    EXPECT_EQ(tw_program_launch(gather.program(), rows, nullptr), TW_OK) << tw_last_error();
    EXPECT_TRUE(gather.right(turn, rows));
  }
  /// By every algorithm's memory, in turn with the programs' launches.
  void expect_sum(size_t count) const {
    std::vector<float> x(count, static_cast<float>(rank_ + 1));
    EXPECT_EQ(tw_all_reduce(x.data(), x.data(), count, TW_FP32, TW_SUM, comm_, nullptr), TW_OK)
        << tw_last_error();
    const int sum = size_ * (size_ + 1) / 2;
    EXPECT_EQ(std::count(x.begin(), x.end(), static_cast<float>(sum)), static_cast<long>(count));
  }
  void expect_step(bool by_ops) {
    std::vector<float> logits(2 * kVocab, -1);
    EXPECT_EQ(step(model_, by_ops, nullptr, logits.data()), TW_OK) << tw_last_error();
    if (logits_.empty()) logits_ = logits;
    EXPECT_TRUE(same_bits(logits, logits_));
  }

  const tw_comm_t comm_;
  const int rank_, size_;
  const Gather gather_, other_;
  const tw_model_t model_;
  std::vector<float> logits_;
};

/// Programs, collectives and steps in any sequence share the comm's epoch, and give what they give.
TEST(ProgramCalls, FollowEachOtherInAnySequence) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 60000;
  const ThreadRanks ranks(3, &config);
  ranks.run([&](int rank, tw_comm_t comm) {
    Sequence sequence(comm, rank, 3);
    uint32_t next = 7;
    for (int i = 0; i < 1000 && !testing::Test::HasFailure(); ++i) {
      next = next * 1664525 + 1013904223;
      sequence.run(next);
    }
  });
}

/// A queued launch that differs, and calls of the host at the same time.
TEST(ProgramCalls, AMismatchBesideCallsOfTheHost) {
  for (int turn = 0; turn < 5; ++turn) {
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    config.timeout_ms = 60000;
    const ThreadRanks ranks(2, &config);
    ranks.run([&](int rank, tw_comm_t comm) {
      const tw_model_t model = make_model(comm, small_model(), limits());
      CHECKED_OK(tw_model_kv_create(model, 16, 8));
      tw_stream_t stream;
      CHECKED_OK(tw_stream_create(nullptr, &stream));
      EXPECT_EQ(step(model, false, stream, nullptr, rank == 0 ? 1 : 2), TW_OK) << tw_last_error();
      tw_window_t window = nullptr;
      const tw_status_t made = tw_window_create(comm, 4096, &window);
      EXPECT_EQ(tw_stream_synchronize(stream), TW_ERROR_MISMATCH);
      const std::string said = tw_last_error();
      EXPECT_NE(said.find("tokens #"), std::string::npos) << said;
      EXPECT_TRUE(made == TW_OK || made == TW_ERROR_MISMATCH) << tw_last_error();
      if (made == TW_OK) CHECKED_OK(tw_window_destroy(window));
      CHECKED_OK(tw_stream_destroy(stream));
      EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
    });
  }
}

/// An instruction of each rank that waits until *go, then writes to the other rank's first tensor;
/// and one that waits for the other rank's.
class HeldUp {
 public:
  HeldUp(tw_comm_t comm, int rank, const uint64_t* go) {
    tw_program_config_t c = TW_PROGRAM_CONFIG_INIT;
    c.rows = kRows;
    c.kernel = &stalling_program_kernel;
    CHECKED_OK(tw_program_create(comm, &c, &program_));
    int tensors[2];
    for (int& tensor : tensors) {
      tw_tensor_t t = TW_TENSOR_INIT;
      t.type = TW_FP32;
      t.rows = kRows;
      t.cols = kCols;
      CHECKED_OK(tw_program_add_tensor(program_, &t, &tensor));
    }
    const Stall args{go};
    tw_program_op_t op = TW_PROGRAM_OP_INIT;
    op.name = "held up";
    op.args = &args;
    op.args_bytes = sizeof args;
    int number;
    CHECKED_OK(tw_program_add_op(program_, &op, &number));
    const uint32_t at[4] = {};
    const tw_program_access_t access{tensors[0], 1 - rank, 1, 0, kRows, 0, kCols};
    CHECKED_OK(tw_program_add_instruction(program_, number, at, &access, 1));
    CHECKED_OK(tw_program_add(program_, tensors[0], tensors[0], tensors[1]));
    CHECKED_OK(tw_program_build(program_));
  }
  HeldUp(const HeldUp&) = delete;
  HeldUp& operator=(const HeldUp&) = delete;
  ~HeldUp() { EXPECT_EQ(tw_program_destroy(program_), TW_OK) << tw_last_error(); }

  tw_status_t launch() const { return tw_program_launch(program_, 0, nullptr); }

 private:
  tw_program_t program_ = nullptr;
};

tw_comm_config_t two_seconds() {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 2000;
  return config;
}

/// Who comes to no launch at all holds up no instruction, though one waits for his first counter.
TEST(ProgramTimeOut, APeerThatDoesNotCome) {
  const tw_comm_config_t config = two_seconds();
  const ThreadRanks ranks(2, &config);
  std::atomic<bool> over{false};
  ranks.run([&](int rank, tw_comm_t comm) {
    const Gather gather(comm, rank, 2, false);
    while (rank == 1 && !over) std::this_thread::yield();
    if (rank == 1) return;
    EXPECT_EQ(tw_program_launch(gather.program(), 0, nullptr), TW_ERROR_TIMEOUT);
    const std::string said = tw_last_error();
    EXPECT_EQ(said.find("instruction"), std::string::npos) << said;
    EXPECT_NE(said.find("for rank 1"), std::string::npos) << said;
    over = true;
  });
}

/// Rank 1 is held up in an instruction for which one of rank 0 waits.
TEST(ProgramTimeOut, NamesTheInstructionThatWaits) {
  const tw_comm_config_t config = two_seconds();
  const ThreadRanks ranks(2, &config);
  uint64_t go[2] = {1, 0};
  ranks.run([&](int rank, tw_comm_t comm) {
    const HeldUp program(comm, rank, &go[rank]);
    const tw_status_t status = program.launch();
    if (rank == 1) return;  // it is let go on then, and may complete its launch
    const std::string said = tw_last_error();
    EXPECT_EQ(status, TW_ERROR_TIMEOUT) << said;
    for (const char* part : {"(add, device 0) waits", "rank 0 waited", "for rank 1"})
      EXPECT_NE(said.find(part), std::string::npos) << said;
    __atomic_store_n(&go[1], 1, __ATOMIC_RELEASE);
  });
}

}  // namespace
}  // namespace tw::test
