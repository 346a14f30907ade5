// Handles: what is destroyed, foreign or of another table is told apart without touching memory.
#include "lib/base/handle.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
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

TEST(Handle, EraseWaitsForPinsAndNoNewOneFindsTheObject) {
  const auto table = std::make_unique<Table>();
  first_handle* const handle = table->insert(std::make_unique<Counted>(7));
  auto pin = std::make_unique<Table::Pin>(*table, handle);
  ASSERT_NE(pin->get(), nullptr);
  std::atomic<bool> erased{false};
  std::thread eraser([&] {
    const std::unique_ptr<Counted> object(table->find(handle));
    EXPECT_TRUE(table->erase(handle));
    erased.store(true);
  });
  while (table->find(handle) != nullptr) std::this_thread::yield();  // it has begun
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_FALSE(erased.load());
  EXPECT_EQ(pin->get()->value, 7);
  pin.reset();
  eraser.join();
  EXPECT_EQ(Counted::live, 0);
}

TEST(Handle, OneLockAtATime) {
  const auto table = std::make_unique<Table>();
  first_handle* const handle = table->insert(std::make_unique<Counted>(7));
  {
    const Table::Lock lock(*table, handle);
    ASSERT_NE(lock.get(), nullptr);
    const Table::Lock second(*table, handle);
    EXPECT_EQ(second.get(), nullptr);
    EXPECT_TRUE(second.live());
    delete lock.get();
    EXPECT_TRUE(table->end(handle));
    const Table::Lock third(*table, handle);
    EXPECT_EQ(third.get(), nullptr);
    EXPECT_FALSE(third.live());
    // The slot is not given out while its flag is taken.
    first_handle* const next = table->insert(std::make_unique<Counted>(8));
    const Table::Lock of_next(*table, next);
    EXPECT_NE(of_next.get(), nullptr);
    delete of_next.get();
    EXPECT_TRUE(table->end(next));
  }
  table->recycle(handle);
  EXPECT_EQ(Counted::live, 0);
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
