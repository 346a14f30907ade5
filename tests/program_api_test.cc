// The C API of programs as far as it needs no peers: every entry point with every kind of bad
// argument, and in every wrong state.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/support/bad_calls.h"
#include "tests/support/refusal.h"
#include "tilewire/kernels/program_ops.h"
#include "tilewire/kernels/table.h"

namespace tw::test {
namespace {

constexpr uint32_t kRows = 8;
constexpr size_t kHidden = 16, kWide = 24;

/// Runs nothing: what is asked of it is asked before a launch.
void no_entry(const void* /*args*/, int /*block*/, int /*blocks*/) {}

tw_kernel_t kernel_of_programs() {
  tw_kernel_t kernel{};
  kernel.size = sizeof kernel;
  kernel.version = kCommLayoutVersion;
  kernel.name = "mine";
  kernel.args_bytes = sizeof(ProgramArgs);
  kernel.cpu[2] = no_entry;
  return kernel;
}

/// One rank with a program that is being made, one that is built, and one that is gone; their
/// tensors are x, y (rows x 16, bf16), wide (rows x 24, bf16), fixed (3 x 16), and full (x's shape,
/// fp32).
class ProgramApi : public ::testing::Test {
 protected:
  struct Tensors {
    int x, y, wide, fixed, full;
  };

  void SetUp() override {
    ASSERT_EQ(tw_comm_create_all(1, nullptr, &comm_), TW_OK) << tw_last_error();
    weights_ = pack(kHidden, kWide, TW_BF16);
    square_ = pack(kHidden, kHidden, TW_BF16);
    open_ = program(nullptr);
    t_ = add_tensors(open_);
    built_ = program(nullptr);
    add_tensors(built_);
    ASSERT_EQ(tw_program_add(built_, t_.x, t_.y, t_.y), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_program_build(built_), TW_OK) << tw_last_error();
    dead_ = program(nullptr);
    ASSERT_EQ(tw_program_destroy(dead_), TW_OK) << tw_last_error();
    own_ = program(&kernel_);
    add_tensors(own_);
    tw_program_op_t op = TW_PROGRAM_OP_INIT;
    op.args = args_;
    op.args_bytes = sizeof args_;
    ASSERT_EQ(tw_program_add_op(own_, &op, &op_), TW_OK) << tw_last_error();
  }
  void TearDown() override {
    for (const tw_program_t program : {open_, built_, own_})
      EXPECT_EQ(tw_program_destroy(program), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_mem_free(weights_), TW_OK);
    EXPECT_EQ(tw_mem_free(square_), TW_OK);
    EXPECT_EQ(tw_comm_destroy(comm_), TW_OK) << tw_last_error();
  }

  tw_program_t program(const tw_kernel_t* kernel) {
    tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
    config.rows = kRows;
    config.kernel = kernel;
    tw_program_t program = nullptr;
    EXPECT_EQ(tw_program_create(comm_, &config, &program), TW_OK) << tw_last_error();
    return program;
  }
  static int add(tw_program_t program, const char* name, uint32_t rows, size_t cols,
                 tw_type_t type) {
    tw_tensor_t tensor = TW_TENSOR_INIT;
    tensor.name = name;
    tensor.rows = rows;
    tensor.cols = cols;
    tensor.type = type;
    int number = -1;
    EXPECT_EQ(tw_program_add_tensor(program, &tensor, &number), TW_OK) << tw_last_error();
    return number;
  }
  static Tensors add_tensors(tw_program_t program) {
    return {add(program, "x", 0, kHidden, TW_BF16), add(program, "y", 0, kHidden, TW_BF16),
            add(program, "wide", 0, kWide, TW_BF16), add(program, "fixed", 3, kHidden, TW_BF16),
            add(program, "full", 0, kHidden, TW_FP32)};
  }
  void* pack(size_t k, size_t n, tw_type_t type) {
    const std::vector<float> plain(k * n);
    tw_gemm_args_t args = TW_GEMM_ARGS_INIT;
    args.k = k;
    args.n = n;
    args.type = type;
    args.b = plain.data();
    size_t bytes = 0;
    void* packed = nullptr;
    EXPECT_EQ(tw_packed_bytes(&args, comm_, &bytes), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_mem_alloc(bytes, nullptr, &packed), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_pack_weights(&args, packed, bytes, comm_, nullptr), TW_OK) << tw_last_error();
    return packed;
  }

