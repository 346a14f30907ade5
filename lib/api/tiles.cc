// Tile sets: tilewire.h, "Tile programs of the user's own".
#include "lib/api/tiles.h"

#include <cstring>

#include "lib/api/guard.h"
#include "lib/api/handles.h"
#include "lib/api/issue.h"
#include "lib/coll/collectives.h"
#include "lib/coll/workspace.h"

namespace tw::api {
namespace {

constexpr size_t kMostSlots = size_t{1} << 24;
constexpr size_t kMostBytes = size_t{1} << 40;
constexpr size_t kLongestK = INT32_MAX;

tw_tiles_config_t checked_config(const tw_tiles_config_t* config) {
  constexpr const char* kName = "tw_tiles_create";
  require(config, kName, "config");
  const tw_tiles_config_t c =
      versioned(config, tw_tiles_config_t TW_TILES_CONFIG_INIT, "tw_tiles_config_t");
  const auto at_most = [](const char* field, size_t value, size_t most) {
    if (value > most)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: config.%s = %zu; valid: 0 to %zu", kName, field, value,
           most);
  };
  at_most("bytes", c.bytes, kMostBytes);
  at_most("slots", c.slots, kMostSlots);
  at_most("k", c.k, kLongestK);
  return c;
}

/// What ranks must agree on.
struct Sizes {
  uint64_t bytes, slots;
};

void check_alike(Comm& comm, const tw_tiles_config_t& config) {
  const Sizes mine{config.bytes, config.slots};
  const auto all = comm.control().all_gather(ControlKind::kTilesCreate,
                                             {reinterpret_cast<const char*>(&mine), sizeof mine});
  for (size_t r = 0; r < all.size(); ++r) {
    Sizes theirs;
    std::memcpy(&theirs, all[r].data(), sizeof theirs);
    Sizes first;
    std::memcpy(&first, all[0].data(), sizeof first);
    if (theirs.bytes != first.bytes || theirs.slots != first.slots)
      fail(TW_ERROR_MISMATCH,
           "tw_tiles_create: rank 0 asks for %llu bytes and %llu slots, rank %zu for %llu and "
           "%llu; valid: as many on all ranks",
           static_cast<unsigned long long>(first.bytes),
           static_cast<unsigned long long>(first.slots), r,
           static_cast<unsigned long long>(theirs.bytes),
           static_cast<unsigned long long>(theirs.slots));
  }
}

/// Scratch for as many blocks as a launch may have.
void make_scratch(TileSet& set, const Comm& comm, size_t k) {
  set.scratch_bytes = scratch_bytes(kCpuTile.rows, k, k == 0);
  set.scratch = Buffer(static_cast<size_t>(comm.view().layout.blocks) * set.scratch_bytes);
}

}  // namespace
}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_tiles_create(tw_comm_t comm, const tw_tiles_config_t* config, tw_tiles_t* tiles) {
  return guard([&] {
    const CommInUse use(comm);
    Comm& c = *use;
    require(tiles, "tw_tiles_create", "tiles");
    const tw_tiles_config_t checked = checked_config(config);
    auto place = tile_sets.place();
    auto set = std::make_unique<TileSet>();
    if (c.device().is_host()) make_scratch(*set, c, checked.k);
    set->memory = c.device().allocate(sizeof(TileSet::Counts));
    check_alike(c, checked);
    set->layout = tile_layout(c.size(), checked.slots, checked.bytes);
    set->window = Window::create_tiles(c, set->layout.end);
    *tiles = place.fill(std::move(set));
  });
}

tw_status_t tw_tiles_destroy(tw_tiles_t tiles) {
  return guard([&] {
    auto pinned = pin(tiles);
    TileSet& s = *pinned;
    const InUse use(s.comm());
    s.comm().device().drain();  // queued calls use the set
    pinned.release();           // nobody else destroys it while `use` lives
    tile_sets.erase(tiles);
    const std::unique_ptr<TileSet> gone(&s);
    s.window->close();
  });
}

tw_status_t tw_tiles_get_view(tw_tiles_t tiles, tw_tile_view* view) {
  return guard([&] {
    const auto pinned = pin(tiles);
    TileSet& s = *pinned;
    require(view, "tw_tiles_get_view", "view");
    tw_tile_view v{};
    v.comm = s.comm().view();
    v.layout = s.layout;
    v.parts = s.window->kernel_tables().parts;
    v.epoch = &s.counts()->epoch;
    v.counters = &s.counts()->counters;
    v.scratch = s.scratch.data();
    v.scratch_bytes = s.scratch_bytes;
    v.store = s.comm().collectives().table().choose(kAllReduce, s.layout.end - s.layout.data).store;
    v.record.call = kNoCall;
    *view = v;
  });
}
