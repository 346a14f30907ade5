// Programs made by tw_program_*: their results against float64 and, bit for bit, against the calls
// that do the same op by op; on every rank, in every run, for any number of rows; what is refused
// when it is built or run; and that each wait which was derived is needed.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "lib/api/program.h"
#include "lib/device/device.h"
#include "lib/program/check.h"
#include "tests/runner/ranks.h"
#include "tests/support/program_block.h"
#include "tilewire/kernels/program_ops.h"
#include "tilewire/tile/program_ops.h"
#include "tilewire/window_device.h"

using tw::ProgramArgs;

/// at = {first row, rows, rank}. to = from of a rank, each element times `by`.
struct TakeTimes {
  tw_window_view window;
  size_t from, to, n;  // from, to: bytes into each rank's part
  float by;
};

#define TW_KERNEL_ROWS "tests/support/user_program.def"
#include "tilewire/kernels/table.h"

namespace TW_NS {

struct TakeTimesOp {
  using Args = TakeTimes;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    program.come();
    const Row row = program.row(args.n);
    for (size_t i = at[0]; i < at[0] + at[1]; ++i) {
      const size_t place = i * args.n * sizeof(float);
      const int rank = static_cast<int>(at[2]);
      program.tile_block().load(row, peer_ptr(args.window, rank, args.from + place), TW_FP32);
      program.tile_block().scale(row, args.by);
      program.tile_block().store_all(
          1, [&](int) { return local_ptr(args.window, args.to + place); }, nullptr, row, TW_FP32);
    }
  }
};

template <class Block>
TW_FN void user_program(Block& block, const ProgramArgs& args) {
  run_program<ProgramOpsAnd<TakeTimesOp>>(block, args);
}
TW_TILE_KERNEL(user_program, ProgramArgs)

}  // namespace TW_NS

namespace tw::test {
namespace {

using Ranks = std::vector<std::unique_ptr<ProgramBlockRank>>;

void launch(tw_program_t program, uint32_t rows) {
  EXPECT_EQ(tw_program_launch(program, rows, nullptr), TW_OK) << tw_last_error();
}

class Block {
 public:
  Block(const ThreadRanks& ranks, const BlockCase& c) : ranks_(ranks), parts_(size()) {
    each([&](size_t r) {
      parts_[r] = std::make_unique<ProgramBlockRank>(ranks_.comm(static_cast<int>(r)), c);
    });
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    each([&](size_t r) { parts_[r].reset(); });
  }

  template <class F>
  void each(F f) const {
    ranks_.run([&](int rank, tw_comm_t) { f(static_cast<size_t>(rank)); });
  }
  size_t size() const { return static_cast<size_t>(ranks_.size()); }
  ProgramBlockRank& part(size_t rank) const { return *parts_[rank]; }

  void run(uint32_t rows, uint32_t seed) const {
    each([&](size_t r) {
      part(r).fill(seed);
      launch(part(r).program(), rows);
    });
  }
  std::vector<const ProgramBlockRank*> all() const {
    std::vector<const ProgramBlockRank*> all;
    for (const auto& part : parts_) all.push_back(part.get());
    return all;
  }

