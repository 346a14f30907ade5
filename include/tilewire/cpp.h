// C++ conveniences over tilewire.h: header only, owns handles, throws instead of returning
// statuses.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tilewire.h"

namespace tw::cpp {

/// A failed call: its status, and tw_last_error's sentence.
class Failure : public std::runtime_error {
 public:
  Failure(tw_status_t status, const char* sentence)
      : std::runtime_error(std::string(tw_status_name(status)) + ": " + sentence),
        status_(status) {}
  tw_status_t status() const { return status_; }

 private:
  tw_status_t status_;
};

inline void check(tw_status_t status) {
  if (status != TW_OK) throw Failure(status, tw_last_error());
}

/// Owns a handle; destroys it at the end of its life. Destroying never throws. To destroy a window,
/// signal set, tile set or model is collective: a rank that an exception takes out of its scope
/// alone waits there for its peers until the comm's time-out; tw_comm_abort before it throws spares
/// everyone that.
template <class Handle, tw_status_t (*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Handle get() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

using Stream = Owned<tw_stream_t, tw_stream_destroy>;
using Signals = Owned<tw_signals_t, tw_signals_destroy>;
using Tiles = Owned<tw_tiles_t, tw_tiles_destroy>;
using Model = Owned<tw_model_t, tw_model_destroy>;

/// Symmetric memory of `count` T on every rank. Collective to make and to destroy.
template <class T>
class Window : public Owned<tw_window_t, tw_window_destroy> {
 public:
  Window(tw_comm_t comm, size_t count) : Owned(make(comm, count * sizeof(T))), count_(count) {}
  size_t size() const { return count_; }
  /// `rank`'s part as mapped in this process.
  T* at(int rank) const {
    void* ptr;
    check(tw_window_ptr(get(), rank, &ptr));
    return static_cast<T*>(ptr);
  }

 private:
  static tw_window_t make(tw_comm_t comm, size_t bytes) {
    tw_window_t window;
    check(tw_window_create(comm, bytes, &window));
    return window;
  }
  size_t count_;
};

class Comm : public Owned<tw_comm_t, tw_comm_destroy> {
 public:
  using Owned::Owned;

  /// All `n` ranks of a comm in this process, by rank.
  static std::vector<Comm> create_all(int n, const tw_comm_config_t* config = nullptr) {
    std::vector<tw_comm_t> handles(static_cast<size_t>(n));
    check(tw_comm_create_all(n, config, handles.data()));
    return {handles.begin(), handles.end()};
  }

  int rank() const {
    int rank;
    check(tw_comm_rank(get(), &rank));
    return rank;
  }
  int size() const {
    int size;
    check(tw_comm_size(get(), &size));
    return size;
  }
};

}  // namespace tw::cpp
