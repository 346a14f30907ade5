// tw_send and tw_recv: order, sizes, types, memory kinds, both directions at once, mismatches.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <numeric>
#include <thread>

#include "tests/runner/coll_cases.h"
#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

unsigned char pattern(size_t seed, size_t i) {
  return static_cast<unsigned char>(1 + (seed * 131 + i * 7 + (i >> 8)) % 251);
}

void fill(std::vector<unsigned char>* bytes, size_t seed) {
  for (size_t i = 0; i < bytes->size(); ++i) (*bytes)[i] = pattern(seed, i);
}

bool holds(const std::vector<unsigned char>& bytes, size_t begin, size_t size, size_t seed) {
  for (size_t i = 0; i < size; ++i)
    if (bytes[begin + i] != pattern(seed, i)) {
      ADD_FAILURE() << "byte " << i << " of message " << seed << " is " << int{bytes[begin + i]}
                    << ", want " << int{pattern(seed, i)};
      return false;
    }
  return true;
}

/// Around the edges of rings and chunks, and well beyond any buffer.
constexpr size_t kSizes[] = {0,    1,    7,    8,     55,    56,     57,      64,     1000,
                             4095, 4096, 4097, 20000, 65536, 262145, 1 << 20, 5 << 20};

TEST(SendRecv, EverySizeInOrder) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    size_t seed = 0;
    for (int round = 0; round < 3; ++round)
      for (size_t size : kSizes) {
        ++seed;
        const bool sends = (seed % 2 == 0) == (rank == 0);
        std::vector<unsigned char> bytes(size + 2, 0xEE);
        if (sends) {
          fill(&bytes, seed);
          ASSERT_EQ(tw_send(bytes.data() + seed % 2, size, TW_UINT8, 1 - rank, comm, nullptr),
                    TW_OK)
              << tw_last_error();
          std::memset(bytes.data(), 0, bytes.size());  // the buffer is ours again
        } else {
          ASSERT_EQ(tw_recv(bytes.data() + seed % 2, size, TW_UINT8, 1 - rank, comm, nullptr),
                    TW_OK)
              << tw_last_error();
          for (size_t i = 0; i < size; ++i)
            ASSERT_EQ(bytes[seed % 2 + i], pattern(seed, i + seed % 2)) << size << " at " << i;
          ASSERT_EQ(bytes[size + 1], seed % 2 == 1 && size > 0 ? bytes[size + 1] : 0xEE);
        }
      }
  });
}

TEST(SendRecv, EveryType) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    for (tw_type_t type : kAllTypes) {
      std::vector<unsigned char> bytes(101 * type_bytes(type));
      if (rank == 0) fill(&bytes, type + 1u);
      ASSERT_EQ(rank == 0 ? tw_send(bytes.data(), 101, type, 1, comm, nullptr)
                          : tw_recv(bytes.data(), 101, type, 0, comm, nullptr),
                TW_OK)
          << tw_last_error();
      ASSERT_TRUE(holds(bytes, 0, bytes.size(), type + 1u));
    }
  });
}

TEST(SendRecv, ManySmallSendsBeforeTheFirstReceive) {
  // Fewer than a ring holds or more: what matters is that a late receiver gets all, in order.
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    for (uint32_t i = 0; i < 2000; ++i) {
      uint32_t value = rank == 0 ? i : ~0u;
      ASSERT_EQ(rank == 0 ? tw_send(&value, 1, TW_UINT32, 1, comm, nullptr)
                          : tw_recv(&value, 1, TW_UINT32, 0, comm, nullptr),
                TW_OK)
          << tw_last_error();
      ASSERT_EQ(value, i);
    }
  });
}

TEST(SendRecv, RingInAGroup) {
  for (int n : {1, 2, 3, 5, 8}) {
    const ThreadRanks ranks(n);
    ranks.run([&](int rank, tw_comm_t comm) {
      for (size_t size : kSizes) {
        std::vector<unsigned char> out(size), in(size);
        fill(&out, size + static_cast<size_t>(rank));
        ASSERT_EQ(tw_group_begin(), TW_OK);
        ASSERT_EQ(tw_recv(in.data(), size, TW_UINT8, (rank + n - 1) % n, comm, nullptr), TW_OK)
            << tw_last_error();
        ASSERT_EQ(tw_send(out.data(), size, TW_UINT8, (rank + 1) % n, comm, nullptr), TW_OK)
            << tw_last_error();
        ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
        ASSERT_TRUE(holds(in, 0, size, size + static_cast<size_t>((rank + n - 1) % n)));
      }
    });
  }
}

