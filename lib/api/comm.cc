// Communicators: tilewire.h, "Communicators".
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lib/api/attach.h"
#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/base/config.h"
#include "lib/base/log.h"
#include "lib/boot/exchange.h"
#include "lib/comm/records.h"
#include "lib/comm/split.h"
#include "lib/device/gpu/driver.h"

namespace tw::api {
namespace {

/// TW_DEVICE_KIND speaks where the config leaves it open.
bool wants_gpu(tw_device_kind_t kind) {
  const std::string environment = config::string("TW_DEVICE_KIND");
  if (environment != "auto" && environment != "cpu" && environment != "gpu")
    fail(TW_ERROR_INVALID_ARGUMENT, "TW_DEVICE_KIND=\"%s\"; valid: auto, cpu, gpu",
         environment.c_str());
  return kind == TW_DEVICE_GPU || (kind == TW_DEVICE_AUTO && environment == "gpu");
}

tw_comm_config_t checked_config(const tw_comm_config_t* config, const char* function) {
  const tw_comm_config_t defaults = TW_COMM_CONFIG_INIT;
  tw_comm_config_t c = versioned(config, defaults, "tw_comm_config_t");
  if (c.device.size > sizeof c.device)  // what lies behind it is the rest of the config
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: config.device.size = %zu; valid: up to %zu", function,
         c.device.size, sizeof c.device);
  c.device = versioned(&c.device, defaults.device, "tw_device_t");
  require_range(c.device.kind, TW_DEVICE_AUTO, TW_DEVICE_GPU, function, "config.device.kind");
  return c;
}

/// A GPU that the config names is the one of rank 0, or of the caller's rank where each rank has a
/// config of its own; one that the environment asks for is by rank.
void choose_device(const tw_device_t& device, bool for_all_ranks, CommOptions* options) {
  options->on_gpu = wants_gpu(device.kind);
  options->agreement += text("device=%s\n", options->on_gpu ? "gpu" : "cpu");
  if (!options->on_gpu) return;
  gpu::Driver::get();  // throws why there is none
  const bool named = device.kind == TW_DEVICE_GPU;
  options->gpu = named ? device.ordinal : 0;
  options->gpu_by_rank = !named || for_all_ranks;
}

CommOptions options_of(const tw_comm_config_t* config, const char* function,
                       bool for_all_ranks = false, const std::string& name = "comm") {
  log::read_environment();
  config::warn_unknown();
  const tw_comm_config_t checked = checked_config(config, function);
  CommOptions options = CommOptions::merge(checked, function, name);
  choose_device(checked.device, for_all_ranks, &options);
  options.agreement += collectives_agreement();
  return options;
}

tw_comm_t handle_of(std::unique_ptr<Comm> comm) {
  attach_collectives(*comm);
  auto place = comms.place();
  comm->set_busy_flag(place.busy());
  return place.fill(std::move(comm));
}

/// All or none.
void handles_of(std::vector<std::unique_ptr<Comm>> made, tw_comm_t* out) {
  std::deque<decltype(comms.place())> places;
  for (const std::unique_ptr<Comm>& comm : made) {
    attach_collectives(*comm);
    comm->set_busy_flag(places.emplace_back(comms).busy());
  }
  for (size_t rank = 0; rank < made.size(); ++rank)
    out[rank] = places[rank].fill(std::move(made[rank]));
}

void check_rank(int n, int rank, const char* function) {
  require_range(n, 1, kMaxRanks, function, "n");
  require_range(rank, 0, n - 1, function, "rank");
}

tw_comm_t create(int n, int rank, const tw_unique_id_t& id, const CommOptions& options) {
  const std::unique_ptr<boot::Exchange> exchange =
      boot::join(id, n, rank, options.agreement, Deadline(options.setup_timeout_ms));
  return handle_of(Comm::create(*exchange, options, nullptr));
}

void create_all(int n, const CommOptions& options, tw_comm_t* out) {
  const std::shared_ptr<boot::LocalGroup> group = boot::LocalGroup::create(n);
  std::vector<std::unique_ptr<Comm>> made(static_cast<size_t>(n));
  std::vector<std::unique_ptr<Error>> errors(static_cast<size_t>(n));
  const auto make = [&](size_t rank) {
    try {
      const std::unique_ptr<boot::Exchange> exchange =
          group->join(static_cast<int>(rank), Deadline(options.setup_timeout_ms));
      made[rank] = Comm::create(*exchange, options, nullptr);
    } catch (...) {
      errors[rank] = std::make_unique<Error>(current_error());
    }
  };
  // Rank 0 is made by this thread, last: the others must be able to start.
  std::vector<std::thread> threads;
  std::unique_ptr<Error> failure;
  for (size_t rank = 1; rank < made.size() && failure == nullptr; ++rank) {
    try {
      threads.emplace_back(make, rank);
    } catch (const std::system_error& error) {
      failure = std::make_unique<Error>(
          TW_ERROR_OUT_OF_RESOURCES,
          text("tw_comm_create_all: thread %zu of %d: %s", rank, n, error.what()));
    }
  }
  if (failure == nullptr)
    make(0);
  else
    group->join(0, Deadline(1)).reset();  // leaves: the ranks that started give up
  for (std::thread& thread : threads) thread.join();
  if (failure != nullptr) throw Error(*failure);
  for (const auto& error : errors)
    if (error != nullptr) throw Error(*error);
  handles_of(std::move(made), out);
}

void destroy(tw_comm_t handle) {
  std::optional<Error> mismatch;
  {
    const CommInUse use(handle);
    Comm& comm = *use;
    if (const std::string live = comm.live_names(); !live.empty())
      fail(TW_ERROR_INVALID_STATE, "comm \"%s\" has %s: destroy them first",
           comm.options().name.c_str(), live.c_str());
    if (const int children = comm.children; children != 0)
      fail(TW_ERROR_INVALID_STATE,
           "comm \"%s\" has %d live child comm(s) made by split: destroy them first",
           comm.options().name.c_str(), children);
    comm.device().drain();  // queued calls use the comm
    comm.device().forget(&comm);
    if (!comm.ended() && compare_last_calls(comm))
      mismatch.emplace(TW_ERROR_MISMATCH, comm.sentence());
    comms.end(handle);
    delete &comm;
  }
  comms.recycle(handle);
  if (mismatch) throw Error(*mismatch);
}

}  // namespace
}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_comm_create(int n, int rank, const tw_unique_id_t* id,
                           const tw_comm_config_t* config, tw_comm_t* comm) {
  return guard([&] {
    check_rank(n, rank, "tw_comm_create");
    require(id, "tw_comm_create", "id");
    require(comm, "tw_comm_create", "comm");
    *comm = create(n, rank, *id, options_of(config, "tw_comm_create"));
  });
}

