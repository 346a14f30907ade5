// A block's packets and signals by themselves: framing, what is written and what is not, order.
#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "tests/support/reference.h"
#include "tilewire/tile/block.h"
#include "tilewire/tile/impl/cpu/reduce_loops.h"

namespace tw::test {
namespace {

using cpu_portable::Block;
using cpu_portable::Target;
using Bytes = std::vector<unsigned char>;

constexpr uint64_t kWord = uint64_t{9} << 16 | 0x1234;

struct alignas(64) Inbox {
  unsigned char bytes[64 * 40];
};

size_t packets_for(size_t bytes) {
  return bytes == 0 ? 1 : (bytes + Target::kPacketPayload - 1) / Target::kPacketPayload;
}

uint64_t word_of(const Inbox& inbox, size_t packet) {
  uint64_t word;
  std::memcpy(&word, inbox.bytes + packet * 64 + 56, sizeof word);
  return word;
}

TEST(Packets, EverySizeArrivesAndNothingElseIsTouched) {
  Block block(0, 1, "test", nullptr);
  for (size_t size = 0; size <= 600; ++size) {
    Inbox inbox;
    std::memset(&inbox, 0, sizeof inbox);
    const Bytes sent = noise(size, size);
    block.put_packets(inbox.bytes, sent.data(), size, kWord, nullptr);
    for (size_t p = 0; p < packets_for(size); ++p) ASSERT_EQ(word_of(inbox, p), kWord) << size;
    for (size_t i = packets_for(size) * 64; i < sizeof inbox; ++i)
      ASSERT_EQ(inbox.bytes[i], 0) << "byte " << i << " behind " << size << " bytes";
    Bytes got(size + 64, 0xa5);
    ASSERT_TRUE(block.get_packets(got.data(), inbox.bytes, size, kWord, 0));
    ASSERT_TRUE(size == 0 || std::memcmp(got.data(), sent.data(), size) == 0) << size;
    for (size_t i = size; i < got.size(); ++i) ASSERT_EQ(got[i], 0xa5) << size;
  }
}

TEST(Packets, EverySizeIsReducedInPlace) {
  Block block(0, 1, "test", nullptr);
  for (size_t count = 0; count <= 300; ++count) {
    const std::vector<Bytes> in = {noise(count * 2, 1), noise(count * 2, 2), noise(count * 2, 3)};
    std::vector<Inbox> inboxes(3);
    for (int r : {0, 2})
      block.put_packets(inboxes[r].bytes, in[r].data(), count * 2, kWord, nullptr);
    Bytes own = in[1];
    own.resize(count * 2 + 64, 0xa5);
    const Reduction sum{TW_BF16, TW_SUM, 0, 0};
    ASSERT_TRUE(block.reduce_packets(
        sum, own.data(), own.data(), 3, 1, [&](int r) { return inboxes[r].bytes; }, count, 2,
        kWord));
    const Bytes expected = count == 0 ? Bytes() : reduce(TW_BF16, TW_SUM, in, nullptr);
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(own[i], expected[i]) << count;
    for (size_t i = expected.size(); i < own.size(); ++i) ASSERT_EQ(own[i], 0xa5) << count;
  }
}

TEST(Packets, FactorsAreAppliedBySender) {
  Block block(0, 1, "test", nullptr);
  for (size_t count : {1, 13, 14, 15, 100}) {
    Inbox inbox;
    const Bytes sent = noise(count * 4, count);
    uint64_t factor = 0;
    const float three = 3.0F;
    std::memcpy(&factor, &three, sizeof three);
    const Reduction scaled{TW_FP32, TW_SUM, 1, factor};
    block.put_packets(inbox.bytes, sent.data(), count * 4, kWord, &scaled);
    Bytes got(count * 4);
    ASSERT_TRUE(block.get_packets(got.data(), inbox.bytes, count * 4, kWord, 0));
    ASSERT_EQ(got, reduce(TW_FP32, TW_SUM, {sent}, &factor)) << count;
  }
}

struct Reports {
  int mismatches = 0, waits = 0;
};

WaitContext context_of(Reports& reports) {
  WaitContext context{};
  context.comm = &reports;
  context.slow = [](WaitContext* c, const WaitSite*, const uint64_t*, uint64_t) {
    ++static_cast<Reports*>(c->comm)->waits;
    return false;
  };
  context.mismatch = [](WaitContext* c, const WaitSite*, uint64_t, uint64_t) {
    ++static_cast<Reports*>(c->comm)->mismatches;
  };
  return context;
}

TEST(Packets, AnotherDigestOfTheSameEpochIsAMismatch) {
  Reports reports;
  WaitContext context = context_of(reports);
  uint64_t abort = 0;
  context.abort = &abort;
  Block block(0, 1, "test", &context);
  Inbox inbox;
  block.put_packets(inbox.bytes, "x", 1, kWord + 1, nullptr);
  char got;
  EXPECT_FALSE(block.get_packets(&got, inbox.bytes, 1, kWord, 0));
  EXPECT_EQ(reports.mismatches, 1);
  EXPECT_EQ(reports.waits, 0);
}

TEST(Packets, AnOlderEpochIsWaitedForAndAFailedWaitEndsIt) {
  Reports reports;
  WaitContext context = context_of(reports);
  uint64_t abort = 0;
  context.abort = &abort;
  Block block(0, 1, "test", &context);
  Inbox inbox;
  block.put_packets(inbox.bytes, "x", 1, kWord - (uint64_t{2} << 16), nullptr);
  char got;
  EXPECT_FALSE(block.get_packets(&got, inbox.bytes, 1, kWord, 0));
  EXPECT_EQ(reports.waits, 1);
  EXPECT_EQ(reports.mismatches, 0);
}

TEST(Signals, PayloadComesWithTheValue) {
  FlagLine line{};
  Block sender(0, 1, "test", nullptr), receiver(0, 1, "test", nullptr);
  std::thread thread([&] {
    sender.signal(
        cpu_portable::Site::kEntry, 1, [&](int) { return &line; }, kWord,
        [](int) {
          return cpu_portable::EntryPayload{11, 22, 33, 44, 55};
        });
  });
  ASSERT_TRUE(receiver.wait(&line.value, kWord, 0, 0));
  EXPECT_EQ(line.send_at, 11u);
  EXPECT_EQ(line.recv_at, 22u);
  EXPECT_EQ(line.factor, 33u);
  EXPECT_EQ(line.bytes, 44u);
  EXPECT_EQ(line.history, 55u);
  thread.join();
}

TEST(Signals, TheLastBlockIsOne) {
  uint64_t finished = 0;
  for (int launch = 0; launch < 3; ++launch) {
    int last = 0;
    for (int b = 0; b < 4; ++b) last += Block(b, 4, "test", nullptr).last(&finished) ? 1 : 0;
    EXPECT_EQ(last, 1);
    EXPECT_EQ(finished, 0u);
  }
}

TEST(Share, PartsAreTheRange) {
  for (size_t size : {0, 1, 63, 64, 65, 1000, 4096})
    for (size_t parts : {1, 2, 3, 7, 64})
      for (size_t granule : {1, 14, 64}) {
        size_t at = 100;
        for (size_t i = 0; i < parts; ++i) {
          const cpu_portable::Range part =
              cpu_portable::part_of({100, 100 + size}, i, parts, granule);
          ASSERT_EQ(part.begin, at);
          ASSERT_TRUE(part.empty() || (part.begin - 100) % granule == 0);
          at = part.end;
        }
        ASSERT_EQ(at, 100 + size);
      }
}

}  // namespace
}  // namespace tw::test