TEST(SendRecv, AllPairsAtOnceWithSeveralMessagesEach) {
  for (int n : {2, 4, 64}) {
    const ThreadRanks ranks(n);
    ranks.run([&](int rank, tw_comm_t comm) {
      constexpr size_t kLengths[] = {0, 9, 3000, 1};
      const auto seed = [&](int from, int to, size_t k) {
        return static_cast<size_t>((from * 64 + to) * 4) + k;
      };
      std::vector<std::vector<unsigned char>> out, in;
      for (int peer = 0; peer < n; ++peer)
        for (size_t k = 0; k < 4; ++k) {
          out.emplace_back(kLengths[k]);
          fill(&out.back(), seed(rank, peer, k));
          in.emplace_back(kLengths[k]);
        }
      ASSERT_EQ(tw_group_begin(), TW_OK);
      for (int peer = 0; peer < n; ++peer)
        for (size_t k = 0; k < 4; ++k) {
          const size_t i = static_cast<size_t>(peer) * 4 + k;
          ASSERT_EQ(tw_send(out[i].data(), kLengths[k], TW_UINT8, peer, comm, nullptr), TW_OK);
          ASSERT_EQ(tw_recv(in[i].data(), kLengths[k], TW_UINT8, peer, comm, nullptr), TW_OK);
        }
      ASSERT_EQ(tw_group_end(), TW_OK) << tw_last_error();
      for (int peer = 0; peer < n; ++peer)
        for (size_t k = 0; k < 4; ++k)
          ASSERT_TRUE(
              holds(in[static_cast<size_t>(peer) * 4 + k], 0, kLengths[k], seed(peer, rank, k)));
    });
  }
}

TEST(SendRecv, WindowsAndPrivateMemory) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    constexpr size_t kBytes = 3 << 20;
    tw_window_t window = nullptr;
    ASSERT_EQ(tw_window_create(comm, kBytes, &window), TW_OK) << tw_last_error();
    void* memory = nullptr;
    ASSERT_EQ(tw_window_ptr(window, rank, &memory), TW_OK);
    auto* mine = static_cast<unsigned char*>(memory);
    for (int round = 0; round < 4; ++round) {
      std::vector<unsigned char> own(kBytes);
      unsigned char* at = (round >> rank & 1) != 0 ? mine : own.data();
      const size_t size = kBytes - 5;
      if (rank == 0)
        for (size_t i = 0; i < size; ++i) at[i] = pattern(round + 1u, i);
      ASSERT_EQ(rank == 0 ? tw_send(at, size, TW_INT8, 1, comm, nullptr)
                          : tw_recv(at, size, TW_INT8, 0, comm, nullptr),
                TW_OK)
          << tw_last_error();
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(at[i], pattern(round + 1u, i));
    }
    ASSERT_EQ(tw_window_destroy(window), TW_OK) << tw_last_error();
  });
}

TEST(SendRecv, BesideCollectives) {
  const ThreadRanks ranks(3);
  ranks.run([&](int rank, tw_comm_t comm) {
    for (int round = 0; round < 20; ++round) {
      float x = static_cast<float>(rank + 1), sum = 0;
      int token = round;
      if (rank == 0) {
        ASSERT_EQ(tw_send(&token, 1, TW_INT32, 2, comm, nullptr), TW_OK);
      }
      ASSERT_EQ(tw_all_reduce(&x, &sum, 1, TW_FP32, TW_SUM, comm, nullptr), TW_OK)
          << tw_last_error();
      ASSERT_EQ(sum, 6.0f);
      token = -1;
      if (rank == 2) {
        ASSERT_EQ(tw_recv(&token, 1, TW_INT32, 0, comm, nullptr), TW_OK) << tw_last_error();
        ASSERT_EQ(token, round);
      }
    }
  });
}

TEST(SendRecv, OnStreams) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    tw_stream_t stream = nullptr;
    ASSERT_EQ(tw_stream_create(nullptr, &stream), TW_OK);
    std::vector<uint64_t> values(100);
    if (rank == 0) std::iota(values.begin(), values.end(), 1000);
    for (uint64_t& value : values)
      ASSERT_EQ(rank == 0 ? tw_send(&value, 1, TW_UINT64, 1, comm, stream)
                          : tw_recv(&value, 1, TW_UINT64, 0, comm, stream),
                TW_OK)
          << tw_last_error();
    ASSERT_EQ(tw_stream_synchronize(stream), TW_OK) << tw_last_error();
    for (size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], 1000 + i);
    ASSERT_EQ(tw_stream_destroy(stream), TW_OK);
  });
}

