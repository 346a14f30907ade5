// What goes over the wire during set-up: a mutual proof that both ends hold the id's secret, then
// frames with a MAC each. No I/O here: bytes in, bytes and frames out.
//
//   rank -> root   hello      magic, nonce of the rank
//   root -> rank   challenge  magic, nonce of the root, MAC("root", both nonces)
//   rank -> root   proof      MAC("rank", both nonces)
//   both           frames     length, kind, payload, MAC(number of the frame, header, payload)
//
// The secret keys the first MACs and the two session keys, one a direction; it is never sent.
// These first messages never change; whoever changes frames or payloads counts up kVersion.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/boot/exchange.h"

namespace tw::boot {

constexpr uint32_t kVersion = 1;
constexpr size_t kMacBytes = 32;
constexpr size_t kHelloBytes = 8 + 32;
constexpr size_t kChallengeBytes = 8 + 32 + kMacBytes;
constexpr size_t kFrameHeaderBytes = 8;
constexpr size_t kJoinLimit = size_t{64} << 10;  // payload of a kJoin frame
constexpr size_t kResultLimit = kMaxRanks * (kMaxMessage + 4) + 4;

using Secret = std::array<unsigned char, 16>;
using Key = std::array<unsigned char, 32>;
using Nonce = std::array<unsigned char, 32>;
using Mac = std::array<unsigned char, kMacBytes>;

enum class Kind : uint8_t {
  kJoin = 1,     // rank -> root: Join
  kWelcome = 2,  // root -> rank: the join counts; empty
  kHost = 3,     // root -> rank: the rank whose process relays (u32)
  kReady = 4,    // root -> rank: all ranks are here; empty
  kGather = 5,   // rank -> root: the bytes of one all_gather
  kResult = 6,   // root -> rank: all ranks' bytes
  kOverdue = 7,  // rank -> root: my time is up (u64: milliseconds waited)
  kError = 8,    // root -> rank: Failure
  kBye = 9,      // rank -> root: I leave; empty
};
constexpr uint8_t kMaxKind = 9;

struct Frame {
  Kind kind;
  std::string payload;
};

struct Join {
  uint32_t version = kVersion;
  uint32_t rank = 0;
  uint32_t n = 0;
  bool hosts = false;  // the root runs in this rank's process
  std::string agreement;
};

struct Failure {
  tw_status_t status;
  std::string sentence;
};

std::string encode(const Join& join);
std::string encode(const Failure& failure);
std::string encode_number(uint64_t value);
std::string encode_result(const std::vector<std::string>& messages);

/// False when `bytes` is not exactly one valid value.
bool decode(std::string_view bytes, Join* join);
bool decode(std::string_view bytes, Failure* failure);
bool decode_number(std::string_view bytes, uint64_t* value);
bool decode_result(std::string_view bytes, size_t n, std::vector<std::string>* messages);

/// 32 random bytes.
Nonce random_nonce();

/// One end of a connection, from hello to frames.
class Channel {
 public:
  enum class Role { kRoot, kRank };

  /// `nonce` must be fresh for each connection.
  Channel(Role role, const Secret& secret, const Nonce& nonce);
  ~Channel();
  Channel(Channel&&) = default;
  Channel& operator=(Channel&&) = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  /// What this end says first.
  std::string start() const;

  /// Takes what arrived. Appends answers to `reply` and complete frames to `frames`. False: the
  /// other end is a stranger or broken and must be dropped; why() says why.
  bool feed(std::string_view bytes, std::string* reply, std::vector<Frame>* frames);

  /// True when the other end has proven that it holds the secret.
  bool proven() const { return state_ == State::kFrames; }
  const char* why() const { return why_; }

  /// Largest payload that feed() accepts from now on.
  void set_limit(size_t bytes) { limit_ = bytes; }

  /// What goes before and after `payload`. Frames must be sent in the order of these calls.
  struct Sealed {
    std::string header;
    std::string mac;
  };
  Sealed seal(Kind kind, std::string_view payload);

 private:
  enum class State { kHello, kChallenge, kProof, kFrames, kBad };

  bool bad(const char* why);
  bool take_hello(std::string* reply);
  bool take_challenge(std::string* reply);
  bool take_proof();
  bool take_frames(std::vector<Frame>* frames);
  void start_session();
  Mac proof(const char* label) const;

  Role role_;
  State state_;
  Secret secret_;
  Nonce rank_nonce_ = {};
  Nonce root_nonce_ = {};
  Key receive_key_ = {};
  Key send_key_ = {};
  uint64_t received_ = 0;
  uint64_t sent_ = 0;
  size_t limit_ = kJoinLimit;
  std::string in_;
  const char* why_ = "";
};

}  // namespace tw::boot
