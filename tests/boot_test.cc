// The bootstrap: ids, agreement, exchange, and what happens when ranks are missing or die.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "lib/base/error.h"
#include "lib/boot/exchange.h"
#include "lib/boot/id.h"
#include "lib/boot/meeting.h"
#include "lib/boot/root.h"

namespace tw::boot {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string message(int rank, int round, size_t bytes) {
  std::string result(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i)
    result[i] = static_cast<char>(i * 7 + static_cast<size_t>(rank * 31 + round));
  return result;
}

// What became of one rank: TW_OK or an Error.
struct Outcome {
  tw_status_t status = TW_OK;
  std::string sentence;
};

Outcome outcome_of(const std::function<void()>& body) {
  try {
    body();
    return {};
  } catch (const Error& error) {
    return {error.status(), error.what()};
  }
}

// Runs `body(i)` in a thread each.
std::vector<Outcome> in_threads(int n, const std::function<void(int)>& body) {
  std::vector<Outcome> outcomes(static_cast<size_t>(n));
  std::vector<std::thread> threads;
  for (int i = 0; i < n; ++i)
    threads.emplace_back(
        [&, i] { outcomes[static_cast<size_t>(i)] = outcome_of([&] { body(i); }); });
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

void expect_all(const std::vector<Outcome>& outcomes, tw_status_t status,
                const std::vector<std::string>& words) {
  for (const Outcome& outcome : outcomes) {
    EXPECT_EQ(outcome.status, status) << outcome.sentence;
    for (const std::string& word : words)
      EXPECT_NE(outcome.sentence.find(word), std::string::npos)
          << "no \"" << word << "\" in: " << outcome.sentence;
  }
}

void expect_ok(const std::vector<Outcome>& outcomes) { expect_all(outcomes, TW_OK, {}); }

// Roots end soon after their ranks have left.
void expect_no_roots() {
  const auto begin = Clock::now();
  while (Root::alive() > 0 && seconds_since(begin) < 5)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(Root::alive(), 0);
}

void exchange_rounds(Exchange& exchange, size_t bytes) {
  for (int round = 0; round < 3; ++round) {
    const size_t mine = bytes * static_cast<size_t>(exchange.rank());
    const std::vector<std::string> all = exchange.all_gather(message(exchange.rank(), round, mine));
    ASSERT_EQ(all.size(), static_cast<size_t>(exchange.size()));
    for (int rank = 0; rank < exchange.size(); ++rank)
      ASSERT_EQ(all[static_cast<size_t>(rank)],
                message(rank, round, bytes * static_cast<size_t>(rank)));
  }
}

TEST(Boot, RanksExchangeOverTcp) {
  for (const int n : {1, 2, 5}) {
    const tw_unique_id_t id = create_unique_id();
    expect_ok(in_threads(n, [&](int rank) {
      const auto exchange = join(id, n, rank, "version=1\nn=5\n", Deadline(20000));
      EXPECT_EQ(exchange->rank(), rank);
      EXPECT_EQ(exchange->size(), n);
      exchange_rounds(*exchange, 100);
    }));
  }
  expect_no_roots();
}

TEST(Boot, SixtyFourRanks) {
  const tw_unique_id_t id = create_unique_id();
  expect_ok(in_threads(
      64, [&](int rank) { exchange_rounds(*join(id, 64, rank, "", Deadline(60000)), 10); }));
}

TEST(Boot, MessagesOfMegabytes) {
  const tw_unique_id_t id = create_unique_id();
  expect_ok(in_threads(4, [&](int rank) {
    exchange_rounds(*join(id, 4, rank, "", Deadline(60000)), size_t{1} << 20);
  }));
}

TEST(Boot, LocalRanksExchange) {
  for (const int n : {1, 2, 64}) {
    const auto group = LocalGroup::create(n);
    expect_ok(in_threads(
        n, [&](int rank) { exchange_rounds(*group->join(rank, Deadline(20000)), 100); }));
  }
}

}  // namespace
}  // namespace tw::boot
