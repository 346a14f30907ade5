// The bootstrap: ids, agreement, exchange, and what happens when ranks are missing or die.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/socket.h"
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

// Late ranks come to a set-up that failed; when all have, its root ends.
void come_late(const tw_unique_id_t& id, int n, tw_status_t status, const std::string& word) {
  for (int rank = 0; rank < n; ++rank) {
    const Outcome outcome = outcome_of([&] { join(id, n, rank, "", Deadline(20000)); });
    // Its ranks may all have been told by now.
    if (outcome.status == TW_ERROR_PEER_LOST && Root::find(decode(id).secret) == nullptr) break;
    expect_all({outcome}, status, {word});
    if (Root::find(decode(id).secret) == nullptr) break;
  }
  expect_no_roots();
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
    exchange_rounds(*join(id, 4, rank, "", Deadline(60000)), size_t{1} << 19);
  }));
}

TEST(Boot, LocalRanksExchange) {
  for (const int n : {1, 2, 64}) {
    const auto group = LocalGroup::create(n);
    expect_ok(in_threads(
        n, [&](int rank) { exchange_rounds(*group->join(rank, Deadline(20000)), 100); }));
  }
}

// ---- Disagreement and absence -------------------------------------------------------------------

TEST(Boot, MissingRanksAreNamedInTime) {
  const tw_unique_id_t id = create_unique_id();
  const auto begin = Clock::now();
  expect_all(in_threads(2, [&](int i) { join(id, 5, i * 2, "", Deadline(300)); }), TW_ERROR_TIMEOUT,
             {"ranks 1, 3 and 4 of 5 did not arrive: rank ", " waited "});
  EXPECT_GE(seconds_since(begin), 0.3);
  EXPECT_LE(seconds_since(begin), 1.3);
  come_late(id, 5, TW_ERROR_TIMEOUT, "ranks 1, 3 and 4 of 5 did not arrive");
  EXPECT_LE(seconds_since(begin), 2.5);
}

TEST(Boot, RankMissingFromAStepIsNamed) {
  const tw_unique_id_t id = create_unique_id();
  std::atomic<bool> over{false};
  std::vector<Outcome> outcomes = in_threads(3, [&](int rank) {
    const auto exchange = join(id, 3, rank, "", Deadline(500));
    exchange->all_gather("");
    while (rank == 1 && !over) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (rank == 1) return;
    try {
      exchange->all_gather("");
    } catch (...) {
      over = true;
      throw;
    }
  });
  EXPECT_EQ(outcomes[1].status, TW_OK);
  outcomes.erase(outcomes.begin() + 1);
  expect_all(outcomes, TW_ERROR_TIMEOUT, {"rank 1 of 3 did not come to a step"});
}

TEST(Boot, TwoRanksWithOneNumber) {
  const tw_unique_id_t id = create_unique_id();
  expect_all(in_threads(3, [&](int i) { join(id, 4, std::min(i, 1), "", Deadline(20000)); }),
             TW_ERROR_MISMATCH, {"two ranks claim to be rank 1 of 4"});
  come_late(id, 4, TW_ERROR_MISMATCH, "two ranks claim to be rank 1 of 4");
}

TEST(Boot, DifferentNumbersOfRanks) {
  const tw_unique_id_t id = create_unique_id();
  const auto outcomes =
      in_threads(3, [&](int i) { join(id, i == 2 ? 8 : 4, i, "", Deadline(20000)); });
  expect_all(outcomes, TW_ERROR_MISMATCH, {"says", "4", "8"});
  come_late(id, 8, TW_ERROR_MISMATCH, "says");
}

