#include "lib/coll/point_to_point.h"

#include <cstring>

#include "lib/base/error.h"
#include "lib/comm/call_text.h"

namespace tw {
namespace {

/// A digest has room for this many elements.
constexpr size_t kMaxCount = (size_t{1} << kMessageTypeShift) - 1;

uint64_t digest_of(const Message& m) { return message_digest(m.type, m.count); }

const char* call_name(const Message& m) { return m.is_send ? "send" : "recv"; }

/// The k-th message in one direction; null when there are fewer.
const Message* nth(const std::vector<Message>& messages, bool is_send, size_t k) {
  for (const Message& m : messages)
    if (m.is_send == is_send && k-- == 0) return &m;
  return nullptr;
}

}  // namespace

void check_message(const Message& m, const Place& place, bool in_group) {
  const char* name = call_name(m);
  if (m.type < 0 || m.type >= kTypes)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: type = %d is not a tw_type_t; valid: 0 (TW_INT8) to %d (%s)", name, m.type,
         kTypes - 1, type_name(kTypes - 1));
  if (m.peer < 0 || m.peer >= place.size)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: peer = %d is no rank; valid: 0 to %d", name, m.peer,
         place.size - 1);
  if (m.peer == place.rank && !in_group)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: peer = %d is the own rank, which is valid only between tw_group_begin and "
         "tw_group_end",
         name, m.peer);
  if (m.count > kMaxCount / kTypeBytes[m.type])
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: count = %zu elements of %s overflow", name, m.count,
         type_name(m.type));
  const size_t bytes = m.count * kTypeBytes[m.type];
  if (bytes != 0 && m.data == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: the buffer is NULL; valid: %zu bytes of memory", name,
         bytes);
  if (reinterpret_cast<uintptr_t>(m.data) + bytes < bytes)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %p with %zu bytes runs past the address space", name,
         m.data, bytes);
}

void check_own_messages(const std::vector<Message>& messages) {
  for (size_t k = 0;; ++k) {
    const Message* send = nth(messages, true, k);
    const Message* recv = nth(messages, false, k);
    if (send == nullptr && recv == nullptr) return;
    if (send == nullptr || recv == nullptr)
      fail(TW_ERROR_INVALID_STATE, "%s %zu of the group with the own rank has no matching %s in it",
           send != nullptr ? "send" : "recv", k + 1, send != nullptr ? "recv" : "send");
    if (digest_of(*send) != digest_of(*recv))
      fail(TW_ERROR_MISMATCH, "to the own rank: send of %s, but recv of %s",
           message_text(digest_of(*send)).c_str(), message_text(digest_of(*recv)).c_str());
  }
}

void copy_own_messages(Device& device, const std::vector<Message>& messages) {
  for (size_t k = 0;; ++k) {
    const Message* send = nth(messages, true, k);
    if (send == nullptr) return;
    const Message* recv = nth(messages, false, k);
    if (send->count != 0) device.copy(recv->data, send->data, send->count * kTypeBytes[send->type]);
  }
}

}  // namespace tw
