// What needs no comm: names, versions, types, the log.
#include "lib/api/guard.h"
#include "lib/base/log.h"
#include "lib/coll/call.h"

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

const char* tw_status_name(tw_status_t status) {
  switch (status) {
#define TW_STATUS_NAME(name, value, text) \
  case name:                              \
    return #name;
    TW_STATUS_MAP(TW_STATUS_NAME)
#undef TW_STATUS_NAME
  }
  return "unknown status";
}

tw_status_t tw_fail(tw_status_t status, const char* sentence) {
  return report(status, sentence == nullptr ? tw_status_name(status) : sentence);
}

int tw_version(void) { return TW_VERSION; }

tw_status_t tw_type_size(tw_type_t type, size_t* bytes) {
  return guard([&] {
    require_range(type, 0, kTypes - 1, "tw_type_size", "type");
    require(bytes, "tw_type_size", "bytes");
    *bytes = kTypeBytes[type];
  });
}

tw_status_t tw_log_set(tw_log_fn fn, void* user, tw_log_level_t level) {
  return guard([&] {
    require_range(level, TW_LOG_NONE, TW_LOG_DEBUG, "tw_log_set", "level");
    log::set(fn, user, level);
  });
}