TEST(Boot, DifferentSettings) {
  const tw_unique_id_t id = create_unique_id();
  expect_all(in_threads(3,
                        [&](int i) {
                          join(id, 3, i,
                               std::string("version=100\ntimeout_ms=") + (i == 1 ? "7" : "99") +
                                   "\nname=x=y",
                               Deadline(20000));
                        }),
             TW_ERROR_MISMATCH, {"timeout_ms must be equal", "\"7\" on rank 1", "\"99\" on rank"});
  const tw_unique_id_t other = create_unique_id();
  expect_all(
      in_threads(2,
                 [&](int i) { join(other, 2, i, i == 1 ? "a=1\nb=2" : "a=1", Deadline(20000)); }),
      TW_ERROR_MISMATCH, {"b must be equal", "\"2\" on rank 1", "\"(missing)\" on rank 0"});
  expect_no_roots();
}

TEST(Boot, OneRankTooManyIsRefusedAndDoesNoHarm) {
  const tw_unique_id_t id = create_unique_id();
  expect_ok(in_threads(2, [&](int rank) {
    const auto exchange = join(id, 2, rank, "", Deadline(20000));
    exchange->all_gather("");
    if (rank == 0)
      expect_all({outcome_of([&] { join(id, 2, 1, "", Deadline(20000)); })}, TW_ERROR_MISMATCH,
                 {"two ranks claim to be rank 1 of 2"});
    exchange_rounds(*exchange, 10);
  }));
}

TEST(Boot, RankThatGivesUpIsNamed) {
  const tw_unique_id_t id = create_unique_id();
  auto outcomes = in_threads(3, [&](int rank) {
    const auto exchange = join(id, 3, rank, "", Deadline(20000));
    if (rank != 2) exchange->all_gather("");
  });
  outcomes.pop_back();
  expect_all(outcomes, TW_ERROR_PEER_LOST, {"rank 2 of 3"});
  const auto group = LocalGroup::create(3);
  outcomes = in_threads(3, [&](int rank) {
    const auto exchange = group->join(rank, Deadline(20000));
    if (rank != 2) exchange->all_gather("");
  });
  outcomes.pop_back();
  expect_all(outcomes, TW_ERROR_PEER_LOST, {"rank 2 of 3"});
}

TEST(Boot, LocalRankMissingIsNamed) {
  const auto group = LocalGroup::create(4);
  const auto absent = group->join(1, Deadline(0));
  const auto begin = Clock::now();
  expect_all(in_threads(3,
                        [&](int i) {
                          const int rank = i == 0 ? 0 : i + 1;
                          group->join(rank, Deadline(200))->all_gather("");
                        }),
             TW_ERROR_TIMEOUT, {"rank 1 of 4 did not come", "waited 200 ms"});
  EXPECT_LE(seconds_since(begin), 1.2);
}

TEST(Boot, IdThatNobodyServes) {
  const tw_unique_id_t id = create_unique_id();
  expect_ok({outcome_of([&] { join(id, 1, 0, "", Deadline(20000)); })});
  expect_no_roots();
  const auto begin = Clock::now();
  expect_all({outcome_of([&] { join(id, 1, 0, "", Deadline(20000)); })}, TW_ERROR_PEER_LOST,
             {"nobody serves this unique id", "127.0.0.1"});
  EXPECT_LE(seconds_since(begin), 2);
}

TEST(Boot, UnusedIdEndsByItself) {
  setenv("TW_COMM_SETUP_TIMEOUT_MS", "50", 1);
  create_unique_id();
  unsetenv("TW_COMM_SETUP_TIMEOUT_MS");
  EXPECT_EQ(Root::alive(), 1);
  expect_no_roots();
}

TEST(Boot, UnusedIdCanBeDestroyed) {
  const tw_unique_id_t id = create_unique_id();
  EXPECT_EQ(Root::alive(), 1);
  const auto begin = Clock::now();
  destroy_unique_id(id);
  expect_no_roots();
  EXPECT_LE(seconds_since(begin), 2);
  destroy_unique_id(id);  // nothing to do
  expect_all({outcome_of([&] { join(id, 1, 0, "", Deadline(20000)); })}, TW_ERROR_PEER_LOST,
             {"nobody serves this unique id"});
}

