// Every field of tw_gemm_args_t with every kind of bad value, on every call that takes it: refused
// with field, value and what is valid, before a peer hears of it; the comm works after all of them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tests/support/gemm_call.h"
#include "tests/support/refusal.h"
#include "tilewire/tile/packed.h"
#include "tilewire/tile_device.h"

namespace tw::test {
namespace {

constexpr uint32_t bit(GemmEntry entry) { return 1u << static_cast<int>(entry); }
constexpr uint32_t kAll = 63, kGemm = bit(GemmEntry::kGemm), kGather = bit(GemmEntry::kAllGather),
                   kScatter = bit(GemmEntry::kReduceScatter), kReduce = bit(GemmEntry::kAllReduce),
                   kToAll = bit(GemmEntry::kAllToAll), kNorm = bit(GemmEntry::kNorm),
                   kProducts = kAll - kNorm;

/// Memory that bad arguments may point to.
struct Memory {
  alignas(64) float room[4096];
  size_t sizes[2] = {3, 2};
  size_t bad_sizes[2] = {3, 3};
  size_t huge_sizes[2] = {SIZE_MAX, 6};
};

struct BadField {
  const char* name;
  uint32_t calls;  // where it is refused
  std::vector<std::string> says;
  std::function<void(tw_gemm_args_t&, Memory&)> change;
};

template <class T>
T any(int value) {
  return static_cast<T>(value);
}

using Args = tw_gemm_args_t;

std::vector<BadField> sizes_and_types() {
  return {
      {"m",
       kAll,
       {"args.m", "2147483648", "valid"},
       [](Args& a, Memory&) { a.m = size_t{1} << 31; }},
      {"m, all bits", kAll, {"args.m", "valid"}, [](Args& a, Memory&) { a.m = SIZE_MAX; }},
      {"n", kAll, {"args.n", "valid"}, [](Args& a, Memory&) { a.n = SIZE_MAX; }},
      {"k", kProducts, {"args.k", "valid"}, [](Args& a, Memory&) { a.k = SIZE_MAX; }},
      {"k of no product", kNorm, {"args.k = 7", "valid: 0"}, [](Args& a, Memory&) { a.k = 7; }},
      {"m x n",
       kProducts - kScatter - kGather - kToAll,
       {"args.", "valid"},
       [](Args& a, Memory&) { a.m = a.n = INT32_MAX; }},
      {"type int8",
       kProducts,
       {"args.type = 0", "valid"},
       [](Args& a, Memory&) { a.type = TW_INT8; }},
      {"type fp64",
       kProducts,
       {"args.type = 9", "valid"},
       [](Args& a, Memory&) { a.type = TW_FP64; }},
      {"type -1",
       kProducts,
       {"args.type = -1", "valid"},
       [](Args& a, Memory&) { a.type = any<tw_type_t>(-1); }},
      {"out_type int32",
       kAll,
       {"args.out_type = 2", "valid"},
       [](Args& a, Memory&) { a.out_type = TW_INT32; }},
      {"out_type 99",
       kAll,
       {"args.out_type = 99", "valid"},
       [](Args& a, Memory&) { a.out_type = any<tw_type_t>(99); }},
      {"partial_type fp64",
       kScatter | kReduce,
       {"args.partial_type = 9", "valid"},
       [](Args& a, Memory&) { a.partial_type = TW_FP64; }},
      {"partial_type fp16 of fp32",
       kScatter | kReduce | kNorm,
       {"args.partial_type = 6", "valid"},
       [](Args& a, Memory&) { a.partial_type = TW_FP16; }},
      {"partial_type of no sum",
       kGemm | kGather | kToAll,
       {"args.partial_type = 8", "valid: 0"},
       [](Args& a, Memory&) { a.partial_type = TW_FP32; }},
      {"activation -1",
       kAll,
       {"args.activation = -1", "valid"},
       [](Args& a, Memory&) { a.activation = any<tw_activation_t>(-1); }},
      {"activation 5",
       kAll,
       {"args.activation = 5", "valid"},
       [](Args& a, Memory&) { a.activation = any<tw_activation_t>(5); }},
      {"swiglu",
       kScatter | kReduce | kToAll,
       {"args.activation = 4", "valid"},
       [](Args& a, Memory&) { a.activation = TW_SWIGLU; }},
      {"activation of a norm",
       kNorm,
       {"args.activation = 1", "valid: 0"},
       [](Args& a, Memory&) { a.activation = TW_GELU; }},
      {"max_blocks -1",
       kAll,
       {"args.max_blocks = -1", "valid"},
       [](Args& a, Memory&) { a.max_blocks = -1; }},
      {"max_blocks 65",
       kAll,
       {"args.max_blocks = 65", "valid"},
       [](Args& a, Memory&) { a.max_blocks = 65; }},
      {"size 0", kAll, {"size = 0"}, [](Args& a, Memory&) { a.size = 0; }},
      {"size garbage", kAll, {"size"}, [](Args& a, Memory&) { a.size = SIZE_MAX; }},
  };
}

std::vector<BadField> operands() {
  return {
      {"a NULL", kAll, {"args.a is NULL", "valid"}, [](Args& a, Memory&) { a.a = nullptr; }},
      {"a at the end",
       kAll,
       {"args.a", "address space"},
       [](Args& a, Memory&) { a.a = reinterpret_cast<void*>(UINTPTR_MAX - 3); }},
      {"a_stride", kAll, {"args.a_stride = 2", "valid"}, [](Args& a, Memory&) { a.a_stride = 2; }},
      {"a_stride huge",
       kAll,
       {"args.a_stride", "valid"},
       [](Args& a, Memory&) { a.a_stride = SIZE_MAX; }},
      {"a_transposed 2",
       kAll,
       {"args.a_transposed = 2", "valid"},
       [](Args& a, Memory&) { a.a_transposed = 2; }},
      {"b NULL", kProducts, {"args.b is NULL", "valid"}, [](Args& a, Memory&) { a.b = nullptr; }},
      {"b_stride",
       kProducts,
       {"args.b_stride = 1", "valid"},
       [](Args& a, Memory&) { a.b_stride = 1; }},
      {"b_transposed -1",
       kProducts,
       {"args.b_transposed = -1", "valid"},
       [](Args& a, Memory&) { a.b_transposed = -1; }},
      {"b of a norm", kNorm, {"args.b ", "valid: NULL"}, [](Args& a, Memory& m) { a.b = m.room; }},
      {"b_stride of a norm",
       kNorm,
       {"args.b_stride = 4", "valid: 0"},
       [](Args& a, Memory&) { a.b_stride = 4; }},
      {"b_packed of a norm",
       kNorm,
       {"args.b_packed", "valid: NULL"},
       [](Args& a, Memory& m) { a.b_packed = m.room; }},
      {"b and b_packed",
       kProducts,
       {"args.b ", "args.b_packed", "valid"},
       [](Args& a, Memory& m) { a.b_packed = m.room; }},
      {"c NULL", kAll, {"args.c is NULL", "valid"}, [](Args& a, Memory&) { a.c = nullptr; }},
      {"c_stride", kAll, {"args.c_stride = 1", "valid"}, [](Args& a, Memory&) { a.c_stride = 1; }},
      {"c is a",
       kProducts,
       {"args.c", "args.a", "overlap", "valid"},
       [](Args& a, Memory&) { a.c = const_cast<void*>(a.a); }},
      {"c within b",
       kProducts,
       {"args.c", "args.b", "overlap", "valid"},
       [](Args& a, Memory&) { a.c = static_cast<char*>(const_cast<void*>(a.b)) + 4; }},
      {"c beside a",
       kNorm,
       {"args.c", "args.a", "overlap", "valid"},
       [](Args& a, Memory&) { a.c = static_cast<char*>(const_cast<void*>(a.a)) + 4; }},
  };
}

std::vector<BadField> epilogues() {
  const uint32_t norms = kGemm | kReduce, no_norm = kGather | kScatter | kToAll;
  return {
      {"bias of a norm",
       kNorm,
       {"args.bias", "valid: NULL"},
       [](Args& a, Memory& m) { a.bias = m.room; }},
      {"bias is c",
       kProducts,
       {"args.c", "args.bias", "overlap"},
       [](Args& a, Memory&) { a.bias = a.c; }},
      {"residual",
       kToAll,
       {"args.residual", "valid: NULL"},
       [](Args& a, Memory& m) { a.residual = m.room; }},
      {"residual_stride",
       kAll - kToAll,
       {"args.residual_stride = 1", "valid"},
       [](Args& a, Memory& m) { a.residual = m.room, a.residual_stride = 1; }},
      {"residual beside c",
       kAll - kToAll,
       {"args.c", "args.residual", "overlap", "same address"},
       [](Args& a, Memory&) { a.residual = static_cast<char*>(a.c) + 4; }},
      {"norm_weight",
       no_norm,
       {"args.norm_weight", "valid: NULL"},
       [](Args& a, Memory& m) { a.norm_weight = m.room; }},
      {"norm_weight missing",
       kNorm,
       {"args.norm_weight is NULL", "valid"},
       [](Args& a, Memory&) { a.norm_weight = nullptr; }},
      {"hidden without a norm",
       norms,
       {"args.norm_weight is NULL", "args.hidden"},
       [](Args& a, Memory& m) { a.norm_weight = nullptr, a.hidden = m.room; }},
      {"hidden",
       no_norm,
       {"args.hidden", "valid: NULL"},
       [](Args& a, Memory& m) { a.hidden = m.room; }},
      {"hidden is c",
       norms | kNorm,
       {"args.hidden", "args.c", "overlap", "disjoint only"},
       [](Args& a, Memory& m) { a.norm_weight = m.room, a.hidden = a.c; }},
      {"hidden_stride",
       norms | kNorm,
       {"args.hidden_stride = 2", "valid"},
       [](Args& a, Memory& m) {
         a.norm_weight = m.room, a.hidden = m.room + 512, a.hidden_stride = 2;
       }},
      {"norm_eps -1",
       norms | kNorm,
       {"args.norm_eps = -1", "valid"},
       [](Args& a, Memory& m) { a.norm_weight = m.room, a.norm_eps = -1; }},
      {"norm_eps NaN",
       norms | kNorm,
       {"args.norm_eps", "valid"},
       [](Args& a, Memory& m) { a.norm_weight = m.room, a.norm_eps = std::nanf(""); }},
      {"norm_eps infinite",
       norms | kNorm,
       {"args.norm_eps = inf", "valid"},
       [](Args& a, Memory& m) {
         a.norm_weight = m.room, a.norm_eps = std::numeric_limits<float>::infinity();
       }},
  };
}

std::vector<BadField> shards() {
  const uint32_t rows = kGather | kScatter | kToAll;
  return {
      {"rows of no shards",
       kAll - rows,
       {"args.rows", "valid: NULL"},
       [](Args& a, Memory& m) { a.rows = m.sizes; }},
      {"rows that are too many",
       rows,
       {"args.rows[1] = 3", "valid: 5"},
       [](Args& a, Memory& m) { a.rows = m.bad_sizes; }},
      {"rows that are too few",
       rows,
       {"args.rows", "sum up to 5", "valid: 6"},
       [](Args& a, Memory& m) { a.rows = m.sizes, a.m = 6; }},
      {"rows that overflow",
       rows,
       {"args.rows[0]", "valid: 5"},
       [](Args& a, Memory& m) { a.rows = m.huge_sizes; }},
      {"cols of no shards",
       kAll - kToAll,
       {"args.cols", "valid: NULL"},
       [](Args& a, Memory& m) { a.cols = m.sizes; }},
      {"cols that are too few",
       kToAll,
       {"args.cols", "sum up to 5", "valid: 40"},
       [](Args& a, Memory& m) { a.cols = m.sizes; }},
      {"gathered",
       kAll - kGather,
       {"args.gathered", "valid: NULL"},
       [](Args& a, Memory& m) { a.gathered = m.room; }},
      {"gathered is a",
       kGather,
       {"args.gathered", "args.a", "overlap"},
       [](Args& a, Memory&) { a.gathered = const_cast<void*>(a.a); }},
      {"gathered_stride",
       kGather,
       {"args.gathered_stride = 3", "valid"},
       [](Args& a, Memory& m) { a.gathered = m.room, a.gathered_stride = 3; }},
  };
}

/// A call of bad arguments.
void expect_bad(const std::string& name, tw_status_t status, const std::vector<std::string>& says,
                tw_status_t want = TW_ERROR_INVALID_ARGUMENT) {
  expect_refused(status, want, name, says);
}

/// A problem that is small enough for Memory.
GemmProblem small(GemmEntry entry) {
  GemmProblem p;
  p.entry = entry;
  p.norm = entry == GemmEntry::kNorm;
  return p;
}

class GemmArguments : public testing::Test {
 protected:
  /// Every call still works, on all ranks.
  void TearDown() override {
    ranks_.run([&](int rank, tw_comm_t comm) {
      for (const GemmEntry entry : kGemmEntries) {
        GemmOperands operands(small(entry), rank, 2);
        const Args args = operands.args();
        EXPECT_EQ(call_gemm(entry, &args, comm, nullptr), TW_OK) << tw_last_error();
        EXPECT_EQ(operands.check(), "");
      }
    });
  }

