// The programs of Llama models: each of their waits is needed, by the check's word, and nothing but
// the step's own data is between their ops.
#include "lib/model/llama_program.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "lib/base/error.h"
#include "lib/program/check.h"

namespace tw {
namespace {

struct ProgramCase {
  int64_t heads, kv_heads;
  int ranks, workers;
  uint32_t rows;
};

ModelDesc desc_of(const ProgramCase& c) {
  ModelDesc desc;
  desc.layers = 2;
  desc.hidden = 320;
  desc.heads = c.heads;
  desc.kv_heads = c.kv_heads;
  desc.head_size = 64;
  desc.ffn = 608;
  desc.vocab = 1000;
  desc.context = 256;
  desc.rms_epsilon = 1e-5F;
  return desc;
}

/// Everything that a program's instructions follow from; nothing of it is computed with.
class Built {
 public:
  explicit Built(const ProgramCase& c)
      : case_(c),
        desc_(desc_of(c)),
        share_(desc_, c.ranks),
        weights_(desc_, share_, 0),
        memory_(desc_, share_, c.ranks, c.rows, c.rows) {}

  Program program() const {
    const auto layers = static_cast<size_t>(desc_.layers);
    LlamaContext context{desc_,
                         share_,
                         weights_,
                         memory_,
                         0,
                         case_.ranks,
                         case_.workers,
                         nullptr,
                         &step_,
                         layer_rows_.data(),
                         256,
                         nullptr,
                         nullptr,
                         {case_.rows, 4, 256, static_cast<uint32_t>(2 * case_.workers),
                          static_cast<uint32_t>(case_.workers)},
                         nullptr,
                         nullptr,
                         {std::vector<char*>(layers), std::vector<char*>(layers), {}}};
    return llama_instructions(context, {case_.rows, case_.rows});
  }

