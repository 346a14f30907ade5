#include "lib/coll/workspace.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/round.h"
#include "lib/comm/control.h"
#include "lib/comm/records.h"
#include "lib/device/buffer.h"
#include "lib/device/shared_memory.h"

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

/// The pieces of local memory by size, words left out.
using Sizes = std::array<size_t, 2 + kTemporaries>;
Sizes sizes_of(const LocalNeed& need) {
  const size_t blocks = static_cast<size_t>(need.blocks);
  Sizes sizes{blocks * need.scratch, blocks * need.row * sizeof(float)};
  std::copy(need.temporaries.begin(), need.temporaries.end(), sizes.begin() + 2);
  return sizes;
}

}  // namespace

/// On GPUs the addresses of each workspace that there was follow, where kernels read them.
struct Workspace::Counters {
  TileCounters shared, local;
  uint64_t local_epoch;
};
/// More than there are powers of two.
constexpr size_t kMostWorkspaces = 64;

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

LocalWords::LocalWords(Device& device, int ranks, size_t slots)
    : layout(tile_layout(ranks, slots, 0)), memory(device, bytes(ranks, slots)) {
  const std::vector<char*> all(static_cast<size_t>(ranks), memory.data());
  device.write(memory.data() + layout.end, all.data(), all.size() * sizeof(char*));
}

size_t LocalWords::bytes(int ranks, size_t slots) {
  return tile_layout(ranks, slots, 0).end + static_cast<size_t>(ranks) * sizeof(char*);
}

Workspace::Workspace(Comm& comm)
    : comm_(comm),
      local_(std::make_shared<LocalMemory>()),
      counters_(
          comm.device(),
          sizeof(Counters) + kMostWorkspaces * static_cast<size_t>(comm.size()) * sizeof(char*)) {}

/// The table of this workspace.
char** Workspace::parts() const {
  return reinterpret_cast<char**>(counters() + 1) +
         kept_windows_.size() * static_cast<size_t>(comm_.size());
}

/// Whether the comm may have `bytes` of workspace and local memory.
bool Workspace::fits(size_t bytes) const {
  const size_t cap = comm_.options().max_memory;
  return cap == 0 || bytes + kept_bytes_ <= cap - std::min(cap, comm_.area_bytes());
}

size_t Workspace::rounded(size_t bytes) const {
  return comm_.device().is_host() || bytes == 0 ? bytes : std::bit_ceil(bytes);
}

size_t Workspace::local_rounded(size_t bytes) const {
  if (comm_.device().is_host() || bytes == 0) return Buffer::rounded(bytes);
  return std::bit_ceil(round_up(bytes, kHugePage));
}

size_t Workspace::local_bytes(const LocalNeed& need) const {
  size_t sum = 0;
  for (const size_t bytes : sizes_of(need)) sum += local_rounded(bytes);
  if (need.slots != 0) sum += local_rounded(LocalWords::bytes(comm_.size(), need.slots));
  return sum;
}

PiecePtr Workspace::piece(const PiecePtr& old, size_t bytes) {
  const size_t size = local_rounded(bytes);
  if (old != nullptr && size == old->bytes()) return old;
  return std::make_shared<const Piece>(comm_.device(), size);
}

void Workspace::set_local(std::shared_ptr<const LocalMemory> local) {
  if (!comm_.device().is_host()) {
    kept_local_.push_back(local_);
    const auto keep = [&](const auto& old, const auto& now, size_t bytes) {
      if (old != nullptr && old != now) kept_bytes_ += bytes;
    };
    const auto size = [](const PiecePtr& p) { return p == nullptr ? 0 : p->bytes(); };
    keep(local_->scratch, local->scratch, size(local_->scratch));
    keep(local_->rows, local->rows, size(local_->rows));
    for (size_t i = 0; i < kTemporaries; ++i)
      keep(local_->temporaries[i], local->temporaries[i], size(local_->temporaries[i]));
    keep(local_->words, local->words,
         local_->words == nullptr ? 0 : local_rounded(local_->words->memory.bytes()));
  }
  local_ = std::move(local);
}

