// The bootstrap among strangers: port scanners, garbage, slow and endless senders, thieves of
// recorded bytes, and peers with the right secret that break the protocol.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <list>
#include <mutex>
#include <random>
#include <thread>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/socket.h"
#include "lib/boot/id.h"
#include "lib/boot/meeting.h"
#include "lib/boot/root.h"
#include "lib/boot/wire.h"
#include "tests/fuzz/boot_input.h"

namespace tw::boot {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// ---- Parsers: every truncation, every extension, every flipped bit ------------------------------

TEST(BootWire, JoinIsParsedExactly) {
  const Join join{kVersion, 3, 5, true, "a=1\nb=2"};
  const std::string bytes = encode(join);
  Join back;
  ASSERT_TRUE(decode(bytes, &back));
  EXPECT_EQ(back.rank, 3u);
  EXPECT_EQ(back.n, 5u);
  EXPECT_TRUE(back.hosts);
  EXPECT_EQ(back.agreement, join.agreement);
  for (size_t size = 0; size < 16; ++size) EXPECT_FALSE(decode(bytes.substr(0, size), &back));
  for (const auto& [rank, n] : {std::pair{5u, 5u}, {0u, 0u}, {0u, 65u}, {~0u, ~0u}})
    EXPECT_FALSE(decode(encode(Join{kVersion, rank, n, false, ""}), &back)) << rank << " " << n;
  EXPECT_FALSE(decode(bytes + std::string(kJoinLimit, 'x'), &back));
}

TEST(BootWire, ResultIsParsedExactly) {
  const std::vector<std::string> messages = {"", "one", std::string(300, 'x')};
  const std::string bytes = encode_result(messages);
  std::vector<std::string> back;
  ASSERT_TRUE(decode_result(bytes, 3, &back));
  EXPECT_EQ(back, messages);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_result(bytes.substr(0, size), 3, &back)) << size;
  EXPECT_FALSE(decode_result(bytes + "x", 3, &back));
  EXPECT_FALSE(decode_result(bytes, 2, &back));
  EXPECT_FALSE(decode_result(bytes, 4, &back));
  std::string huge = bytes;
  std::memset(huge.data() + 4, 0xff, 4);  // the first message's length
  EXPECT_FALSE(decode_result(huge, 3, &back));
}

TEST(BootWire, FailureAndNumberAreParsedExactly) {
  Failure failure;
  ASSERT_TRUE(decode(encode(Failure{TW_ERROR_TIMEOUT, "late"}), &failure));
  EXPECT_EQ(failure.status, TW_ERROR_TIMEOUT);
  EXPECT_EQ(failure.sentence, "late");
  for (const uint32_t status : {0u, 14u, ~0u}) {
    std::string bytes(4, '\0');
    std::memcpy(bytes.data(), &status, 4);
    EXPECT_FALSE(decode(bytes, &failure)) << status;
  }
  EXPECT_FALSE(decode("abc", &failure));
  uint64_t number = 0;
  ASSERT_TRUE(decode_number(encode_number(0x123456789abcdefull), &number));
  EXPECT_EQ(number, 0x123456789abcdefull);
  EXPECT_FALSE(decode_number("1234567", &number));
  EXPECT_FALSE(decode_number("123456789", &number));
}

// Two ends that talk to each other in memory.
struct Pair {
  Secret root_secret = {1}, rank_secret = {1};
  Channel root{Channel::Role::kRoot, root_secret, random_nonce()};
  Channel rank{Channel::Role::kRank, rank_secret, random_nonce()};
  std::vector<Frame> frames;
  std::string sent;  // everything the rank said

  explicit Pair(unsigned char rank_byte = 1)
      : rank_secret{rank_byte}, rank(Channel::Role::kRank, rank_secret, random_nonce()) {}

  bool shake_hands() {
    std::string challenge, proof, none;
    sent = rank.start();
    const bool good = root.feed(sent, &challenge, &frames) && rank.feed(challenge, &proof, &frames);
    sent += proof;
    return good && root.feed(proof, &none, &frames) && root.proven() && rank.proven();
  }
  std::string frame(Kind kind, std::string_view payload) {
    const Channel::Sealed sealed = rank.seal(kind, payload);
    return sealed.header + std::string(payload) + sealed.mac;
  }
  bool feed(std::string_view bytes) {
    std::string reply;
    return root.feed(bytes, &reply, &frames);
  }
};