 private:
  const ThreadRanks& ranks_;
  Ranks parts_;
};

void expect_right(const Block& block, uint32_t rows) {
  std::vector<std::string> differ(block.size());
  block.each([&](size_t r) { differ[r] = block.part(r).other_bits(rows); });
  for (size_t r = 0; r < block.size(); ++r) {
#if !defined(TW_SANITIZE_THREAD)  // slow there, and the bits of the calls are compared all the same
    std::string what;
    EXPECT_LE(block.part(r).furthest(block.all(), rows, &what), 1) << "rank " << r << ": " << what;
#endif
    EXPECT_EQ(differ[r], "") << "rank " << r << " has other bits than the calls, " << rows
                             << " rows";
    EXPECT_EQ(block.part(r).results(rows), block.part(0).results(rows)) << "rank " << r;
  }
}

std::vector<std::string> targets() {
  std::vector<std::string> names;
  for (int t = 0; t < kCpuTargets; ++t)
    if (cpu_runs(static_cast<CpuTarget>(t)))
      names.emplace_back(cpu_target_name(static_cast<CpuTarget>(t)));
#if defined(TW_SANITIZE_THREAD)
  names.resize(1);  // the protocols are the same for all targets
#endif
  return names;
}

const BlockCase kCases[] = {
    {1, 40, 50, TW_FP32, TW_BF16, Places::kLocal},
    {5, 33, 3, TW_BF16, TW_BF16, Places::kWindow},  // of 4 ranks, one has no column
    {33, 96, 130, TW_FP32, TW_FP32, Places::kProgram},
    {70, 64, 70, TW_FP16, TW_FP16, Places::kWindow},  // rows have owners
    {131, 50, 61, TW_FP32, TW_BF16, Places::kProgram},
    {66, 37, 29, TW_BF16, TW_BF16, Places::kMixed},
    {65, 20, 41, TW_FP32, TW_FP32, Places::kLocal},  // no owners: peers reach no result
};

class UserProgram : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, UserProgram, ::testing::Values(1, 2, 3, 4));

TEST_P(UserProgram, HasTheBitsOfTheCalls) {
  const ThreadRanks ranks(GetParam());
  for (const BlockCase& c : kCases) {
    SCOPED_TRACE(name_of(c));
    const Block block(ranks, c);
    block.run(c.rows, 1);
    expect_right(block, c.rows);
  }
}

TEST_P(UserProgram, OnEveryTarget) {
  for (const std::string& target : targets()) {
    SCOPED_TRACE(target);
    const ScopedEnv env("TW_DEVICE_TARGET", target);
    const ThreadRanks ranks(GetParam());
    const BlockCase c{67, 50, 61, TW_FP32, TW_BF16, Places::kProgram};
    const Block block(ranks, c);
    block.run(c.rows, 1);
    expect_right(block, c.rows);
  }
}

/// Rows of a launch of few are those of a launch of many, and in every run.
TEST_P(UserProgram, RowsHaveTheSameBitsInAnyNumber) {
  const ThreadRanks ranks(GetParam());
  const BlockCase c{90, 48, 77, TW_FP32, TW_BF16, Places::kProgram};
  const Block block(ranks, c);
  std::vector<std::vector<char>> first;
  for (const uint32_t rows : {1u, 2u, 31u, 64u, 90u}) {
    block.run(90, 5);
    first.push_back(block.part(0).results(rows));
  }
  size_t i = 0;
  for (const uint32_t rows : {1u, 2u, 31u, 64u, 90u}) {
    block.run(rows, 5);
    for (size_t r = 0; r < block.size(); ++r)
      EXPECT_EQ(block.part(r).results(rows), first[i]) << rows << " rows, rank " << r;
    if (rows < 90) {
      EXPECT_NE(block.part(0).results(90), first.back()) << "rows beyond were computed";
    }
    ++i;
  }
}

TEST_P(UserProgram, SeveralBlocksAndQueues) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.workers = 3;
  config.max_blocks = 3;
  const ThreadRanks ranks(GetParam(), &config);
  const BlockCase c{80, 48, 77, TW_FP32, TW_BF16, Places::kWindow};
  const Block block(ranks, c);
  block.run(80, 9);
  expect_right(block, 80);
  const std::vector<char> inline_results = block.part(0).results(80);
  block.each([&](size_t r) {
    tw_stream_t stream;
    ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK) << tw_last_error();
    block.part(r).fill(9);
    for (const uint32_t rows : {3u, 80u, 17u})
      EXPECT_EQ(tw_program_launch(block.part(r).program(), rows, stream), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_destroy(stream), TW_OK) << tw_last_error();
  });
  for (size_t r = 0; r < block.size(); ++r)
    EXPECT_EQ(block.part(r).results(80), inline_results) << "rank " << r;
}

