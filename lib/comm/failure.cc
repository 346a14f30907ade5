// How a comm ends, and how every rank learns of it (protocol: comm.h).
#include <cstdio>
#include <cstring>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/publish.h"
#include "lib/comm/comm.h"
#include "lib/comm/control.h"

namespace tw {
namespace {

uint64_t load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }

}  // namespace

void Comm::keep_error(tw_status_t status, const std::string& sentence) const {
  sentence_ = sentence;
  status_.store(status, std::memory_order_release);
  TW_LOGF(TW_LOG_ERROR, "%s: %s: %s", options_.name.c_str(), tw_status_name(status),
          sentence.c_str());
}

// Peers learn of the end before this rank's own thread can: it might leave at once, and a peer that
// finds a rank gone without a reason would name that rank as lost. For the same reason a rank that
// has been told an error keeps that one: what it sees itself (a peer that left because of it) came
// after.
void Comm::end(tw_status_t status, const std::string& sentence) {
  const std::lock_guard<std::mutex> lock(error_mutex_);
  if (status_.load(std::memory_order_relaxed) != TW_OK || keep_told_error()) return;
  char* const failure = host_control(control_block(rank_)).failure;
  std::snprintf(failure, sizeof(HostControl::failure), "%s", sentence.c_str());
  const uint64_t why = static_cast<uint64_t>(status) | static_cast<uint64_t>(rank_ + 1) << 8;
  for (int i = 1; i <= size_; ++i)  // the first to end a rank's comm is the one it quotes
    publish_first(Published::kError, &control_block((rank_ + i) % size_).abort, why);
  keep_told_error();  // this one, or another's that came first meanwhile
}

void Comm::adopt_error() const {
  const std::lock_guard<std::mutex> lock(error_mutex_);  // waits for an end() of our own
  if (status_.load(std::memory_order_relaxed) == TW_OK) keep_told_error();
}

bool Comm::keep_told_error() const {
  const uint64_t why = load(&control_block(rank_).abort);
  if (why == 0) return false;
  const int by = static_cast<int>(why >> 8) - 1;
  keep_error(static_cast<tw_status_t>(why & 0xff), host_control(control_block(by)).failure);
  return true;
}

void Comm::throw_error() const {
  adopt_error();
  const std::lock_guard<std::mutex> lock(error_mutex_);
  throw Error(status_.load(std::memory_order_relaxed), sentence_);
}

const char* Comm::sentence() const {
  adopt_error();
  const std::lock_guard<std::mutex> lock(error_mutex_);
  return sentence_.c_str();  // written once
}

void Comm::on_hang_up(int peer) {
  // A rank that destroyed its comm is not dead: only a wait for it is an error (wait.cc).
  if (load(&host_control(control_block(peer)).left) != 0) return;
  __atomic_fetch_or(&control_block(rank_).dead_mask, uint64_t{1} << peer, __ATOMIC_RELEASE);
  end(TW_ERROR_PEER_LOST, text("rank %d died (its process hung up)", peer));
}

uint64_t Comm::gone() const {
  uint64_t mask = dead();
  for (int r = 0; r < size_; ++r)
    if (load(&host_control(control_block(r)).left) != 0) mask |= uint64_t{1} << r;
  return mask;
}

uint64_t Comm::dead() const {
  uint64_t mask = 0;
  for (int r = 0; r < size_; ++r) mask |= load(&control_block(r).dead_mask);
  return mask;
}

}  // namespace tw