TEST(Boot, DestroyedIdEndsTheWaitOfRanksThatHadArrived) {
  const tw_unique_id_t id = create_unique_id();
  std::thread destroyer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    destroy_unique_id(id);
  });
  const auto begin = std::chrono::steady_clock::now();
  expect_all(in_threads(2, [&](int rank) { join(id, 3, rank + 1, "", Deadline(20000)); }),
             TW_ERROR_ABORTED, {"the unique id was destroyed", "rank 0 of 3"});
  EXPECT_LE(seconds_since(begin), 2);
  destroyer.join();
  expect_no_roots();
}

TEST(Boot, DestroyedIdServesRanksThatHaveAllArrived) {
  const tw_unique_id_t id = create_unique_id();
  expect_ok(in_threads(2, [&](int rank) {
    const auto exchange = join(id, 2, rank, "", Deadline(20000));
    destroy_unique_id(id);
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    exchange->all_gather("still here");
  }));
  expect_no_roots();
}

// ---- Fixed addresses, interfaces ----------------------------------------------------------------

std::string fixed_id(const std::string& host, int port) {
  return "tcp://" + host + ":" + std::to_string(port) + "/00112233445566778899aabbccddeeff";
}

// A port that was free a moment ago.
int free_port() {
  const Socket socket = listen_at(Address::from_ip(std::string(4, '\0'), 0));
  return bound_address(socket).port();
}

TEST(Boot, RankZeroListensAtAFixedAddress) {
  std::vector<std::string> hosts = {"127.0.0.1", "localhost"};
  if (listen_at(Address::from_ip(std::string(15, '\0') + '\1', 0))) hosts.push_back("[::1]");
  for (const std::string& host : hosts) {
    const tw_unique_id_t id = id_from_text(fixed_id(host, free_port()));
    for (int comm = 0; comm < 3; ++comm)  // one after another
      expect_ok(in_threads(3, [&](int rank) {
        if (rank == 0) std::this_thread::sleep_for(std::chrono::milliseconds(30));
        exchange_rounds(*join(id, 3, rank, "", Deadline(20000)), 10);
      }));
  }
  expect_no_roots();
}

// An ephemeral port that nobody listens at may be given to the very socket that connects to it.
TEST(Boot, SocketsThatMeetThemselvesAreNoRoot) {
  const int port = free_port();
  Socket self = Socket::open(AF_INET, SOCK_STREAM);
  const Address address =
      Address::from_ip(std::string("\x7f\0\0\1", 4), static_cast<uint16_t>(port));
  ASSERT_EQ(bind(self.get(), address.get(), address.bytes), 0);
  static_cast<void>(connect(self.get(), address.get(), address.bytes));  // may still be under way
  EXPECT_TRUE(drop_if_connected_to_itself(self));
  EXPECT_FALSE(self);
  EXPECT_TRUE(listen_at(address)) << "the port is not free";
  const Socket listener = listen_at(Address::from_ip(address.ip(), 0));
  const Address other = bound_address(listener);
  Socket client = Socket::open(AF_INET, SOCK_STREAM);
  static_cast<void>(connect(client.get(), other.get(), other.bytes));
  EXPECT_FALSE(drop_if_connected_to_itself(client));
  EXPECT_TRUE(client);
}

TEST(Boot, RankZeroMissingAtAFixedAddress) {
  const tw_unique_id_t id = id_from_text(fixed_id("127.0.0.1", free_port()));
  const auto begin = Clock::now();
  expect_all({outcome_of([&] { join(id, 2, 1, "", Deadline(300)); })}, TW_ERROR_TIMEOUT,
             {"rank 0", "127.0.0.1", "300 ms"});
  EXPECT_LE(seconds_since(begin), 1.3);
}

TEST(Boot, TwoRanksZeroAtAFixedAddress) {
  const tw_unique_id_t id = id_from_text(fixed_id("127.0.0.1", free_port()));
  expect_all(in_threads(3, [&](int i) { join(id, 3, i / 2, "", Deadline(20000)); }),
             TW_ERROR_MISMATCH, {"two ranks claim to be rank 0 of 3"});
  expect_all({outcome_of([&] { join(id, 3, 2, "", Deadline(20000)); })}, TW_ERROR_MISMATCH,
             {"two ranks claim to be rank 0 of 3"});
  expect_no_roots();
}