TEST(UserProgramCounts, OneLaunch) {
  const ThreadRanks ranks(2);
  const Block block(ranks, {20, 40, 50, TW_FP32, TW_BF16, Places::kLocal});
  tw_program_counts_t before = TW_PROGRAM_COUNTS_INIT, after = TW_PROGRAM_COUNTS_INIT;
  ASSERT_EQ(tw_program_get_counts(block.part(1).program(), &before), TW_OK) << tw_last_error();
  block.run(20, 1);
  ASSERT_EQ(tw_program_get_counts(block.part(1).program(), &after), TW_OK) << tw_last_error();
  EXPECT_EQ(after.launches, before.launches + 1);
  EXPECT_GT(after.instructions, 8u);
  EXPECT_EQ(after.all_instructions, 2 * after.instructions);
  EXPECT_GT(after.signals, 0u);
  EXPECT_GT(after.bytes, 4096u);

  size_t needed = 0;
  ASSERT_EQ(tw_program_describe(block.part(1).program(), nullptr, 0, &needed), TW_OK);
  std::string text(needed, '\0');
  ASSERT_EQ(tw_program_describe(block.part(1).program(), text.data(), needed, &needed), TW_OK);
  EXPECT_EQ(static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n')),
            after.all_instructions);
  EXPECT_NE(text.find("instruction 0 (rms_norm, device 0); reads x rows 0"), std::string::npos)
      << text.substr(0, 200);
}

/// Of every program, each wait is needed: without it the check names two instructions.
TEST(UserProgramCheck, RefusesAProgramWithoutAnyOfItsWaits) {
  for (const int n : {1, 2, 3}) {
    const ThreadRanks ranks(n);
    for (const BlockCase& c : {BlockCase{5, 33, 40, TW_BF16, TW_BF16, Places::kWindow},
                               BlockCase{70, 40, 50, TW_FP32, TW_FP32, Places::kProgram}}) {
      const Block block(ranks, c);
      ASSERT_EQ(tw_program_check(block.part(0).program()), TW_OK) << tw_last_error();
      const Program whole = (*api::pin(block.part(0).program())).program.program();
      size_t tried = 0;
      for (size_t i = 0; i < whole.instructions.size(); ++i)
        for (size_t w = 0; w < whole.instructions[i].waits.size(); ++w, ++tried) {
          Program changed = whole;
          changed.instructions[i].waits.erase(changed.instructions[i].waits.begin() +
                                              static_cast<ptrdiff_t>(w));
          try {
            check_program(changed);
            ADD_FAILURE() << whole.name_of(static_cast<int>(i)) << " without wait " << w;
          } catch (const Error& error) {
            const std::string says = error.what();
            EXPECT_EQ(error.status(), TW_ERROR_INVALID_ARGUMENT);
            EXPECT_NE(says.find("instruction "), std::string::npos) << says;
          }
        }
      EXPECT_GT(tried, 10u);
    }
  }
}

/// tw_program_check itself looks at what is built.
TEST(UserProgramCheck, NamesTheTwoInstructions) {
  const ThreadRanks ranks(2);
  const Block block(ranks, {5, 33, 40, TW_BF16, TW_BF16, Places::kWindow});
  const auto pinned = api::pin(block.part(0).program());
  auto& program = const_cast<Program&>((*pinned).program.program());
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    if (program.instructions[i].waits.empty()) continue;
    const std::vector<Wait> waits = std::exchange(program.instructions[i].waits, {});
    EXPECT_EQ(tw_program_check(block.part(0).program()), TW_ERROR_INVALID_ARGUMENT);
    const std::string says = tw_last_error();
    EXPECT_NE(says.find(program.name_of(static_cast<int>(i)) + " does not wait for instruction "),
              std::string::npos)
        << says;
    program.instructions[i].waits = waits;
    break;
  }
  EXPECT_EQ(tw_program_check(block.part(0).program()), TW_OK) << tw_last_error();
}

