#include "tests/support/kernel_ranks.h"

#include <sched.h>

namespace tw::test {

namespace {

constexpr uint64_t kIdleRounds = 200000;

void* zeroed(size_t bytes) {
  constexpr size_t kAlign = 4096;
  const size_t rounded = (bytes + kAlign - 1) / kAlign * kAlign;
  void* p = std::aligned_alloc(kAlign, rounded);
  std::memset(p, 0, rounded);
  return p;
}

/// Yields, later sleeps: with many more ranks than cores, waiting threads must leave the run queue.
void rest(int looks) {
  if (looks < 8) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

}  // namespace

World::World(const WorldShape& shape)
    : shape_(shape),
      layout_(comm_layout(shape.ranks, shape.blocks, 128, shape.packet_bytes, shape.slot_bytes,
                          shape.staging_bytes, shape.channel_bytes)),
      state_(shape.ranks) {
  for (int r = 0; r < shape.ranks; ++r) {
    memory_.emplace_back(zeroed(layout_.end));
    heaps_.push_back(static_cast<char*>(memory_.back().get()));
  }
  for (int r = 0; r < shape.ranks; ++r) {
    memory_.emplace_back(zeroed(shape.window_bytes + 1));
    windows_.push_back(static_cast<char*>(memory_.back().get()));
    state_[r].wait = WaitContext{&abort_, 0, shape.ranks > 2 ? 0 : 200, slow, this, mismatch, idle};
    state_[r].states.resize(shape.blocks);
  }
}

CommView World::view(int rank) {
  Rank& own = state_[rank];
  return {kCommLayoutVersion, rank,       shape_.ranks,  layout_,           heaps_.data(),
          windows_.data(),    &own.epoch, &own.finished, own.states.data(), &own.wait};
}

void World::run(const std::function<void(int)>& body) const {
  std::vector<std::thread> threads;
  for (int r = 1; r < shape_.ranks; ++r) threads.emplace_back(body, r);
  body(0);
  for (auto& thread : threads) thread.join();
}

void World::launch(CpuEntry entry, const void* args, int blocks, bool threads) {
  std::vector<std::thread> workers;
  for (int b = 1; threads && b < blocks; ++b) workers.emplace_back(entry, args, b, blocks);
  for (int b = 0; b < (threads ? 1 : blocks); ++b) entry(args, b, blocks);
  for (auto& worker : workers) worker.join();
}

bool World::slow(WaitContext* context, const WaitSite* /*site*/, const uint64_t* word,
                 uint64_t want) {
  auto* world = static_cast<World*>(context->comm);
  const auto end = std::chrono::steady_clock::now() + world->shape_.patience;
  int looks = 0;
  while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < want) {
    if (__atomic_load_n(context->abort, __ATOMIC_ACQUIRE) != 0) return false;
    if (std::chrono::steady_clock::now() > end) {
      world->fail(TW_ERROR_TIMEOUT);
      return false;
    }
    rest(++looks);
  }
  return true;
}

bool World::idle(WaitContext* context, const WaitSite* /*site*/, uint64_t round) {
  auto* world = static_cast<World*>(context->comm);
  if (__atomic_load_n(context->abort, __ATOMIC_ACQUIRE) != 0) return false;
  if (round > kIdleRounds) {
    world->fail(TW_ERROR_TIMEOUT);
    return false;
  }
  rest(static_cast<int>(round));
  return true;
}

void World::mismatch(WaitContext* context, const WaitSite* /*site*/, uint64_t /*got*/,
                     uint64_t /*want*/) {
  static_cast<World*>(context->comm)->fail(TW_ERROR_MISMATCH);
}

void World::fail(tw_status_t status) {
  int none = 0;
  failure_.compare_exchange_strong(none, status);
  __atomic_store_n(&abort_, static_cast<uint64_t>(status), __ATOMIC_RELEASE);
}

}  // namespace tw::test
