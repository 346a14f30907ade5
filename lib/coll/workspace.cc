#include "lib/coll/workspace.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/round.h"
#include "lib/comm/control.h"
#include "lib/comm/records.h"

namespace tw {
namespace {

constexpr size_t kLeastWorkspaceSlots = size_t{16} << 10;
constexpr size_t kBytesPerSlot = 2048;  // of a large workspace
constexpr size_t kLeastWorkspace = size_t{1} << 20;
constexpr size_t kScratchUnit = size_t{64} << 10;  // blocks' scratch shares no pages

/// What ranks tell each other when the workspace grows. A failure's sentence follows it.
struct Growth {
  uint64_t bytes;
  uint64_t digest;  // of the call for which it grows
  int64_t status;   // TW_OK, or why this rank cannot make it
};

size_t local_bytes(const LocalNeed& need, int ranks) {
  const size_t blocks = static_cast<size_t>(need.blocks);
  size_t sum =
      Buffer::rounded(blocks * need.scratch) + Buffer::rounded(blocks * need.row * sizeof(float));
  if (need.slots != 0) sum += Buffer::rounded(tile_layout(ranks, need.slots, 0).end);
  for (const size_t bytes : need.temporaries) sum += Buffer::rounded(bytes);
  return sum;
}

std::shared_ptr<const Buffer> buffer(const std::shared_ptr<const Buffer>& old, size_t bytes) {
  if (old != nullptr && Buffer::rounded(bytes) == old->bytes()) return old;
  return std::make_shared<const Buffer>(bytes);
}

}  // namespace

TileLayout workspace_layout(int ranks, size_t bytes) {
  const size_t slots = std::max(kLeastWorkspaceSlots, bytes / kBytesPerSlot);
  TileLayout layout = tile_layout(ranks, slots, 0);
  layout.end = bytes;
  return layout;
}

size_t workspace_bytes(int ranks, size_t slots, size_t data) {
  const size_t n = static_cast<size_t>(ranks);
  // Entries, the slots that there are at least, and what rounding takes.
  const size_t fixed = n * (2 * 128 + 128) + n * kLeastWorkspaceSlots * 8 + 4096;
  const size_t with_words = (data + fixed) * kBytesPerSlot / (kBytesPerSlot - 8 * n);
  const size_t with_slots = slots > kLeastWorkspaceSlots ? slots * kBytesPerSlot : 0;
  return round_up(std::max({with_words, with_slots, kLeastWorkspace}), 4096);
}

size_t scratch_bytes(size_t tile_rows, size_t k, bool least) {
  return round_up(least ? kTileScratch : tile_scratch(tile_rows, k), kScratchUnit);
}

LocalNeed larger(const LocalNeed& a, const LocalNeed& b) {
  LocalNeed all{std::max(a.blocks, b.blocks), std::max(a.scratch, b.scratch),
                std::max(a.row, b.row), std::max(a.slots, b.slots)};
  for (size_t i = 0; i < kTemporaries; ++i)
    all.temporaries[i] = std::max(a.temporaries[i], b.temporaries[i]);
  return all;
}

LocalWords::LocalWords(int ranks, size_t slots)
    : layout(tile_layout(ranks, slots, 0)),
      memory(layout.end),
      parts(static_cast<size_t>(ranks), memory.data()) {}

Workspace::Workspace(Comm& comm) : comm_(comm), local_(std::make_shared<LocalMemory>()) {}

/// Whether the comm may have `bytes` of workspace and local memory.
bool Workspace::fits(size_t bytes) const {
  const size_t cap = comm_.options().max_memory;
  return cap == 0 || bytes <= cap - std::min(cap, comm_.area_bytes());
}

void Workspace::check_cap(size_t bytes) const {
  if (fits(bytes)) return;
  fail(TW_ERROR_OUT_OF_RESOURCES,
       "the call needs %zu bytes of workspace and scratch beside the comm's own %zu; valid: up to "
       "%zu in all (config.max_memory, TW_COMM_MAX_MEMORY)",
       bytes, comm_.area_bytes(), comm_.options().max_memory);
}

bool Workspace::plan(size_t bytes, const LocalNeed& most) {
  check_cap(std::max(bytes, planned_) + local_bytes(most, comm_.size()));
  if (bytes <= planned_) return false;
  planned_ = bytes;
  // What earlier calls left, of this rank's alone, gives way.
  if (!fits(planned_ + local_bytes(local_->sizes, comm_.size())))
    local_ = std::make_shared<LocalMemory>();
  count_memory();
  return true;
}

void Workspace::forget_plan() {
  planned_ = window_ == nullptr ? 0 : window_->bytes(comm_.rank());
  count_memory();
}

const std::shared_ptr<const LocalMemory>& Workspace::local(const LocalNeed& need) {
  const LocalNeed& old = local_->sizes;
  LocalNeed all = larger(old, need);
  if (all == old) return local_;
  if (!fits(planned_ + local_bytes(all, comm_.size()))) all = need;
  check_cap(planned_ + local_bytes(all, comm_.size()));
  const auto made = std::make_shared<LocalMemory>();
  const size_t blocks = static_cast<size_t>(all.blocks);
  made->sizes = all;
  made->scratch = buffer(local_->scratch, blocks * all.scratch);
  made->rows = buffer(local_->rows, blocks * all.row * sizeof(float));
  for (size_t i = 0; i < kTemporaries; ++i)
    made->temporaries[i] = buffer(local_->temporaries[i], all.temporaries[i]);
  if (all.slots == old.slots)
    made->words = local_->words;
  else if (all.slots != 0)
    made->words = std::make_shared<const LocalWords>(comm_.size(), all.slots);
  local_ = made;
  count_memory();
  return local_;
}

void Workspace::count_memory() {
  comm_.set_workspace_memory(planned_ + local_bytes(local_->sizes, comm_.size()));
}

void Workspace::grow(size_t bytes, const CallRecord* next, const std::optional<Error>& failure) {
  comm_.check();
  // Peers that wait in another call see by the record that this one differs.
  if (next != nullptr) write_record(comm_, *next);
  try {
    exchange(bytes, next, failure);
    const size_t old = window_ == nullptr ? 0 : window_->bytes(comm_.rank());
    if (bytes <= old) return;
    if (window_ != nullptr) window_->close();
    window_.reset();
    window_ = Window::create_workspace(comm_, bytes);
  } catch (...) {
    if (next != nullptr) forget_record(comm_, next->seq);
    throw;
  }
}

void Workspace::exchange(size_t bytes, const CallRecord* next,
                         const std::optional<Error>& failure) {
  const Growth mine = {bytes, next == nullptr ? 0 : next->digest,
                       failure ? failure->status() : TW_OK};
  std::string said(reinterpret_cast<const char*>(&mine), sizeof mine);
  if (failure) said += std::string(failure->what()).substr(0, Control::kMaxMessage - sizeof mine);
  const std::vector<std::string> all =
      comm_.control().all_gather(ControlKind::kWorkspaceGrow, said);
  for (size_t r = 0; r < all.size(); ++r) {
    Growth theirs;
    std::memcpy(&theirs, all[r].data(), sizeof theirs);
    if (theirs.bytes == mine.bytes && theirs.digest == mine.digest) continue;
    if (next == nullptr || !compare_this_call(comm_, /*in_launch=*/false))
      comm_.end(
          TW_ERROR_MISMATCH,
          text("rank %d makes a workspace of %zu bytes, rank %zu one of %llu; valid: the same "
               "call and size on all ranks",
               comm_.rank(), bytes, r, static_cast<unsigned long long>(theirs.bytes)));
    comm_.check();
  }
  for (size_t r = 0; r < all.size(); ++r) {
    Growth theirs;
    std::memcpy(&theirs, all[r].data(), sizeof theirs);
    if (theirs.status != TW_OK)
      fail(static_cast<tw_status_t>(theirs.status), "rank %zu: %s", r,
           all[r].c_str() + sizeof theirs);
  }
}

tw_tile_view Workspace::common_view(const LocalMemory& local, TileCounters* counters) const {
  tw_tile_view view{};
  view.comm = comm_.view();
  view.counters = counters;
  view.scratch = local.scratch->data();
  view.scratch_bytes = local.sizes.scratch;
  view.record.call = kNoCall;
  return view;
}

tw_tile_view Workspace::view(const TileRecord& record, const LocalMemory& local) {
  tw_tile_view view = common_view(local, &counters_);
  view.layout = workspace_layout(comm_.size(), window_->bytes(comm_.rank()));
  view.parts = window_->table().data();
  view.epoch = comm_.view().epoch;
  view.record = record;
  return view;
}

tw_tile_view Workspace::local_view(const LocalMemory& local) {
  tw_tile_view view = common_view(local, &local_counters_);
  view.comm.size = 1;  // `rank` stays: waits tell it from the peers
  view.comm.epoch = &local_epoch_;
  view.layout = local.words->layout;
  view.parts = local.words->parts.data();
  view.epoch = &local_epoch_;
  return view;
}

}  // namespace tw
