// Launches of programs and steps of models are calls of their comm: a rank that makes another one
// ends the comm with a sentence that names both, on every rank, inline and queued. And a wait in a
// program that lasts too long names the instruction.
#include <gtest/gtest.h>

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

/// y = x + x at all ranks, of each rank's x, one below the other.
class Gather {
 public:
  Gather(tw_comm_t comm, int rank, int size) {
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
    const int x = tensor("x", 0), y = tensor("y", kRows * static_cast<uint32_t>(size));
    CHECKED_OK(tw_program_add(program_, x, x, x));
    tw_program_copy_t copy = TW_PROGRAM_COPY_INIT;
    copy.x = x;
    copy.y = y;
    copy.to_row = kRows * static_cast<uint32_t>(rank);
    CHECKED_OK(tw_program_copy(program_, &copy));
    CHECKED_OK(tw_program_build(program_));
  }
  Gather(const Gather&) = delete;
  Gather& operator=(const Gather&) = delete;
  ~Gather() { EXPECT_EQ(tw_program_destroy(program_), TW_OK) << tw_last_error(); }
  tw_program_t program() const { return program_; }

 private:
  tw_program_t program_ = nullptr;
};

ReferenceModel small_model() {
  LlamaConfig c;
  c.layers = 1;
  c.hidden = 32;
  c.heads = 2;
  c.kv_heads = 1;
  c.head_size = 16;
  c.ffn = 40;
  c.vocab = 50;
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

tw_status_t step(tw_model_t model, bool by_ops, tw_stream_t stream) {
  const std::vector<int32_t> tokens{1, 2}, positions{0, 1};
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

struct Pair {
  const char* name;
  const What& first;
  const What& second;
};
const Pair kPairs[] = {
    {"OtherRows", kLaunch, kFewerRows}, {"OtherProgram", kLaunch, kOther},
    {"Reduce", kLaunch, kReduce},       {"Barrier", kBarrier, kOther},
    {"Step", kLaunch, kStep},           {"OtherModel", kStep, kOtherStep},
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
      for (const What* what : {&kLaunch, &kStep, &kReduce, &kOther})
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

/// A program, an all-reduce, and a step in any sequence that is equal on all ranks.
TEST(ProgramCalls, FollowEachOtherInAnySequence) {
  const ReferenceModel reference = small_model();
  const ThreadRanks ranks(3);
  ranks.run([&](int rank, tw_comm_t comm) {
    const Gather gather(comm, rank, 3), other(comm, rank, 3);
    const tw_model_t model = make_model(comm, reference, limits());
    CHECKED_OK(tw_model_kv_create(model, 16, 8));
    uint32_t next = 7;
    for (int i = 0; i < 1000; ++i) {
      next = next * 1664525 + 1013904223;
      switch (next >> 29) {
        case 0:
        case 1:
          ASSERT_EQ(tw_program_launch(gather.program(), 1 + next % kRows, nullptr), TW_OK);
          break;
        case 2:
          ASSERT_EQ(tw_program_launch(other.program(), 0, nullptr), TW_OK) << tw_last_error();
          break;
        case 3:
          ASSERT_EQ(step(model, true, nullptr), TW_OK) << tw_last_error();
          break;
        case 4:
          ASSERT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
          break;
        case 5: {
          // Every algorithm's memory, in turn with the programs' launches.
          std::vector<float> x(size_t{1} << (next % 18), static_cast<float>(rank + 1));
          ASSERT_EQ(tw_all_reduce(x.data(), x.data(), x.size(), TW_FP32, TW_SUM, comm, nullptr),
                    TW_OK);
          for (const float sum : x) ASSERT_EQ(sum, 6);
          break;
        }
        default:
          ASSERT_EQ(step(model, false, nullptr), TW_OK) << tw_last_error();
      }
    }
    EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
  });
}

/// Rank 1 is held up in an instruction for which one of rank 0 waits.
TEST(ProgramTimeOut, NamesTheInstructionThatWaits) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.timeout_ms = 300;
  const ThreadRanks ranks(2, &config);
  uint64_t go[2] = {1, 0};
  ranks.run([&](int rank, tw_comm_t comm) {
    tw_program_config_t c = TW_PROGRAM_CONFIG_INIT;
    c.rows = kRows;
    c.kernel = &stalling_program_kernel;
    tw_program_t program;
    CHECKED_OK(tw_program_create(comm, &c, &program));
    int tensors[2];
    for (int& tensor : tensors) {
      tw_tensor_t t = TW_TENSOR_INIT;
      t.type = TW_FP32;
      t.rows = kRows;
      t.cols = kCols;
      CHECKED_OK(tw_program_add_tensor(program, &t, &tensor));
    }
    const Stall args{&go[rank]};
    tw_program_op_t op = TW_PROGRAM_OP_INIT;
    op.name = "held up";
    op.args = &args;
    op.args_bytes = sizeof args;
    int number;
    CHECKED_OK(tw_program_add_op(program, &op, &number));
    const uint32_t at[4] = {};
    const int other = 1 - rank;
    const tw_program_access_t access{tensors[0], other, 1, 0, kRows, 0, kCols};
    CHECKED_OK(tw_program_add_instruction(program, number, at, &access, 1));
    CHECKED_OK(tw_program_add(program, tensors[0], tensors[0], tensors[1]));
    CHECKED_OK(tw_program_build(program));
    const tw_status_t status = tw_program_launch(program, 0, nullptr);
    const std::string said = tw_last_error();
    EXPECT_EQ(status, TW_ERROR_TIMEOUT) << said;
    EXPECT_NE(said.find("for which instruction 1 (add) waits"), std::string::npos) << said;
    EXPECT_NE(said.find("rank 0 waited"), std::string::npos) << said;
    EXPECT_NE(said.find("for rank 1"), std::string::npos) << said;
    if (rank == 0) __atomic_store_n(&go[1], 1, __ATOMIC_RELEASE);
    EXPECT_EQ(tw_program_destroy(program), TW_OK) << tw_last_error();
  });
}

}  // namespace
}  // namespace tw::test
