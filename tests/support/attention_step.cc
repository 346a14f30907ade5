#include "tests/support/attention_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/support/tile_ranks.h"

namespace tw::test {
namespace {

constexpr uint16_t kPoison = 0xffff;  // NaN
enum Kind : uint32_t { kQuery, kKey, kValue };

template <class To, class From>
To bits_of(From from) {
  To to;
  static_assert(sizeof to == sizeof from);
  std::memcpy(&to, &from, sizeof to);
  return to;
}

uint64_t mixed(uint64_t x) {
  x ^= x >> 31;
  x *= UINT64_C(0x9E3779B97F4A7C15);
  x ^= x >> 29;
  x *= UINT64_C(0xBF58476D1CE4E5B9);
  return x ^ x >> 32;
}

float widened(uint16_t code) { return bits_of<float>(static_cast<uint32_t>(code) << 16); }
/// Of a float that is one of bf16.
uint16_t code_of(float value) { return static_cast<uint16_t>(bits_of<uint32_t>(value) >> 16); }

}  // namespace

HeadShare AttentionModel::share() const {
  const uint32_t first = first_query / group;
  const uint32_t end = queries == 0 ? first : (first_query + queries - 1) / group + 1;
  return {first_query, queries, first, end - first, group, head_size};
}
float AttentionModel::scale() const { return 1 / std::sqrt(static_cast<float>(head_size)); }

AttentionRows rows_of(uint32_t content, int32_t first, int32_t n) {
  AttentionRows rows{content, {}};
  for (int32_t i = 0; i < n; ++i) rows.positions.push_back(first + i);
  return rows;
}

AttentionStep::AttentionStep(const AttentionModel& model,
                             const std::vector<AttentionRows>& sequences, const AttentionRun& run)
    : model_(model),
      sequences_(sequences),
      run_(run),
      share_(model.share()),
      q_stride_((model.queries + 2 * share_.kvs) * size_t{model.head_size} + run.gap),
      o_stride_(model.queries * size_t{model.head_size} + 5) {
  std::map<uint32_t, int32_t> keys;  // of each content
  for (const AttentionRows& s : sequences)
    for (const int32_t p : s.positions) keys[s.content] = std::max(keys[s.content], p + 1);
  std::map<uint32_t, std::vector<uint32_t>> of;
  std::vector<uint32_t> numbers;
  for (const auto& [content, count] : keys)
    numbers.resize(numbers.size() + divide_up(static_cast<size_t>(count), run.page_size));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<uint32_t>(2 * i + 1);
  std::shuffle(numbers.begin(), numbers.end(), std::mt19937(17));
  for (const auto& [content, count] : keys)
    for (size_t i = 0; i < divide_up(static_cast<size_t>(count), run.page_size); ++i) {
      of[content].push_back(numbers.back());
      numbers.pop_back();
    }
  query_begin = page_begin = {0};
  for (const AttentionRows& s : sequences) {
    first_page_[s.content] = page_begin.back();
    pages.insert(pages.end(), of[s.content].begin(), of[s.content].end());
    page_begin.push_back(static_cast<uint32_t>(pages.size()));
    for (const int32_t p : s.positions) {
      const auto place = static_cast<uint32_t>(p);
      const bool padding = p == AttentionRows::kPadding;
      positions.push_back(padding ? 1 << 28 : p);
      slots.push_back(padding ? -1
                              : int64_t{of[s.content][place / run.page_size]} * run.page_size +
                                    place % run.page_size);
    }
    query_begin.push_back(static_cast<uint32_t>(positions.size()));
  }
  positions.resize(positions.size() + run.tail, 1 << 28);
  slots.resize(positions.size(), -1);
  kv_ = {TW_BF16,
         run.page_size,
         static_cast<uint32_t>(2 * pages.size() + 1),
         share_.kvs,
         model.head_size,
         0,
         0,
         0};
  // Two of the orders that a cache may have, with gaps.
  kv_.token = run.page_size % 2 == 0 ? model.head_size : (share_.kvs + 1) * model.head_size;
  kv_.head = run.page_size % 2 == 0 ? run.page_size * model.head_size : model.head_size;
  kv_.page = run.page_size * (share_.kvs + 1) * model.head_size;
  q_.assign(positions.size() * q_stride_, kPoison);
  size_t row = 0;
  for (const AttentionRows& s : sequences)
    for (const int32_t p : s.positions) {
      for (uint32_t h = 0; h < model.queries && p >= 0; ++h)
        for (uint32_t d = 0; d < model.head_size; ++d)
          q_[row * q_stride_ + h * size_t{model.head_size} + d] =
              code_of(value(kQuery, s.content, model.first_query + h, p, d));
      ++row;
    }
  write_pages();
}

/// 255 numbers around 0 that bf16 has.
float AttentionStep::value(uint32_t kind, uint32_t content, uint32_t head, int32_t position,
                           uint32_t d) const {
  uint64_t x = mixed(model_.seed * 8 + kind);
  x = mixed(x + content * UINT64_C(1000003) + head);
  x = mixed(x + static_cast<uint64_t>(position) * 4096 + d);
  const float uniform = (static_cast<float>(x >> 56) - 127) / 128;
  return kind == kQuery ? uniform * model_.size : uniform;
}

void AttentionStep::write_pages() {
  k_.assign(kv_.pages * kv_.page, kPoison);
  v_ = k_;
  std::map<uint32_t, int32_t> keys;
  for (const AttentionRows& s : sequences_)
    for (const int32_t p : s.positions) keys[s.content] = std::max(keys[s.content], p + 1);
  for (const auto& [content, count] : keys)
    for (int32_t p = 0; p < count; ++p) {
      const auto place = static_cast<uint32_t>(p);
      const uint32_t page = pages[first_page_[content] + place / run_.page_size];
      for (uint32_t h = 0; h < share_.kvs; ++h) {
        const size_t at = page * kv_.page + h * kv_.head + place % run_.page_size * kv_.token;
        for (uint32_t d = 0; d < model_.head_size; ++d) {
          const uint32_t head = share_.first_kv + h;
          k_[at + d] = code_of(value(kKey, content, head, p, d));
          v_[at + d] = code_of(value(kValue, content, head, p, d));
        }
      }
    }
}

testing::AssertionResult AttentionStep::compute(const AttentionTarget& target) {
  const size_t rows = positions.size();
  StepView step{};
  step.rows = static_cast<uint32_t>(rows);
  step.sequences = static_cast<uint32_t>(sequences_.size());
  step.last_layer = 1;
  step.positions = positions.data();
  step.slots = slots.data();
  step.query_begin = query_begin.data();
  step.page_begin = page_begin.data();
  step.pages = pages.data();

  const uint32_t n = run_.instructions, merges = run_.merges;
  const AttentionLimits limits{step.rows, step.sequences,
                               static_cast<uint32_t>(pages.size()) * run_.page_size, n, merges};
  plan_.assign(AttentionPlan::bytes(limits, share_) / sizeof(uint32_t), 0xffffffff);
  partials_.assign(limits.partial_bytes(share_) / sizeof(float), NAN);
  o_.assign(rows * o_stride_, kPoison);
  Attention attention{};
  attention.of = {&step,         share_, kv_,
                  model_.window, limits, reinterpret_cast<AttentionPlan*>(plan_.data())};
  attention.scale = model_.scale();
  attention.q = {q_.data(), q_stride_, TW_BF16};
  attention.o = {o_.data(), o_stride_, TW_BF16};
  attention.k = reinterpret_cast<const char*>(k_.data());
  attention.v = reinterpret_cast<const char*>(v_.data());
  attention.partials = partials_.data();

  // The plan raises counter 0, the items' instructions counter 1.
  std::vector<ProgramInstruction> list = {{0, {}, 0, 0, 0, 1}};
  for (uint32_t i = 0; i < n; ++i) list.push_back({1, {i, 0, 0, 0}, 0, 1, 1, 1});
  for (uint32_t i = 0; i < merges; ++i) list.push_back({2, {i, 0, 0, 0}, 1, 1, 0, 0});
  const ProgramWait waits[] = {{0, 0}, {0, 1}};
  const uint32_t raises[] = {0, 1};
  const ProgramCounter counters[] = {{1, 1}, {n, 1}};
  uint64_t counts[2] = {};
  const ProgramOp ops[] = {
      {target.kinds[0], 0, 0}, {target.kinds[1], 0, 0}, {target.kinds[2], 0, 0}};
  TileWorldShape shape;
  shape.ranks = 1;
  shape.blocks = run_.blocks;
  shape.slots = 2;
  TileWorld world(shape);
  ProgramArgs args{};
  args.tiles = world.view(0, 1);
  args.list = list.data();
  args.count = static_cast<uint32_t>(list.size());
  args.waits = waits;
  args.raises = raises;
  args.counters = counters;
  args.counts = counts;
  args.ops = ops;
  args.arguments = reinterpret_cast<const char*>(&attention);  // which begins with the plan's
  World::launch(target.entry, &args, run_.blocks, run_.threads);
  if (world.failure() != TW_OK) return testing::AssertionFailure() << "the launch failed";
  return check_padding();
}

testing::AssertionResult AttentionStep::check_padding() const {
  const size_t cols = model_.queries * size_t{model_.head_size};
  for (size_t i = 0; i < positions.size() && !untouched(); ++i)
    for (size_t j = 0; j < o_stride_; ++j) {
      const uint16_t code = o_[i * o_stride_ + j];
      if (j >= cols && code != kPoison)
        return testing::AssertionFailure() << "row " << i << " was written beyond its end";
      if (j < cols && slots[i] < 0 && code != 0)
        return testing::AssertionFailure() << "padding row " << i << " is not zero";
    }
  return testing::AssertionSuccess();
}

bool AttentionStep::untouched() const {
  return std::all_of(o_.begin(), o_.end(), [](uint16_t code) { return code == kPoison; });
}

AttentionStep::Results AttentionStep::results() const {
  Results results;
  size_t row = 0;
  for (const AttentionRows& s : sequences_)
    for (const int32_t p : s.positions) {
      for (uint32_t h = 0; h < model_.queries && p >= 0; ++h) {
        const uint16_t* const at = o_.data() + row * o_stride_ + h * size_t{model_.head_size};
        results[{s.content, p, model_.first_query + h}] = {at, at + model_.head_size};
      }
      ++row;
    }
  return results;
}

std::vector<double> AttentionStep::exact(const std::tuple<uint32_t, int32_t, uint32_t>& line,
                                         std::vector<double>* sizes) const {
  const auto [content, position, head] = line;
  const uint32_t kv = head / model_.group, size = model_.head_size;
  const auto window = static_cast<int32_t>(model_.window);
  const int32_t first = window == 0 || position < window ? 0 : position + 1 - window;
  std::vector<double> weights, sums(size);
  for (int32_t j = first; j <= position; ++j) {
    double score = 0;
    for (uint32_t d = 0; d < size; ++d)
      score += double{value(kQuery, content, head, position, d)} *
               double{value(kKey, content, kv, j, d)};
    weights.push_back(score / std::sqrt(static_cast<double>(size)));
  }
  const double most = *std::max_element(weights.begin(), weights.end());
  double all = 0;
  for (double& x : weights) all += x = std::exp(x - most);
  sizes->assign(size, 0);
  for (int32_t j = first; j <= position; ++j)
    for (uint32_t d = 0; d < size; ++d) {
      const double term =
          weights[static_cast<size_t>(j - first)] / all * double{value(kValue, content, kv, j, d)};
      sums[d] += term;
      (*sizes)[d] += std::fabs(term);
    }
  return sums;
}

testing::AssertionResult AttentionStep::matches_reference(const AttentionTarget& target,
                                                          size_t every) const {
  // Of the weighted sum of |v|: the weights' rounding, and that of fp32 sums; then the result's.
  const double relative = target.bf16_weights ? 0x1p-8 : 0x1p-17;
  size_t number = 0;
  for (const auto& [line, got] : results()) {
    if (number++ % every != 0) continue;
    std::vector<double> sizes;
    const std::vector<double> sums = exact(line, &sizes);
    for (size_t d = 0; d < sums.size(); ++d) {
      const double is = widened(got[d]);
      const double tolerance =
          sizes[d] * relative + std::fabs(sums[d]) * 0x1.01p-8 + 0x1p-120;  // least weights
      if (std::fabs(is - sums[d]) <= tolerance) continue;
      return testing::AssertionFailure()
             << target.name << ", " << name() << ": content " << std::get<0>(line) << ", position "
             << std::get<1>(line) << ", head " << std::get<2>(line) << ", element " << d << " is "
             << is << ", should be " << sums[d] << " (of sizes " << sizes[d] << ")";
    }
  }
  return testing::AssertionSuccess();
}

std::string AttentionStep::name() const {
  std::string text = "heads " + std::to_string(model_.first_query) + " + " +
                     std::to_string(model_.queries) + " of " + std::to_string(model_.head_size) +
                     ", groups of " + std::to_string(model_.group) + ", window " +
                     std::to_string(model_.window) + ", pages of " +
                     std::to_string(run_.page_size) + ", " + std::to_string(run_.instructions) +
                     " + " + std::to_string(run_.merges) + " instructions, rows";
  for (const AttentionRows& s : sequences_)
    text += " " + (s.positions.empty() ? "none"
                                       : std::to_string(s.positions.front()) + ".." +
                                             std::to_string(s.positions.back()));
  return text;
}

}  // namespace tw::test
