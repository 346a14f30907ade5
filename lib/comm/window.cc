#include "lib/comm/window.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "lib/base/error.h"
#include "lib/comm/control.h"
#include "lib/device/shared_memory.h"
#include "tilewire/signal_device.h"

namespace tw {
namespace {

template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <class T>
T value_of(const std::string& bytes) {
  T value;
  if (bytes.size() != sizeof value)
    fail(TW_ERROR_INTERNAL, "a control message of %zu bytes, not %zu", bytes.size(), sizeof value);
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

/// What a rank says of memory that it registers.
struct Registration {
  uint64_t pool;
  size_t offset;
  size_t pool_bytes;
  size_t bytes;
};

/// Of a signal set: a word from each rank.
size_t slot_bytes(const Comm& comm) { return static_cast<size_t>(comm.size()) * kSignalStride; }

uint64_t rank_bit(int rank) { return uint64_t{1} << rank; }

}  // namespace

Window::Window(Comm& comm)
    : comm_(comm),
      data_(static_cast<size_t>(comm.size())),
      bytes_(static_cast<size_t>(comm.size())) {}

std::unique_ptr<Window> Window::create(Comm& comm, size_t bytes) {
  std::unique_ptr<Window> window(new Window(comm));
  window->allocate(ControlKind::kWindowCreate, bytes);
  return window;
}

std::unique_ptr<Window> Window::create_signals(Comm& comm, size_t slots) {
  std::unique_ptr<Window> window(new Window(comm));
  window->source_ = Source::kSignals;
  window->allocate(ControlKind::kSignalsCreate, slots * slot_bytes(comm));
  return window;
}

std::unique_ptr<Window> Window::create_tiles(Comm& comm, size_t bytes) {
  std::unique_ptr<Window> window(new Window(comm));
  window->source_ = Source::kTiles;
  window->allocate(ControlKind::kTilesCreate, bytes);
  return window;
}

std::unique_ptr<Window> Window::create_workspace(Comm& comm, size_t bytes) {
  std::unique_ptr<Window> window(new Window(comm));
  window->source_ = Source::kWorkspace;
  window->allocate(ControlKind::kWorkspaceGrow, bytes);
  return window;
}

/// Does `step`, and throws what it threw, on any rank, on all of them.
template <class Step>
void Window::agree_on(ControlKind kind, Step step) {
  comm_.control().agree(kind, step);
}

void Window::allocate(ControlKind kind, size_t bytes) {
  size_t largest = 0;
  const std::vector<std::string> all = comm_.control().all_gather(kind, bytes_of(bytes));
  for (size_t r = 0; r < all.size(); ++r) {
    bytes_[r] = value_of<size_t>(all[r]);
    largest = std::max(largest, bytes_[r]);
    if (kind == ControlKind::kSignalsCreate && bytes_[r] != bytes_[0])
      fail(TW_ERROR_MISMATCH,
           "tw_signals_create: rank 0 asks for %zu slots, rank %zu for %zu; valid: as many on all "
           "ranks",
           bytes_[0] / slot_bytes(comm_), r, bytes_[r] / slot_bytes(comm_));
  }
  place(largest);
  for (int r = 0; r < comm_.size(); ++r)
    data_[static_cast<size_t>(r)] = comm_.heap(r).segment(place_.segment) + place_.offset;
  location_ = comm_.heap_segment(place_.segment) + place_.offset;
  // Owners are the first to touch their parts, so that pages lie on their nodes.
  try {
    agree_on(kind, [&] {
      comm_.heap(comm_.rank()).touch(place_.segment, place_.offset, bytes);
      enter_books();
    });
  } catch (...) {
    leave_books();
    comm_.allocator().release(place_);
    throw;
  }
}

Window::Tables Window::kernel_tables() {
  Device& device = comm_.device();
  if (device.is_host()) return {data_.data(), bytes_.data()};
  const std::lock_guard<std::mutex> lock(tables_mutex_);
  const size_t half = data_.size() * sizeof(char*);
  static_assert(sizeof(char*) == sizeof(size_t));
  if (tables_ == nullptr) {
    auto made = device.allocate(2 * half);
    device.write(made->data(), data_.data(), half);
    device.write(made->data() + half, bytes_.data(), half);
    tables_ = std::move(made);
  }
  return {reinterpret_cast<char**>(tables_->data()),
          reinterpret_cast<size_t*>(tables_->data() + half)};
}

/// What the comm knows of its windows. Before the ranks agree that they have the window, since it
/// may fail; nothing that can may follow.
void Window::enter_books() {
  if (source_ == Source::kWorkspace) return;
  const char* const what = source_ == Source::kSignals ? "signal set"
                           : source_ == Source::kTiles ? "tile set"
                                                       : "window";
  comm_.add_range(data(comm_.rank()), bytes(comm_.rank()), location_);
  comm_.add_live(this, text("a %s of %zu bytes at %p", what, bytes(comm_.rank()),
                            static_cast<void*>(data(comm_.rank()))));
}

void Window::leave_books() {
  comm_.remove_live(this);
  comm_.remove_range(location_);
  if (source_ != Source::kRegistered && source_ != Source::kShared) return;
  if (location_ != 0) comm_.remove_segment(location_);
}

void Window::place(size_t bytes) {
  RangeAllocator& allocator = comm_.allocator();
  place_ = allocator.allocate(bytes);
  if (place_.segment >= 0) return;
  comm_.add_heap_segment(allocator.next_segment_bytes(bytes));
  place_ = allocator.allocate(bytes);
}

std::unique_ptr<Window> Window::register_memory(Comm& comm, void* ptr, size_t bytes) {
  if (!comm.device().is_host())
    fail(TW_ERROR_UNSUPPORTED,
         "tw_window_register: comm \"%s\" is on GPUs, where windows are of tw_window_create only",
         comm.options().name.c_str());
  std::unique_ptr<Window> window(new Window(comm));
  window->source_ = Source::kRegistered;
  window->memory_ = MemoryUse(ptr, bytes);  // bad arguments are refused before peers hear
  const PoolMemory& memory = window->memory_.where();
  const Registration mine = {memory.pool, memory.offset, memory.pool_bytes, bytes};
  std::vector<Registration> all;
  for (const std::string& said :
       comm.control().all_gather(ControlKind::kWindowRegister, bytes_of(mine)))
    all.push_back(value_of<Registration>(said));

  window->pools_.resize(all.size());
  for (size_t r = 0; r < all.size(); ++r) window->pools_[r] = find_pool(all[r].pool);
  std::vector<Fd> files = window->pass_files(*memory.file);
  try {
    window->agree_on(ControlKind::kWindowRegister, [&] {
      touch(static_cast<char*>(ptr), bytes);
      for (size_t r = 0; r < all.size(); ++r) {
        std::shared_ptr<MappedPool>& pool = window->pools_[r];
        if (pool == nullptr) pool = adopt_pool(all[r].pool, std::move(files[r]), all[r].pool_bytes);
        window->bytes_[r] = all[r].bytes;
        window->data_[r] = pool->data() + all[r].offset;
      }
      window->location_ = comm.add_segment(window->data_);
      window->enter_books();
    });
  } catch (...) {
    window->leave_books();
    throw;
  }
  return window;
}

std::vector<uint64_t> Window::tell_all(uint64_t ranks) {
  std::vector<uint64_t> all;
  for (const std::string& said :
       comm_.control().all_gather(ControlKind::kWindowRegister, bytes_of(ranks)))
    all.push_back(value_of<uint64_t>(said));
  return all;
}

// Ranks say whose pools they lack; owners send those and say to whom they have; ranks receive what
// was sent, which lies in their sockets by then. So nobody waits for a descriptor that does not
// come, and none is left in a socket for a later window to take, whatever failed where.
std::vector<Fd> Window::pass_files(const Fd& mine) {
  uint64_t lacking = 0, sent = 0;
  for (int r = 0; r < comm_.size(); ++r)
    if (pools_[static_cast<size_t>(r)] == nullptr) lacking |= rank_bit(r);
  const std::vector<uint64_t> lack = tell_all(lacking);
  std::vector<Fd> files(pools_.size());
  if (std::count(lack.begin(), lack.end(), 0) == comm_.size()) return files;
  std::optional<Error> failure;
  try {
    for (int r = 0; r < comm_.size(); ++r)
      if ((lack[static_cast<size_t>(r)] & rank_bit(comm_.rank())) != 0) {
        comm_.mesh().send_fd(r, mine);
        sent |= rank_bit(r);
      }
  } catch (...) {
    failure = current_error();
  }
  const std::vector<uint64_t> senders = tell_all(sent);
  const Deadline deadline(comm_.options().setup_timeout_ms);
  for (int r = 0; r < comm_.size(); ++r) {
    if ((senders[static_cast<size_t>(r)] & rank_bit(comm_.rank())) == 0) continue;
    try {
      files[static_cast<size_t>(r)] = comm_.mesh().receive_fd(r, deadline);
    } catch (...) {
      failure = current_error();
    }
  }
  agree_on(ControlKind::kWindowRegister, [&] {
    if (failure) throw Error(*failure);
  });
  return files;
}

std::unique_ptr<Window> Window::share(Comm& child) {
  if (child.parent() != &comm_)
    fail(
        TW_ERROR_INVALID_ARGUMENT,
        "tw_window_share: comm \"%s\" is not a child of comm \"%s\", which made the window; valid: "
        "a comm from tw_comm_split of it",
        child.options().name.c_str(), comm_.options().name.c_str());
  std::unique_ptr<Window> window(new Window(child));
  window->source_ = Source::kShared;
  add_sharer();
  window->shared_from_.reset(this);
  for (size_t r = 0; r < window->data_.size(); ++r) {
    window->data_[r] = data(child.parent_ranks()[r]);
    window->bytes_[r] = bytes(child.parent_ranks()[r]);
  }
  // Ranks name the window by its place in the parent, which is the same on all of them.
  for (const std::string& said :
       child.control().all_gather(ControlKind::kWindowShare, bytes_of(location_)))
    if (value_of<uint64_t>(said) != location_)
      fail(TW_ERROR_MISMATCH, "tw_window_share: ranks passed different windows");
  try {
    window->agree_on(ControlKind::kWindowShare, [&] {
      window->location_ = child.add_segment(window->data_);
      window->enter_books();
    });
  } catch (...) {
    window->leave_books();
    throw;
  }
  return window;
}

void Window::add_sharer() {
  int sharers = sharers_.load(std::memory_order_relaxed);
  do {
    if (sharers < 0)
      fail(TW_ERROR_INVALID_STATE, "tw_window_share: another thread is destroying the window");
  } while (!sharers_.compare_exchange_weak(sharers, sharers + 1));
}

void Window::end_sharing() {
  int sharers = 0;
  if (sharers_.compare_exchange_strong(sharers, -1)) return;
  if (sharers < 0)
    fail(TW_ERROR_INVALID_STATE, "tw_window_destroy: another thread is destroying the window");
  fail(TW_ERROR_INVALID_STATE,
       "tw_window_destroy: %d window(s) of tw_window_share live: destroy them first", sharers);
}

void Window::close() {
  std::optional<Error> ended;
  try {
    if (!comm_.ended()) give_back();
  } catch (const Error& error) {
    ended = error;  // nobody will use the memory through this comm again
  }
  leave_books();
  if (ended) throw Error(*ended);
}

// Nobody touches the window any more when all have come here.
void Window::check_same_window() const {
  ControlKind kind = ControlKind::kWindowDestroy;
  const char* function = "tw_window_destroy";
  if (source_ == Source::kSignals)
    kind = ControlKind::kSignalsDestroy, function = "tw_signals_destroy";
  if (source_ == Source::kTiles) kind = ControlKind::kTilesDestroy, function = "tw_tiles_destroy";
  if (source_ == Source::kWorkspace) kind = ControlKind::kWorkspaceGrow, function = "a fused call";
  const std::vector<std::string> all = comm_.control().all_gather(kind, bytes_of(location_));
  for (size_t r = 0; r < all.size(); ++r)
    if (value_of<uint64_t>(all[r]) != location_) {
      comm_.end(
          TW_ERROR_MISMATCH,
          text("%s: ranks %d and %zu destroy different ones; valid: the same order on all ranks",
               function, comm_.rank(), r));
      comm_.check();
    }
}

void Window::give_back() {
  check_same_window();
  if (source_ == Source::kRegistered || source_ == Source::kShared) return;
  // Nobody takes the place again before it is clear everywhere: `allocate` begins with a word of
  // every rank.
  comm_.heap(comm_.rank()).clear(place_.segment, place_.offset, place_.bytes);
  comm_.allocator().release(place_);
}

void Window::check_range(int rank, size_t offset, size_t bytes) const {
  if (rank < 0 || rank >= comm_.size())
    fail(TW_ERROR_INVALID_ARGUMENT, "rank = %d; valid: 0 to %d", rank, comm_.size() - 1);
  const size_t size = bytes_[static_cast<size_t>(rank)];
  if (offset > size || bytes > size - offset)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "[%zu, +%zu) does not lie in rank %d's part of the window; valid: within %zu bytes",
         offset, bytes, rank, size);
}

}  // namespace tw