  tw_program_gemm_t good_gemm() const {
    tw_program_gemm_t gemm = TW_PROGRAM_GEMM_INIT;
    gemm.a = t_.x;
    gemm.c = t_.wide;
    gemm.b_packed = weights_;
    return gemm;
  }
  tw_program_gemm_t good_sum() const {
    tw_program_gemm_t sum = TW_PROGRAM_GEMM_INIT;
    sum.a = t_.x;
    sum.c = t_.full;
    sum.b_packed = square_;
    sum.norm_weight = values_;
    sum.normed = t_.y;
    return sum;
  }

  /// A struct with one thing wrong.
  template <class T>
  struct Row {
    std::vector<std::string> says;
    std::function<void(T&)> change;
  };
  template <class T>
  static void expect_all_refused(const T& good, const std::vector<Row<T>>& rows,
                                 const std::function<tw_status_t(const T*)>& call) {
    for (const Row<T>& row : rows) {
      T bad = good;
      row.change(bad);
      expect_refused(call(&bad), kArgument, row.says[0], row.says);
    }
    EXPECT_EQ(call(&good), TW_OK) << tw_last_error();
  }

  tw_comm_t comm_ = nullptr;
  tw_program_t open_ = nullptr, built_ = nullptr, dead_ = nullptr, own_ = nullptr;
  Tensors t_{};
  int op_ = -1;
  void *weights_ = nullptr, *square_ = nullptr;
  float values_[64] = {};
  char args_[24] = {};
  const tw_kernel_t kernel_ = kernel_of_programs();
};

/// Every call on a program, its other arguments good.
struct Call {
  const char* name;
  std::function<tw_status_t(tw_program_t)> call;
  enum Needs { kOpen, kBuilt, kAny } needs;
};

std::vector<Call> calls() {
  static tw_tensor_t tensor = TW_TENSOR_INIT;
  static tw_program_gemm_t gemm = TW_PROGRAM_GEMM_INIT;
  static tw_program_copy_t copy = TW_PROGRAM_COPY_INIT;
  static tw_program_op_t op = TW_PROGRAM_OP_INIT;
  static tw_program_counts_t counts = TW_PROGRAM_COUNTS_INIT;
  static float weight[64];
  static int number;
  static void* pointer;
  static size_t needed;
  static uint32_t at[4];
  static const tw_program_access_t access = {0, 0, 0, 0, 1, 0, 1};
  return {
      {"add_tensor", [](tw_program_t p) { return tw_program_add_tensor(p, &tensor, &number); },
       Call::kOpen},
      {"gemm", [](tw_program_t p) { return tw_program_gemm(p, &gemm); }, Call::kOpen},
      {"gemm_all_reduce", [](tw_program_t p) { return tw_program_gemm_all_reduce(p, &gemm); },
       Call::kOpen},
      {"rms_norm", [](tw_program_t p) { return tw_program_rms_norm(p, 0, weight, 0, 1); },
       Call::kOpen},
      {"swiglu", [](tw_program_t p) { return tw_program_swiglu(p, 0, 1, 1); }, Call::kOpen},
      {"add", [](tw_program_t p) { return tw_program_add(p, 0, 1, 1); }, Call::kOpen},
      {"copy", [](tw_program_t p) { return tw_program_copy(p, &copy); }, Call::kOpen},
      {"add_op", [](tw_program_t p) { return tw_program_add_op(p, &op, &number); }, Call::kOpen},
      {"add_instruction",
       [](tw_program_t p) { return tw_program_add_instruction(p, 0, at, &access, 1); },
       Call::kOpen},
      {"build", [](tw_program_t p) { return tw_program_build(p); }, Call::kOpen},
      {"check", [](tw_program_t p) { return tw_program_check(p); }, Call::kBuilt},
      {"launch", [](tw_program_t p) { return tw_program_launch(p, 0, nullptr); }, Call::kBuilt},
      {"get_counts", [](tw_program_t p) { return tw_program_get_counts(p, &counts); },
       Call::kBuilt},
      {"describe", [](tw_program_t p) { return tw_program_describe(p, nullptr, 0, &needed); },
       Call::kBuilt},
      {"write_trace", [](tw_program_t p) { return tw_program_write_trace(p, "/nonexistent/x"); },
       Call::kBuilt},
      {"tensor_ptr",
       [](tw_program_t p) { return tw_program_tensor_ptr(p, 0, 0, &pointer, nullptr); },
       Call::kBuilt},
      {"set_args", [](tw_program_t p) { return tw_program_set_args(p, 0, weight); }, Call::kAny},
      {"set_tracing", [](tw_program_t p) { return tw_program_set_tracing(p, 0); }, Call::kAny},
      {"destroy", [](tw_program_t p) { return tw_program_destroy(p); }, Call::kAny},
  };
}

TEST_F(ProgramApi, BadHandles) {
  char foreign[64] = {};
  for (const Call& call : calls()) {
    expect_refused(call.call(nullptr), kHandle, call.name, {"program", "NULL"});
    expect_refused(call.call(dead_), kHandle, call.name, {"program", "destroyed"});
    expect_refused(call.call(reinterpret_cast<tw_program_t>(foreign)), kHandle, call.name,
                   {"program"});
    expect_refused(call.call(reinterpret_cast<tw_program_t>(comm_)), kHandle, call.name,
                   {"program"});
  }
}

TEST_F(ProgramApi, WrongStates) {
  for (const Call& call : calls()) {
    if (call.needs == Call::kOpen)
      expect_refused(call.call(built_), kState, call.name, {"is built", "valid before"});
    if (call.needs == Call::kBuilt)
      expect_refused(call.call(open_), kState, call.name, {"not built", "tw_program_build"});
  }
  expect_refused(tw_program_build(open_), kState, "build", {"no ops"});
  tw_program_op_t op = TW_PROGRAM_OP_INIT;
  int number;
  expect_refused(tw_program_add_op(open_, &op, &number), kState, "add_op", {"config.kernel"});
}

TEST_F(ProgramApi, CollectiveCallsAreRefusedInGroups) {
  for (const Call& call : calls()) {
    const std::string name = call.name;
    if (name != "build" && name != "launch" && name != "destroy" && name != "write_trace") continue;
    ASSERT_EQ(tw_group_begin(), TW_OK);
    expect_refused(call.call(call.needs == Call::kBuilt ? built_ : open_), kState, call.name,
                   {"tw_group_begin", "valid"});
    EXPECT_EQ(tw_group_end(), kState) << call.name;
  }
}

TEST_F(ProgramApi, NullPointers) {
  tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
  tw_tensor_t tensor = TW_TENSOR_INIT;
  tw_program_op_t op = TW_PROGRAM_OP_INIT;
  tw_program_t made = nullptr;
  int number;
  size_t needed;
  char text[8];
  const uint32_t at[4] = {};
  const auto refused = [&](tw_status_t got, const char* says) {
    expect_refused(got, kArgument, says, {says, "NULL", "valid"});
  };
  refused(tw_program_create(comm_, nullptr, &made), "config");
  refused(tw_program_create(comm_, &config, nullptr), "program");
  refused(tw_program_add_tensor(open_, nullptr, &number), "tensor");
  refused(tw_program_add_tensor(open_, &tensor, nullptr), "number");
  refused(tw_program_tensor_ptr(built_, 0, 0, nullptr, nullptr), "ptr");
  refused(tw_program_gemm(open_, nullptr), "args");
  refused(tw_program_gemm_all_reduce(open_, nullptr), "args");
  refused(tw_program_rms_norm(open_, t_.x, nullptr, 0, t_.y), "weight");
  refused(tw_program_copy(open_, nullptr), "args");
  refused(tw_program_add_op(own_, nullptr, &number), "args");
  refused(tw_program_add_op(own_, &op, nullptr), "op");
  op.args_bytes = 8;
  refused(tw_program_add_op(own_, &op, &number), "args.args");
  refused(tw_program_add_instruction(own_, op_, nullptr, nullptr, 0), "at");
  refused(tw_program_add_instruction(own_, op_, at, nullptr, 1), "accesses");
  refused(tw_program_set_args(own_, op_, nullptr), "args");
  refused(tw_program_get_counts(built_, nullptr), "counts");
  refused(tw_program_describe(built_, text, sizeof text, nullptr), "needed");
  refused(tw_program_describe(built_, nullptr, 8, &needed), "text");
  refused(tw_program_write_trace(built_, nullptr), "path");
}

TEST_F(ProgramApi, BadConfigs) {
  tw_program_config_t good = TW_PROGRAM_CONFIG_INIT;
  expect_refused(tw_program_create(nullptr, &good, &dead_), kHandle, "create", {"comm"});
  std::vector<tw_program_t> made;
  expect_all_refused<tw_program_config_t>(
      good,
      {{{"rows", "0", "1 to 65536"}, [](auto& c) { c.rows = 0; }},
       {{"rows", "65537"}, [](auto& c) { c.rows = 65537; }},
       {{"config.row ", "valid"}, [](auto& c) { c.row = SIZE_MAX; }},
       {{"scratch", "valid"}, [](auto& c) { c.scratch = SIZE_MAX; }},
       {{"size", "valid"}, [](auto& c) { c.size = 3; }}},
      [&](const tw_program_config_t* config) {
        tw_program_t program;
        const tw_status_t status = tw_program_create(comm_, config, &program);
        if (status == TW_OK) made.push_back(program);
        return status;
      });
  for (const tw_program_t program : made) EXPECT_EQ(tw_program_destroy(program), TW_OK);

  const auto with = [&](const std::function<void(tw_kernel_t&)>& change) {
    tw_kernel_t kernel = kernel_;
    change(kernel);
    tw_program_config_t config = TW_PROGRAM_CONFIG_INIT;
    config.kernel = &kernel;
    tw_program_t program;
    return tw_program_create(comm_, &config, &program);
  };
  expect_refused(with([](auto& k) { k.args_bytes = 8; }), kArgument, "args_bytes",
                 {"argument struct of a program", std::to_string(sizeof(ProgramArgs)), "mine"});
  expect_refused(with([](auto& k) { k.version += 1; }), kArgument, "version", {"layout version"});
  expect_refused(with([](auto& k) { k.size = 8; }), kArgument, "size", {"kernel->size = 8"});
  expect_refused(with([](auto& k) { k.cpu[2] = nullptr; }), TW_ERROR_UNSUPPORTED, "target",
                 {"mine", "not built"});
}

TEST_F(ProgramApi, BadTensors) {
  tw_tensor_t good = TW_TENSOR_INIT;
  good.name = "t";
  good.cols = 4;
  good.type = TW_FP32;
  good.stride = 6;
  good.data = values_;
  good.rows = 2;
  const std::string long_name(32, 'n');
  expect_all_refused<tw_tensor_t>(
      good,
      {{{"type", "-1", "TW_BF16"}, [](auto& t) { t.type = type_of(-1); }},
       {{"type", "9", "TW_BF16"}, [](auto& t) { t.type = TW_FP64; }},
       {{"rows", "4294967295"}, [](auto& t) { t.rows = UINT32_MAX; }},
       {{"cols", "4294967296"},
        [](auto& t) {
          t.cols = size_t{1} << 32;
          t.stride = 0;
        }},
       {{"cols", "valid: 0 to 16777216"},
        [](auto& t) {
          t.rows = 65536;
          t.cols = size_t{1} << 25;
          t.stride = 0;
          t.data = nullptr;
        }},
       {{"stride", "3", "4"}, [](auto& t) { t.stride = 3; }},
       {{"stride", "valid"}, [](auto& t) { t.stride = SIZE_MAX; }},
       {{"offset", "4", "without a window"}, [](auto& t) { t.offset = 4; }},
       {{"data", "aligned to 4"}, [&](auto& t) { t.data = reinterpret_cast<char*>(values_) + 2; }},
       {{"stride", "6", "program's own"}, [](auto& t) { t.data = nullptr; }},
       {{"name", "32 bytes", "31"}, [&](auto& t) { t.name = long_name.c_str(); }},
       {{"name", "quotes"}, [](auto& t) { t.name = "a\"b"; }}},
      [&](const tw_tensor_t* tensor) {
        int number;
        return tw_program_add_tensor(open_, tensor, &number);
      });
}

TEST_F(ProgramApi, TensorsInWindows) {
  tw_window_t window, gone;
  ASSERT_EQ(tw_window_create(comm_, 1024, &window), TW_OK);
  ASSERT_EQ(tw_window_create(comm_, 64, &gone), TW_OK);
  ASSERT_EQ(tw_window_destroy(gone), TW_OK);
  tw_comm_t other_comm;
  tw_window_t other;
  ASSERT_EQ(tw_comm_create_all(1, nullptr, &other_comm), TW_OK);
  ASSERT_EQ(tw_window_create(other_comm, 1024, &other), TW_OK);
  tw_tensor_t tensor = TW_TENSOR_INIT;
  tensor.rows = 4;
  tensor.cols = 8;
  tensor.stride = 32;
  int number;
  const auto refused = [&](tw_status_t status, const std::vector<std::string>& says) {
    expect_refused(tw_program_add_tensor(open_, &tensor, &number), status, says[0], says);
  };
  tensor.window = gone;
  refused(kHandle, {"window", "destroyed"});
  tensor.window = other;
  refused(kArgument, {"window", "of the program's comm"});
  tensor.window = window;
  tensor.data = values_;
  refused(kArgument, {"window", "data", "one of them"});
  tensor.data = nullptr;
  tensor.offset = 1;
  refused(kArgument, {"offset", "multiple of 2"});
  tensor.offset = 1024;
  refused(kArgument, {"1024"});
  tensor.offset = 818;  // the last row would end at 1026
  refused(kArgument, {"1024"});
  tensor.offset = 16;
  EXPECT_EQ(tw_program_add_tensor(open_, &tensor, &number), TW_OK) << tw_last_error();
  tensor.offset = 30;
  refused(kArgument, {"overlaps", "disjoint"});
  tensor.offset = 32;  // the columns beside them
  EXPECT_EQ(tw_program_add_tensor(open_, &tensor, &number), TW_OK) << tw_last_error();
  tensor.offset = 48;
  tensor.stride = 24;
  refused(kArgument, {"overlaps"});
  EXPECT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_window_destroy(other), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_comm_destroy(other_comm), TW_OK) << tw_last_error();
}

TEST_F(ProgramApi, BadProducts) {
  float nothing[64] = {};
  char* const odd = reinterpret_cast<char*>(values_) + 1;
  expect_all_refused<tw_program_gemm_t>(
      good_gemm(),
      {{{"args.a", "-1", "0 to 4"}, [](auto& g) { g.a = TW_NO_TENSOR; }},
       {{"args.a", "5", "0 to 4"}, [](auto& g) { g.a = 5; }},
       {{"args.c", "-7"}, [](auto& g) { g.c = -7; }},
       {{"args.c", "another tensor"}, [](auto& g) { g.c = g.a; }},
       {{"args.c", "fixed", "3 rows"}, [&](auto& g) { g.c = t_.fixed; }},
       {{"args.b_packed", "NULL"}, [](auto& g) { g.b_packed = nullptr; }},
       {{"args.b_packed", "tw_pack_weights"},
        [&](auto& g) {
          g.b_packed =
              reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(nothing) + 63) / 64 * 64);
        }},
       {{"args.b_packed", "aligned"}, [&](auto& g) { g.b_packed = odd; }},
       {{"args.b_packed", "16 x 16", "16 x 24"}, [&](auto& g) { g.b_packed = square_; }},
       {{"args.b_packed", "16 x 48"}, [](auto& g) { g.activation = TW_SWIGLU; }},
       {{"args.bias", "aligned"}, [&](auto& g) { g.bias = odd; }},
       {{"args.activation", "5"}, [](auto& g) { g.activation = static_cast<tw_activation_t>(5); }},
       {{"args.residual", "99"}, [](auto& g) { g.residual = 99; }},
       {{"args.residual", "16", "24"}, [&](auto& g) { g.residual = t_.y; }},
       {{"partial_type", "8"}, [](auto& g) { g.partial_type = TW_FP32; }},
       {{"norm_weight", "not use"}, [&](auto& g) { g.norm_weight = values_; }},
       {{"normed", "not use"}, [&](auto& g) { g.normed = t_.y; }},
       {{"size", "valid"}, [](auto& g) { g.size = 1; }}},
      [&](const tw_program_gemm_t* args) { return tw_program_gemm(open_, args); });
}

