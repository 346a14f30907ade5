// Calls that do not match between ranks end, promptly, in an error that shows both ranks' calls.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/coll/call.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kPrompt = std::chrono::seconds(2);
constexpr size_t kRoom = 1 << 16;

/// A call of one rank; `name` and `fact` are words that its description must hold.
struct Made {
  std::function<tw_status_t(tw_comm_t, float* send, float* recv)> call;
  std::string name, fact;
};

struct Pair {
  const char* what;
  Made a, b;
};

Made all_reduce(size_t count, tw_type_t type = TW_FP32, tw_op_t op = TW_SUM,
                const std::string& fact = "") {
  return {[=](tw_comm_t comm, float* send, float* recv) {
            return tw_all_reduce(send, recv, count, type, op, comm, nullptr);
          },
          "all_reduce", fact.empty() ? std::to_string(count) : fact};
}

Made broadcast(size_t count, int root) {
  return {[=](tw_comm_t comm, float* send, float* recv) {
            return tw_broadcast(send, recv, count, TW_FP32, root, comm, nullptr);
          },
          "broadcast", std::to_string(root)};
}

Made barrier() {
  return {[](tw_comm_t comm, float*, float*) { return tw_barrier(comm, nullptr); }, "barrier", ""};
}

Made all_gather(size_t count) {
  return {[=](tw_comm_t comm, float* send, float* recv) {
            return tw_all_gather(send, recv, count, TW_FP32, comm, nullptr);
          },
          "all_gather", std::to_string(count)};
}

std::vector<Pair> pairs() {
  std::vector<Pair> all;
  for (size_t count : {2, 1001, 9001}) {
    all.push_back({"count", all_reduce(count), all_reduce(count + 1)});
    all.push_back({"count, far apart", all_reduce(count), all_reduce(16000)});
    all.push_back({"type", all_reduce(count, TW_FP32, TW_SUM, "TW_FP32"),
                   all_reduce(count, TW_INT32, TW_SUM, "TW_INT32")});
    all.push_back({"reduction", all_reduce(count, TW_FP32, TW_SUM, "TW_SUM"),
                   all_reduce(count, TW_FP32, TW_MAX, "TW_MAX")});
    all.push_back({"op", all_reduce(count), all_gather(count)});
    all.push_back({"op without data", all_reduce(count), barrier()});
    all.push_back({"root", broadcast(count, 0), broadcast(count, 1)});
    all.push_back({"rooted and not", broadcast(count, 0), all_reduce(count)});
  }
  all.push_back({"nothing and something", all_reduce(0), all_reduce(1)});
  return all;
}

class Mismatch : public testing::TestWithParam<int> {};

TEST_P(Mismatch, BothCallsAreShown) {
  const int n = GetParam();
  for (const Pair& pair : pairs()) {
    const ThreadRanks ranks(n);
    const auto begin = Clock::now();
    int with_both = 0;
    std::mutex mutex;
    ranks.run([&](int rank, tw_comm_t comm) {
      std::vector<float> send(kRoom), recv(kRoom * 8);
      const Made& mine = rank == n - 1 ? pair.b : pair.a;
      tw_status_t status = mine.call(comm, send.data(), recv.data());
      // A rank that only sends may be done before its peer disagrees: the next call tells it.
      if (status == TW_OK) status = tw_barrier(comm, nullptr);
      const std::string sentence = tw_last_error();
      const std::lock_guard<std::mutex> lock(mutex);
      EXPECT_EQ(status, TW_ERROR_MISMATCH) << pair.what << " rank " << rank << ": " << sentence;
      const auto has = [&](const std::string& word) {
        return sentence.find(word) != std::string::npos;
      };
      with_both += has(pair.a.name) && has(pair.b.name) && has(pair.a.fact) && has(pair.b.fact);
      if (!(has(pair.a.name) && has(pair.b.name) && has(pair.a.fact) && has(pair.b.fact)))
        ADD_FAILURE() << pair.what << " rank " << rank << " says: " << sentence;
    });
    EXPECT_EQ(with_both, n) << pair.what;
    EXPECT_LT(Clock::now() - begin, kPrompt) << pair.what;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Mismatch, testing::Values(2, 3));

TEST(Mismatch, OrderOfDifferentCalls) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    std::vector<float> a(64), b(64);
    tw_status_t status = TW_OK;
    for (int i = 0; i < 2 && status == TW_OK; ++i)
      status = i == rank ? tw_all_reduce(a.data(), b.data(), 8, TW_FP32, TW_SUM, comm, nullptr)
                         : tw_reduce_scatter(a.data(), b.data(), 8, TW_FP32, TW_SUM, comm, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    EXPECT_NE(std::string(tw_last_error()).find("reduce_scatter"), std::string::npos);
  });
}