void Workspace::check_there(size_t bytes, const LocalNeed& need) const {
  const LocalNeed all = larger(local_->sizes, need);
  const Sizes old = sizes_of(local_->sizes), now = sizes_of(all);
  bool there = rounded(bytes) <= planned_ && all.slots == local_->sizes.slots;
  for (size_t i = 0; i < now.size(); ++i)
    there = there && local_rounded(now[i]) == local_rounded(old[i]);
  if (there) return;
  fail(TW_ERROR_UNSUPPORTED,
       "the call is being captured into a graph and needs memory that the comm does not have yet; "
       "valid: make a call of this size once outside of capture");
}

void Workspace::check_cap(size_t bytes) const {
  if (fits(bytes)) return;
  fail(TW_ERROR_OUT_OF_RESOURCES,
       "the call needs %zu bytes of workspace and scratch beside the comm's own %zu; valid: up to "
       "%zu in all (config.max_memory, TW_COMM_MAX_MEMORY)",
       bytes, comm_.area_bytes(), comm_.options().max_memory);
}

bool Workspace::plan(size_t bytes, const LocalNeed& most) {
  check_cap(std::max(bytes, planned_) + local_bytes(most));
  if (bytes <= planned_) return false;
  planned_ = bytes;
  // What earlier calls left, of this rank's alone, gives way.
  if (!fits(planned_ + local_bytes(local_->sizes))) set_local(std::make_shared<LocalMemory>());
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
  if (!fits(planned_ + local_bytes(all))) all = need;
  check_cap(planned_ + local_bytes(all));
  const auto made = std::make_shared<LocalMemory>();
  const Sizes sizes = sizes_of(all);
  made->sizes = all;
  made->scratch = piece(local_->scratch, sizes[0]);
  made->rows = piece(local_->rows, sizes[1]);
  for (size_t i = 0; i < kTemporaries; ++i)
    made->temporaries[i] = piece(local_->temporaries[i], sizes[2 + i]);
  if (all.slots == old.slots)
    made->words = local_->words;
  else if (all.slots != 0)
    made->words = std::make_shared<const LocalWords>(comm_.device(), comm_.size(), all.slots);
  set_local(made);
  count_memory();
  return local_;
}

void Workspace::count_memory() {
  comm_.set_workspace_memory(planned_ + local_bytes(local_->sizes) + kept_bytes_);
}

void Workspace::grow(size_t bytes, const CallRecord* next, const std::optional<Error>& failure) {
  comm_.check();
  // Peers that wait in another call see by the record that this one differs.
  if (next != nullptr) write_record(comm_, *next);
  try {
    exchange(bytes, next, failure);
    const size_t old = window_ == nullptr ? 0 : window_->bytes(comm_.rank());
    if (bytes <= old) return;
    replace_window(bytes);
  } catch (...) {
    if (next != nullptr) forget_record(comm_, next->seq);
    throw;
  }
}

void Workspace::replace_window(size_t bytes) {
  Device& device = comm_.device();
  if (device.is_host()) {
    if (window_ != nullptr) window_->close();
    window_.reset();
    window_ = Window::create_workspace(comm_, bytes);
    return;
  }
  std::unique_ptr<Window> window = Window::create_workspace(comm_, bytes);
  if (window_ != nullptr) {
    kept_bytes_ += window_->bytes(comm_.rank());
    kept_windows_.push_back(std::move(window_));
  }
  window_ = std::move(window);
  device.write(parts(), window_->table().data(), window_->table().size() * sizeof(char*));
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
    if (next == nullptr || !compare_calls(comm_, next->seq, /*in_launch=*/false))
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
  tw_tile_view view = common_view(local, &counters()->shared);
  view.layout = workspace_layout(comm_.size(), window_->bytes(comm_.rank()));
  view.parts = comm_.device().is_host() ? window_->table().data() : parts();
  view.epoch = comm_.view().epoch;
  view.record = record;
  return view;
}

tw_tile_view Workspace::local_view(const LocalMemory& local) {
  tw_tile_view view = common_view(local, &counters()->local);
  view.comm.size = 1;  // `rank` stays: waits tell it from the peers
  view.comm.epoch = &counters()->local_epoch;
  view.layout = local.words->layout;
  view.parts = local.words->parts();
  view.epoch = &counters()->local_epoch;
  return view;
}

}  // namespace tw
