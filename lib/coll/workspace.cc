#include "lib/coll/workspace.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/comm/control.h"

namespace tw {
namespace {

constexpr size_t kLeastSlots = size_t{16} << 10;
constexpr size_t kBytesPerSlot = 2048;  // of a large workspace
constexpr size_t kLeastWorkspace = size_t{1} << 20;
constexpr size_t kScratchUnit = size_t{64} << 10;  // blocks' scratch shares no pages

constexpr size_t up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

/// What ranks tell each other when the workspace grows.
struct Growth {
  uint64_t bytes;
  uint64_t digest;  // of the call for which it grows
};

}  // namespace

TileLayout workspace_layout(int ranks, size_t bytes) {
  const size_t slots = std::max(kLeastSlots, bytes / kBytesPerSlot);
  TileLayout layout = tile_layout(ranks, slots, 0);
  layout.end = bytes;
  return layout;
}

size_t workspace_bytes(int ranks, size_t slots, size_t data) {
  const size_t n = static_cast<size_t>(ranks);
  // Entries, the slots that there are at least, and what rounding takes.
  const size_t fixed = n * (2 * 128 + 128) + n * kLeastSlots * 8 + 4096;
  const size_t with_words = (data + fixed) * kBytesPerSlot / (kBytesPerSlot - 8 * n);
  const size_t with_slots = slots > kLeastSlots ? slots * kBytesPerSlot : 0;
  return up(std::max({with_words, with_slots, kLeastWorkspace}), 4096);
}

size_t scratch_bytes(size_t tile_rows, size_t k, bool least) {
  return up(least ? kTileScratch : tile_scratch(tile_rows, k), kScratchUnit);
}

Workspace::Workspace(Comm& comm) : comm_(comm) {}

void Workspace::check_cap(size_t added) const {
  const size_t cap = comm_.options().max_memory;
  if (cap == 0 || added <= cap - std::min(cap, comm_.area_bytes())) return;
  fail(TW_ERROR_OUT_OF_RESOURCES,
       "the call needs %zu bytes of workspace and scratch beside the comm's own %zu; valid: up to "
       "%zu in all (config.max_memory, TW_COMM_MAX_MEMORY)",
       added, comm_.area_bytes(), cap);
}

void Workspace::grow(size_t bytes, size_t local, const CallRecord* next) {
  check_cap(std::max(bytes, this->bytes()) + local);
  if (next != nullptr && bytes <= this->bytes()) return;
  comm_.device().drain();
  comm_.check();
  // Peers that wait in another call see by the record that this one differs.
  if (next != nullptr) write_record(comm_, *next);
  try {
    exchange(bytes, next);
    if (bytes <= this->bytes()) return;
    if (window_ != nullptr) window_->close();
    window_.reset();
    window_ = Window::create_workspace(comm_, bytes);
  } catch (...) {
    if (next != nullptr) forget_record(comm_, next->seq);
    window_.reset();
    count_memory();
    throw;
  }
  count_memory();
}

void Workspace::exchange(size_t bytes, const CallRecord* next) {
  const Growth mine = {bytes, next == nullptr ? 0 : next->digest};
  const std::vector<std::string> all = comm_.control().all_gather(
      ControlKind::kWorkspaceGrow, {reinterpret_cast<const char*>(&mine), sizeof mine});
  for (size_t r = 0; r < all.size(); ++r) {
    Growth theirs;
    std::memcpy(&theirs, all[r].data(), sizeof theirs);
    if (theirs.bytes == mine.bytes && theirs.digest == mine.digest) continue;
    if (next == nullptr || !compare_this_call(comm_))
      comm_.end(
          TW_ERROR_MISMATCH,
          text("rank %d makes a workspace of %zu bytes, rank %zu one of %llu; valid: the same "
               "call and size on all ranks",
               comm_.rank(), bytes, r, static_cast<unsigned long long>(theirs.bytes)));
    comm_.check();
  }
}

size_t Workspace::local_bytes(const Local& need) const {
  return static_cast<size_t>(need.blocks) * (need.scratch + need.row * sizeof(float));
}

void Workspace::make_local(const Local& need) {
  const size_t blocks = static_cast<size_t>(need.blocks);
  const size_t each = std::max(scratch_bytes_, need.scratch);
  ensure(scratch_, blocks * each);
  scratch_bytes_ = each;
  ensure(rows_, blocks * need.row * sizeof(float));
}

char* Workspace::temporary(Temporary which, size_t bytes) {
  ensure(temporaries_[which], bytes);
  return temporaries_[which].data();
}

/// Grows a buffer, whose contents nobody needs.
void Workspace::ensure(Buffer& buffer, size_t bytes) {
  if (bytes <= buffer.bytes()) return;
  comm_.device().drain();  // queued calls use it
  comm_.check();
  buffer = Buffer();
  buffer = Buffer(bytes);
  count_memory();
}

void Workspace::count_memory() {
  size_t sum = bytes() + scratch_.bytes() + rows_.bytes() + words_.bytes();
  for (const Buffer& temporary : temporaries_) sum += temporary.bytes();
  comm_.set_workspace_memory(sum);
}

tw_tile_view Workspace::common_view(TileCounters* counters) const {
  tw_tile_view view{};
  view.comm = comm_.view();
  view.counters = counters;
  view.scratch = scratch_.data();
  view.scratch_bytes = scratch_bytes_;
  view.record.call = kCollOps;
  return view;
}

tw_tile_view Workspace::view(const TileRecord& record) {
  tw_tile_view view = common_view(&counters_);
  view.layout = workspace_layout(comm_.size(), bytes());
  view.parts = window_->table().data();
  view.epoch = comm_.view().epoch;
  view.record = record;
  return view;
}

tw_tile_view Workspace::local_view(size_t slots) {
  if (words_.data() == nullptr || slots > local_layout_.slots) {
    local_layout_ = tile_layout(comm_.size(), std::max(slots, kLeastSlots), 0);
    ensure(words_, local_layout_.end);
    local_parts_.assign(static_cast<size_t>(comm_.size()), words_.data());
  }
  tw_tile_view view = common_view(&local_counters_);
  view.comm.size = 1;  // `rank` stays: waits tell it from the peers
  view.comm.epoch = &local_epoch_;
  view.layout = local_layout_;
  view.parts = local_parts_.data();
  view.epoch = &local_epoch_;
  return view;
}

}  // namespace tw