TEST(Mismatch, UnevenCounts) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    std::vector<float> send(64), recv(64);
    const size_t counts[] = {8, rank == 0 ? size_t{9} : size_t{10}};
    const tw_status_t status =
        tw_all_gather_v(send.data(), recv.data(), counts, nullptr, TW_FP32, comm, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    for (const char* part : {"counts 8 9", "counts 8 10"})
      EXPECT_NE(std::string(tw_last_error()).find(part), std::string::npos) << tw_last_error();
  });
}

TEST(Mismatch, Displacements) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    std::vector<float> send(64), recv(64);
    const size_t counts[] = {8, 9}, displs[] = {0, rank == 0 ? size_t{8} : size_t{20}};
    const tw_status_t status =
        tw_all_gather_v(send.data(), recv.data(), counts, displs, TW_FP32, comm, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    EXPECT_NE(std::string(tw_last_error()).find("other displacements"), std::string::npos)
        << tw_last_error();
  });
}

TEST(Mismatch, AScaledSumAgainstASum) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    const float factor = 1;
    tw_op_t op;
    ASSERT_EQ(tw_op_create_scaled_sum(&factor, TW_FP32, comm, &op), TW_OK) << tw_last_error();
    std::vector<float> data(64);
    const tw_status_t status = tw_all_reduce(data.data(), data.data(), 64, TW_FP32,
                                             rank == 0 ? op : TW_SUM, comm, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    EXPECT_NE(std::string(tw_last_error()).find("scaled"), std::string::npos) << tw_last_error();
  });
}

TEST(Mismatch, UnevenCountsThatOnlyTwoRanksKnow) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    std::vector<float> send(64), recv(64);
    const size_t sent[] = {3, 4}, at[] = {0, 30};
    const size_t expected[] = {rank == 0 ? size_t{3} : size_t{5},
                               rank == 0 ? size_t{3} : size_t{4}};
    const tw_status_t status =
        tw_all_to_all_v(send.data(), sent, at, recv.data(), expected, at, TW_FP32, comm, nullptr);
    EXPECT_EQ(status, TW_ERROR_MISMATCH) << tw_last_error();
    for (const char* part : {"all_to_all_v", "TW_FP32", "expects 5 elements", "sends 4"})
      EXPECT_NE(std::string(tw_last_error()).find(part), std::string::npos) << tw_last_error();
  });
}

/// Two ranks make `call`, in which neither waits for the other, and destroy their comms: at least
/// one hears of the difference, and both comms are gone.
template <class LastCall>
void expect_mismatch_at_destroy(const char* what, LastCall call) {
  std::vector<tw_comm_t> comms(2);
  ASSERT_EQ(tw_comm_create_all(2, nullptr, comms.data()), TW_OK) << tw_last_error();
  int told = 0;
  for (int rank = 0; rank < 2; ++rank) {
    std::vector<float> data(64);
    ASSERT_EQ(call(rank, data.data(), comms[static_cast<size_t>(rank)]), TW_OK)
        << what << ": " << tw_last_error();
  }
  for (const tw_comm_t comm : comms) {
    const tw_status_t status = tw_comm_destroy(comm);
    const std::string sentence = tw_last_error();
    if (status == TW_ERROR_MISMATCH) {
      ++told;
      EXPECT_NE(sentence.find("root 0"), std::string::npos) << sentence;
      EXPECT_NE(sentence.find("root 1"), std::string::npos) << sentence;
    } else {
      EXPECT_EQ(status, TW_OK) << what << ": " << sentence;
    }
    EXPECT_EQ(tw_comm_destroy(comm), TW_ERROR_INVALID_HANDLE);
  }
  EXPECT_GE(told, 1) << what;
}

TEST(Mismatch, RootsOfTheLastCallAreComparedAtTheEnd) {
  expect_mismatch_at_destroy("broadcast", [](int rank, float* data, tw_comm_t comm) {
    return tw_broadcast(data, data, 8, TW_FP32, rank, comm, nullptr);
  });
  expect_mismatch_at_destroy("reduce", [](int rank, float* data, tw_comm_t comm) {
    return tw_reduce(data, data, 8, TW_FP32, TW_SUM, 1 - rank, comm, nullptr);
  });
  expect_mismatch_at_destroy("gather", [](int rank, float* data, tw_comm_t comm) {
    return tw_gather(data, data + 16, 8, TW_FP32, 1 - rank, comm, nullptr);
  });
  expect_mismatch_at_destroy("scatter", [](int rank, float* data, tw_comm_t comm) {
    return tw_scatter(data, data + 16, 8, TW_FP32, rank, comm, nullptr);
  });
}