TEST(Boot, FixedAddressOfSomebodyElse) {
  const Socket stranger = listen_at(Address::from_ip(std::string("\x7f\0\0\1", 4), 0));
  const int port = bound_address(stranger).port();
  const tw_unique_id_t id = id_from_text(fixed_id("127.0.0.1", port));
  expect_all({outcome_of([&] { join(id, 2, 0, "", Deadline(100)); })}, TW_ERROR_SYSTEM,
             {"rank 0 cannot listen at 127.0.0.1:" + std::to_string(port), "in use"});
}

TEST(Boot, FailedSetUpAtAFixedAddressCanBeRepeated) {
  const tw_unique_id_t id = id_from_text(fixed_id("127.0.0.1", free_port()));
  expect_all({outcome_of([&] { join(id, 2, 0, "", Deadline(100)); })}, TW_ERROR_TIMEOUT,
             {"rank 1 of 2 did not arrive"});
  expect_ok(in_threads(2, [&](int rank) {
    if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(500));
    exchange_rounds(*join(id, 2, rank, "", Deadline(20000)), 10);
  }));
}

TEST(Boot, InterfaceByEnvironment) {
  setenv("TW_BOOT_INTERFACE", "lo", 1);
  const tw_unique_id_t id = create_unique_id();
  for (const Address& address : decode(id).addresses) EXPECT_TRUE(address.loopback());
  EXPECT_FALSE(decode(id).addresses.empty());
  setenv("TW_BOOT_INTERFACE", "nonesuch7", 1);
  expect_all({outcome_of([] { create_unique_id(); })}, TW_ERROR_INVALID_ARGUMENT,
             {"TW_BOOT_INTERFACE=\"nonesuch7\"", "lo"});
  unsetenv("TW_BOOT_INTERFACE");
  expect_ok(in_threads(
      2, [&](int rank) { exchange_rounds(*join(id, 2, rank, "", Deadline(20000)), 10); }));
}

TEST(Boot, EachAddressOfAnIdWorks) {
  const Id id = decode(create_unique_id());
  ASSERT_FALSE(id.addresses.empty());
  EXPECT_TRUE(id.addresses[0].loopback());
  const int n = static_cast<int>(id.addresses.size());
  expect_ok(in_threads(n, [&](int rank) {
    Id one = id;
    one.addresses = {id.addresses[static_cast<size_t>(rank)]};
    exchange_rounds(*join(encode(one), n, rank, "", Deadline(20000)), 10);
  }));
}

// ---- Ids and environment as text ----------------------------------------------------------------

TEST(Boot, IdAsText) {
  const tw_unique_id_t id = create_unique_id();
  const std::string text = id_to_text(id);
  EXPECT_EQ(text.size(), size_t{TW_UNIQUE_ID_TEXT_BYTES - 1});
  const tw_unique_id_t back = id_from_text(text);
  EXPECT_EQ(std::memcmp(&id, &back, sizeof id), 0);
  const Id fixed = decode(id_from_text("tcp://[fe80::1]:80/000102030405060708090a0B0C0D0E0F"));
  EXPECT_EQ(fixed.host, "fe80::1");
  EXPECT_EQ(fixed.port, 80);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(fixed.secret[static_cast<size_t>(i)], i);
  // Every digit counts.
  for (size_t i = 0; i < text.size(); i += 5) {
    std::string damaged = text;
    damaged[i] = damaged[i] == '0' ? '1' : '0';
    EXPECT_EQ(outcome_of([&] { id_from_text(damaged); }).status, TW_ERROR_INVALID_ARGUMENT) << i;
  }
  join(id, 1, 0, "", Deadline(20000));
}

