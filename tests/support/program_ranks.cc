#include "tests/support/program_ranks.h"

#include <cmath>

namespace tw::test {

void ProgramRank::add(uint32_t op, std::array<uint32_t, 3> at, const std::vector<uint32_t>& waits,
                      int raises) {
  const uint32_t ranks = static_cast<uint32_t>(world_.ranks());
  ProgramInstruction instruction{op,
                                 {at[0], at[1], at[2]},
                                 static_cast<uint32_t>(waits_.size()),
                                 0,
                                 static_cast<uint32_t>(raises_.size()),
                                 0};
  for (const uint32_t counter : waits)
    for (uint32_t r = 0; r < ranks; ++r) waits_.push_back({r, counter});
  instruction.waits = static_cast<uint32_t>(waits_.size()) - instruction.first_wait;
  if (raises >= 0) {
    const auto counter = static_cast<uint32_t>(raises);
    if (counters_.size() <= counter) counters_.resize(counter + 1, {0, (1U << ranks) - 1});
    ++counters_[counter].raises;
    raises_.push_back(counter);
    instruction.raises = 1;
  }
  list_.push_back(instruction);
}

char* ProgramRank::data() {
  const tw_tile_view view = world_.view(rank_, 0);
  return view.parts[rank_] + view.layout.data;
}

void ProgramRank::launch(CpuEntry entry, uint64_t history, int blocks, bool threads) {
  const auto count = static_cast<size_t>(blocks);
  std::vector<uint64_t> counts(counters_.size(), 0);
  std::vector<float> rows(count * row, std::nanf(""));
  const size_t scratch_floats = (scratch_bytes + sizeof(float) - 1) / sizeof(float);
  std::vector<float> scratch(count * scratch_floats, std::nanf(""));
  ProgramArgs args{};
  args.tiles = world_.view(rank_, history);
  args.list = list_.data();
  args.waits = waits_.data();
  args.raises = raises_.data();
  args.counters = counters_.data();
  args.counts = counts.data();
  args.ops = ops_.data();
  args.arguments = reinterpret_cast<const char*>(arguments_.data());
  args.count = static_cast<uint32_t>(list_.size());
  args.row = static_cast<uint32_t>(row);
  args.rows = rows.data();
  args.scratch = reinterpret_cast<char*>(scratch.data());
  args.scratch_bytes = scratch_floats * sizeof(float);
  World::launch(entry, &args, blocks, threads);
}

}  // namespace tw::test
