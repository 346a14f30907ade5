// After prepare a step allocates nothing: every operator new of this program is counted.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <vector>

#include "tests/support/model_ranks.h"

namespace {
std::atomic<long> allocations{0};

void* counted(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* const p = std::malloc(bytes == 0 ? 1 : bytes)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t /*bytes*/) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t /*bytes*/) noexcept { std::free(p); }

namespace tw::test {
namespace {

TEST(ModelAllocations, AStepHasNone) {
  LlamaConfig config;
  config.heads = 4;
  config.kv_heads = 2;
  const ReferenceModel reference = random_model(config, 31);
  tw_model_limits_t limits = TW_MODEL_LIMITS_INIT;
  limits.rows = 128;
  limits.sequences = limits.logit_rows = 4;
  limits.context = 256;
  limits.page_size = 16;
  limits.pages = 16;
  const ThreadRanks ranks(2);
  std::vector<tw_model_t> models(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    models[static_cast<size_t>(rank)] = make_model(comm, reference, limits);
  });
  // Everything that the steps need stands before they are counted.
  std::vector<int32_t> tokens(100, 5), positions(100), sampled(2);
  std::vector<int64_t> slots(100);
  std::vector<uint32_t> pages(16);
  for (int i = 0; i < 100; ++i) positions[static_cast<size_t>(i)] = i;
  for (int i = 0; i < 100; ++i) slots[static_cast<size_t>(i)] = i;
  for (uint32_t p = 0; p < 16; ++p) pages[p] = p;
  const tw_sampling_t sampling{0.8F, 20, 0.9F, -1, 3};
  std::atomic<int> ready{0};
  std::atomic<long> counted{-1};
  ranks.run([&](int rank, tw_comm_t) {
    const tw_model_t model = models[static_cast<size_t>(rank)];
    long before = 0;
    for (int i = 0; i < 12; ++i) {
      // Prompts that have owners, short ones, and single tokens.
      const uint32_t count = i % 3 == 0 ? 80 : i % 3 == 1 ? 7 : 1;
      const uint32_t query_begin[] = {0, count}, page_begin[] = {0, 16}, last = count - 1;
      tw_step_t step = TW_STEP_INIT;
      step.rows = count;
      step.sequences = step.logit_rows = 1;
      step.tokens = tokens.data();
      step.positions = positions.data();
      step.slots = slots.data();
      step.query_begin = query_begin;
      step.page_begin = page_begin;
      step.pages = pages.data();
      step.logit_row = &last;
      step.sampling = &sampling;
      step.sampled = &sampled[static_cast<size_t>(rank)];
      if (i == 3) {  // both have made the first steps
        ready.fetch_add(1);
        while (ready.load() < 2) std::this_thread::yield();
        before = allocations.load();
        ready.fetch_add(1);
        while (ready.load() < 4) std::this_thread::yield();
      }
      EXPECT_EQ(tw_model_step(model, &step, nullptr), TW_OK) << tw_last_error();
    }
    ready.fetch_add(1);
    while (ready.load() < 6) std::this_thread::yield();
    if (rank == 0) counted.store(allocations.load() - before);
    ready.fetch_add(1);
    while (ready.load() < 8) std::this_thread::yield();
  });
  EXPECT_EQ(counted.load(), 0);
  EXPECT_GT(allocations.load(), 100);  // before: they are counted
  ranks.run([&](int rank, tw_comm_t) {
    EXPECT_EQ(tw_model_destroy(models[static_cast<size_t>(rank)]), TW_OK) << tw_last_error();
  });
}

}  // namespace
}  // namespace tw::test