TEST(BootWire, FramesArriveHoweverTheyAreCut) {
  Pair pair;
  ASSERT_TRUE(pair.shake_hands());
  std::string stream;
  for (int i = 0; i < 5; ++i)
    stream += pair.frame(Kind::kGather, std::string(static_cast<size_t>(i * 37), 'a'));
  for (const char byte : stream) ASSERT_TRUE(pair.feed({&byte, 1}));
  ASSERT_EQ(pair.frames.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(pair.frames[i].payload, std::string(i * 37, 'a'));
}

TEST(BootWire, EveryFlippedBitIsNoticed) {
  const std::string payload = "what one rank says";
  for (size_t bit = 0; bit < 8 * (kFrameHeaderBytes + payload.size() + kMacBytes); ++bit) {
    Pair pair;
    ASSERT_TRUE(pair.shake_hands());
    std::string bytes = pair.frame(Kind::kGather, payload);
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    pair.feed(bytes);
    EXPECT_TRUE(pair.frames.empty()) << "bit " << bit;
  }
}

TEST(BootWire, EveryFlippedBitOfTheHandshakeIsNoticed) {
  for (size_t bit = 0; bit < 8 * (kHelloBytes + kMacBytes); ++bit) {
    Pair pair;
    std::string challenge, proof, hello = pair.rank.start();
    if (bit < 8 * kHelloBytes)
      hello[bit / 8] = static_cast<char>(hello[bit / 8] ^ (1 << (bit % 8)));
    if (pair.root.feed(hello, &challenge, &pair.frames)) {
      const bool accepted = pair.rank.feed(challenge, &proof, &pair.frames);
      EXPECT_EQ(accepted, bit >= 8 * kHelloBytes) << "bit " << bit;
    }
    if (bit >= 8 * kHelloBytes) {
      const size_t at = bit / 8 - kHelloBytes;
      proof[at] = static_cast<char>(proof[at] ^ (1 << (bit % 8)));
      EXPECT_FALSE(pair.feed(proof));
    }
    EXPECT_FALSE(pair.root.proven()) << "bit " << bit;
  }
}

TEST(BootWire, FramesCannotBeRepeatedReorderedOrSentBack) {
  Pair pair;
  ASSERT_TRUE(pair.shake_hands());
  const std::string first = pair.frame(Kind::kGather, "1"), second = pair.frame(Kind::kGather, "2");
  EXPECT_TRUE(pair.feed(first));
  EXPECT_FALSE(pair.feed(first));
  Pair other;
  ASSERT_TRUE(other.shake_hands());
  other.frame(Kind::kGather, "1");
  EXPECT_FALSE(other.feed(other.frame(Kind::kGather, "2")));
  Pair mirror;
  ASSERT_TRUE(mirror.shake_hands());
  std::string reply;
  const std::string own = mirror.frame(Kind::kGather, "1");
  EXPECT_FALSE(mirror.rank.feed(own, &reply, &mirror.frames));
  EXPECT_TRUE(mirror.frames.empty());
}

TEST(BootWire, WrongSecretsAreNoticedByBothEnds) {
  Pair pair(2);
  EXPECT_FALSE(pair.shake_hands());
  EXPECT_NE(std::strstr(pair.rank.why(), "secret"), nullptr);
  EXPECT_FALSE(pair.feed(std::string(kMacBytes, 'x')));
  EXPECT_NE(std::strstr(pair.root.why(), "secret"), nullptr);
}

TEST(BootWire, SecretNeverCrossesTheWire) {
  const Secret secret = {'s', 'e', 'c', 'r', 'e', 't', ' ', 'o', 'f', ' ', '1', '6', 'b', 'y', 't'};
  Channel root(Channel::Role::kRoot, secret, random_nonce());
  Channel rank(Channel::Role::kRank, secret, random_nonce());
  std::string said = rank.start(), challenge, proof;
  std::vector<Frame> frames;
  ASSERT_TRUE(root.feed(said, &challenge, &frames) && rank.feed(challenge, &proof, &frames));
  said += challenge + proof + rank.seal(Kind::kBye, "").mac;
  for (size_t at = 0; at + 4 <= secret.size(); ++at)
    EXPECT_EQ(said.find(std::string(reinterpret_cast<const char*>(secret.data()) + at, 4)),
              std::string::npos);
}

// The fuzz target starts from these; a seed that is refused (after a change of the protocol) must
// be made anew.
TEST(BootWire, SeedsOfTheFuzzTargetAreAccepted) {
  int seeds = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fuzz/seeds/boot")) {
    std::ifstream file(entry.path(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    EXPECT_TRUE(fuzz::run_boot_input(bytes)) << entry.path();
    ++seeds;
    // Cut short anywhere they must do no harm (the sanitizers watch).
    for (size_t size = 0; size < bytes.size(); ++size)
      fuzz::run_boot_input(std::string_view(bytes).substr(0, size));
  }
  EXPECT_GE(seeds, 8);
}

// ---- The meeting: frames that make no sense -----------------------------------------------------

Frame join_frame(uint32_t rank, uint32_t n, uint32_t version = kVersion) {
  return {Kind::kJoin, encode(Join{version, rank, n, false, ""})};
}

TEST(BootMeeting, FramesOutOfPlaceAreRefused) {
  for (uint8_t kind = 1; kind <= kMaxKind; ++kind) {
    Meeting meeting;
    Meeting::Answers answers;
    EXPECT_EQ(meeting.take(1, {static_cast<Kind>(kind), ""}, &answers), false)
        << "kind " << int{kind} << " of a connection that is no rank";
    EXPECT_FALSE(meeting.anybody());
    ASSERT_TRUE(meeting.take(1, join_frame(0, 2), &answers));
    const bool valid = static_cast<Kind>(kind) == Kind::kBye;
    EXPECT_EQ(meeting.take(1, {static_cast<Kind>(kind), ""}, &answers), valid)
        << "kind " << int{kind} << " of a rank that waits for others";
  }
  Meeting meeting;
  Meeting::Answers answers;
  ASSERT_TRUE(meeting.take(1, join_frame(0, 2), &answers));
  EXPECT_FALSE(meeting.take(1, join_frame(0, 2), &answers)) << "joins twice";
  ASSERT_TRUE(meeting.take(2, join_frame(1, 2), &answers));
  ASSERT_TRUE(meeting.complete());
  EXPECT_TRUE(meeting.take(1, {Kind::kGather, "a"}, &answers));
  EXPECT_FALSE(meeting.take(1, {Kind::kGather, "a"}, &answers)) << "gathers twice";
  EXPECT_FALSE(meeting.take(2, {Kind::kGather, std::string(kMaxMessage + 1, 'x')}, &answers));
}

TEST(BootMeeting, VersionsThatDifferAreNamed) {
  Meeting meeting;
  Meeting::Answers answers;
  ASSERT_TRUE(meeting.take(1, join_frame(0, 2), &answers));
  answers.clear();
  ASSERT_TRUE(meeting.take(2, join_frame(1, 2, kVersion + 1), &answers));
  ASSERT_EQ(answers.size(), 2u);
  for (const Meeting::Answer& answer : answers) {
    Failure failure;
    ASSERT_EQ(answer.kind, Kind::kError);
    ASSERT_TRUE(decode(*answer.payload, &failure));
    EXPECT_EQ(failure.status, TW_ERROR_MISMATCH);
    EXPECT_NE(failure.sentence.find("rank 1 speaks version 2"), std::string::npos)
        << failure.sentence;
  }
}

// ---- A real root under attack -------------------------------------------------------------------

// Lines of the log, while it lives.
class Log {
 public:
  Log() { log::set(&Log::take, this, TW_LOG_WARN); }
  ~Log() { log::set(nullptr, nullptr, TW_LOG_NONE); }

  int count(const std::string& word) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int found = 0;
    for (const std::string& line : lines_) found += line.find(word) != std::string::npos ? 1 : 0;
    return found;
  }
  bool waits_for(const std::string& word, double seconds = 5) {
    const auto begin = Clock::now();
    while (count(word) == 0 && seconds_since(begin) < seconds)
      std::this_thread::sleep_for(milliseconds(1));
    return count(word) > 0;
  }
  std::string all() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string result;
    for (const std::string& line : lines_) result += line + "\n";
    return result;
  }

 private:
  static void take(tw_log_level_t, const char* line, void* self) {
    Log& log = *static_cast<Log*>(self);
    const std::lock_guard<std::mutex> lock(log.mutex_);
    log.lines_.emplace_back(line);
  }
  std::mutex mutex_;
  std::vector<std::string> lines_;
};

