#include "lib/comm/control.h"

#include <chrono>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/publish.h"
#include "lib/comm/comm.h"

namespace tw {
namespace {

constexpr const char* kNames[] = {"tw_comm_create",
                                  "tw_window_create",
                                  "tw_window_register",
                                  "tw_window_share",
                                  "tw_window_destroy",
                                  "tw_signals_create",
                                  "tw_signals_destroy",
                                  "tw_comm_split",
                                  "tw_workspace_reserve or a fused call that needs more workspace",
                                  "tw_tiles_create",
                                  "tw_tiles_destroy",
                                  "tw_model_prepare",
                                  "tw_model_write_trace",
                                  "tw_program_build",
                                  "tw_program_write_trace"};

const char* name_of(uint32_t kind) {
  return kind < std::size(kNames) ? kNames[kind] : "an unknown call";
}

}  // namespace

void post(Mailbox& own, uint64_t sequence, uint32_t kind, std::string_view mine) {
  own.kind = kind;
  own.bytes = static_cast<uint32_t>(mine.size());
  if (!mine.empty()) std::memcpy(own.data, mine.data(), mine.size());
  publish(Published::kMailbox, &own.sequence, sequence);
}

void Control::wait_for_turn() const {
  if (expected_.load(std::memory_order_acquire) == 0 || turn_.load() == std::this_thread::get_id())
    return;
  // Not for all that is queued: calls of other comms may wait for what this thread does next.
  while (expected_.load(std::memory_order_acquire) != 0 && !comm_.ended())
    std::this_thread::sleep_for(std::chrono::microseconds(20));
}

std::vector<std::string> Control::all_gather(ControlKind kind, std::string_view mine) {
  if (mine.size() > kMaxMessage)
    fail(TW_ERROR_INTERNAL, "a control message of %zu bytes, at most %zu", mine.size(),
         kMaxMessage);
  wait_for_turn();
  comm_.check();
  const uint64_t sequence = ++sequence_;
  const uint32_t own_kind = static_cast<uint32_t>(kind);
  const auto box_of = [&](int rank) -> Mailbox& {
    return host_control(comm_.control_block(rank)).mailboxes[sequence % 2];
  };
  post(box_of(comm_.rank()), sequence, own_kind, mine);

  std::vector<std::string> all(static_cast<size_t>(comm_.size()));
  for (int rank = 0; rank < comm_.size(); ++rank) {
    const Mailbox& box = box_of(rank);
    const WaitSite site{name_of(own_kind), rank, kHostBlock, sequence};
    if (__atomic_load_n(&box.sequence, __ATOMIC_ACQUIRE) < sequence &&
        !wait_slow(comm_.host_waiting(), &site, &box.sequence, sequence)) {
      comm_.check();
      fail(TW_ERROR_INTERNAL, "a control wait failed without a reason");
    }
    if (box.kind != own_kind) {
      comm_.end(TW_ERROR_MISMATCH, text("control call %llu: rank %d is in %s, rank %d in %s",
                                        static_cast<unsigned long long>(sequence), comm_.rank(),
                                        name_of(own_kind), rank, name_of(box.kind)));
      comm_.check();
    }
    all[static_cast<size_t>(rank)].assign(box.data, box.bytes);
  }
  return all;
}

void Control::agree(ControlKind kind, tw_status_t status, const std::string& failure) {
  std::string mine;
  if (status != TW_OK) {
    mine.assign(1, static_cast<char>(status));
    mine += failure.substr(0, kMaxMessage - 1);
  }
  const std::vector<std::string> all = all_gather(kind, mine);
  if (status != TW_OK) throw Error(status, failure);
  for (size_t rank = 0; rank < all.size(); ++rank)
    if (!all[rank].empty())
      fail(static_cast<tw_status_t>(all[rank][0]), "rank %zu: %s", rank, all[rank].c_str() + 1);
}

void Control::agree(ControlKind kind, const std::function<void()>& part) {
  try {
    part();
  } catch (...) {
    const Error error = current_error();
    agree(kind, error.status(), error.what());
  }
  agree(kind, TW_OK, "");
}

}  // namespace tw