TEST(Boot, BadIdsAreRefused) {
  const std::string secret = "/00112233445566778899aabbccddeeff";
  const std::string bad[] = {"",
                             "x",
                             std::string(256, '0'),
                             std::string(256, 'g'),
                             std::string(255, '0'),
                             "tcp://",
                             "tcp://h:1",
                             "tcp://h:1/",
                             "tcp://h:1/00",
                             "tcp://h:1" + secret + "0",
                             "tcp://h" + secret,
                             "tcp://h:" + secret,
                             "tcp://h:0" + secret,
                             "tcp://h:65536" + secret,
                             "tcp://h:4294967297" + secret,
                             "tcp://h:-1" + secret,
                             "tcp://h:1x" + secret,
                             "tcp://:1" + secret,
                             "tcp://::1:1" + secret,
                             "tcp://[]:1" + secret,
                             "tcp://[h:1" + secret,
                             "tcp://a b:1" + secret,
                             "tcp://" + std::string(101, 'h') + ":1" + secret,
                             "tcp://h:1/0011223344556677889xaabbccddeeff"};
  for (const std::string& text : bad) {
    const Outcome outcome = outcome_of([&] { id_from_text(text); });
    EXPECT_EQ(outcome.status, TW_ERROR_INVALID_ARGUMENT) << text;
    EXPECT_NE(outcome.sentence.find("valid:"), std::string::npos) << text;
    EXPECT_EQ(outcome.sentence.find("0011223344"), std::string::npos) << "shows the secret";
  }
  const tw_unique_id_t zero = {};
  expect_all({outcome_of([&] { join(zero, 2, 0, "", Deadline(100)); })}, TW_ERROR_INVALID_ARGUMENT,
             {"unique id"});
  const tw_unique_id_t id = id_from_text("tcp://127.0.0.1:1" + secret);
  for (const auto& [n, rank] : {std::pair{0, 0}, {65, 0}, {2, 2}, {2, -1}})
    EXPECT_EQ(outcome_of([&, n = n, rank = rank] { join(id, n, rank, "", Deadline(100)); }).status,
              TW_ERROR_INVALID_ARGUMENT);
}

TEST(Boot, EnvironmentOfARank) {
  const std::string text = fixed_id("127.0.0.1", 4711);
  struct Case {
    const char *rank, *size, *id, *word;
  };
  const Case cases[] = {
      {nullptr, "2", text.c_str(), "TW_RANK is not set"},
      {"0", nullptr, text.c_str(), "TW_WORLD_SIZE is not set"},
      {"0", "2", nullptr, "TW_UNIQUE_ID is not set"},
      {"2", "2", text.c_str(), "TW_RANK=2"},
      {"-1", "2", text.c_str(), "TW_RANK=-1"},
      {"x", "2", text.c_str(), "TW_RANK=\"x\""},
      {"0", "0", text.c_str(), "TW_WORLD_SIZE=0"},
      {"0", "65", text.c_str(), "TW_WORLD_SIZE=65"},
      {"0", "2", "nonsense", "TW_UNIQUE_ID"},
  };
  const auto set = [](const char* name, const char* value) {
    if (value == nullptr)
      unsetenv(name);
    else
      setenv(name, value, 1);
  };
  for (const Case& each : cases) {
    set("TW_RANK", each.rank);
    set("TW_WORLD_SIZE", each.size);
    set("TW_UNIQUE_ID", each.id);
    expect_all({outcome_of([] { environment(); })}, TW_ERROR_INVALID_ARGUMENT, {each.word});
  }
  set("TW_RANK", "3");
  set("TW_WORLD_SIZE", "4");
  set("TW_UNIQUE_ID", text.c_str());
  EXPECT_EQ(environment().rank, 3);
  EXPECT_EQ(environment().size, 4);
  EXPECT_EQ(decode(environment().id).port, 4711);
  for (const char* name : {"TW_RANK", "TW_WORLD_SIZE", "TW_UNIQUE_ID"}) unsetenv(name);
}