// A raw connection to the root of `id`.
class Raw {
 public:
  explicit Raw(const tw_unique_id_t& id) {
    const Address at = decode(id).addresses.at(0);
    socket_ = Socket::open(at.family(), SOCK_STREAM);
    if (socket_ && connect(socket_.get(), at.get(), at.bytes) != 0) wait(POLLOUT);
  }
  void say(std::string_view bytes) {
    const auto begin = Clock::now();
    while (!bytes.empty() && seconds_since(begin) < 2) {
      const ssize_t sent = send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) bytes.remove_prefix(static_cast<size_t>(sent));
      if (sent < 0 && errno != EAGAIN) return;
      if (sent < 0) wait(POLLOUT);
    }
  }
  std::string hear(size_t bytes) {
    std::string result;
    char buffer[4096];
    while (result.size() < bytes && wait(POLLIN)) {
      const ssize_t got = recv(socket_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) break;
      result.append(buffer, static_cast<size_t>(got));
    }
    return result;
  }
  void hang_up() { socket_.reset(); }
  void reset_connection() {
    const linger now = {1, 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    socket_.reset();
  }
  void half_close() { shutdown(socket_.get(), SHUT_WR); }

 private:
  bool wait(short events) {
    pollfd polled = {socket_.get(), events, 0};
    return poll(&polled, 1, 2000) > 0;
  }
  Socket socket_;
};