TEST(UserProgramTrace, HasEveryInstructionOfAllRanks) {
  const ThreadRanks ranks(2);
  const Block block(ranks, {20, 40, 50, TW_FP32, TW_BF16, Places::kLocal});
  const std::string path = ::testing::TempDir() + "user_program_trace.json";
  block.each([&](size_t r) {
    EXPECT_EQ(tw_program_write_trace(block.part(r).program(), path.c_str()),
              TW_ERROR_INVALID_STATE);
    EXPECT_NE(std::string(tw_last_error()).find("tracing"), std::string::npos) << tw_last_error();
    EXPECT_EQ(tw_program_set_tracing(block.part(r).program(), 1), TW_OK) << tw_last_error();
  });
  block.run(20, 1);
  block.each([&](size_t r) {
    EXPECT_EQ(tw_program_write_trace(block.part(r).program(), path.c_str()), TW_OK)
        << tw_last_error();
  });
  std::ifstream file(path);
  const nlohmann::json whole = nlohmann::json::parse(file);
  tw_program_counts_t counts = TW_PROGRAM_COUNTS_INIT;
  ASSERT_EQ(tw_program_get_counts(block.part(0).program(), &counts), TW_OK);
  uint64_t work[2] = {};
  std::set<std::string> names;
  for (const auto& event : whole["traceEvents"]) {
    if (event["cat"] == "work") ++work[event["pid"].get<int>()];
    names.insert(event["name"].get<std::string>());
  }
  EXPECT_EQ(work[0], counts.instructions);
  EXPECT_EQ(work[1], counts.instructions);
  for (const char* name : {"rms_norm", "gemm", "gemm_all_reduce", "gemm_all_reduce: sum", "out",
                           "swiglu", "add", "copy", "take"})
    EXPECT_EQ(names.count(name), 1u) << name;
  std::remove(path.c_str());
}

