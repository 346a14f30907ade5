// Handles: what is destroyed, foreign or of another table is told apart without touching memory.
#include "lib/base/handle.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

struct first_handle;
struct second_handle;

namespace tw {
namespace {

struct Counted {
  explicit Counted(int v) : value(v) { ++live; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --live; }
  int value;
  static inline std::atomic<int> live = 0;
};

using Table = HandleTable<first_handle*, Counted, 1>;
using Other = HandleTable<second_handle*, Counted, 2>;

TEST(Handle, IsNeverReused) {
  const auto table = std::make_unique<Table>();
  std::set<first_handle*> seen;
  for (int i = 0; i < 5000; ++i) {
    first_handle* const handle = table->insert(std::make_unique<Counted>(i));
    EXPECT_TRUE(seen.insert(handle).second);
    const std::unique_ptr<Counted> object(table->find(handle));
    ASSERT_NE(object, nullptr);
    EXPECT_EQ(object->value, i);
    EXPECT_TRUE(table->erase(handle));
    EXPECT_FALSE(table->erase(handle));
  }
  for (first_handle* handle : seen) EXPECT_EQ(table->find(handle), nullptr);
  EXPECT_EQ(Counted::live, 0);
}

TEST(Handle, OfAnotherTableOrOfNoneIsNotFound) {
  const auto table = std::make_unique<Table>();
  const auto other = std::make_unique<Other>();
  second_handle* const foreign = other->insert(std::make_unique<Counted>(1));
  EXPECT_EQ(table->find(reinterpret_cast<first_handle*>(foreign)), nullptr);
  int local = 0;
  EXPECT_EQ(table->find(reinterpret_cast<first_handle*>(&local)), nullptr);
  EXPECT_EQ(table->find(nullptr), nullptr);
  for (uintptr_t bits = 1; bits != 0; bits <<= 1)
    EXPECT_EQ(table->find(reinterpret_cast<first_handle*>(bits)), nullptr);
  delete other->find(foreign);
  EXPECT_TRUE(other->erase(foreign));
}

TEST(Handle, TablesGrowWhileOthersLook) {
  const auto table = std::make_unique<Table>();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&table, t] {
      for (int i = 0; i < 3000; ++i) {
        first_handle* const handle = table->insert(std::make_unique<Counted>(t));
        const std::unique_ptr<Counted> object(table->find(handle));
        ASSERT_NE(object, nullptr);
        ASSERT_EQ(object->value, t);
        ASSERT_TRUE(table->erase(handle));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace tw
