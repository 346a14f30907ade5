// A call's arguments: what is refused and with which words, in-place positions, digests.
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

#include "lib/base/error.h"
#include "lib/coll/call.h"
#include "lib/coll/point_to_point.h"
#include "lib/comm/call_text.h"

namespace tw::test {
namespace {

constexpr Place kPlace{1, 4};

Call make(CollOp op, const void* send, void* recv, size_t count) {
  Call c;
  c.call = op;
  c.send = send;
  c.recv = recv;
  c.count = count;
  c.type = TW_FP32;
  if (op == kReduce || op == kBroadcast || op == kGather || op == kScatter) c.root = 1;
  return c;
}

/// The sentence of the refusal; "" when accepted.
std::string refusal(const std::function<void()>& check) {
  try {
    check();
    return "";
  } catch (const Error& e) {
    EXPECT_EQ(e.status(), TW_ERROR_INVALID_ARGUMENT) << e.what();
    return e.what();
  }
}
std::string refusal(const Call& c, Place place = kPlace) {
  return refusal([&] { check_call(c, place); });
}

#define EXPECT_SAYS(sentence, word) \
  EXPECT_NE((sentence).find(word), std::string::npos) << "\"" << (sentence) << "\" lacks " << word

TEST(CollCall, EnumsRootsAndNulls) {
  float a[64], b[64];
  Call c = make(kAllReduce, a, b, 4);
  EXPECT_EQ(refusal(c), "");
  c.type = 12;
  EXPECT_SAYS(refusal(c), "type = 12");
  c.type = -1;
  EXPECT_SAYS(refusal(c), "type = -1");
  c = make(kAllReduce, a, b, 4);
  c.op = 5;
  EXPECT_SAYS(refusal(c), "op = 5");
  for (CollOp op : {kReduce, kBroadcast, kGather, kScatter})
    for (int root : {-1, 4}) {
      c = make(op, a, b, 4);
      c.root = root;
      EXPECT_SAYS(refusal(c), "root = " + std::to_string(root));
    }
  EXPECT_SAYS(refusal(make(kAllReduce, nullptr, b, 4)), "send is NULL");
  EXPECT_SAYS(refusal(make(kAllReduce, a, nullptr, 4)), "recv is NULL");
  EXPECT_EQ(refusal(make(kAllReduce, nullptr, nullptr, 0)), "");
  EXPECT_EQ(refusal(make(kBarrier, nullptr, nullptr, 0)), "");
}

TEST(CollCall, CountsThatOverflow) {
  float a[4], b[4];
  EXPECT_SAYS(refusal(make(kAllReduce, a, b, SIZE_MAX)), std::to_string(SIZE_MAX));
  EXPECT_SAYS(refusal(make(kAllReduce, a, b, SIZE_MAX / 4)), "overflow");
  EXPECT_SAYS(refusal(make(kAllGather, a, b, (size_t{1} << 56) / 8)), "4 ranks");
}

TEST(CollCall, OnlyTheNaturalOverlapIsAllowed) {
  float m[64];
  const size_t n = 4;
  struct {
    CollOp op;
    ptrdiff_t send, recv;  // in place, in elements of m
  } const in_place[] = {{kAllReduce, 0, 0}, {kReduce, 0, 0},  {kBroadcast, 0, 0},
                        {kAllGather, 4, 0}, {kGather, 4, 0},  {kReduceScatter, 0, 4},
                        {kScatter, 0, 4},   {kAllToAll, 0, 0}};
  for (const auto& p : in_place) {
    EXPECT_EQ(refusal(make(p.op, m + p.send, m + p.recv, n)), "");
    EXPECT_SAYS(refusal(make(p.op, m + p.send + 1, m + p.recv, n)), "overlap");
    EXPECT_SAYS(refusal(make(p.op, m + p.send, m + p.recv + 1, n)), "overlap");
    EXPECT_EQ(refusal(make(p.op, m, m + 16, n)), "") << p.op;
    EXPECT_EQ(refusal(make(p.op, m + 16, m, n)), "") << p.op;
  }
  // Buffers that a rank does not use may be anything.
  Call c = make(kReduce, m + 1, m, n);
  c.root = 0;
  EXPECT_EQ(refusal(c), "");
  c = make(kBroadcast, nullptr, m, n);
  c.root = 2;
  EXPECT_EQ(refusal(c), "");
}

TEST(CollCall, UnevenForms) {
  float m[64];
  const size_t counts[] = {1, 2, 3, 4};
  size_t displs[] = {9, 0, 3, 20};
  Call c = make(kAllGatherV, m + 40, m, 0);
  EXPECT_SAYS(refusal(c), "counts is NULL");
  c.recv_counts = counts;
  EXPECT_EQ(refusal(c), "");
  c.send = m + 1;  // rank 1's place
  EXPECT_EQ(refusal(c), "");
  c.send = m + 2;
  EXPECT_SAYS(refusal(c), "overlap");
  c.recv_displs = displs;
  c.send = m;
  EXPECT_EQ(refusal(c), "");
  displs[0] = 4;  // inside rank 2's part
  EXPECT_SAYS(refusal(c), "parts of ranks");
  displs[0] = SIZE_MAX;
  EXPECT_SAYS(refusal(c), "overflow");

  c = make(kReduceScatterV, m, m + 1, 0);
  c.send_counts = counts;
  EXPECT_EQ(refusal(c), "");
  c.recv = m + 2;
  EXPECT_SAYS(refusal(c), "overlap");

  const size_t other[] = {1, 5, 3, 4};
  c = make(kAllToAllV, m, m + 32, 0);
  c.send_counts = counts;
  EXPECT_SAYS(refusal(c), "recv_counts is NULL");
  c.recv_counts = other;
  EXPECT_SAYS(refusal(c), "own rank");
  c.recv_counts = counts;
  EXPECT_EQ(refusal(c), "");
  c.recv = m;
  EXPECT_SAYS(refusal(c), "disjoint only");
}

TEST(CollCall, DigestTellsCallsApart) {
  float a[64], b[64];
  std::set<uint64_t> seen;
  size_t made = 0;
  const auto add = [&](const Call& c, bool scaled = false) {
    seen.insert(call_digest(c, kPlace, scaled));
    ++made;
    EXPECT_EQ(call_digest(c, kPlace, scaled), call_digest(c, {3, 4}, scaled));
  };
  for (CollOp op : {kAllReduce, kAllGather, kReduceScatter, kAllToAll, kBarrier})
    add(make(op, a, b, 4));
  for (size_t count : {1, 2, 3, 5, 1000, 1 << 20}) add(make(kAllReduce, a, b, count));
  for (int op = 1; op < 5; ++op) {
    Call c = make(kAllReduce, a, b, 4);
    c.op = op;
    add(c);
  }
  for (int type = 0; type < 8; ++type) {
    Call c = make(kAllReduce, a, b, 4);
    c.type = type;
    add(c);
  }
  for (int root = 0; root < 4; ++root) {
    Call c = make(kBroadcast, a, b, 4);
    c.root = root;
    add(c);
  }
  add(make(kAllReduce, a, b, 4), true);
  EXPECT_EQ(seen.size(), made);

  size_t counts[] = {1, 2, 3, 4}, displs[] = {0, 1, 3, 6};
  Call v = make(kAllGatherV, a, b, 0);
  v.recv_counts = counts;
  const uint64_t packed = call_digest(v, kPlace, false);
  v.recv_displs = displs;
  EXPECT_EQ(call_digest(v, kPlace, false), packed) << "the same places, said otherwise";
  displs[3] = 7;
  EXPECT_NE(call_digest(v, kPlace, false), packed);
  counts[0] = 2, counts[1] = 1;
  EXPECT_NE(call_digest(v, kPlace, false), packed);
}

TEST(CollCall, Messages) {
  float m[8];
  const auto check = [&](Message message, bool in_group = false) {
    return refusal([&] { check_message(message, kPlace, in_group); });
  };
  EXPECT_EQ(check({true, m, 8, TW_FP32, 0}), "");
  EXPECT_EQ(check({true, nullptr, 0, TW_FP32, 0}), "");
  EXPECT_SAYS(check({true, m, 8, TW_FP32, 4}), "peer = 4");
  EXPECT_SAYS(check({false, m, 8, TW_FP32, -1}), "peer = -1");
  EXPECT_SAYS(check({true, m, 8, TW_FP32, 1}), "own rank");
  EXPECT_EQ(check({true, m, 8, TW_FP32, 1}, true), "");
  EXPECT_SAYS(check({true, m, 8, 99, 0}), "type = 99");
  EXPECT_SAYS(check({true, nullptr, 8, TW_FP32, 0}), "NULL");
  EXPECT_SAYS(check({true, m, SIZE_MAX / 4, TW_FP32, 0}), "overflow");
  EXPECT_EQ(message_text(message_digest(TW_BF16, 8)), "8 of TW_BF16");
}

}  // namespace
}  // namespace tw::test