TEST(UserProgramMismatch, RowsOfALaunch) {
  const ThreadRanks ranks(2);
  const Block block(ranks, {20, 40, 50, TW_FP32, TW_BF16, Places::kProgram});
  std::atomic<int> named{0};
  block.each([&](size_t r) {
    const tw_status_t status = tw_program_launch(block.part(r).program(), r == 0 ? 7 : 9, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    const std::string says = tw_last_error();
    named += says.find("rows 7") != std::string::npos && says.find("rows 9") != std::string::npos;
    EXPECT_EQ(tw_program_launch(block.part(r).program(), 7, nullptr), TW_ERROR_MISMATCH);
  });
  EXPECT_EQ(named, 2);
}

// ---- Own ops ----

void checked(tw_status_t status, const char* call) {
  if (status == TW_OK) return;
  ADD_FAILURE() << call << ": " << tw_last_error();
  std::abort();
}
#define CHECKED_OK(call) checked(call, #call)

/// Every rank takes rows of the next one's x, times 3, and doubles what it got by a library op.
class OwnOp {
 public:
  static constexpr uint32_t kRows = 10;
  static constexpr size_t kCols = 24, kBytes = kRows * kCols * sizeof(float);

  OwnOp(tw_comm_t comm, int rank, int size) : rank_(rank) {
    CHECKED_OK(tw_window_create(comm, 3 * kBytes, &window_));
    tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
    config.rows = kRows;
    config.kernel = &user_program_kernel;
    CHECKED_OK(tw_program_create(comm, &config, &program_));
    int tensors[3];
    for (size_t t = 0; t < 3; ++t) {
      tw_tensor_t tensor = TW_TENSOR_INIT;
      tensor.type = TW_FP32;
      tensor.rows = kRows;
      tensor.cols = kCols;
      tensor.window = window_;
      tensor.offset = t * kBytes;
      CHECKED_OK(tw_program_add_tensor(program_, &tensor, &tensors[t]));
    }
    CHECKED_OK(tw_window_get_view(window_, &args_.window));
    args_.from = 0;
    args_.to = kBytes;
    args_.n = kCols;
    args_.by = 3;
    // x is made by the program too, so that what is taken must be waited for.
    CHECKED_OK(tw_program_add(program_, tensors[0], tensors[0], tensors[0]));
    tw_program_op_t op = TW_PROGRAM_OP_INIT;
    op.name = "take times";
    op.args = &args_;
    op.args_bytes = sizeof args_;
    CHECKED_OK(tw_program_add_op(program_, &op, &op_));
    const int next = (rank + 1) % size;
    for (uint32_t i = 0; i < kRows; i += 4) {
      const uint32_t rows = std::min(4u, kRows - i), at[4] = {i, rows, static_cast<uint32_t>(next)};
      const tw_program_access_t accesses[] = {{tensors[0], next, 0, i, rows, 0, kCols},
                                              {tensors[1], rank, 1, i, rows, 0, kCols}};
      CHECKED_OK(tw_program_add_instruction(program_, op_, at, accesses, 2));
    }
    CHECKED_OK(tw_program_add(program_, tensors[1], tensors[1], tensors[2]));
    CHECKED_OK(tw_program_build(program_));
  }
  OwnOp(const OwnOp&) = delete;
  OwnOp& operator=(const OwnOp&) = delete;
  ~OwnOp() {
    EXPECT_EQ(tw_program_destroy(program_), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error();
  }

  float* tensor(size_t t) const {
    void* data;
    CHECKED_OK(tw_window_ptr(window_, rank_, &data));
    return static_cast<float*>(data) + t * kRows * kCols;
  }
  void fill() const {
    for (size_t i = 0; i < kRows * kCols; ++i) {
      tensor(0)[i] = value(rank_, i);
      tensor(1)[i] = tensor(2)[i] = -1;
    }
  }
  static float value(int rank, size_t i) {
    return static_cast<float>(i + 1000 * static_cast<size_t>(rank));
  }
  void expect(int next, float by) const {
    for (size_t i = 0; i < kRows * kCols; ++i)
      ASSERT_EQ(tensor(2)[i], 4 * by * value(next, i)) << "rank " << rank_ << " element " << i;
  }
  tw_program_t program() const { return program_; }
  void set_factor(float by) {
    args_.by = by;
    CHECKED_OK(tw_program_set_args(program_, op_, &args_));
  }

 private:
  const int rank_;
  tw_window_t window_ = nullptr;
  tw_program_t program_ = nullptr;
  int op_ = -1;
  TakeTimes args_{};
};

TEST_P(UserProgram, RunsOpsOfTheUsersOwn) {
  const ThreadRanks ranks(GetParam());
  ranks.run([&](int rank, tw_comm_t comm) {
    OwnOp own(comm, rank, ranks.size());
    const int next = (rank + 1) % ranks.size();
    for (int run = 0; run < 3; ++run) {
      own.fill();
      launch(own.program(), 0);
      own.expect(next, 3);
    }
    own.set_factor(5);
    own.fill();
    launch(own.program(), 0);
    own.expect(next, 5);
    EXPECT_EQ(tw_program_check(own.program()), TW_OK) << tw_last_error();
  });
}

// ---- What is refused when it is built or run ----

/// A program of one add, which `change` changes; what build says on each rank.
struct Built {
  tw_status_t status[2];
  std::string says[2];
};
struct Parts {
  tw_tensor_t x = TW_TENSOR_INIT, y = TW_TENSOR_INIT;
  tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
  tw_window_t window = nullptr;
  bool norm = false;
  bool more = false;
};
Built build(const std::function<void(int rank, Parts*)>& change) {
  const ThreadRanks ranks(2);
  Built built{};
  ranks.run([&](int rank, tw_comm_t comm) {
    Parts parts;
    CHECKED_OK(tw_window_create(comm, 4096, &parts.window));
    parts.x.cols = parts.y.cols = 8;
    parts.x.name = "x";
    parts.y.name = "y";
    parts.config.rows = 4;
    change(rank, &parts);
    tw_program_t program;
    CHECKED_OK(tw_program_create(comm, &parts.config, &program));
    int x, y;
    CHECKED_OK(tw_program_add_tensor(program, &parts.x, &x));
    CHECKED_OK(tw_program_add_tensor(program, &parts.y, &y));
    const std::vector<uint16_t> weight(parts.x.cols);
    if (parts.norm)
      CHECKED_OK(tw_program_rms_norm(program, x, weight.data(), 0, y));
    else
      CHECKED_OK(tw_program_add(program, x, x, y));
    if (parts.more) CHECKED_OK(tw_program_add(program, x, x, y));
    built.status[rank] = tw_program_build(program);
    built.says[rank] = tw_last_error();
    // The comm is well, and nothing was built.
    if (built.status[rank] != TW_OK) {
      EXPECT_EQ(tw_program_launch(program, 0, nullptr), TW_ERROR_INVALID_STATE);
    }
    EXPECT_EQ(tw_barrier(comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_program_destroy(program), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_window_destroy(parts.window), TW_OK) << tw_last_error();
  });
  return built;
}

void expect_mismatch(const Built& built, const std::vector<std::string>& says) {
  for (const int rank : {0, 1}) {
    EXPECT_EQ(built.status[rank], TW_ERROR_MISMATCH) << built.says[rank];
    for (const std::string& text : says)
      EXPECT_NE(built.says[rank].find(text), std::string::npos)
          << '"' << built.says[rank] << "\" does not say \"" << text << '"';
  }
}

TEST(UserProgramMismatch, DeclarationsOfTheRanksAreCompared) {
  EXPECT_EQ(build([](int, Parts*) {}).status[0], TW_OK);
  expect_mismatch(build([](int rank, Parts* p) { p->config.rows = rank == 0 ? 4 : 5; }),
                  {"config.rows", "4 on rank 0", "5 on rank 1"});
  expect_mismatch(build([](int rank, Parts* p) { p->x.type = rank == 0 ? TW_BF16 : TW_FP16; }),
                  {"tensor 0", "TW_BF16", "TW_FP16"});
  expect_mismatch(build([](int rank, Parts* p) { p->x.name = rank == 0 ? "x" : "other"; }),
                  {"tensor 0", "\"x\"", "\"other\""});
  expect_mismatch(build([](int rank, Parts* p) { p->x.rows = p->y.rows = rank == 0 ? 0 : 4; }),
                  {"tensor 0", "up to 4 rows", "fixed"});
  expect_mismatch(build([](int rank, Parts* p) {
                    if (rank == 1) p->y.window = p->window;
                  }),
                  {"tensor 1", "the program's memory", "a window"});
  expect_mismatch(build([](int rank, Parts* p) {
                    p->y.window = p->window;
                    p->y.offset = rank == 1 ? 128 : 0;
                  }),
                  {"tensor 1", "a window at"});
  expect_mismatch(build([](int rank, Parts* p) { p->norm = rank == 1; }),
                  {"op 0", "add \"add\" (x, x -> y", "rms_norm"});
  expect_mismatch(build([](int rank, Parts* p) { p->more = rank == 1; }), {"op 1", "none", "add"});
  // Columns may differ.
  EXPECT_EQ(build([](int rank, Parts* p) { p->x.cols = p->y.cols = rank == 0 ? 8 : 3; }).status[1],
            TW_OK);
}

TEST(UserProgramErrors, SumsOfOtherWidths) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
    tw_program_t program;
    CHECKED_OK(tw_program_create(comm, &config, &program));
    const auto add = [&](size_t cols) {
      tw_tensor_t tensor = TW_TENSOR_INIT;
      tensor.cols = cols;
      int number;
      CHECKED_OK(tw_program_add_tensor(program, &tensor, &number));
      return number;
    };
    tw_gemm_args_t b = TW_GEMM_ARGS_INIT;
    const std::vector<uint16_t> plain(64);
    b.n = rank == 0 ? 5 : 6;
    b.k = 4;
    b.b = plain.data();
    alignas(64) char packed[8192];
    size_t bytes;
    CHECKED_OK(tw_packed_bytes(&b, comm, &bytes));
    ASSERT_LE(bytes, sizeof packed);
    CHECKED_OK(tw_pack_weights(&b, packed, bytes, comm, nullptr));
    tw_program_gemm_t sum = TW_PROGRAM_GEMM_INIT;
    sum.a = add(4);
    sum.c = add(b.n);
    sum.b_packed = packed;
    CHECKED_OK(tw_program_gemm_all_reduce(program, &sum));
    EXPECT_EQ(tw_program_build(program), TW_ERROR_INVALID_ARGUMENT);
    const std::string says = tw_last_error();
    EXPECT_TRUE(says.find("5 columns") != std::string::npos &&
                says.find("6 on rank 1") != std::string::npos)
        << says;
    EXPECT_EQ(tw_program_destroy(program), TW_OK) << tw_last_error();
  });
}