  void refuse(const std::vector<BadField>& rows) {
    for (const BadField& row : rows)
      for (const GemmEntry entry : kGemmEntries) {
        if ((row.calls & bit(entry)) == 0) continue;
        const GemmOperands operands(small(entry), 0, 2);
        Args args = operands.args();
        Memory memory{};
        row.change(args, memory);
        expect_bad(std::string(name_of(entry)) + ": " + row.name,
                   call_gemm(entry, &args, ranks_.comm(0), nullptr), row.says);
      }
  }

  const ThreadRanks ranks_{2};
};

TEST_F(GemmArguments, SizesAndTypes) { refuse(sizes_and_types()); }
TEST_F(GemmArguments, Operands) { refuse(operands()); }
TEST_F(GemmArguments, Epilogues) { refuse(epilogues()); }
TEST_F(GemmArguments, Shards) { refuse(shards()); }

TEST_F(GemmArguments, HandlesAndPointers) {
  tw_stream_t dead_stream = nullptr;
  ASSERT_EQ(tw_stream_create(nullptr, &dead_stream), TW_OK);
  ASSERT_EQ(tw_stream_destroy(dead_stream), TW_OK);
  for (const GemmEntry entry : kGemmEntries) {
    const GemmOperands operands(small(entry), 0, 2);
    const Args args = operands.args();
    expect_bad("no args", call_gemm(entry, nullptr, ranks_.comm(0), nullptr),
               {name_of(entry), "args"});
    expect_bad("no comm", call_gemm(entry, &args, nullptr, nullptr), {"comm"},
               TW_ERROR_INVALID_HANDLE);
    expect_bad("a stream that was destroyed", call_gemm(entry, &args, ranks_.comm(0), dead_stream),
               {"stream"}, TW_ERROR_INVALID_HANDLE);
  }
}

/// What is packed says what it is.
TEST_F(GemmArguments, PackedWeights) {
  tw_comm_t comm = ranks_.comm(0);
  GemmProblem problem = small(GemmEntry::kGemm);
  problem.packed = true;
  GemmOperands operands(problem, 0, 2);
  ASSERT_EQ(operands.pack(comm), TW_OK) << tw_last_error();
  const Args good = operands.args();
  const auto refused = [&](const char* what, std::vector<std::string> says, auto change) {
    Args args = good;
    change(args);
    expect_bad(what, tw_gemm(&args, comm, nullptr), says);
  };
  refused("b_stride", {"args.b_stride = 40", "valid: 0"}, [](Args& a) { a.b_stride = 40; });
  refused("b_transposed", {"args.b_transposed = 1", "valid"}, [](Args& a) { a.b_transposed = 1; });
  refused("alignment", {"args.b_packed", "64 bytes"},
          [](Args& a) { a.b_packed = static_cast<const char*>(a.b_packed) + 2; });
  refused("k", {"args.b_packed", "24 x 40", "valid: 23 x 40"}, [](Args& a) { a.k = 23; });
  refused("n", {"args.b_packed", "24 x 40", "valid: 24 x 39"}, [](Args& a) { a.n = 39; });
  refused("type", {"args.b_packed", "TW_BF16", "valid", "TW_FP16"},
          [](Args& a) { a.type = TW_FP16; });

  char* const header = static_cast<char*>(const_cast<void*>(good.b_packed));
  const auto spoiled = [&](const char* what, size_t at, std::vector<std::string> says) {
    header[at] = static_cast<char>(header[at] ^ 2);
    expect_bad(what, tw_gemm(&good, comm, nullptr), says);
    header[at] = static_cast<char>(header[at] ^ 2);
  };
  spoiled("magic", offsetof(PackedHeader, magic), {"holds no packed weights", "valid"});
  spoiled("version", offsetof(PackedHeader, version), {"version", "valid: 1"});
  spoiled("device", offsetof(PackedHeader, device), {"device kind", "valid"});
  EXPECT_EQ(tw_gemm(&good, comm, nullptr), TW_OK) << tw_last_error();
}

TEST_F(GemmArguments, Packing) {
  tw_comm_t comm = ranks_.comm(0);
  const GemmOperands operands(small(GemmEntry::kGemm), 0, 2);
  const Args good = operands.args();
  alignas(64) static char packed[1 << 14];
  size_t bytes = 0;
  ASSERT_EQ(tw_packed_bytes(&good, comm, &bytes), TW_OK) << tw_last_error();
  ASSERT_LE(bytes, sizeof packed);
  expect_bad("no args", tw_packed_bytes(nullptr, comm, &bytes), {"args"});
  expect_bad("no bytes", tw_packed_bytes(&good, comm, nullptr), {"bytes"});
  expect_bad("no packed", tw_pack_weights(&good, nullptr, bytes, comm, nullptr), {"packed"});
  expect_bad("too few", tw_pack_weights(&good, packed, bytes - 1, comm, nullptr),
             {"bytes = " + std::to_string(bytes - 1), "valid: at least"});
  expect_bad("alignment", tw_pack_weights(&good, packed + 32, bytes, comm, nullptr),
             {"packed", "64 bytes"});
  const auto refused = [&](const char* what, std::vector<std::string> says, auto change) {
    Args args = good;
    change(args);
    expect_bad(what, tw_pack_weights(&args, packed, sizeof packed, comm, nullptr), says);
  };
  refused("b", {"args.b is NULL"}, [](Args& a) { a.b = nullptr; });
  refused("type", {"args.type = 4"}, [](Args& a) { a.type = TW_INT64; });
  refused("k", {"args.k"}, [](Args& a) { a.k = SIZE_MAX; });
  refused("n", {"args.n"}, [](Args& a) { a.n = SIZE_MAX; });
  refused("k x n", {"args.k", "args.n"}, [](Args& a) { a.k = a.n = INT32_MAX; });
  refused("b_stride", {"args.b_stride = 39"}, [](Args& a) { a.b_stride = 39; });
  refused("b_transposed", {"args.b_transposed = 7"}, [](Args& a) { a.b_transposed = 7; });
  refused("activation", {"args.activation = 9"},
          [](Args& a) { a.activation = any<tw_activation_t>(9); });
}

TEST_F(GemmArguments, Workspace) {
  tw_comm_t comm = ranks_.comm(0);
  const GemmOperands operands(small(GemmEntry::kAllReduce), 0, 2);
  const Args args = operands.args();
  size_t bytes = 0;
  expect_bad("op", tw_fused_workspace(any<tw_fused_op_t>(5), &args, comm, &bytes),
             {"op = 5", "valid: 0 to 4"});
  expect_bad("op", tw_fused_workspace(any<tw_fused_op_t>(-1), &args, comm, &bytes),
             {"op = -1", "valid: 0 to 4"});
  expect_bad("bytes", tw_fused_workspace(TW_GEMM_ALL_REDUCE, &args, comm, nullptr), {"bytes"});
  expect_bad("args", tw_fused_workspace(TW_GEMM_ALL_REDUCE, nullptr, comm, &bytes), {"args"});
  expect_bad("comm", tw_fused_workspace(TW_GEMM_ALL_REDUCE, &args, nullptr, &bytes), {"comm"},
             TW_ERROR_INVALID_HANDLE);
  expect_bad("comm", tw_workspace_reserve(nullptr, 4096), {"comm"}, TW_ERROR_INVALID_HANDLE);
}

TEST_F(GemmArguments, TileSets) {
  tw_comm_t comm = ranks_.comm(0);
  tw_tiles_t tiles = nullptr;
  tw_tiles_config_t config = TW_TILES_CONFIG_INIT;
  expect_bad("no config", tw_tiles_create(comm, nullptr, &tiles), {"config"});
  expect_bad("no tiles", tw_tiles_create(comm, &config, nullptr), {"tiles"});
  expect_bad("no comm", tw_tiles_create(nullptr, &config, &tiles), {"comm"},
             TW_ERROR_INVALID_HANDLE);
  const auto refused = [&](const char* what, std::vector<std::string> says, auto change) {
    tw_tiles_config_t bad = config;
    change(bad);
    expect_bad(what, tw_tiles_create(comm, &bad, &tiles), says);
  };
  refused("bytes", {"config.bytes", "valid"}, [](auto& c) { c.bytes = SIZE_MAX; });
  refused("slots", {"config.slots", "valid"}, [](auto& c) { c.slots = SIZE_MAX; });
  refused("k", {"config.k", "valid"}, [](auto& c) { c.k = SIZE_MAX; });
  refused("size", {"size"}, [](auto& c) { c.size = 1; });
  tw_tile_view view;
  expect_bad("no tiles", tw_tiles_get_view(nullptr, &view), {"tiles"}, TW_ERROR_INVALID_HANDLE);
  expect_bad("no tiles", tw_tiles_destroy(nullptr), {"tiles"}, TW_ERROR_INVALID_HANDLE);
}

}  // namespace
}  // namespace tw::test