tw_status_t tw_comm_create_env(const tw_comm_config_t* config, tw_comm_t* comm) {
  return guard([&] {
    require(comm, "tw_comm_create_env", "comm");
    const CommOptions options = options_of(config, "tw_comm_create_env");
    const boot::Environment env = boot::environment();
    check_rank(env.size, env.rank, "tw_comm_create_env");
    *comm = create(env.size, env.rank, env.id, options);
  });
}

tw_status_t tw_comm_create_all(int n, const tw_comm_config_t* config, tw_comm_t* comms_out) {
  return guard([&] {
    require_range(n, 1, kMaxRanks, "tw_comm_create_all", "n");
    require(comms_out, "tw_comm_create_all", "comms");
    create_all(n, options_of(config, "tw_comm_create_all", true), comms_out);
  });
}

tw_status_t tw_comm_split(tw_comm_t comm, int color, int key, const tw_comm_config_t* config,
                          tw_comm_t* child) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& parent = *use;
    require_range(color, -1, INT32_MAX, "tw_comm_split", "color");
    require(child, "tw_comm_split", "child");
    const CommOptions options = options_of(config, "tw_comm_split", false,
                                           text("%s/%d", parent.options().name.c_str(), color));
    std::unique_ptr<Comm> made = split(parent, color, key, options);
    *child = made == nullptr ? nullptr : handle_of(std::move(made));
  });
}

tw_status_t tw_comm_shrink(tw_comm_t comm, const tw_comm_config_t* config, tw_comm_t* survivors) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& parent = *use;
    require(survivors, "tw_comm_shrink", "survivors");
    const CommOptions options =
        options_of(config, "tw_comm_shrink", false, parent.options().name + "/survivors");
    *survivors = handle_of(shrink(parent, options));
  });
}

tw_status_t tw_comm_abort(tw_comm_t comm) {
  return guard([&] {
    const auto pinned = pin(comm);
    Comm& c = *pinned;
    c.end(TW_ERROR_ABORTED, text("rank %d called tw_comm_abort", c.rank()));
  });
}

tw_status_t tw_comm_destroy(tw_comm_t comm) {
  return guard([&] { destroy(comm); });
}

tw_status_t tw_comm_rank(tw_comm_t comm, int* rank) {
  return guard([&] {
    const auto pinned = pin(comm);
    const Comm& c = *pinned;
    require(rank, "tw_comm_rank", "rank");
    *rank = c.rank();
  });
}

tw_status_t tw_comm_size(tw_comm_t comm, int* size) {
  return guard([&] {
    const auto pinned = pin(comm);
    const Comm& c = *pinned;
    require(size, "tw_comm_size", "size");
    *size = c.size();
  });
}

tw_status_t tw_comm_device(tw_comm_t comm, tw_device_t* device) {
  return guard([&] {
    const auto pinned = pin(comm);
    const Device& d = (*pinned).device();
    require(device, "tw_comm_device", "device");
    *device = {sizeof(tw_device_t), d.kind(), d.ordinal()};
  });
}

tw_status_t tw_comm_memory(tw_comm_t comm, size_t* bytes) {
  return guard([&] {
    const auto pinned = pin(comm);
    const Comm& c = *pinned;
    require(bytes, "tw_comm_memory", "bytes");
    *bytes = c.memory();
  });
}

tw_status_t tw_comm_error(tw_comm_t comm, tw_status_t* status, const char** sentence) {
  return guard([&] {
    const auto pinned = pin(comm);
    const Comm& c = *pinned;
    const char* said = c.sentence();
    if (status != nullptr) *status = c.status();
    if (sentence != nullptr) *sentence = said;
  });
}

tw_status_t tw_comm_set_max_blocks(tw_comm_t comm, int max_blocks) {
  return guard([&] {
    const auto pinned = pin(comm);
    Comm& c = *pinned;
    require_range(max_blocks, 0, kMostBlocks, "tw_comm_set_max_blocks", "max_blocks");
    set_collective_blocks(c, max_blocks);
  });
}
