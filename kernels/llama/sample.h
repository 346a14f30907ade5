// How tokens are chosen (RowSampling, LlamaSample). A row is never sorted: whatever is asked of its
// tokens in descending order, how many, which share of the probability, which token a number
// draws, is a place in that order, and a place is found by halving the range of logits in which it
// lies (Descent).
#pragma once

#include "tilewire/kernels/llama.h"
#include "tilewire/tile/program.h"
#include "tilewire/tile/types.h"

namespace TW_NS {

inline constexpr float kLeast = -__builtin_inff();

/// The row whose logits are wanted i-th; 0 when the step names none that it has.
TW_FN size_t logit_row(const StepView& step, size_t i) {
  const uint32_t row = step.logit_row[i];
  return row < step.rows ? row : 0;
}

TW_FN const uint32_t* allowed_tokens(const StepView& step, size_t vocab, size_t i) {
  return step.allowed == nullptr ? nullptr : step.allowed + i * ((vocab + 31) / 32);
}

TW_FN uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
/// 0 <= u < 1, as RowSampling tells.
TW_FN double uniform(uint64_t seed, int32_t position) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15u;
  const uint64_t turn = static_cast<uint64_t>(static_cast<uint32_t>(position)) + 1;
  return static_cast<double>(mixed(mixed(seed + kStep) + turn * kStep) >> 32) * 0x1p-32;
}