 private:
  const ProgramCase case_;
  const ModelDesc desc_;
  const ModelShare share_;
  const ModelWeights weights_;
  const Activations memory_;
  const StepView step_{};
  const std::vector<uint32_t> layer_rows_ = std::vector<uint32_t>(2);
};

std::string refusal(const Program& program) {
  try {
    check_program(program);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

class LlamaProgramTest : public testing::TestWithParam<ProgramCase> {};

TEST_P(LlamaProgramTest, EveryWaitAndRaiseIsNeeded) {
  Program program = Built(GetParam()).program();
  ASSERT_EQ(refusal(program), "");
  size_t waits = 0;
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    Instruction& instruction = program.instructions[i];
    const Instruction whole = instruction;
    for (size_t w = 0; w < whole.waits.size(); ++w, ++waits) {
      const std::string what = program.name_of(static_cast<int>(i)) + ", wait " + std::to_string(w);
      instruction.waits[w].count -= 1;
      EXPECT_NE(refusal(program), "") << what << " lowered";
      instruction.waits.erase(instruction.waits.begin() + static_cast<ptrdiff_t>(w));
      EXPECT_NE(refusal(program), "") << what << " left out";
      instruction = whole;
    }
    for (size_t r = 0; r < whole.raises.size(); ++r) {
      instruction.raises.erase(instruction.raises.begin() + static_cast<ptrdiff_t>(r));
      EXPECT_NE(refusal(program), "") << program.name_of(static_cast<int>(i)) << ", a raise";
      instruction = whole;
    }
  }
  EXPECT_GT(waits, program.instructions.size() / 2);
}

/// No barrier between ops: with several workers some waits are for a part of an op's instructions
/// on a device, so the others may run beside who waited.
TEST(LlamaProgramOrder, SomeWaitsAreForAPartOfAnOp) {
  for (const ProgramCase& c : {ProgramCase{9, 3, 3, 2, 20}, ProgramCase{9, 3, 2, 2, 128}}) {
    const Program program = Built(c).program();
    size_t partial = 0;
    for (const Instruction& instruction : program.instructions)
      for (const Wait& wait : instruction.waits) {
        const Counter& counter = program.counters[static_cast<size_t>(wait.counter)];
        int op = -1;
        uint32_t of_op = 0;
        for (const Instruction& other : program.instructions)
          if (std::find(other.raises.begin(), other.raises.end(), wait.counter) !=
              other.raises.end())
            op = other.op;
        for (const Instruction& other : program.instructions)
          of_op += other.op == op && other.device == counter.device ? 1 : 0;
        partial += counter.raises < of_op ? 1 : 0;
      }
    EXPECT_GT(partial, 10U) << c.ranks << " ranks";
  }
}

/// Whether on a device an instruction of `between` stands after one of `op` and before another of
/// the same op.
bool stands_between(const Program& program, int device, const std::string& between,
                    const std::string& op) {
  int last = -1;
  bool after = false;
  for (const Instruction& instruction : program.instructions) {
    if (instruction.device != device) continue;
    const std::string& name = program.ops[static_cast<size_t>(instruction.op)];
    if (name == between) after = last >= 0;
    if (name != op) continue;
    if (after && instruction.op == last) return true;
    last = instruction.op;
    after = false;
  }
  return false;
}

/// Rows that are done are added, normed and placed while products compute other rows.
TEST(LlamaProgramOrder, WhatIsBoundByMemoryStandsBetweenTilesOfProducts) {
  for (const ProgramCase& c : {ProgramCase{9, 3, 2, 1, 2200}, ProgramCase{9, 3, 3, 2, 6000}}) {
    const Program program = Built(c).program();
    for (int d = 0; d < c.ranks; ++d) {
      EXPECT_TRUE(stands_between(program, d, "rope, append", "qkv")) << "device " << d;
      EXPECT_TRUE(stands_between(program, d, "add, norm", "o")) << "device " << d;
      EXPECT_TRUE(stands_between(program, d, "add, norm", "down")) << "device " << d;
    }
  }
  // One tile of rows is done when all are.
  const Program program = Built({9, 3, 2, 1, 4}).program();
  EXPECT_FALSE(stands_between(program, 0, "add, norm", "down"));
}

INSTANTIATE_TEST_SUITE_P(Cases, LlamaProgramTest,
                         testing::Values(ProgramCase{9, 3, 1, 1, 1}, ProgramCase{9, 3, 2, 1, 4},
                                         ProgramCase{9, 3, 3, 2, 20}, ProgramCase{2, 1, 4, 1, 8},
                                         ProgramCase{9, 3, 2, 2, 128},
                                         ProgramCase{9, 3, 2, 1, 2100}));

// ---- Shares ----

/// No rank has feed-forward columns that would have been better given to another one.
void expect_balance(const ModelShare& share, size_t unit) {
  const auto work = [&](size_t r) {
    const int rank = static_cast<int>(r);
    return (share.qkv_size(rank) + share.q_size(rank)) / 2 + 3 * share.ffn_size(rank);
  };
  size_t least = SIZE_MAX;
  for (size_t r = 0; r < share.heads.size(); ++r) least = std::min(least, work(r));
  for (size_t r = 0; r < share.heads.size(); ++r)
    if (share.ffn_size(static_cast<int>(r)) != 0) {
      EXPECT_LE(work(r), least + 3 * unit);
    }
}

TEST(ModelShareTest, WholeUnitsNearlyEqual) {
  for (const int64_t kv_heads : {1, 2, 3, 8})
    for (const int64_t group : {1, 3, 8})
      for (int ranks = 1; ranks <= 16; ++ranks) {
        ModelDesc desc = desc_of({kv_heads * group, kv_heads, ranks, 1, 1});
        const ModelShare share(desc, ranks);
        uint32_t next = 0, least = UINT32_MAX, most = 0;
        for (const HeadShare& h : share.heads) {
          EXPECT_EQ(h.first_query, h.queries == 0 ? h.first_query : next);
          next += h.queries;
          least = std::min(least, h.queries);
          most = std::max(most, h.queries);
          if (h.queries == 0) continue;
          EXPECT_EQ(h.first_kv, h.first_query / h.group);
          EXPECT_EQ(h.first_kv + h.kvs - 1, (h.first_query + h.queries - 1) / h.group);
        }
        EXPECT_EQ(next, kv_heads * group);
        EXPECT_LE(most - least, kv_heads >= ranks ? group : 1);
        for (const auto* begin : {&share.ffn, &share.vocab, &share.embedding})
          EXPECT_TRUE(std::is_sorted(begin->begin(), begin->end()));
        EXPECT_EQ(share.ffn.back(), 608U);
        expect_balance(share, 608 >= 32 * ranks ? 32 : 1);
        EXPECT_EQ(share.vocab.back(), 1000U);
        EXPECT_EQ(share.embedding.back(), 320U);
      }
  const ModelShare uneven(desc_of({9, 3, 2, 1, 1}), 2);
  EXPECT_EQ(uneven.heads[0].queries, 6U);
  EXPECT_GT(uneven.ffn_size(1), uneven.ffn_size(0));
  EXPECT_EQ(uneven.heads[0].kvs, 2U);
  EXPECT_EQ(uneven.heads[1].queries, 3U);
  EXPECT_EQ(uneven.heads[1].kvs, 1U);
}

}  // namespace
}  // namespace tw