/// A part of a tensor that another rank does not have is found when it is built, on all ranks.
TEST(UserProgramErrors, AccessesBeyondAnotherRanksTensor) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
    config.kernel = &user_program_kernel;
    tw_program_t program;
    CHECKED_OK(tw_program_create(comm, &config, &program));
    tw_tensor_t tensor = TW_TENSOR_INIT;
    tensor.name = "shares";
    tensor.cols = rank == 0 ? 8 : 4;
    int number, op;
    CHECKED_OK(tw_program_add_tensor(program, &tensor, &number));
    tw_program_op_t args = TW_PROGRAM_OP_INIT;
    args.name = "reader";
    CHECKED_OK(tw_program_add_op(program, &args, &op));
    const uint32_t at[4] = {};
    const tw_program_access_t access = {number, 1, 0, 0, 1, 0, rank == 0 ? 5u : 4u};
    CHECKED_OK(tw_program_add_instruction(program, op, at, &access, 1));
    EXPECT_EQ(tw_program_build(program), TW_ERROR_INVALID_ARGUMENT);
    const std::string says = tw_last_error();
    for (const char* text : {"instruction 0 of \"reader\" on rank 0", "\"shares\" of rank 1",
                             "columns 0 + 5", "4 columns"})
      EXPECT_NE(says.find(text), std::string::npos) << says;
    EXPECT_EQ(tw_program_destroy(program), TW_OK) << tw_last_error();
  });
}

