// Signals: tilewire.h, "Signals". One word per sender, so a signal is one store; the sender counts.
#include "lib/api/signals.h"

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/issue.h"
#include "lib/base/publish.h"
#include "lib/comm/host_wait.h"
#include "lib/device/kernels.h"
#include "tilewire/kernels/signal.h"

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

namespace {

constexpr size_t kMaxSlots = size_t{1} << 24;

void check_slot(const SignalSet& s, int rank, size_t slot, const char* function, const char* name) {
  require_range(rank, 0, s.comm().size() - 1, function, name);
  if (slot >= s.slots)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: slot = %zu; valid: 0 to %zu", function, slot, s.slots - 1);
}

/// On GPUs a signal, or the wait for one, is a launch.
tw_status_t launch(const SignalSet& s, const SignalWordArgs& args, tw_stream_t stream) {
  Comm& comm = s.comm();
  return issue(comm, stream, [&] {
    comm.device().launch(s.kernel, &args, 1);
    return TW_OK;
  });
}

}  // namespace

tw_status_t tw_signals_create(tw_comm_t comm, size_t slots, tw_signals_t* signals) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& c = *use;
    require(signals, "tw_signals_create", "signals");
    if (slots < 1 || slots > kMaxSlots)
      fail(TW_ERROR_INVALID_ARGUMENT, "tw_signals_create: slots = %zu; valid: 1 to %zu", slots,
           kMaxSlots);
    const size_t size = static_cast<size_t>(c.size());
    auto place = signal_sets.place();
    auto set = std::make_unique<SignalSet>();
    set->slots = slots;
    set->memory = c.device().allocate(sizeof(SignalSet::Counts) + slots * size * sizeof(uint64_t));
    if (!c.device().is_host()) set->kernel = c.device().kernel(kernels::signal_word);
    set->window = Window::create_signals(c, slots);
    *signals = place.fill(std::move(set));
  });
}

tw_status_t tw_signals_destroy(tw_signals_t signals) {
  return guard([&] {
    auto pinned = pin(signals);
    SignalSet& s = *pinned;
    const InUse use(s.comm());
    s.comm().device().drain();  // queued calls use the set
    pinned.release();           // nobody else destroys it while `use` lives
    signal_sets.erase(signals);
    const std::unique_ptr<SignalSet> gone(&s);
    s.window->close();
  });
}

tw_status_t tw_signal(tw_signals_t signals, int peer, size_t slot, tw_stream_t stream) {
  return guard([&] {
    const auto pinned = pin(signals);
    SignalSet& s = *pinned;
    check_slot(s, peer, slot, "tw_signal", "peer");
    uint64_t* const word = s.word(peer, s.comm().rank(), slot);
    uint64_t* const sent = s.counts()->sent() + static_cast<size_t>(peer) * s.slots + slot;
    Comm& comm = s.comm();
    if (!comm.device().is_host())
      return launch(s, {comm.view(), word, sent, 0, comm.rank(), slot}, stream);
    return issue(comm, stream, [word, sent] {
      publish(Published::kSignal, word, ++*sent);
      return TW_OK;
    });
  });
}

tw_status_t tw_wait_signal(tw_signals_t signals, int sender, size_t slot, uint64_t value,
                           int64_t timeout_ms, tw_stream_t stream) {
  return guard([&] {
    const auto pinned = pin(signals);
    SignalSet& s = *pinned;
    check_slot(s, sender, slot, "tw_wait_signal", "sender");
    require_range(timeout_ms, -1, INT64_MAX / 1000000, "tw_wait_signal", "timeout_ms");
    Comm& comm = s.comm();
    uint64_t* const word = s.word(comm.rank(), sender, slot);
    if (!comm.device().is_host()) {
      if (timeout_ms >= 0 && timeout_ms != comm.options().timeout_ms)
        fail(TW_ERROR_UNSUPPORTED,
             "tw_wait_signal: timeout_ms = %lld; valid on GPUs: -1, which is the comm's %lld",
             static_cast<long long>(timeout_ms), static_cast<long long>(comm.options().timeout_ms));
      return launch(s, {comm.view(), word, nullptr, value, sender, slot}, stream);
    }
    return issue(comm, stream, [&comm, word, value, sender, slot, timeout_ms] {
      const int64_t limit = timeout_ms < 0 ? comm.options().timeout_ms : timeout_ms;
      host_wait(comm, {"tw_wait_signal", sender, 0, slot}, word, value, limit);
      return TW_OK;
    });
  });
}

tw_status_t tw_signals_get_view(tw_signals_t signals, tw_signal_view* view) {
  return guard([&] {
    const auto pinned = pin(signals);
    SignalSet& s = *pinned;
    require(view, "tw_signals_get_view", "view");
    const CommView& comm = s.comm().view();
    SignalSet::Counts* const counts = s.counts();
    *view = {
        kCommLayoutVersion, comm.rank,         comm.size, s.slots, s.window->kernel_tables().parts,
        &counts->epoch,     &counts->finished, comm.wait};
  });
}