TEST_F(ProgramApi, BadSums) {
  char* const odd = reinterpret_cast<char*>(values_) + 1;
  expect_all_refused<tw_program_gemm_t>(
      good_sum(),
      {{{"args.activation", "4", "0 to 3"}, [](auto& g) { g.activation = TW_SWIGLU; }},
       {{"args.partial_type", "7", "TW_FP32"}, [](auto& g) { g.partial_type = TW_BF16; }},
       {{"args.residual", "TW_BF16", "TW_FP32"}, [&](auto& g) { g.residual = t_.y; }},
       {{"norm_weight", "normed", "both"}, [](auto& g) { g.norm_weight = nullptr; }},
       {{"norm_weight", "normed", "both"}, [](auto& g) { g.normed = TW_NO_TENSOR; }},
       {{"args.normed", "another tensor than args.c"}, [](auto& g) { g.normed = g.c; }},
       {{"args.normed", "another tensor than args.a"}, [](auto& g) { g.normed = g.a; }},
       {{"args.normed", "24", "16"}, [&](auto& g) { g.normed = t_.wide; }},
       {{"norm_eps", "-1"}, [](auto& g) { g.norm_eps = -1; }},
       {{"norm_eps", "nan"}, [](auto& g) { g.norm_eps = std::nanf(""); }},
       {{"norm_weight", "aligned"}, [&](auto& g) { g.norm_weight = odd; }}},
      [&](const tw_program_gemm_t* args) { return tw_program_gemm_all_reduce(open_, args); });
}

