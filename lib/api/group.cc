#include "lib/api/group.h"

#include <algorithm>
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

/// This thread is the one caller of every comm of the group.
class Callers {
 public:
  explicit Callers(const std::vector<GroupItem>& items) {
    comms_.reserve(items.size());  // nothing below throws but the refusal
    for (const GroupItem& item : items) {
      if (std::find(comms_.begin(), comms_.end(), item.comm) != comms_.end()) continue;
      if (!item.comm->enter()) {
        leave();
        fail(TW_ERROR_INVALID_STATE,
             "tw_group_end: another thread is inside a call on comm \"%s\" rank %d",
             item.comm->options().name.c_str(), item.comm->rank());
      }
      comms_.push_back(item.comm);
    }
  }
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;
  ~Callers() { leave(); }

 private:
  void leave() const {
    for (Comm* comm : comms_) comm->leave();
  }
  std::vector<Comm*> comms_;
};

}  // namespace

void add(tw_comm_t handle, Comm& comm, const Call& call, tw_stream_t stream) {
  t_gathered.push_back({handle, {&comm, stream, comm.collectives().prepare_copy(call), {}}});
}

void add(tw_comm_t handle, Comm& comm, const Message& message, tw_stream_t stream) {
  check_message(message, {comm.rank(), comm.size()}, true);
  t_gathered.push_back({handle, {&comm, stream, std::nullopt, message}});
}

void begin() { ++t_depth; }

void end() {
  if (t_depth == 0) fail(TW_ERROR_INVALID_STATE, "tw_group_end without tw_group_begin");
  if (--t_depth > 0) return;
  std::vector<GroupItem> items;
  std::vector<Gathered> gathered = std::exchange(t_gathered, {});
  for (const Gathered& g : gathered) {
    if (&comm_of(g.handle) != g.item.comm)
      fail(TW_ERROR_INVALID_HANDLE, "a comm of this group was destroyed before tw_group_end");
    if (g.item.stream != nullptr) check_stream(g.item.stream);
  }
  items.reserve(gathered.size());
  for (Gathered& g : gathered) items.push_back(std::move(g.item));
  const Callers callers(items);
  for (const GroupItem& item : items) {
    item.comm->device().check_queued(item.comm);
    item.comm->check();
  }
  run_group(std::move(items));
}

}  // namespace tw::api::group
