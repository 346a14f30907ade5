// A step of paged attention made by hand and run as a program of its three ops, on one target: no
// library host code. Queries, keys and values are functions of content, head and position, so the
// same row can be met in different steps.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "lib/device/device.h"
#include "tilewire/kernels/attention.h"

namespace tw::test {

/// The program of tests/support/attention_program.cu on one target, or another that has its ops.
struct AttentionTarget {
  std::string name;
  CpuEntry entry;
  bool bf16_weights;  // weights are rounded before they meet V
  uint32_t kinds[3];  // of PlanAttentionOp, AttendOp and MergeOp in it
};
/// The targets of this build that run here, best first.
std::vector<AttentionTarget> attention_targets();
AttentionTarget emulated_attention();

/// The model's side of a step. Heads are numbered as in the model.
struct AttentionModel {
  uint32_t head_size = 64, group = 1;
  uint32_t first_query = 0, queries = 1;  // this rank's
  uint32_t window = 0;
  uint64_t seed = 1;
  float size = 4;  // of queries, a power of two: weights are far apart when it is large
  HeadShare share() const;
  float scale() const;
};

/// Rows of one sequence. Equal contents share their pages.
struct AttentionRows {
  static constexpr int32_t kPadding = -1;  // instead of a position
  uint32_t content;
  std::vector<int32_t> positions;  // rising
};
/// Positions first .. first + n - 1.
AttentionRows rows_of(uint32_t content, int32_t first, int32_t n);

/// How it is carried out: nothing here may change a bit.
struct AttentionRun {
  uint32_t page_size = 16;
  uint32_t instructions = 1, merges = 1;
  int blocks = 1;
  bool threads = false;
  uint32_t tail = 0;  // padding rows at the end, of no sequence
  uint32_t gap = 3;   // elements between rows of queries; GPUs: rows begin at multiples of 4
};

class AttentionStep {
 public:
  AttentionStep(const AttentionModel& model, const std::vector<AttentionRows>& sequences,
                const AttentionRun& run);

  /// Computes the step. False, with a message, when what should be zero or untouched is not.
  testing::AssertionResult compute(const AttentionTarget& target);

  /// Output codes by (content, position, head of the model).
  using Results = std::map<std::tuple<uint32_t, int32_t, uint32_t>, std::vector<uint16_t>>;
  Results results() const;
  /// One result in `every` against sums in fp64.
  testing::AssertionResult matches_reference(const AttentionTarget& target, size_t every = 1) const;

  /// May be changed before `compute`.
  std::vector<uint32_t> query_begin, page_begin, pages;
  std::vector<int32_t> positions;
  std::vector<int64_t> slots;

  const AttentionPlan& plan() const {
    return *reinterpret_cast<const AttentionPlan*>(plan_.data());
  }
  bool untouched() const;  // no result was written
  std::string name() const;

 private:
  float value(uint32_t kind, uint32_t content, uint32_t head, int32_t position, uint32_t d) const;
  /// A line's sums in fp64, and sums of sizes of what was added.
  std::vector<double> exact(const std::tuple<uint32_t, int32_t, uint32_t>& line,
                            std::vector<double>* sizes) const;
  void write_pages();
  testing::AssertionResult check_padding() const;

  const AttentionModel model_;
  const std::vector<AttentionRows> sequences_;
  const AttentionRun run_;
  const HeadShare share_;
  KvLayout kv_{};
  size_t q_stride_, o_stride_;
  std::map<uint32_t, uint32_t> first_page_;  // of a content, in `pages`
  std::vector<uint16_t> q_, o_, k_, v_;
  std::vector<uint32_t> plan_;
  std::vector<float> partials_;
};

}  // namespace tw::test
