#include "lib/comm/window.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "lib/base/error.h"
#include "lib/comm/control.h"

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

std::unique_ptr<Window> Window::create_signals(Comm& comm, size_t bytes) {
  std::unique_ptr<Window> window(new Window(comm));
  window->source_ = Source::kSignals;
  window->allocate(ControlKind::kSignalsCreate, bytes);
  return window;
}

void Window::allocate(ControlKind kind, size_t bytes) {
  size_t largest = 0;
  const std::vector<std::string> all = comm_.control().all_gather(kind, bytes_of(bytes));
  for (size_t r = 0; r < all.size(); ++r) {
    bytes_[r] = value_of<size_t>(all[r]);
    largest = std::max(largest, bytes_[r]);
    if (kind == ControlKind::kSignalsCreate && bytes_[r] != bytes_[0])
      fail(TW_ERROR_MISMATCH,
           "tw_signals_create: rank 0 asks for %zu bytes of signals, rank %zu for %zu; valid: as "
           "many "
           "slots on all ranks",
           bytes_[0], r, bytes_[r]);
  }
  place(largest);
  for (int r = 0; r < comm_.size(); ++r)
    data_[static_cast<size_t>(r)] = comm_.heap(r).segment(place_.segment) + place_.offset;
  location_ = comm_.heap_segment(place_.segment) + place_.offset;
  comm_.add_range(data(comm_.rank()), bytes, location_);
  announce();
}

void Window::announce() {
  comm_.add_live(
      this, text("a %s of %zu bytes at %p", source_ == Source::kSignals ? "signal set" : "window",
                 bytes(comm_.rank()), static_cast<void*>(data(comm_.rank()))));
}

void Window::place(size_t bytes) {
  RangeAllocator& allocator = comm_.allocator();
  place_ = allocator.allocate(bytes);
  if (place_.segment >= 0) return;
  comm_.add_heap_segment(allocator.next_segment_bytes(bytes));
  place_ = allocator.allocate(bytes);
}

std::unique_ptr<Window> Window::register_memory(Comm& comm, void* ptr, size_t bytes) {
  std::unique_ptr<Window> window(new Window(comm));
  window->source_ = Source::kRegistered;
  const PoolMemory memory = mem_find(ptr, bytes);  // bad arguments are refused before peers hear
  const Registration mine = {memory.pool, memory.offset, memory.pool_bytes, bytes};
  std::vector<Registration> all;
  for (const std::string& said :
       comm.control().all_gather(ControlKind::kWindowRegister, bytes_of(mine)))
    all.push_back(value_of<Registration>(said));

  // A peer's pool is passed once per process and comm; who lacks it says so, its owner sends it.
  tw_status_t status = TW_OK;
  std::string failure;
  try {
    window->exchange_pools(memory);
    for (size_t r = 0; r < all.size(); ++r) {
      window->bytes_[r] = all[r].bytes;
      std::shared_ptr<MappedPool> pool =
          window->pool_of(static_cast<int>(r), all[r].pool, all[r].pool_bytes);
      window->data_[r] = pool->data() + all[r].offset;
      window->pools_.push_back(std::move(pool));
    }
    window->location_ = comm.add_segment(window->data_);
  } catch (const Error& error) {
    status = error.status();
    failure = error.what();
  }
  try {
    comm.control().agree(ControlKind::kWindowRegister, status, failure);
  } catch (...) {
    if (window->location_ != 0) comm.remove_segment(window->location_);
    throw;
  }
  comm.add_range(ptr, bytes, window->location_);
  window->announce();
  return window;
}

// Every process sends its pool's descriptor to each peer process, and takes one from each. A
// descriptor of a pool that is mapped already is closed again.
void Window::exchange_pools(const PoolMemory& memory) {
  for (int r = 0; r < comm_.size(); ++r)
    if (!comm_.same_process(r)) comm_.mesh().send_fd(r, *memory.file);
  files_.resize(static_cast<size_t>(comm_.size()));
  const Deadline deadline(comm_.options().timeout_ms);
  for (int r = 0; r < comm_.size(); ++r)
    if (!comm_.same_process(r))
      files_[static_cast<size_t>(r)] = comm_.mesh().receive_fd(r, deadline);
}

std::shared_ptr<MappedPool> Window::pool_of(int rank, uint64_t id, size_t bytes) {
  if (std::shared_ptr<MappedPool> known = find_pool(id)) return known;
  return adopt_pool(id, std::move(files_[static_cast<size_t>(rank)]), bytes);
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
  for (size_t r = 0; r < window->data_.size(); ++r) {
    window->data_[r] = data(child.parent_ranks()[r]);
    window->bytes_[r] = bytes(child.parent_ranks()[r]);
  }
  // Ranks name the window by its place in the parent, which is the same on all of them.
  for (const std::string& said :
       child.control().all_gather(ControlKind::kWindowShare, bytes_of(location_)))
    if (value_of<uint64_t>(said) != location_)
      fail(TW_ERROR_MISMATCH, "tw_window_share: ranks passed different windows");
  window->location_ = child.add_segment(window->data_);
  child.add_range(window->data(child.rank()), window->bytes(child.rank()), window->location_);
  window->shared_from_ = this;
  ++sharers_;
  window->announce();
  return window;
}

void Window::close() {
  std::optional<Error> ended;
  try {
    if (!comm_.ended()) give_back();
  } catch (const Error& error) {
    ended = error;  // nobody will use the memory through this comm again
  }
  comm_.remove_range(location_);
  if (source_ == Source::kRegistered || source_ == Source::kShared) comm_.remove_segment(location_);
  if (shared_from_ != nullptr) --shared_from_->sharers_;
  comm_.remove_live(this);
  if (ended) throw Error(*ended);
}

// Nobody touches the window any more when all have come here.
void Window::check_same_window() const {
  const bool signals = source_ == Source::kSignals;
  const std::vector<std::string> all = comm_.control().all_gather(
      signals ? ControlKind::kSignalsDestroy : ControlKind::kWindowDestroy, bytes_of(location_));
  for (size_t r = 0; r < all.size(); ++r)
    if (value_of<uint64_t>(all[r]) != location_) {
      comm_.end(
          TW_ERROR_MISMATCH,
          text("%s: ranks %d and %zu destroy different ones; valid: the same order on all ranks",
               signals ? "tw_signals_destroy" : "tw_window_destroy", comm_.rank(), r));
      comm_.check();
    }
}

void Window::give_back() {
  check_same_window();
  if (source_ == Source::kRegistered || source_ == Source::kShared) return;
  comm_.heap(comm_.rank()).clear(place_.segment, place_.offset, place_.bytes);
  // Nobody uses the place again before it is clear everywhere.
  comm_.control().all_gather(ControlKind::kWindowDestroy, "");
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