// ---- Many set-ups -------------------------------------------------------------------------------

size_t entries(const char* folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

TEST(Boot, ThousandSetUpsLeakNothing) {
#if defined(TW_SANITIZE_THREAD) || defined(TW_SANITIZE_ADDRESS)
  const int cycles = 100;
#else
  const int cycles = 1000;
#endif
  size_t fds = 0, threads = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    const tw_unique_id_t id = create_unique_id();
    expect_ok(in_threads(2, [&](int rank) { join(id, 2, rank, "", Deadline(20000)); }));
    if (cycle == 10) {
      expect_no_roots();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));  // for threads to be reaped
      fds = entries("/proc/self/fd");
      threads = entries("/proc/self/task");
    }
  }
  expect_no_roots();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(entries("/proc/self/fd"), fds);
  EXPECT_LE(entries("/proc/self/task"), threads);
}

TEST(Boot, ManyIdsAtOnce) {
  std::vector<tw_unique_id_t> ids;
  for (int i = 0; i < 16; ++i) ids.push_back(create_unique_id());
  expect_ok(in_threads(32, [&](int i) {
    exchange_rounds(*join(ids[static_cast<size_t>(i / 2)], 2, i % 2, "", Deadline(60000)), 10);
  }));
  expect_no_roots();
}

// ---- Processes that die -------------------------------------------------------------------------

// A child that ends with 0 when `body` returns true.
pid_t fork_child(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    bool good = false;
    try {
      good = body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "child: %s\n", error.what());
    }
    _exit(good ? 0 : 1);
  }
  return child;
}

bool ends_well(pid_t child) {
  int status = 0;
  return waitpid(child, &status, 0) == child && status == 0;
}

// True when joining, or a later step, fails with `status` and `word` within a second of `when`.
bool fails_soon(const tw_unique_id_t& id, int n, int rank, tw_status_t status,
                const std::string& word, const std::function<Clock::time_point()>& when) {
  const Outcome outcome = outcome_of([&] {
    const auto exchange = join(id, n, rank, "", Deadline(20000));
    for (;;) exchange->all_gather("");
  });
  const double late = seconds_since(when());
  if (outcome.status == status && outcome.sentence.find(word) != std::string::npos && late < 1)
    return true;
  std::fprintf(stderr, "rank %d, %.2f s after: %s\n", rank, late, outcome.sentence.c_str());
  return false;
}

