// The collectives' entry points: from C arguments to a Call or Message, run at once, queued, or
// kept by the thread's open group.
#include <memory>
#include <utility>

#include "lib/api/group.h"
#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/issue.h"
#include "lib/coll/collectives.h"
#include "lib/comm/comm.h"
#include "lib/device/stream.h"

namespace tw::api {
namespace {

void queue(Comm& comm, const Call& call, tw_stream_t stream) {
  const auto copy = std::make_shared<PreparedCall>(comm.collectives().prepare_copy(call));
  copy->number = comm.collectives().number(&copy->args);
  issue_numbered(comm, stream, [&comm, copy] {
    comm.check();
    launch_call(comm.device(), copy->launch, copy->args);
    comm.check_call(copy->number);
    return TW_OK;
  });
}

void launch(Comm& comm, const Launch& launch, const CollArgs& args) {
  if (launch.blocks == 1 && launch.kernel.cpu != nullptr)
    run_alone(launch.kernel.cpu, &args);
  else
    launch_call(comm.device(), launch, args);
}

/// Keeps a call or message for the end of the thread's open group.
template <class What>
void gather(tw_comm_t handle, const What& what, tw_stream_t stream) {
  try {
    const CommInUse use(handle);
    (*use).check();
    if (stream != nullptr) (*use).device().check_stream(stream);
    group::add(handle, *use, what, stream);
  } catch (...) {
    group::refused(current_error());
    throw;
  }
}

void run(tw_comm_t handle, const Call& call, tw_stream_t stream) {
  if (group::is_open()) return gather(handle, call, stream);
  const CommInUse use(handle);
  Comm& comm = *use;
  comm.check();
  Device& device = comm.device();
  if (stream != nullptr) device.check_stream(stream);
  device.check_queued(&comm);
  if (is_uneven(call.call)) device.check_stage(stream, array_bytes(call.call, comm.size()));
  if (stream != nullptr) return queue(comm, call, stream);
  Collectives& collectives = comm.collectives();
  const Launch how = collectives.prepare(call);
  const uint64_t number = collectives.number(&collectives.args());
  if (__builtin_expect(device.idle(), 1)) {
    launch(comm, how, collectives.args());
  } else {
    issue_numbered(comm, nullptr, [&] {
      comm.check();
      launch(comm, how, collectives.args());
      return TW_OK;
    });
  }
  comm.check_call(number);
}

void run(tw_comm_t handle, const Message& message, tw_stream_t stream) {
  if (group::is_open()) return gather(handle, message, stream);
  const CommInUse use(handle);
  Comm& comm = *use;
  comm.check();
  Device& device = comm.device();
  if (stream != nullptr) device.check_stream(stream);
  device.check_queued(&comm);
  device.check_stage(stream, transfer_bytes(1));
  check_message(message, {comm.rank(), comm.size()}, false);
  comm.collectives().check_reach(message);
  Transfer transfer = comm.collectives().number(message);
  issue_numbered(comm, stream, [&comm, transfer]() mutable {
    comm.check();
    comm.collectives().run_transfers(&transfer, 1);
    return TW_OK;
  });
}

}  // namespace
}  // namespace tw::api

using tw::Call;
using tw::Message;
using tw::api::guard;
using tw::api::run;
namespace group = tw::api::group;

tw_status_t tw_all_reduce(const void* send, void* recv, size_t count, tw_type_t type, tw_op_t op,
                          tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { run(comm, Call{tw::kAllReduce, send, recv, count, type, op}, stream); });
}

tw_status_t tw_reduce(const void* send, void* recv, size_t count, tw_type_t type, tw_op_t op,
                      int root, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { run(comm, Call{tw::kReduce, send, recv, count, type, op, root}, stream); });
}

tw_status_t tw_broadcast(const void* send, void* recv, size_t count, tw_type_t type, int root,
                         tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    run(comm, Call{tw::kBroadcast, send, recv, count, type, TW_SUM, root}, stream);
  });
}

tw_status_t tw_all_gather(const void* send, void* recv, size_t send_count, tw_type_t type,
                          tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { run(comm, Call{tw::kAllGather, send, recv, send_count, type}, stream); });
}

tw_status_t tw_reduce_scatter(const void* send, void* recv, size_t recv_count, tw_type_t type,
                              tw_op_t op, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    run(comm, Call{tw::kReduceScatter, send, recv, recv_count, type, op}, stream);
  });
}

tw_status_t tw_all_to_all(const void* send, void* recv, size_t count, tw_type_t type,
                          tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { run(comm, Call{tw::kAllToAll, send, recv, count, type}, stream); });
}

tw_status_t tw_gather(const void* send, void* recv, size_t send_count, tw_type_t type, int root,
                      tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    run(comm, Call{tw::kGather, send, recv, send_count, type, TW_SUM, root}, stream);
  });
}

tw_status_t tw_scatter(const void* send, void* recv, size_t recv_count, tw_type_t type, int root,
                       tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    run(comm, Call{tw::kScatter, send, recv, recv_count, type, TW_SUM, root}, stream);
  });
}

tw_status_t tw_all_gather_v(const void* send, void* recv, const size_t* counts,
                            const size_t* displs, tw_type_t type, tw_comm_t comm,
                            tw_stream_t stream) {
  return guard([&] {
    Call call{tw::kAllGatherV, send, recv, 0, type};
    call.recv_counts = counts;
    call.recv_displs = displs;
    run(comm, call, stream);
  });
}

tw_status_t tw_reduce_scatter_v(const void* send, void* recv, const size_t* counts, tw_type_t type,
                                tw_op_t op, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    Call call{tw::kReduceScatterV, send, recv, 0, type, op};
    call.send_counts = counts;
    run(comm, call, stream);
  });
}

tw_status_t tw_all_to_all_v(const void* send, const size_t* send_counts, const size_t* send_displs,
                            void* recv, const size_t* recv_counts, const size_t* recv_displs,
                            tw_type_t type, tw_comm_t comm, tw_stream_t stream) {
  return guard([&] {
    Call call{tw::kAllToAllV, send, recv, 0, type};
    call.send_counts = send_counts;
    call.send_displs = send_displs;
    call.recv_counts = recv_counts;
    call.recv_displs = recv_displs;
    run(comm, call, stream);
  });
}

tw_status_t tw_barrier(tw_comm_t comm, tw_stream_t stream) {
  return guard([&] { run(comm, Call{tw::kBarrier, nullptr, nullptr, 0, TW_UINT8}, stream); });
}

tw_status_t tw_send(const void* send, size_t count, tw_type_t type, int peer, tw_comm_t comm,
                    tw_stream_t stream) {
  return guard([&] {
    run(comm, Message{true, const_cast<void*>(send), count, type, peer}, stream);
  });
}

tw_status_t tw_recv(void* recv, size_t count, tw_type_t type, int peer, tw_comm_t comm,
                    tw_stream_t stream) {
  return guard([&] { run(comm, Message{false, recv, count, type, peer}, stream); });
}

tw_status_t tw_group_begin() { return guard(group::begin); }
tw_status_t tw_group_end() { return guard(group::end); }