TEST_F(ProgramApi, BadRowOps) {
  const auto refused = [&](tw_status_t got, const std::vector<std::string>& says) {
    expect_refused(got, kArgument, says[0], says);
  };
  refused(tw_program_rms_norm(open_, -1, values_, 0, t_.y), {"x = -1", "0 to 4"});
  refused(tw_program_rms_norm(open_, t_.x, values_, 0, 77), {"y = 77"});
  refused(tw_program_rms_norm(open_, t_.x, values_, 0, t_.wide),
          {"y, tensor \"wide\"", "24", "16"});
  refused(tw_program_rms_norm(open_, t_.x, values_, 0, t_.fixed),
          {"y, tensor \"fixed\"", "3 rows"});
  refused(tw_program_rms_norm(open_, t_.x, values_, HUGE_VALF, t_.y), {"eps", "inf"});
  refused(tw_program_rms_norm(open_, t_.x, reinterpret_cast<char*>(values_) + 1, 0, t_.y),
          {"weight", "aligned"});
  refused(tw_program_swiglu(open_, 9, t_.x, t_.y), {"gate = 9"});
  refused(tw_program_swiglu(open_, t_.x, t_.wide, t_.y), {"up, tensor \"wide\""});
  refused(tw_program_swiglu(open_, t_.x, t_.x, t_.wide), {"y, tensor \"wide\""});
  refused(tw_program_add(open_, -2, t_.x, t_.y), {"x = -2"});
  refused(tw_program_add(open_, t_.x, 8, t_.y), {"addend = 8"});
  refused(tw_program_add(open_, t_.x, t_.y, t_.fixed), {"y, tensor \"fixed\""});
  EXPECT_EQ(tw_program_rms_norm(open_, t_.x, values_, 0, t_.full), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_program_swiglu(open_, t_.full, t_.y, t_.x), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_program_add(open_, t_.full, t_.y, t_.x), TW_OK) << tw_last_error();

  tw_program_copy_t copy = TW_PROGRAM_COPY_INIT;
  copy.x = t_.fixed;
  copy.y = t_.wide;
  copy.to_row = 5;
  copy.to_col = 8;
  expect_all_refused<tw_program_copy_t>(
      copy,
      {{{"args.x", "-1"}, [](auto& c) { c.x = -1; }},
       {{"args.y", "40"}, [](auto& c) { c.y = 40; }},
       {{"args.y", "another tensor"}, [](auto& c) { c.y = c.x; }},
       {{"to_rank", "1"}, [](auto& c) { c.to_rank = 1; }},
       {{"to_rank", "-2"}, [](auto& c) { c.to_rank = -2; }},
       {{"to_row", "6", "8 rows"}, [](auto& c) { c.to_row = 6; }},
       {{"to_row", "4294967295"}, [](auto& c) { c.to_row = UINT32_MAX; }},
       {{"to_col", "valid"}, [](auto& c) { c.to_col = SIZE_MAX; }},
       {{"name"}, [](auto& c) { c.name = "a\nb"; }}},
      [&](const tw_program_copy_t* args) { return tw_program_copy(open_, args); });
  copy.to_col = 9;  // columns are told when it is built
  EXPECT_EQ(tw_program_copy(open_, &copy), TW_OK) << tw_last_error();
  expect_refused(tw_program_build(open_), kArgument, "build",
                 {"\"copy\"", "columns 9 + 16", "\"wide\"", "24 columns"});
}