// Kills rank 2 of 3, a process, while the others are in `steps` > 0 steps or still waiting to join.
void kill_a_rank(int steps) {
  const tw_unique_id_t id = create_unique_id();
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t victim = fork_child([&] {
    const auto exchange = join(id, steps == 0 ? 4 : 3, 2, "", Deadline(20000));
    for (int i = 0; i < steps; ++i) exchange->all_gather("");
    EXPECT_EQ(write(ready[1], "x", 1), 1);
    pause();
    return false;
  });
  std::atomic<int64_t> killed_ns{0};
  std::thread killer([&] {
    char byte;
    if (steps > 0) {
      EXPECT_EQ(read(ready[0], &byte, 1), 1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    killed_ns = Clock::now().time_since_epoch().count();
    kill(victim, SIGKILL);
  });
  const auto when = [&] { return Clock::time_point(Clock::duration(killed_ns.load())); };
  std::atomic<int> good{0};
  in_threads(2, [&](int rank) {
    good += fails_soon(id, steps == 0 ? 4 : 3, rank, TW_ERROR_PEER_LOST, "rank 2", when) ? 1 : 0;
  });
  EXPECT_EQ(good, 2);
  killer.join();
  waitpid(victim, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
}

TEST(BootProcess, KilledRankIsNamedWhileOthersArrive) { kill_a_rank(0); }
TEST(BootProcess, KilledRankIsNamedInAStep) { kill_a_rank(2); }

TEST(BootProcess, KilledRootIsNoticed) {
  int channel[2];
  ASSERT_EQ(pipe(channel), 0);
  const pid_t maker = fork_child([&] {
    const tw_unique_id_t id = create_unique_id();
    EXPECT_EQ(write(channel[1], &id, sizeof id), static_cast<ssize_t>(sizeof id));
    const auto exchange = join(id, 3, 1, "", Deadline(20000));
    exchange->all_gather("");
    pause();
    return false;
  });
  tw_unique_id_t id;
  ASSERT_EQ(read(channel[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
  std::atomic<int64_t> killed_ns{0};
  std::thread killer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    killed_ns = Clock::now().time_since_epoch().count();
    kill(maker, SIGKILL);
  });
  const auto when = [&] { return Clock::time_point(Clock::duration(killed_ns.load())); };
  std::atomic<int> good{0};
  in_threads(2, [&](int i) {
    good += fails_soon(id, 3, 2 * i, TW_ERROR_PEER_LOST, "rank 1", when) ? 1 : 0;
  });
  EXPECT_EQ(good, 2);
  killer.join();
  waitpid(maker, nullptr, 0);
  close(channel[0]);
  close(channel[1]);
}

TEST(BootProcess, StoppedRootIsATimeOut) {
  int channel[2];
  ASSERT_EQ(pipe(channel), 0);
  const pid_t maker = fork_child([&] {
    const tw_unique_id_t id = create_unique_id();
    EXPECT_EQ(write(channel[1], &id, sizeof id), static_cast<ssize_t>(sizeof id));
    pause();
    return false;
  });
  tw_unique_id_t id;
  ASSERT_EQ(read(channel[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
  std::thread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    kill(maker, SIGSTOP);
  });
  const auto begin = Clock::now();
  expect_all({outcome_of([&] { join(id, 2, 0, "", Deadline(300)); })}, TW_ERROR_TIMEOUT,
             {"does not answer"});
  EXPECT_LE(seconds_since(begin), 2);
  stopper.join();
  kill(maker, SIGKILL);
  waitpid(maker, nullptr, 0);
  close(channel[0]);
  close(channel[1]);
}

TEST(BootProcess, ChildOfARankDoesNotKeepItAlive) {
  const tw_unique_id_t id = create_unique_id();
  int held[2];
  ASSERT_EQ(pipe(held), 0);
  const pid_t rank_one = fork_child([&] {
    const auto exchange = join(id, 2, 1, "", Deadline(20000));
    fork_child([&] {  // outlives its parent and holds whatever it inherited
      char byte;
      close(held[1]);
      return read(held[0], &byte, 1) == 0;
    });
    kill(getpid(), SIGKILL);
    return false;
  });
  const auto begin = Clock::now();
  EXPECT_TRUE(fails_soon(id, 2, 0, TW_ERROR_PEER_LOST, "rank 1", [&] { return begin; }));
  waitpid(rank_one, nullptr, 0);
  close(held[0]);
  close(held[1]);
}

// The process of the root ends right after its own rank is done; the others still get the result.
TEST(BootProcess, RootMayEndWithItsRank) {
  for (int i = 0; i < 4; ++i) {
    int channel[2];
    ASSERT_EQ(pipe(channel), 0);
    const pid_t maker = fork_child([&] {
      const tw_unique_id_t id = create_unique_id();
      EXPECT_EQ(write(channel[1], &id, sizeof id), static_cast<ssize_t>(sizeof id));
      const auto exchange = join(id, 3, 0, "", Deadline(20000));
      return exchange->all_gather(message(0, 0, 2000000)).size() == 3;
    });
    tw_unique_id_t id;
    ASSERT_EQ(read(channel[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
    expect_ok(in_threads(2, [&](int i) {
      const auto all = join(id, 3, i + 1, "", Deadline(20000))->all_gather("");
      EXPECT_EQ(all[0], message(0, 0, 2000000));
    }));
    EXPECT_TRUE(ends_well(maker));
    close(channel[0]);
    close(channel[1]);
  }
}

}  // namespace
}  // namespace tw::boot