// A peer that holds the secret and says `said` after its proof.
void insider(const tw_unique_id_t& id, const std::function<std::string(Channel&)>& said) {
  Raw raw(id);
  Channel channel(Channel::Role::kRank, decode(id).secret, random_nonce());
  raw.say(channel.start());
  std::string proof;
  std::vector<Frame> frames;
  ASSERT_TRUE(channel.feed(raw.hear(kChallengeBytes), &proof, &frames));
  raw.say(proof + said(channel));
  raw.hear(1u << 20);  // until the root hangs up
}

std::string whole(Channel& channel, Kind kind, const std::string& payload) {
  const Channel::Sealed sealed = channel.seal(kind, payload);
  return sealed.header + payload + sealed.mac;
}

void set_up(const tw_unique_id_t& id, int n) {
  std::vector<std::thread> ranks;
  for (int rank = 0; rank < n; ++rank)
    ranks.emplace_back([&, rank] {
      try {
        const auto exchange = join(id, n, rank, "", Deadline(20000));
        const auto all = exchange->all_gather(std::to_string(rank));
        for (int r = 0; r < n; ++r) EXPECT_EQ(all[static_cast<size_t>(r)], std::to_string(r));
      } catch (const Error& error) {
        ADD_FAILURE() << "rank " << rank << ": " << error.what();
      }
    });
  for (std::thread& rank : ranks) rank.join();
}

TEST(BootHostile, StrangersAreDroppedAndLogged) {
  Log log;
  const tw_unique_id_t id = create_unique_id();
  const auto begin = Clock::now();
  Raw silent(id), slow(id);
  slow.say("tilew");
  Raw(id).say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(log.waits_for("does not speak tilewire")) << log.all();
  Raw(id).hang_up();
  EXPECT_TRUE(log.waits_for("it hung up")) << log.all();
  {
    Raw liar(id);
    liar.say(Channel(Channel::Role::kRank, Secret{9}, random_nonce()).start());
    liar.hear(kChallengeBytes);
    liar.say(std::string(kMacBytes, 'x'));
    EXPECT_TRUE(log.waits_for("does not know the secret")) << log.all();
  }
  slow.say("ir1 and so on, slowly");
  EXPECT_LT(seconds_since(begin), 2) << "nobody waited for the silent one";
  EXPECT_TRUE(log.waits_for("did not prove itself in time")) << log.all();
  EXPECT_EQ(silent.hear(1), "");
  set_up(id, 3);
}

