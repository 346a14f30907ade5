#include "lib/boot/wire.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"

namespace tw::boot {
namespace {

constexpr char kMagic[] = "tilewir1";  // 8 characters

template <class T>
void put(std::string* out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i)
    out->push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}

template <class T>
bool take(std::string_view* in, T* value) {
  if (in->size() < sizeof(T)) return false;
  uint64_t bits = 0;
  for (size_t i = 0; i < sizeof(T); ++i)
    bits |= static_cast<uint64_t>(static_cast<unsigned char>((*in)[i])) << (8 * i);
  *value = static_cast<T>(bits);
  in->remove_prefix(sizeof(T));
  return true;
}

template <size_t kBytes>
std::string_view view(const std::array<unsigned char, kBytes>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), kBytes};
}

// BLAKE2b with a key, over parts that have fixed sizes or come last.
template <size_t kKeyBytes>
Mac keyed_hash(const std::array<unsigned char, kKeyBytes>& key,
               std::initializer_list<std::string_view> parts) {
  crypto_generichash_state state;
  crypto_generichash_init(&state, key.data(), key.size(), kMacBytes);
  for (const std::string_view part : parts)
    crypto_generichash_update(&state, reinterpret_cast<const unsigned char*>(part.data()),
                              part.size());
  Mac result;
  crypto_generichash_final(&state, result.data(), result.size());
  sodium_memzero(&state, sizeof state);
  return result;
}

bool equal(const Mac& mac, std::string_view bytes) {
  return bytes.size() == kMacBytes &&
         sodium_memcmp(mac.data(), bytes.data(), kMacBytes) == 0;  // constant time
}

Mac frame_mac(const Key& key, uint64_t number, std::string_view header, std::string_view payload) {
  std::string count;
  put(&count, number);
  return keyed_hash(key, {count, header, payload});
}

}  // namespace

Nonce random_nonce() {
  if (sodium_init() < 0) fail(TW_ERROR_SYSTEM, "libsodium cannot start: no random numbers?");
  Nonce result;
  randombytes_buf(result.data(), result.size());
  return result;
}

// ---- Payloads -----------------------------------------------------------------------------------

std::string encode(const Join& join) {
  std::string out;
  put(&out, join.version);
  put(&out, join.rank);
  put(&out, join.n);
  put(&out, static_cast<uint32_t>(join.hosts ? 1 : 0));
  return out + join.agreement;
}

bool decode(std::string_view bytes, Join* join) {
  uint32_t flags = 0;
  if (bytes.size() > kJoinLimit || !take(&bytes, &join->version) || !take(&bytes, &join->rank) ||
      !take(&bytes, &join->n) || !take(&bytes, &flags))
    return false;
  if (flags > 1 || join->n < 1 || join->n > kMaxRanks || join->rank >= join->n) return false;
  join->hosts = flags == 1;
  join->agreement = bytes;
  return true;
}

std::string encode(const Failure& failure) {
  std::string out;
  put(&out, static_cast<uint32_t>(failure.status));
  return out + failure.sentence;
}

bool decode(std::string_view bytes, Failure* failure) {
  uint32_t status = 0;
  if (!take(&bytes, &status) || status == TW_OK || status > TW_ERROR_INTERNAL) return false;
  failure->status = static_cast<tw_status_t>(status);
  failure->sentence = bytes;
  return true;
}

std::string encode_number(uint64_t value) {
  std::string out;
  put(&out, value);
  return out;
}

bool decode_number(std::string_view bytes, uint64_t* value) {
  return take(&bytes, value) && bytes.empty();
}

std::string encode_result(const std::vector<std::string>& messages) {
  std::string out;
  size_t total = 4;
  for (const std::string& message : messages) total += 4 + message.size();
  out.reserve(total);
  put(&out, static_cast<uint32_t>(messages.size()));
  for (const std::string& message : messages) {
    put(&out, static_cast<uint32_t>(message.size()));
    out += message;
  }
  return out;
}

bool decode_result(std::string_view bytes, size_t n, std::vector<std::string>* messages) {
  uint32_t count = 0;
  if (!take(&bytes, &count) || count != n) return false;
  messages->clear();
  for (size_t i = 0; i < n; ++i) {
    uint32_t size = 0;
    if (!take(&bytes, &size) || size > bytes.size()) return false;
    messages->emplace_back(bytes.substr(0, size));
    bytes.remove_prefix(size);
  }
  return bytes.empty();
}

// ---- Channel ------------------------------------------------------------------------------------