TEST_F(ProgramApi, BadOwnOps) {
  tw_program_op_t op = TW_PROGRAM_OP_INIT;
  op.args = args_;
  op.args_bytes = sizeof args_;
  expect_all_refused<tw_program_op_t>(
      op,
      {{{"own_op", "64", "0 to 63"}, [](auto& o) { o.own_op = 64; }},
       {{"args_bytes", "4097", "4096"}, [](auto& o) { o.args_bytes = 4097; }}},
      [&](const tw_program_op_t* args) {
        int number;
        return tw_program_add_op(own_, args, &number);
      });
  const uint32_t at[4] = {};
  tw_program_access_t good = {t_.x, 0, 1, 2, 6, 3, 13};
  for (const int bad : {-1, 2, 99})
    expect_refused(tw_program_add_instruction(own_, bad, at, &good, 1), kArgument, "op",
                   {"op = " + std::to_string(bad), "tw_program_add_op"});
  EXPECT_EQ(tw_program_add(own_, t_.x, t_.y, t_.y), TW_OK);
  expect_refused(tw_program_add_instruction(own_, 2, at, &good, 1), kArgument, "op", {"op = 2"});
  expect_refused(tw_program_set_args(own_, 2, values_), kArgument, "op", {"op = 2"});
  expect_refused(tw_program_add_instruction(own_, op_, at, &good, SIZE_MAX), kArgument, "count",
                 {"count", "valid"});
  expect_all_refused<tw_program_access_t>(
      good,
      {{{"accesses[0].tensor", "-1"}, [](auto& a) { a.tensor = -1; }},
       {{"accesses[0].rank", "1", "0 to 0"}, [](auto& a) { a.rank = 1; }},
       {{"accesses[0].writes", "2"}, [](auto& a) { a.writes = 2; }},
       {{"accesses[0]", "rows 3 + 6", "8 rows"}, [](auto& a) { a.row = 3; }},
       {{"accesses[0]", "valid"}, [](auto& a) { a.row = UINT32_MAX; }},
       {{"accesses[0]", "columns 4 + 13", "16 columns"}, [](auto& a) { a.col = 4; }},
       {{"accesses[0]", "valid"}, [](auto& a) { a.cols = SIZE_MAX; }}},
      [&](const tw_program_access_t* access) {
        return tw_program_add_instruction(own_, op_, at, access, 1);
      });
}

