// Unique ids: tilewire.h, "Communicators".
#include <cstring>

#include "lib/api/guard.h"
#include "lib/boot/exchange.h"

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_unique_id_create(tw_unique_id_t* id) {
  return guard([&] {
    require(id, "tw_unique_id_create", "id");
    *id = boot::create_unique_id();
  });
}

tw_status_t tw_unique_id_destroy(const tw_unique_id_t* id) {
  return guard([&] {
    require(id, "tw_unique_id_destroy", "id");
    boot::destroy_unique_id(*id);
  });
}

tw_status_t tw_unique_id_to_text(const tw_unique_id_t* id, char* text) {
  return guard([&] {
    require(id, "tw_unique_id_to_text", "id");
    require(text, "tw_unique_id_to_text", "text");
    const std::string result = boot::id_to_text(*id);
    std::memcpy(text, result.c_str(), result.size() + 1);
  });
}

tw_status_t tw_unique_id_from_text(const char* text, tw_unique_id_t* id) {
  return guard([&] {
    require(text, "tw_unique_id_from_text", "text");
    require(id, "tw_unique_id_from_text", "id");
    *id = boot::id_from_text(text);
  });
}
