// tw_describe: the library and the machine in words.
#include "lib/coll/describe.h"

#include "lib/api/guard.h"
#include "lib/base/config.h"
#include "lib/device/isa.h"
#include "lib/device/probe.h"
#include "lib/topo/topology.h"

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

namespace {

std::string describe_version() {
  return text("tilewire   %d.%d.%d\ntargets    %s\n", TW_VERSION_MAJOR, TW_VERSION_MINOR,
              TW_VERSION_PATCH, TW_BUILT_TARGETS);
}

std::string describe(tw_describe_what_t what) {
  switch (what) {
    case TW_DESCRIBE_VERSION:
      return describe_version();
    case TW_DESCRIBE_TARGETS:
      return describe_isa();
    case TW_DESCRIBE_TOPOLOGY:
      return describe_topology();
    case TW_DESCRIBE_CHOICES:
      return describe_choices();
    case TW_DESCRIBE_ENVIRONMENT:
      return config::describe();
    case TW_DESCRIBE_LIBRARIES:
      return describe_libraries();
  }
  fail(TW_ERROR_INVALID_ARGUMENT, "tw_describe: what = %d; valid: %d to %d", what,
       TW_DESCRIBE_VERSION, TW_DESCRIBE_LIBRARIES);
}

}  // namespace

tw_status_t tw_describe(tw_describe_what_t what, char* text, size_t bytes, size_t* needed) {
  return guard([&] {
    require(needed, "tw_describe", "needed");
    if (bytes != 0) require(text, "tw_describe", "text");
    answer_text(describe(what), text, bytes, needed);
  });
}
