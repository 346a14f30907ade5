#include "lib/boot/id.h"

#include <sodium.h>

#include <algorithm>
#include <cstring>

#include "lib/base/config.h"
#include "lib/base/error.h"

namespace tw::boot {
namespace {

constexpr unsigned char kIdMagic[4] = {'T', 'W', 'I', '1'};
constexpr unsigned char kAddresses = 1, kHost = 2;
constexpr size_t kPlaceAt = 24, kChecksumAt = kPlaceAt + kIdPlaceBytes;
constexpr size_t kSecretDigits = 32;
static_assert(kChecksumAt + 4 == sizeof(tw_unique_id_t));
static_assert(TW_UNIQUE_ID_TEXT_BYTES == 2 * sizeof(tw_unique_id_t) + 1);

void checksum(const tw_unique_id_t& raw, unsigned char* four) {
  Mac hash;
  crypto_generichash(hash.data(), hash.size(), raw.bytes, kChecksumAt, nullptr, 0);
  std::memcpy(four, hash.data(), 4);
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool from_hex(std::string_view text, unsigned char* bytes) {
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) return false;
    bytes[i / 2] = static_cast<unsigned char>(high << 4 | low);
  }
  return text.size() % 2 == 0;
}

// The secret must not appear in sentences, so they do not quote the text.
[[noreturn]] void bad_text(const char* why) {
  fail(TW_ERROR_INVALID_ARGUMENT,
       "the unique id's text is invalid: %s; valid: 256 hexadecimal digits from "
       "tw_unique_id_to_text, or tcp://host:port/ and 32 hexadecimal digits",
       why);
}

tw_unique_id_t from_url(std::string_view text) {
  Id id;
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) bad_text("there is no /secret after host:port");
  const std::string_view secret = text.substr(slash + 1);
  if (secret.size() != kSecretDigits || !from_hex(secret, id.secret.data()))
    bad_text("the secret is not 32 hexadecimal digits");
  std::string_view host = text.substr(0, slash);
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos) bad_text("there is no :port after the host");
  const std::string_view port = host.substr(colon + 1);
  unsigned number = 0;
  for (const char c : port) number = c >= '0' && c <= '9' ? number * 10 + (c - '0') : 1u << 20;
  if (port.empty() || port.size() > 5 || number < 1 || number > 65535)
    bad_text("the port is not a number from 1 to 65535");
  host = host.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  else if (host.find_first_of("[]:") != std::string_view::npos)
    bad_text("an IPv6 address needs brackets, [::1]");
  if (host.empty()) bad_text("the host is empty");
  if (host.size() > kIdPlaceBytes) bad_text("the host name is longer than 100 characters");
  for (const char c : host)
    if (c <= ' ' || c > '~') bad_text("the host name has a blank or a control character");
  id.host = host;
  id.port = static_cast<uint16_t>(number);
  return encode(id);
}

}  // namespace

tw_unique_id_t encode(const Id& id) {
  tw_unique_id_t raw = {};
  std::memcpy(raw.bytes, kIdMagic, 4);
  std::string place;
  int count = 0;
  if (id.host.empty()) {
    for (const Address& address : id.addresses) {
      const std::string ip = address.ip();
      if (place.size() + 1 + ip.size() > kIdPlaceBytes) continue;
      place += static_cast<char>(ip.size()) + ip;
      ++count;
    }
  } else {
    place = id.host;
    count = static_cast<int>(place.size());
    if (place.size() > kIdPlaceBytes)
      fail(TW_ERROR_INVALID_ARGUMENT, "the host name \"%s\" is longer than %zu characters",
           id.host.c_str(), kIdPlaceBytes);
  }
  raw.bytes[4] = id.host.empty() ? kAddresses : kHost;
  raw.bytes[5] = static_cast<unsigned char>(count);
  raw.bytes[6] = static_cast<unsigned char>(id.port >> 8);
  raw.bytes[7] = static_cast<unsigned char>(id.port);
  std::memcpy(raw.bytes + 8, id.secret.data(), id.secret.size());
  std::memcpy(raw.bytes + kPlaceAt, place.data(), place.size());
  checksum(raw, raw.bytes + kChecksumAt);
  return raw;
}