/// Floats as numbers of the same order.
TW_FN uint32_t key_of(float x) {
  const auto bits = bits_as<uint32_t>(x);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
TW_FN float float_of(uint32_t key) {
  return bits_as<float>(key >> 31 != 0 ? key & 0x7fffffffu : ~key);
}

/// A part of a row, and what its numbers weigh.
struct Weighed {
  Row row;
  float* weights;
};

/// Finds places in the descending order of a row of logits, smaller tokens first among equals.
template <class Block>
class Descent {
 public:
  /// `logits`: without NaN and +infinity, `most` the largest. A token weighs e^((logit - most) /
  /// temperature); one without a logit (-infinity) has no place in the order.
  TW_FN Descent(Block& block, const Row& logits, float most, float temperature,
                const SampleScratch& scratch)
      : block_(block),
        all_{logits, logits.data + scratch.weights},
        near_{{logits.data + scratch.near, 0}, logits.data + scratch.near_weights},
        kept_{{logits.data + scratch.kept, 0}, logits.data + scratch.kept_weights},
        most_(most),
        temperature_(temperature),
        by_(1.0f / temperature < kLargest ? 1.0f / temperature : kLargest),
        near_limit_(most - kNear * temperature) {
    block_.exponentials(all_.weights, all_.row, most_, by_);
    total_ = above(all_, kLeast);
    above_near_ = above(all_, near_limit_);
    if (above_near_.count <= scratch.part) near_ = kept(near_, all_, near_limit_, most_);
  }

  /// What all tokens together are.
  TW_FN const RowAbove& total() const { return total_; }

  struct Place {
    float logit;
    size_t token;
    RowAbove upto;  // the tokens down to this one, which is among them
  };

  /// The first place at which `enough(upto)`; that holds of all tokens, and if it does of some
  /// then also of more.
  template <class Enough>
  TW_FN Place first(Enough enough) {
    const Range range = narrowed(enough);
    const float weight = exponential_of((range.high - most_) * by_);
    const auto with = [&](size_t n) {
      return RowAbove{range.above_high.count + n,
                      range.above_high.weight + static_cast<double>(n) * weight};
    };
    // Of equal tokens, the first `some` are not enough, the first `more` are.
    size_t some = 0, more = range.count();
    while (more - some > 1) {
      const size_t half = some + (more - some) / 2;
      (enough(with(half)) ? more : some) = half;
    }
    return {range.high, block_.find(all_.row, range.high, some), with(more)};
  }

 private:
  static constexpr float kLargest = 3.40282347e38f;
  static constexpr float kNear = 8;  // temperatures: what is further off weighs little
  static constexpr int kGuesses = 16;
  static constexpr size_t kFew = 64;

  /// What is above `low` is enough, what is above `high` is not.
  struct Range {
    float low, high;
    RowAbove above_low, above_high;
    TW_FN size_t count() const { return above_low.count - above_high.count; }
  };

  TW_FN RowAbove above(const Weighed& list, float limit) {
    return block_.above(list.row, list.weights, limit);
  }
  TW_FN Weighed kept(const Weighed& to, const Weighed& from, float low, float high) {
    const size_t n = block_.keep(to.row.data, to.weights, from.row, from.weights, low, high);
    return {{to.row.data, n}, to.weights};
  }

  /// The range that has one number, `high`. Once few of the looked-at tokens are in the range, only
  /// those are looked at.
  template <class Enough>
  TW_FN Range narrowed(Enough enough) {
    Range range{kLeast, most_, total_, {0, 0}};
    Weighed list = all_;
    RowAbove base{0, 0};  // of the tokens above the list's
    const auto halve = [&](float middle, const RowAbove& part) {
      const bool is_enough = enough(part);
      (is_enough ? range.low : range.high) = middle;
      (is_enough ? range.above_low : range.above_high) = part;
    };
    if (near_limit_ > kLeast && near_limit_ < most_) halve(near_limit_, above_near_);
    if (range.low > kLeast && near_.row.n != 0) list = near_;
    for (int step = 0; key_of(range.high) - key_of(range.low) > 1; ++step) {
      const float middle = between(range, step);
      const RowAbove part = above(list, middle);
      halve(middle, {part.count + base.count, part.weight + base.weight});
      if (list.row.n <= kFew || 4 * range.count() > list.row.n) continue;
      list = kept(kept_, list, range.low, range.high);
      base = range.above_high;
    }
    return range;
  }

  /// A number strictly inside the range. First by size: down from what is near in growing steps,
  /// then halves. Then by keys, which ends in 32 steps.
  TW_FN float between(const Range& range, int step) const {
    if (step < kGuesses) {
      const float down = static_cast<float>(2u << step) * kNear * temperature_;
      const float guess =
          range.low > kLeast ? range.low + (range.high - range.low) * 0.5f : most_ - down;
      if (guess > range.low && guess < range.high) return guess;
    }
    const uint32_t low = key_of(range.low);
    return float_of(low + (key_of(range.high) - low) / 2);
  }

  Block& block_;
  const Weighed all_;
  Weighed near_;  // all above near_limit_, if they are not too many
  const Weighed kept_;
  const float most_, temperature_, by_, near_limit_;
  RowAbove total_, above_near_;
};

/// A row's token drawn: the whole of RowSampling with a temperature.
template <class Block>
TW_FN auto draw(Descent<Block>& descent, const RowSampling& sampling, double number) {
  RowAbove all = descent.total();
  if (sampling.top_k > 0 && static_cast<uint32_t>(sampling.top_k) < all.count) {
    const auto most = static_cast<uint32_t>(sampling.top_k);
    all = descent.first([&](const RowAbove& upto) { return upto.count >= most; }).upto;
  }
  if (!(sampling.top_p >= 1.0f)) {
    const double share = sampling.top_p * all.weight;
    all = descent.first([&](const RowAbove& upto) { return !(upto.weight < share); }).upto;
  }
  const double share = number * all.weight;
  return descent.first([&](const RowAbove& upto) { return upto.weight > share; });
}

struct SampleLocalOp {
  using Args = LlamaSample;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + LiveRows{&args.step->logit_rows}.of(at[0], at[1]);
    program.come();
    for (size_t i = at[0]; args.step->sampling != nullptr && i < end; ++i) {
      const Row record = record_of(program, args, i);
      program.meet(args.ranks);
      program.tile_block().store_all(
          program.count(args.ranks),
          [&](int r) {
            return program.at_rank(program.receiver(args.ranks, r), args.records_of(program.rank()))
                .at(i, 0)
                .data;
          },
          nullptr, record, args.records.type);
    }
  }

 private:
  template <class Block>
  TW_FN static Row record_of(ProgramBlock<Block>& program, const Args& args, size_t i) {
    Block& block = program.tile_block();
    const Row row{reinterpret_cast<float*>(program.scratch()), args.cols};
    block.load(row, program.at_rank(program.rank(), args.logits).at(i, args.first_col).data,
               args.logits.type);
    block.allow(row, allowed_tokens(*args.step, args.vocab, i), args.first_col);
    const float most = args.cols == 0 ? kLeast : block.max(row);
    const bool any = most > kLeast, wanted = args.step->log_probability != nullptr;
    const Row record = program.row(SampleRecord::kFields);
    const float token = any ? static_cast<float>(args.first_col + block.find(row, most, 0)) : -1.0f;
    const float sum =
        any && wanted ? static_cast<float>(block.sum_of_exponentials(row, most)) : 0.0f;
    block.set(record, SampleRecord::kMost, most);
    block.set(record, SampleRecord::kToken, token);
    block.set(record, SampleRecord::kSum, sum);
    block.set(record, SampleRecord::kFields - 1, 0);
    return record;
  }
};