struct Difference {
  const char* what;
  size_t sent, received;
  tw_type_t sent_type, received_type;
};

TEST(SendRecv, TheLastMessageOfARankThatLeavesArrives) {
  for (int round = 0; round < 60; ++round) {
    tw_comm_t comms[2];
    ASSERT_EQ(tw_comm_create_all(2, nullptr, comms), TW_OK) << tw_last_error();
    std::thread sender([&] {
      // The receiver sleeps between its looks by then.
      std::this_thread::sleep_for(std::chrono::microseconds(4000 + 97 * round));
      EXPECT_EQ(tw_send("goodbye", 8, TW_UINT8, 0, comms[1], nullptr), TW_OK) << tw_last_error();
      EXPECT_EQ(tw_comm_destroy(comms[1]), TW_OK) << tw_last_error();
    });
    char said[8] = "";
    EXPECT_EQ(tw_recv(said, 8, TW_UINT8, 1, comms[0], nullptr), TW_OK) << tw_last_error();
    EXPECT_STREQ(said, "goodbye");
    sender.join();
    EXPECT_EQ(tw_recv(said, 8, TW_UINT8, 1, comms[0], nullptr), TW_ERROR_PEER_LOST);
    EXPECT_EQ(tw_comm_destroy(comms[0]), TW_OK) << tw_last_error();
  }
}

TEST(SendRecv, DifferencesAreErrorsOnBothSidesThatShowBoth) {
  const Difference differences[] = {
      {"shorter", 100, 50, TW_FP32, TW_FP32},
      {"longer", 50, 100, TW_FP32, TW_FP32},
      {"type of the same size", 100, 100, TW_FP32, TW_INT32},
      {"same bytes", 100, 50, TW_FP32, TW_FP64},
      {"nothing expected", 100, 0, TW_FP32, TW_FP32},
      {"large", 1 << 20, (1 << 20) + 1, TW_INT8, TW_INT8},
  };
  for (const Difference& d : differences) {
    const ThreadRanks ranks(2);
    ranks.run([&](int rank, tw_comm_t comm) {
      std::vector<double> room(1 << 20);
      tw_status_t status =
          rank == 0 ? tw_send(room.data(), d.sent, d.sent_type, 1, comm, nullptr)
                    : tw_recv(room.data(), d.received, d.received_type, 0, comm, nullptr);
      // A small send may have left before the receiver looked.
      if (status == TW_OK) status = tw_barrier(comm, nullptr);
      const std::string sentence = tw_last_error();
      EXPECT_EQ(status, TW_ERROR_MISMATCH) << d.what << " rank " << rank << ": " << sentence;
      EXPECT_NE(sentence.find(std::to_string(d.sent)), std::string::npos) << d.what << sentence;
      EXPECT_NE(sentence.find(std::to_string(d.received)), std::string::npos) << d.what << sentence;
    });
  }
}

TEST(SendRecv, BadArgumentsLeaveTheCommUsable) {
  const ThreadRanks ranks(2);
  ranks.run([&](int rank, tw_comm_t comm) {
    int x = rank;
    const auto bad = [&](tw_status_t status, const char* word) {
      EXPECT_EQ(status, TW_ERROR_INVALID_ARGUMENT);
      EXPECT_NE(std::string(tw_last_error()).find(word), std::string::npos) << tw_last_error();
    };
    bad(tw_send(&x, 1, TW_INT32, 2, comm, nullptr), "peer = 2");
    bad(tw_recv(&x, 1, TW_INT32, -1, comm, nullptr), "peer = -1");
    bad(tw_send(&x, 1, TW_INT32, rank, comm, nullptr), "own rank");
    bad(tw_send(nullptr, 1, TW_INT32, 1 - rank, comm, nullptr), "NULL");
    bad(tw_recv(&x, SIZE_MAX / 2, TW_INT32, 1 - rank, comm, nullptr), "overflow");
    bad(tw_send(&x, 1, static_cast<tw_type_t>(12), 1 - rank, comm, nullptr), "type = 12");
    ASSERT_EQ(rank == 0 ? tw_send(&x, 1, TW_INT32, 1, comm, nullptr)
                        : tw_recv(&x, 1, TW_INT32, 0, comm, nullptr),
              TW_OK)
        << tw_last_error();
    EXPECT_EQ(x, 0);
  });
}

}  // namespace
}  // namespace tw::test