Channel::Channel(Role role, const Secret& secret, const Nonce& nonce)
    : role_(role),
      state_(role == Role::kRoot ? State::kHello : State::kChallenge),
      secret_(secret) {
  (role == Role::kRoot ? root_nonce_ : rank_nonce_) = nonce;
}

Channel::~Channel() {
  sodium_memzero(secret_.data(), secret_.size());
  sodium_memzero(receive_key_.data(), receive_key_.size());
  sodium_memzero(send_key_.data(), send_key_.size());
}

std::string Channel::start() const {
  if (role_ == Role::kRoot) return {};
  return std::string(kMagic, 8).append(view(rank_nonce_));
}

bool Channel::bad(const char* why) {
  why_ = why;
  state_ = State::kBad;
  in_.clear();
  return false;
}

Mac Channel::proof(const char* label) const {
  return keyed_hash(secret_, {std::string_view(label, 4), view(rank_nonce_), view(root_nonce_)});
}

void Channel::start_session() {
  const Key down = proof("down"), up = proof("up  ");
  receive_key_ = role_ == Role::kRoot ? up : down;
  send_key_ = role_ == Role::kRoot ? down : up;
  state_ = State::kFrames;
}

bool Channel::take_hello(std::string* reply) {
  // A wrong first byte is enough: whoever speaks another protocol need not send 40 bytes.
  const size_t known = std::min<size_t>(8, in_.size());
  if (std::memcmp(in_.data(), kMagic, known) != 0) return bad("it does not speak tilewire");
  if (in_.size() < kHelloBytes) return true;
  std::memcpy(rank_nonce_.data(), in_.data() + 8, rank_nonce_.size());
  in_.erase(0, kHelloBytes);
  reply->append(kMagic, 8).append(view(root_nonce_)).append(view(proof("root")));
  state_ = State::kProof;
  return true;
}

bool Channel::take_challenge(std::string* reply) {
  const size_t known = std::min<size_t>(8, in_.size());
  if (std::memcmp(in_.data(), kMagic, known) != 0) return bad("it does not speak tilewire");
  if (in_.size() < kChallengeBytes) return true;
  std::memcpy(root_nonce_.data(), in_.data() + 8, root_nonce_.size());
  if (!equal(proof("root"), std::string_view(in_).substr(40, kMacBytes)))
    return bad("it does not know the secret of the unique id");
  in_.erase(0, kChallengeBytes);
  reply->append(view(proof("rank")));
  start_session();
  return true;
}

bool Channel::take_proof() {
  if (in_.size() < kMacBytes) return true;
  if (!equal(proof("rank"), std::string_view(in_).substr(0, kMacBytes)))
    return bad("it does not know the secret of the unique id");
  in_.erase(0, kMacBytes);
  start_session();
  return true;
}

bool Channel::take_frames(std::vector<Frame>* frames) {
  std::string_view rest = in_;
  while (rest.size() >= kFrameHeaderBytes) {
    std::string_view header = rest.substr(0, kFrameHeaderBytes);
    uint32_t length = 0, kind = 0;
    take(&header, &length);
    take(&header, &kind);
    if (length > limit_) return bad("a frame is longer than allowed");
    if (kind < 1 || kind > kMaxKind) return bad("a frame has an unknown kind");
    const size_t total = kFrameHeaderBytes + length + kMacBytes;
    if (rest.size() < total) break;
    const std::string_view payload = rest.substr(kFrameHeaderBytes, length);
    const Mac mac = frame_mac(receive_key_, received_, rest.substr(0, kFrameHeaderBytes), payload);
    if (!equal(mac, rest.substr(kFrameHeaderBytes + length, kMacBytes)))
      return bad("a frame has a wrong MAC");
    ++received_;
    frames->push_back({static_cast<Kind>(kind), std::string(payload)});
    rest.remove_prefix(total);
  }
  in_.erase(0, in_.size() - rest.size());
  return true;
}

bool Channel::feed(std::string_view bytes, std::string* reply, std::vector<Frame>* frames) {
  if (state_ == State::kBad) return false;
  in_.append(bytes);
  if (state_ == State::kHello && !take_hello(reply)) return false;
  if (state_ == State::kChallenge && !take_challenge(reply)) return false;
  if (state_ == State::kProof && !take_proof()) return false;
  return state_ != State::kFrames || take_frames(frames);
}

Channel::Sealed Channel::seal(Kind kind, std::string_view payload) {
  Sealed sealed;
  put(&sealed.header, static_cast<uint32_t>(payload.size()));
  put(&sealed.header, static_cast<uint32_t>(kind));
  sealed.mac = view(frame_mac(send_key_, sent_, sealed.header, payload));
  ++sent_;
  return sealed;
}

}  // namespace tw::boot
