#include "lib/api/group.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "lib/api/handles.h"
#include "lib/base/error.h"
#include "lib/coll/group.h"
#include "lib/device/stream.h"

namespace tw::api::group {

constinit thread_local int t_depth = 0;

namespace {

struct Gathered {
  tw_comm_t handle;
  GroupItem item;
};

thread_local std::vector<Gathered> t_gathered;
/// Why the first call that was refused was.
thread_local std::optional<Error> t_refused;

/// This thread is the one caller of every comm of the group, and they are what they were.
class Callers {
 public:
  explicit Callers(const std::vector<Gathered>& gathered) {
    for (const Gathered& g : gathered) {
      if (std::find(comms_.begin(), comms_.end(), g.item.comm) != comms_.end()) continue;
      if (comms.find(g.handle) == nullptr)
        fail(TW_ERROR_INVALID_HANDLE, "a comm of this group was destroyed before tw_group_end");
      uses_.emplace_back(g.handle);
      comms_.push_back(g.item.comm);
    }
  }

 private:
  std::deque<CommInUse> uses_;
  std::vector<Comm*> comms_;
};

}  // namespace

void add(tw_comm_t handle, Comm& comm, const Call& call, tw_stream_t stream) {
  t_gathered.push_back({handle, {&comm, stream, comm.collectives().prepare_copy(call), {}}});
}

void add(tw_comm_t handle, Comm& comm, const Message& message, tw_stream_t stream) {
  check_message(message, {comm.rank(), comm.size()}, true);
  comm.collectives().check_reach(message);
  t_gathered.push_back({handle, {&comm, stream, std::nullopt, message}});
}

bool holds(const Comm& comm) {
  return std::any_of(t_gathered.begin(), t_gathered.end(),
                     [&](const Gathered& g) { return g.item.comm == &comm; });
}

void begin() { ++t_depth; }

void refused(const Error& error) {
  if (!t_refused) t_refused = error;
}

void refuse_call(const char* function) {
  if (!is_open()) return;
  const Error error(
      TW_ERROR_INVALID_STATE,
      text("%s: between tw_group_begin and tw_group_end; valid: outside groups", function));
  refused(error);
  throw Error(error);
}

void end() {
  if (t_depth == 0) fail(TW_ERROR_INVALID_STATE, "tw_group_end without tw_group_begin");
  if (--t_depth > 0) return;
  std::vector<GroupItem> items;
  std::vector<Gathered> gathered = std::exchange(t_gathered, {});
  // Without the call that was refused the others may wait for ever.
  if (const std::optional<Error> error = std::exchange(t_refused, std::nullopt))
    throw Error(error->status(),
                text("no call of this group was made, since one was refused: %s", error->what()));
  for (const Gathered& g : gathered)
    if (g.item.stream != nullptr) g.item.comm->device().check_stream(g.item.stream);
  const Callers callers(gathered);
  items.reserve(gathered.size());
  for (Gathered& g : gathered) items.push_back(std::move(g.item));
  for (const GroupItem& item : items) {
    item.comm->device().check_queued(item.comm);
    item.comm->check();
  }
  run_group(std::move(items));
}

}  // namespace tw::api::group