TEST_F(ProgramApi, BadRuns) {
  expect_refused(tw_program_launch(built_, kRows + 1, nullptr), kArgument, "rows",
                 {"rows = 9", "0 to 8"});
  char foreign[64] = {};
  expect_refused(tw_program_launch(built_, 0, reinterpret_cast<tw_stream_t>(foreign)), kHandle,
                 "stream", {"stream"});
  expect_refused(tw_program_set_tracing(built_, 2), kArgument, "on", {"on = 2", "0 to 1"});
  void* pointer;
  expect_refused(tw_program_tensor_ptr(built_, 5, 0, &pointer, nullptr), kArgument, "tensor",
                 {"tensor = 5"});
  expect_refused(tw_program_tensor_ptr(built_, 0, 1, &pointer, nullptr), kArgument, "rank",
                 {"rank = 1"});
  expect_refused(tw_program_write_trace(built_, "/nonexistent/trace"), kState, "trace",
                 {"no launch was traced"});
  ASSERT_EQ(tw_program_set_tracing(built_, 1), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_program_launch(built_, 0, nullptr), TW_OK) << tw_last_error();
  expect_refused(tw_program_write_trace(built_, "/nonexistent/trace"), TW_ERROR_SYSTEM, "trace",
                 {"/nonexistent/trace"});
  size_t stride = 0;
  ASSERT_EQ(tw_program_tensor_ptr(built_, 0, 0, &pointer, &stride), TW_OK) << tw_last_error();
  EXPECT_NE(pointer, nullptr);
  EXPECT_EQ(stride, kHidden);
}

}  // namespace
}  // namespace tw::test