TEST(BootHostile, RecordedBytesAreOfNoUse) {
  Log log;
  const tw_unique_id_t id = create_unique_id();
  std::string recorded;
  insider(id, [&](Channel& channel) {
    recorded = channel.start();
    return std::string(kFrameHeaderBytes, '\xff');
  });
  // What a genuine rank said, proof and all, against a new challenge.
  Channel channel(Channel::Role::kRank, decode(id).secret, random_nonce());
  Raw genuine(id);
  genuine.say(channel.start());
  std::string proof;
  std::vector<Frame> frames;
  ASSERT_TRUE(channel.feed(genuine.hear(kChallengeBytes), &proof, &frames));
  Raw thief(id);
  thief.say(channel.start());
  EXPECT_EQ(thief.hear(kChallengeBytes).size(), kChallengeBytes);
  thief.say(proof + whole(channel, Kind::kJoin, encode(Join{kVersion, 0, 2, false, ""})));
  EXPECT_TRUE(log.waits_for("does not know the secret")) << log.all();
  set_up(id, 2);
}

TEST(BootHostile, InsidersThatBreakTheProtocolAreDropped) {
  struct Case {
    const char* word;
    std::function<std::string(Channel&)> said;
  };
  const Case cases[] = {
      {"longer than allowed", [](Channel&) { return std::string("\xff\xff\xff\x7f\1\0\0\0", 8); }},
      {"unknown kind", [](Channel&) { return std::string(8, '\0'); }},
      {"wrong MAC",
       [](Channel& c) {
         std::string bytes = whole(c, Kind::kBye, "");
         bytes.back() = static_cast<char>(bytes.back() ^ 1);
         return bytes;
       }},
      {"makes no sense", [](Channel& c) { return whole(c, Kind::kJoin, "?"); }},
      {"makes no sense", [](Channel& c) { return whole(c, Kind::kGather, "too early"); }},
      {"makes no sense", [](Channel& c) { return whole(c, Kind::kReady, ""); }},
  };
  for (const Case& each : cases) {
    Log log;
    const tw_unique_id_t id = create_unique_id();
    insider(id, each.said);
    EXPECT_TRUE(log.waits_for(each.word)) << each.word << " is not in: " << log.all();
    set_up(id, 2);
  }
}

// One of eight kinds of unpleasant connection.
void attack(int kind, Raw& raw, std::mt19937& random) {
  std::string garbage(1000, '\0');
  for (char& c : garbage) c = static_cast<char>(random());
  const std::string hello = Channel(Channel::Role::kRank, Secret{7}, random_nonce()).start();
  switch (kind % 8) {
    case 0:  // silent
      break;
    case 1:
      raw.hang_up();
      break;
    case 2:
      raw.reset_connection();
      break;
    case 3:
      raw.say(garbage);
      break;
    case 4:
      raw.say("GET / HTTP/1.0\r\n\r\n");
      raw.half_close();
      break;
    case 5:  // the beginning of a hello; the rest comes a byte at a time
      raw.say(hello.substr(0, 1 + random() % 30));
      break;
    case 6:
      raw.say(hello);
      break;
    case 7:
      raw.say(hello + garbage);
      break;
  }
}

enum class Attack { kMixed, kSilent };

// Attacks the root of `id` with `count` connections, keeps those open that the root does not close,
// and lets the slow ones go on, until `stop`.
void attack_all(const tw_unique_id_t& id, Attack how, int count, std::atomic<int>* open,
                const std::atomic<bool>* stop) {
  std::mt19937 random(1);
  std::list<Raw> all;
  for (int i = 0; i < count; ++i) {
    all.emplace_back(id);
    if (how == Attack::kMixed) attack(i, all.back(), random);
    ++*open;
  }
  while (!*stop) {
    if (how == Attack::kMixed)
      for (Raw& raw : all) raw.say("x");
    std::this_thread::sleep_for(milliseconds(5));
  }
}

// Set-up of `n` ranks amid 200 hostile connections: half are there before, half come meanwhile.
double set_up_under_attack(Attack how, int n) {
  const tw_unique_id_t id = create_unique_id();
  std::atomic<int> before{0}, meanwhile{0};
  std::atomic<bool> stop{false};
  std::thread early([&] { attack_all(id, how, 100, &before, &stop); });
  while (before < 100) std::this_thread::sleep_for(milliseconds(1));
  std::thread late([&] { attack_all(id, how, 100, &meanwhile, &stop); });
  const auto begin = Clock::now();
  set_up(id, n);
  const double seconds = seconds_since(begin);
  stop = true;
  early.join();
  late.join();
  return seconds;
}