TEST(Mismatch, LaterCallsFailTheSameWay) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    std::vector<float> send(64), recv(64);
    EXPECT_EQ(tw_all_reduce(send.data(), recv.data(), 8 + static_cast<size_t>(rank), TW_FP32,
                            TW_SUM, comm, nullptr),
              TW_ERROR_MISMATCH);
    EXPECT_EQ(tw_all_reduce(send.data(), recv.data(), 8, TW_FP32, TW_SUM, comm, nullptr),
              TW_ERROR_MISMATCH);
    tw_status_t status = TW_OK;
    EXPECT_EQ(tw_comm_error(comm, &status, nullptr), TW_OK);
    EXPECT_EQ(status, TW_ERROR_MISMATCH);
  });
}

/// What the signals of a comm's first call carry of it (Collectives::number).
uint16_t short_digest(size_t count) {
  Call call{kAllReduce, nullptr, nullptr, count, TW_FP32, TW_SUM};
  call.root = -1;
  const uint64_t h = call_digest(call, {0, 2}, false) * UINT64_C(0x9E3779B97F4A7C15);
  return static_cast<uint16_t>((h ^ (h >> 32)) >> 48);
}

// The digest that travels with a signal has 16 bits. Calls whose digests are equal by chance are
// found out all the same: at once where entries carry all 64 bits, else by the next call.
TEST(Mismatch, EqualShortDigestsAreFoundOutByTheNextCall) {
  std::map<uint16_t, size_t> seen;
  std::atomic<int> unnoticed{0};
  int pairs = 0;
  for (size_t count = 1; count < 3000 && pairs < 10; ++count) {
    const auto [at, is_new] = seen.emplace(short_digest(count), count);
    if (is_new) continue;
    ++pairs;
    const size_t counts[] = {at->second, count};
    tw_comm_config_t config = TW_COMM_CONFIG_INIT;
    config.timeout_ms = 5000;
    const ThreadRanks ranks(2, &config);
    ranks.run([&](int rank, tw_comm_t comm) {
      std::vector<float> data(kRoom, 1.0F);
      tw_status_t status = TW_OK;
      for (int i = 0; i < 2 && status == TW_OK; ++i) {
        unnoticed += i;
        status = tw_all_reduce(data.data(), data.data(), i == 0 ? counts[rank] : 5, TW_FP32, TW_SUM,
                               comm, nullptr);
      }
      EXPECT_EQ(status, TW_ERROR_MISMATCH) << counts[0] << " and " << counts[1];
      for (const size_t c : counts)
        EXPECT_NE(std::string(tw_last_error()).find("count " + std::to_string(c)),
                  std::string::npos)
            << tw_last_error();
    });
  }
  EXPECT_EQ(pairs, 10);
  EXPECT_GT(unnoticed.load(), 0) << "these digests were not equal";
}

TEST(Mismatch, OtherLimitsOfBlocks) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.workers = 4;
  const ThreadRanks ranks(2, &config);
  ranks.run([](int rank, tw_comm_t comm) {
    std::vector<float> data(1 << 20, 1.0F);
    // A plan of the call is kept from before; the new limit must count all the same.
    ASSERT_EQ(tw_all_reduce(data.data(), data.data(), data.size(), TW_FP32, TW_SUM, comm, nullptr),
              TW_OK)
        << tw_last_error();
    ASSERT_EQ(tw_comm_set_max_blocks(comm, rank == 0 ? 2 : 3), TW_OK);
    EXPECT_EQ(tw_all_reduce(data.data(), data.data(), data.size(), TW_FP32, TW_SUM, comm, nullptr),
              TW_ERROR_MISMATCH);
    EXPECT_NE(std::string(tw_last_error()).find("blocks"), std::string::npos) << tw_last_error();
  });
}

TEST(Mismatch, ADestroyedOpIsRefusedThoughTheCallBeforeUsedIt) {
  const ThreadRanks ranks(1);
  const tw_comm_t comm = ranks.comm(0);
  float x = 2;
  const float factor = 3;
  tw_op_t op;
  ASSERT_EQ(tw_op_create_scaled_sum(&factor, TW_FP32, comm, &op), TW_OK);
  ASSERT_EQ(tw_all_reduce(&x, &x, 1, TW_FP32, op, comm, nullptr), TW_OK) << tw_last_error();
  EXPECT_EQ(x, 6);
  ASSERT_EQ(tw_op_destroy(op, comm), TW_OK);
  EXPECT_EQ(tw_all_reduce(&x, &x, 1, TW_FP32, op, comm, nullptr), TW_ERROR_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace tw::test