TEST(UserProgramErrors, WindowsThatAreGone) {
  const ThreadRanks ranks(1);
  tw_window_t window;
  CHECKED_OK(tw_window_create(ranks.comm(0), 4096, &window));
  tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
  tw_program_t program;
  CHECKED_OK(tw_program_create(ranks.comm(0), &config, &program));
  tw_tensor_t tensor = TW_TENSOR_INIT;
  tensor.cols = 8;
  tensor.window = window;
  int x;
  CHECKED_OK(tw_program_add_tensor(program, &tensor, &x));
  CHECKED_OK(tw_program_add(program, x, x, x));
  CHECKED_OK(tw_program_build(program));
  launch(program, 0);
  CHECKED_OK(tw_window_destroy(window));
  EXPECT_EQ(tw_program_launch(program, 0, nullptr), TW_ERROR_INVALID_HANDLE);
  EXPECT_NE(std::string(tw_last_error()).find("window"), std::string::npos) << tw_last_error();
  EXPECT_EQ(tw_program_destroy(program), TW_OK) << tw_last_error();
}

TEST(UserProgramErrors, AnEndedCommAndALiveProgram) {
  const ThreadRanks ranks(2);
  {
    const Block block(ranks, {5, 33, 40, TW_BF16, TW_BF16, Places::kWindow});
    EXPECT_EQ(tw_comm_destroy(ranks.comm(0)), TW_ERROR_INVALID_STATE);
    EXPECT_NE(std::string(tw_last_error()).find("a program of up to 5 rows"), std::string::npos)
        << tw_last_error();
    EXPECT_EQ(tw_comm_abort(ranks.comm(1)), TW_OK) << tw_last_error();
    block.each([&](size_t r) {
      EXPECT_EQ(tw_program_launch(block.part(r).program(), 0, nullptr), TW_ERROR_ABORTED);
    });
  }  // and destroy is TW_OK
}

/// Two programs on one comm, in turn.
TEST(UserProgramCounts, SeveralOnOneComm) {
  const ThreadRanks ranks(3);
  const Block one(ranks, {20, 40, 50, TW_FP32, TW_BF16, Places::kProgram});
  const Block two(ranks, {70, 24, 31, TW_FP32, TW_FP32, Places::kWindow});
  for (int run = 0; run < 2; ++run) {
    one.run(20, 1);
    two.run(70, 2);
  }
  expect_right(one, 20);
  expect_right(two, 70);
}

}  // namespace
}  // namespace tw::test