struct SampleOp {
  using Args = LlamaSample;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const StepView& step = *args.step;
    const size_t end = at[0] + LiveRows{&step.logit_rows}.of(at[0], at[1]);
    program.come();
    const Block& block = program.tile_block();
    for (size_t i = at[0]; block.ok() && step.sampling != nullptr && i < end; ++i) {
      const Chosen best = best_of(program, args, i);
      const bool draws = best.token >= 0 && step.sampling[i].temperature > 0;
      give(program.tile_block(), step, i, draws ? drawn(program, args, i, best) : best);
    }
  }

 private:
  struct Chosen {
    int32_t token;
    float logit;
    float most, sum;  // of all tokens, as in SampleRecord
  };

  /// The best of the ranks' best: ranks have the vocabulary in order, so the first is the smallest.
  template <class Block>
  TW_FN static Chosen best_of(ProgramBlock<Block>& program, const Args& args, size_t i) {
    Chosen best{-1, kLeast, kLeast, 0};
    for (int r = 0; r < program.size(); ++r) {
      if ((args.ranks >> r & 1) == 0) continue;
      const auto* const record = reinterpret_cast<const float*>(
          program.at_rank(program.rank(), args.records_of(r)).at(i, 0).data);
      // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): memory that peers write has data
      const float most = record[SampleRecord::kMost], sum = record[SampleRecord::kSum];
      if (!(most > kLeast)) continue;
      if (most > best.most) {
        best.sum = best.sum * exponential_of(best.most - most) + sum;
        best.most = best.logit = most;
        best.token = static_cast<int32_t>(record[SampleRecord::kToken]);
      } else {
        best.sum += sum * exponential_of(most - best.most);
      }
    }
    return best;
  }

  template <class Block>
  TW_FN static Chosen drawn(ProgramBlock<Block>& program, const Args& args, size_t i,
                            const Chosen& best) {
    Block& block = program.tile_block();
    const StepView& step = *args.step;
    const RowSampling& sampling = step.sampling[i];
    const Row logits{reinterpret_cast<float*>(program.scratch()), args.vocab};
    block.load(logits, program.at_rank(program.rank(), args.logits).at(i, 0).data,
               args.logits.type);
    block.allow(logits, allowed_tokens(step, args.vocab, i), 0);
    Descent<Block> descent(block, logits, best.most, sampling.temperature,
                           sample_scratch(args.vocab));
    const int32_t position = step.positions[logit_row(step, i)];
    const auto place = draw(descent, sampling, uniform(sampling.seed, position));
    return {static_cast<int32_t>(place.token), place.logit, best.most, best.sum};
  }

  template <class Block>
  TW_FN static void give(Block& block, const StepView& step, size_t i, const Chosen& chosen) {
    block.put(step.sampled + i, chosen.token);
    if (step.log_probability != nullptr) {
      const float share =
          chosen.token < 0 ? kLeast : chosen.logit - chosen.most - logarithm_of(chosen.sum);
      block.put(step.log_probability + i, share);
    }
    const auto slot = static_cast<uint32_t>(step.sampling[i].slot);
    if (slot < step.slot_count) block.put(step.sampled_slots + slot, chosen.token);
  }
};

}  // namespace TW_NS
