// Comms with little memory: every cap that is accepted carries every collective by every algorithm,
// with more blocks than it has room for, and messages.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>
#include <vector>

#include "tests/runner/coll_cases.h"
#include "tests/runner/pass_around.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

size_t memory_of(tw_comm_t comm) {
  size_t bytes = 0;
  EXPECT_EQ(tw_comm_memory(comm, &bytes), TW_OK) << tw_last_error();
  return bytes;
}

tw_comm_config_t capped(size_t bytes) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.max_memory = bytes;
  return config;
}

/// What a comm of `n` ranks may need, from the default down to the least. The next cap below each
/// is one byte less.
std::vector<size_t> sizes_of(int n) {
  std::vector<size_t> sizes;
  std::vector<tw_comm_t> comms(static_cast<size_t>(n));
  for (size_t cap = 0;; cap = sizes.back() - 1) {
    const tw_comm_config_t config = capped(cap);
    if (tw_comm_create_all(n, &config, comms.data()) != TW_OK) break;
    sizes.push_back(memory_of(comms[0]));
    EXPECT_TRUE(cap == 0 || sizes.back() <= cap);
    for (tw_comm_t comm : comms) EXPECT_EQ(tw_comm_destroy(comm), TW_OK);
  }
  EXPECT_NE(std::string(tw_last_error()).find("at least " + std::to_string(sizes.back())),
            std::string::npos)
      << tw_last_error();
  return sizes;
}

std::vector<CollCase> cases() {
  std::vector<CollCase> all;
  for (uint32_t call = 0; call < kCollectives; ++call)
    for (const size_t count : {size_t{0}, size_t{7}, size_t{4099}})
      for (const Memory memory : {Memory::kPrivate, Memory::kMixed}) {
        CollCase c;
        c.call = static_cast<CollOp>(call);
        c.count = count;
        c.memory = memory;
        all.push_back(c);
      }
  return all;
}

/// Messages that need every kind of cell, in a ring.
void send_around(int rank, int n, tw_comm_t comm) {
  for (const size_t bytes : {size_t{40}, size_t{1000}, size_t{100'000}}) {
    const std::vector<char> out(bytes, static_cast<char>(rank + 1));
    std::vector<char> in(bytes);
    const int left = (rank + n - 1) % n;
    EXPECT_EQ(tw_group_begin(), TW_OK);
    EXPECT_EQ(tw_send(out.data(), bytes, TW_UINT8, (rank + 1) % n, comm, nullptr), TW_OK);
    EXPECT_EQ(tw_recv(in.data(), bytes, TW_UINT8, left, comm, nullptr), TW_OK);
    EXPECT_EQ(tw_group_end(), TW_OK) << tw_last_error();
    EXPECT_EQ(in, std::vector<char>(bytes, static_cast<char>(left + 1)));
  }
}

class CommMemory : public testing::TestWithParam<int> {};

TEST_P(CommMemory, EveryCapCarriesEverything) {
  const int n = GetParam();
  const ScopedEnv workers("TW_COMM_WORKERS", "16"), blocks("TW_COLL_BLOCKS", "16");
  const std::vector<size_t> sizes = sizes_of(n);
  EXPECT_GT(sizes.size(), 3u);
  for (const size_t size : sizes)
    for (const char* algo : {"auto", "packet", "slot", "pull", "direct"}) {
      // The least is the one that is short of room, and direct what needs most of it.
      if (n > 3 && size != sizes.back() && std::string(algo) != "auto") continue;
      if (n > 8 && (size != sizes.back() || std::string(algo) != "direct")) continue;
      const ScopedEnv force("TW_COLL_ALGO", algo);
      const tw_comm_config_t config = capped(size);
      const ThreadRanks ranks(n, &config);
      EXPECT_EQ(memory_of(ranks.comm(0)), size);
      ranks.run([&](int rank, tw_comm_t comm) {
        CaseRunner runner(comm, 4 << 20);
        for (const CollCase& c : cases())
          if (!runner.run(c)) return;
        EXPECT_EQ(pass_around(rank, comm), 0);
        send_around(rank, n, comm);
      });
      ASSERT_FALSE(HasFailure()) << n << " ranks, " << size << " bytes, " << algo;
    }
}

INSTANTIATE_TEST_SUITE_P(Ranks, CommMemory, testing::Values(2, 3, 8, 24));

TEST(CommMemory, ACallThatItsSignalsCannotCountIsRefused) {
  const tw_comm_config_t config = capped(sizes_of(8).back());
  const ThreadRanks ranks(8, &config);
  constexpr size_t kBytes = size_t{64} << 30;  // address space: nothing may touch it
  void* const memory =
      mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  ranks.run([&](int rank, tw_comm_t comm) {
    EXPECT_EQ(tw_all_reduce(memory, memory, kBytes / sizeof(float), TW_FP32, TW_SUM, comm, nullptr),
              TW_ERROR_OUT_OF_RESOURCES);
    EXPECT_NE(std::string(tw_last_error()).find("max_memory"), std::string::npos);
    EXPECT_EQ(pass_around(rank, comm), 0);  // the comm goes on
  });
  munmap(memory, kBytes);
}

}  // namespace
}  // namespace tw::test
