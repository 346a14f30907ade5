// What the fuzz target of the bootstrap does with one input. A unit test runs the seeds through it.
//
// The first byte says where the rest goes:
//   'r'  to a root, as the bytes of a connection (its secret and nonce are fixed, so that recorded
//        bytes of a genuine rank are accepted)
//   'k'  to a rank, as the bytes of a genuine root
//   'm'  to a meeting, as records {connection, kind, 2 bytes length, payload} of ranks that have
//        proven themselves
//   'i'  to the parser of an id's text
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/error.h"
#include "lib/boot/id.h"
#include "lib/boot/meeting.h"
#include "lib/boot/wire.h"

namespace tw::fuzz {

constexpr boot::Secret kSecret = {'f', 'u', 'z', 'z'};
constexpr boot::Nonce kRootNonce = {'r', 'o', 'o', 't'};
constexpr boot::Nonce kRankNonce = {'r', 'a', 'n', 'k'};

inline void require(bool condition) {
  if (!condition) std::abort();
}

// Whatever a parser accepts must be what the encoder makes of it.
inline bool check_payload(const boot::Frame& frame) {
  boot::Join join;
  boot::Failure failure;
  uint64_t number = 0;
  std::vector<std::string> messages;
  switch (frame.kind) {
    case boot::Kind::kJoin:
      if (!decode(frame.payload, &join)) return false;
      require(encode(join) == frame.payload);
      return true;
    case boot::Kind::kError:
      if (!decode(frame.payload, &failure)) return false;
      require(encode(failure) == frame.payload);
      return true;
    case boot::Kind::kHost:
    case boot::Kind::kOverdue:
      if (!boot::decode_number(frame.payload, &number)) return false;
      require(boot::encode_number(number) == frame.payload);
      return true;
    case boot::Kind::kResult:
      if (!boot::decode_result(frame.payload, 2, &messages)) return false;
      require(boot::encode_result(messages) == frame.payload);
      return true;
    default:
      return true;
  }
}

// One end of a connection reads `bytes`, in pieces; true when it took frames, all with valid
// payloads, and nothing else.
inline bool run_channel(boot::Channel::Role role, std::string_view bytes) {
  boot::Channel channel(role, kSecret,
                        role == boot::Channel::Role::kRoot ? kRootNonce : kRankNonce);
  std::vector<boot::Frame> frames;
  std::string reply;
  size_t piece = 1;
  while (!bytes.empty()) {
    const std::string_view next = bytes.substr(0, piece);
    if (!channel.feed(next, &reply, &frames)) {
      require(!channel.proven());
      return false;
    }
    bytes.remove_prefix(next.size());
    piece = piece % 61 * 3 + 1;
  }
  require(frames.empty() || channel.proven());
  bool accepted = !frames.empty();
  for (const boot::Frame& frame : frames) accepted = check_payload(frame) && accepted;
  return accepted;
}

// True when all ranks have met.
inline bool run_meeting(std::string_view bytes) {
  boot::Meeting meeting;
  bool complete = false;
  while (bytes.size() >= 4) {
    const int connection = static_cast<unsigned char>(bytes[0]) % 8;
    const auto kind = static_cast<uint8_t>(bytes[1]);
    const size_t length = static_cast<unsigned char>(bytes[2]) |
                          static_cast<size_t>(static_cast<unsigned char>(bytes[3])) << 8;
    bytes.remove_prefix(4);
    const std::string_view payload = bytes.substr(0, length);
    bytes.remove_prefix(payload.size());
    boot::Meeting::Answers answers;
    const bool known = kind >= 1 && kind <= boot::kMaxKind;
    if (!known ||
        !meeting.take(connection, {static_cast<boot::Kind>(kind), std::string(payload)}, &answers))
      meeting.lost(connection, &answers);
    for (const boot::Meeting::Answer& answer : answers) {
      require(answer.connection >= 0 && answer.connection < 8 && answer.payload != nullptr);
      if (answer.kind == boot::Kind::kError) require(check_payload({answer.kind, *answer.payload}));
    }
    complete = complete || meeting.complete();
  }
  return complete;
}

inline bool run_id(std::string_view text) {
  try {
    const tw_unique_id_t id = boot::id_from_text(text);
    const std::string back = boot::id_to_text(id);
    const tw_unique_id_t again = boot::id_from_text(back);
    require(std::string_view(reinterpret_cast<const char*>(id.bytes), sizeof id.bytes) ==
            std::string_view(reinterpret_cast<const char*>(again.bytes), sizeof id.bytes));
    boot::decode(id);
    return true;
  } catch (const Error& error) {
    require(error.status() == TW_ERROR_INVALID_ARGUMENT);
    return false;
  }
}

/// True when the code under test accepted the input.
inline bool run_boot_input(std::string_view input) {
  if (input.empty()) return false;
  const std::string_view rest = input.substr(1);
  switch (input[0]) {
    case 'r':
      return run_channel(boot::Channel::Role::kRoot, rest);
    case 'k':
      return run_channel(boot::Channel::Role::kRank, rest);
    case 'm':
      return run_meeting(rest);
    case 'i':
      return run_id(rest);
    default:
      return false;
  }
}

}  // namespace tw::fuzz