TEST(BootHostile, TwoHundredHostileConnectionsDoNotDelaySetUp) {
  const auto begin = Clock::now();
  set_up(create_unique_id(), 8);
  const double peaceful = seconds_since(begin);
  for (const Attack how : {Attack::kMixed, Attack::kSilent}) {
    Log log;
    const double attacked = set_up_under_attack(how, 8);
    std::printf("set-up of 8 ranks: %.4f s, under attack %.4f s\n", peaceful, attacked);
    // Waiting for just one silent connection would take three seconds.
    EXPECT_LT(attacked, 10 * peaceful + 1);
    EXPECT_TRUE(log.waits_for("connections of strangers were dropped")) << log.all();
  }
}

// The process of root and ranks may open 64 descriptors; 200 connections want one each.
TEST(BootHostile, AttackWithFewDescriptors) {
  int up[2], down[2];
  ASSERT_EQ(pipe(up), 0);
  ASSERT_EQ(pipe(down), 0);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit few = {64, 64};
    setrlimit(RLIMIT_NOFILE, &few);
    const tw_unique_id_t id = create_unique_id();
    char byte;
    if (write(up[1], &id, sizeof id) != sizeof id || read(down[0], &byte, 1) != 1) _exit(2);
    const auto begin = Clock::now();
    set_up(id, 4);
    _exit(seconds_since(begin) < 2 && !testing::Test::HasFailure() ? 0 : 1);
  }
  tw_unique_id_t id;
  ASSERT_EQ(read(up[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
  std::atomic<int> open{0};
  std::atomic<bool> stop{false};
  std::thread attacker([&] { attack_all(id, Attack::kSilent, 200, &open, &stop); });
  while (open < 200) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(write(down[1], "x", 1), 1);
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  stop = true;
  attacker.join();
  for (const int fd : {up[0], up[1], down[0], down[1]}) close(fd);
}

// A rank that reads late still gets the result when the root's process ends in the meantime.
TEST(BootProcess, EndOfTheRootWaitsForSlowReaders) {
  int up[2];
  ASSERT_EQ(pipe(up), 0);
  const std::string message(8 << 20, 'm');
  const pid_t maker = fork();
  if (maker == 0) {
    const tw_unique_id_t id = create_unique_id();
    if (write(up[1], &id, sizeof id) != sizeof id) _exit(2);
    const size_t ranks = join(id, 2, 0, "", Deadline(20000))->all_gather(message).size();
    _exit(ranks == 2 ? 0 : 1);
  }
  tw_unique_id_t id;
  ASSERT_EQ(read(up[0], &id, sizeof id), static_cast<ssize_t>(sizeof id));
  Raw raw(id);
  Channel channel(Channel::Role::kRank, decode(id).secret, random_nonce());
  channel.set_limit(kResultLimit);
  raw.say(channel.start());
  std::string reply;
  std::vector<Frame> frames;
  ASSERT_TRUE(channel.feed(raw.hear(kChallengeBytes), &reply, &frames));
  raw.say(reply + whole(channel, Kind::kJoin, encode(Join{kVersion, 1, 2, false, ""})));
  while (frames.empty() || frames.back().kind != Kind::kReady)
    ASSERT_TRUE(channel.feed(raw.hear(1), &reply, &frames));
  raw.say(whole(channel, Kind::kGather, "g"));
  std::this_thread::sleep_for(milliseconds(300));
  ASSERT_TRUE(channel.feed(raw.hear(64u << 20), &reply, &frames));
  std::vector<std::string> all;
  EXPECT_EQ(frames.back().kind, Kind::kResult);
  ASSERT_TRUE(decode_result(frames.back().payload, 2, &all));
  EXPECT_EQ(all[0], message);
  raw.hang_up();
  int status = 0;
  EXPECT_EQ(waitpid(maker, &status, 0), maker);
  EXPECT_EQ(status, 0);
  close(up[0]);
  close(up[1]);
}

}  // namespace
}  // namespace tw::boot
