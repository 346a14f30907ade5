// The send_recv kernel on thread ranks: any mix of messages, through cells, ring and windows.
#include "tilewire/tile/channel.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "lib/device/kernels.h"
#include "tests/support/kernel_ranks.h"
#include "tests/support/reference.h"

namespace tw::test {
namespace {

using Bytes = std::vector<unsigned char>;

struct Message {
  int from, to;
  size_t bytes;
  bool window;
  uint64_t seed;
};

const CpuEntry kEntry = kernels::send_recv.cpu[static_cast<int>(CpuTarget::kPortable)];

WorldShape shape_of(int ranks) {
  return {.ranks = ranks,
          .packet_bytes = 64,
          .slot_bytes = 64,
          .staging_bytes = 4096,
          .channel_bytes = kLeastChannelBytes,
          .window_bytes = size_t{1} << 20};
}

/// One rank's side of a group of messages: buffers and the transfer list.
class Side {
 public:
  Side(World& world, int rank, const std::vector<Message>& messages, std::mt19937_64 order)
      : rank_(rank) {
    std::map<int, std::vector<Transfer>> lists;  // a list for each peer and direction
    size_t window_used = 0;
    for (const Message& m : messages) {
      if (m.from != rank && m.to != rank) continue;
      for (bool is_send : {true, false}) {
        if ((is_send ? m.from : m.to) != rank) continue;
        Transfer t{};
        t.peer = is_send ? m.to : m.from;
        t.is_send = is_send;
        t.bytes = m.bytes;
        t.digest = m.bytes + 1;
        t.seq = m.seed;
        if (is_send && m.window) {
          t.data = world.window(rank) + window_used;
          t.at = world.window_at(rank, window_used);
          window_used += m.bytes;
        } else {
          buffers_.push_back(std::make_unique<Bytes>(m.bytes + 64, 0xa5));
          t.data = buffers_.back()->data();
        }
        if (is_send) {
          const Bytes content = noise(m.bytes, m.seed);
          if (m.bytes != 0) std::memcpy(t.data, content.data(), m.bytes);
        }
        lists[t.peer * 2 + (is_send ? 1 : 0)].push_back(t);
      }
    }
    while (!lists.empty()) {  // any merge of the lists
      auto it = std::next(lists.begin(), static_cast<long>(order() % lists.size()));
      transfers_.push_back(it->second.front());
      it->second.erase(it->second.begin());
      if (it->second.empty()) lists.erase(it);
    }
  }

  void run(World& world, StorePolicy store) {
    SendRecvArgs args{};
    args.comm = world.view(rank_);
    args.store = store;
    args.window_from = 1000;
    args.transfers = transfers_.data();
    args.n = static_cast<int>(transfers_.size());
    World::launch(kEntry, &args, 1, false);
  }

  void check() const {
    for (const Transfer& t : transfers_) {
      if (t.is_send) continue;
      const Bytes expected = noise(t.bytes, t.seq);
      const auto* got = static_cast<const unsigned char*>(t.data);
      ASSERT_TRUE(t.bytes == 0 || std::memcmp(got, expected.data(), t.bytes) == 0)
          << "message " << t.seq << " of " << t.bytes << " bytes from " << t.peer << " at "
          << rank_;
      for (int i = 0; i < 64; ++i) ASSERT_EQ(got[t.bytes + i], 0xa5) << "past the end";
    }
  }

 private:
  int rank_;
  std::vector<std::unique_ptr<Bytes>> buffers_;
  std::vector<Transfer> transfers_;
};

void run_groups(int ranks, int groups, int messages, uint64_t seed, bool self) {
  World world(shape_of(ranks));
  std::mt19937_64 random(seed);
  std::vector<std::vector<Message>> all(groups);
  for (auto& group : all)
    for (int i = 0; i < messages; ++i) {
      Message m{};
      m.from = static_cast<int>(random() % ranks);
      m.to = static_cast<int>(random() % ranks);
      if (!self && m.from == m.to) continue;
      constexpr size_t kSizes[] = {0, 1, 8, 48, 49, 192, 193, 1000, 3000, 20000};
      m.bytes = random() % 2 == 0 ? kSizes[random() % 10] : random() % 5000;
      m.window = random() % 3 == 0;
      m.seed = random();
      group.push_back(m);
    }
  world.run([&](int rank) {
    for (size_t g = 0; g < all.size(); ++g) {
      Side side(world, rank, all[g], std::mt19937_64(seed * 31 + g * 7 + rank));
      side.run(world, g % 2 == 0 ? StorePolicy::kPlain : StorePolicy::kNonTemporal);
      if (world.failure() != TW_OK) return;
      side.check();
      if (::testing::Test::HasFatalFailure()) return world.stop();
    }
  });
  EXPECT_EQ(world.failure(), TW_OK);
}

TEST(Channel, AnyMixOfMessages) {
  for (int ranks : {1, 2, 3, 4}) run_groups(ranks, 20, 60, 5 + ranks, /*self=*/true);
}

TEST(Channel, ManySmallMessagesBothWays) { run_groups(2, 3, 1500, 99, /*self=*/false); }

TEST(Channel, SixtyFourRanks) { run_groups(64, 1, 600, 3, /*self=*/true); }

TEST(Channel, SendReturnsBeforeItsReceiveIsPosted) {
  World world(shape_of(2));
  const std::vector<Message> first = {{0, 1, 8, false, 1}, {0, 1, 1500, false, 2}};
  const std::vector<Message> second = {{1, 0, 8, false, 3}};
  // One thread: rank 0 sends, then rank 1 sends, then both receive.
  std::mt19937_64 order(1);
  Side send0(world, 0, first, order);
  Side recv1(world, 1, first, order);
  Side send1(world, 1, second, order);
  Side recv0(world, 0, second, order);
  for (Side* side : {&send0, &send1, &recv1, &recv0}) side->run(world, StorePolicy::kPlain);
  recv1.check();
  recv0.check();
  EXPECT_EQ(world.failure(), TW_OK);
}

TEST(Channel, DifferentCountsAreReported) {
  World world(shape_of(2));
  world.run([&](int rank) {
    Side side(world, rank, {{0, 1, rank == 0 ? size_t{100} : size_t{104}, false, 1}},
              std::mt19937_64(1));
    side.run(world, StorePolicy::kPlain);
  });
  EXPECT_EQ(world.failure(), TW_ERROR_MISMATCH);
}

}  // namespace
}  // namespace tw::test