Id decode(const tw_unique_id_t& raw) {
  unsigned char sum[4];
  checksum(raw, sum);
  const unsigned char form = raw.bytes[4];
  if (std::memcmp(raw.bytes, kIdMagic, 4) != 0 ||
      std::memcmp(raw.bytes + kChecksumAt, sum, 4) != 0 || (form != kAddresses && form != kHost))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "the unique id is damaged or uninitialised; valid: one from tw_unique_id_create or "
         "tw_unique_id_from_text, unchanged");
  Id id;
  id.port = static_cast<uint16_t>(raw.bytes[6] << 8 | raw.bytes[7]);
  std::memcpy(id.secret.data(), raw.bytes + 8, id.secret.size());
  std::string_view place(reinterpret_cast<const char*>(raw.bytes) + kPlaceAt, kIdPlaceBytes);
  const size_t count = raw.bytes[5];
  if (form == kHost) {
    id.host = place.substr(0, count);
    return id;
  }
  for (size_t i = 0; i < count && !place.empty(); ++i) {
    const size_t bytes = static_cast<unsigned char>(place[0]);
    if ((bytes != 4 && bytes != 16) || 1 + bytes > place.size()) break;
    id.addresses.push_back(Address::from_ip(place.substr(1, bytes), id.port));
    place.remove_prefix(1 + bytes);
  }
  return id;
}

std::string place(const Id& id) {
  if (!id.host.empty()) return text("%s:%u", id.host.c_str(), id.port);
  std::string result;
  for (const Address& address : id.addresses)
    result += (result.empty() ? "" : ", ") + address.text();
  return result;
}

std::string id_to_text(const tw_unique_id_t& id) {
  decode(id);  // refuses what is no id
  std::string result;
  for (const unsigned char byte : id.bytes) result += text("%02x", byte);
  return result;
}

tw_unique_id_t id_from_text(std::string_view text) {
  constexpr std::string_view kScheme = "tcp://";
  if (text.substr(0, kScheme.size()) == kScheme) return from_url(text.substr(kScheme.size()));
  tw_unique_id_t raw;
  if (text.size() != 2 * sizeof raw.bytes) bad_text("it has the wrong length");
  if (!from_hex(text, raw.bytes)) bad_text("it holds a character that is no hexadecimal digit");
  decode(raw);
  return raw;
}

Environment environment() {
  for (const char* name : {"TW_RANK", "TW_WORLD_SIZE", "TW_UNIQUE_ID"})
    if (!config::is_set(name))
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s is not set; TW_RANK, TW_WORLD_SIZE and TW_UNIQUE_ID are set by tw_run -n N program",
           name);
  const int64_t size = config::integer("TW_WORLD_SIZE");
  if (size < 1 || size > kMaxRanks)
    fail(TW_ERROR_INVALID_ARGUMENT, "TW_WORLD_SIZE=%lld is not within 1 to %d",
         static_cast<long long>(size), kMaxRanks);
  const int64_t rank = config::integer("TW_RANK");
  if (rank < 0 || rank >= size)
    fail(TW_ERROR_INVALID_ARGUMENT, "TW_RANK=%lld is not within 0 to %lld (TW_WORLD_SIZE - 1)",
         static_cast<long long>(rank), static_cast<long long>(size - 1));
  try {
    return {static_cast<int>(rank), static_cast<int>(size),
            id_from_text(config::string("TW_UNIQUE_ID"))};
  } catch (const Error& error) {
    fail(error.status(), "TW_UNIQUE_ID: %s", error.what());
  }
}

}  // namespace tw::boot
