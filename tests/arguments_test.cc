// Every entry point with every kind of bad argument: a status, a sentence with the value and what
// is valid, and a comm that still works.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/runner/ranks.h"
#include "tilewire.h"
#include "tilewire/signal_device.h"
#include "tilewire/window_device.h"

namespace {

using tw::test::ThreadRanks;

/// What the rows act on: rank 0 of two thread ranks, and handles of every bad kind.
struct World {
  tw_comm_t comm = nullptr;
  tw_comm_t dead_comm = nullptr;
  tw_window_t window = nullptr;
  tw_window_t dead_window = nullptr;
  tw_signals_t signals = nullptr;
  tw_signals_t dead_signals = nullptr;
  tw_stream_t dead_stream = nullptr;
  float a[256] = {};
  float b[256] = {};
  size_t counts[2] = {4, 4};
  size_t displs[2] = {0, 4};
  size_t bad_displs[2] = {0, 2};
  size_t huge[2] = {SIZE_MAX / 2, 4};
  char foreign[64] = {};  // memory of ours that is no handle
};

/// One bad call. `says`: texts that the sentence must have: the value, and what is valid.
struct Row {
  const char* name;
  tw_status_t status;
  std::vector<std::string> says;
  std::function<tw_status_t(World&)> call;
};

constexpr tw_status_t kArgument = TW_ERROR_INVALID_ARGUMENT;
constexpr tw_status_t kHandle = TW_ERROR_INVALID_HANDLE;
constexpr tw_status_t kState = TW_ERROR_INVALID_STATE;

template <class Handle>
Handle foreign(World& w) {
  return reinterpret_cast<Handle>(w.foreign);
}

tw_type_t type_of(int value) { return static_cast<tw_type_t>(value); }
tw_op_t op_of(int value) { return static_cast<tw_op_t>(value); }

/// A collective with the buffers, type and comm as parameters: each gets the same kinds of bad
/// ones.
struct Collective {
  const char* name;
  std::function<tw_status_t(const void*, void*, size_t, tw_type_t, tw_comm_t, tw_stream_t)> call;
};

std::vector<Collective> collectives() {
#define COLLECTIVE(name, ...)                                                             \
  {                                                                                       \
    name, [](const void* s, void* r, size_t n, tw_type_t t, tw_comm_t c, tw_stream_t q) { \
      return __VA_ARGS__;                                                                 \
    }                                                                                     \
  }
  return {
      COLLECTIVE("all_reduce", tw_all_reduce(s, r, n, t, TW_SUM, c, q)),
      COLLECTIVE("reduce", tw_reduce(s, r, n, t, TW_SUM, 0, c, q)),
      COLLECTIVE("broadcast", tw_broadcast(s, r, n, t, 0, c, q)),
      COLLECTIVE("all_gather", tw_all_gather(s, r, n, t, c, q)),
      COLLECTIVE("reduce_scatter", tw_reduce_scatter(s, r, n, t, TW_SUM, c, q)),
      COLLECTIVE("all_to_all", tw_all_to_all(s, r, n, t, c, q)),
      COLLECTIVE("gather", tw_gather(s, r, n, t, 0, c, q)),
      COLLECTIVE("scatter", tw_scatter(s, r, n, t, 0, c, q)),
  };
#undef COLLECTIVE
}

void add_collectives(std::vector<Row>& rows) {
  static std::vector<std::string> names;
  names.reserve(256);
  const auto add = [&](const Collective& c, const char* what, tw_status_t status,
                       std::vector<std::string> says, auto call) {
    names.push_back(std::string(c.name) + ": " + what);
    rows.push_back({names.back().c_str(), status, std::move(says),
                    [c, call](World& w) { return call(c, w); }});
  };
  for (const Collective& c : collectives()) {
    using C = const Collective&;
    add(c, "null send", kArgument, {"send", "NULL"},
        [](C f, World& w) { return f.call(nullptr, w.b, 4, TW_FP32, w.comm, nullptr); });
    add(c, "null recv", kArgument, {"recv", "NULL"},
        [](C f, World& w) { return f.call(w.a, nullptr, 4, TW_FP32, w.comm, nullptr); });
    add(c, "type -1", kArgument, {"-1", "valid"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, type_of(-1), w.comm, nullptr); });
    add(c, "type 12", kArgument, {"12", "valid"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, type_of(12), w.comm, nullptr); });
    add(c, "overflowing count", kArgument, {"overflow"},
        [](C f, World& w) { return f.call(w.a, w.b, SIZE_MAX / 2, TW_FP64, w.comm, nullptr); });
    add(c, "count at the limit", kArgument, {"overflow"},
        [](C f, World& w) { return f.call(w.a, w.b, SIZE_MAX, TW_INT8, w.comm, nullptr); });
    add(c, "partial overlap", kArgument, {"overlap", "valid"},
        [](C f, World& w) { return f.call(w.a, w.a + 1, 8, TW_FP32, w.comm, nullptr); });
    add(c, "null comm", kHandle, {"comm"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, nullptr, nullptr); });
    add(c, "destroyed comm", kHandle, {"comm"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, w.dead_comm, nullptr); });
    add(c, "foreign comm", kHandle, {"comm"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, foreign<tw_comm_t>(w), nullptr); });
    add(c, "destroyed stream", kHandle, {"stream"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, w.comm, w.dead_stream); });
    add(c, "foreign stream", kHandle, {"stream"},
        [](C f, World& w) { return f.call(w.a, w.b, 4, TW_FP32, w.comm, w.foreign); });
  }
}

void add_ops_and_roots(std::vector<Row>& rows) {
  const std::vector<Row> more = {
      {"all_reduce: op 5",
       kArgument,
       {"5", "valid"},
       [](World& w) { return tw_all_reduce(w.a, w.b, 4, TW_FP32, op_of(5), w.comm, nullptr); }},
      {"all_reduce: op -1",
       kArgument,
       {"-1", "valid"},
       [](World& w) { return tw_all_reduce(w.a, w.b, 4, TW_FP32, op_of(-1), w.comm, nullptr); }},
      {"all_reduce: unknown created op",
       kArgument,
       {"valid"},
       [](World& w) {
         return tw_all_reduce(w.a, w.b, 4, TW_FP32, op_of(1 << 20), w.comm, nullptr);
       }},
      {"reduce_scatter: op 77",
       kArgument,
       {"77", "valid"},
       [](World& w) {
         return tw_reduce_scatter(w.a, w.b, 4, TW_FP32, op_of(77), w.comm, nullptr);
       }},
      {"reduce: root 2 of 2",
       kArgument,
       {"2", "valid: 0 to 1"},
       [](World& w) { return tw_reduce(w.a, w.b, 4, TW_FP32, TW_SUM, 2, w.comm, nullptr); }},
      {"broadcast: root -1",
       kArgument,
       {"-1", "valid: 0 to 1"},
       [](World& w) { return tw_broadcast(w.a, w.b, 4, TW_FP32, -1, w.comm, nullptr); }},
      {"gather: root 9",
       kArgument,
       {"9", "valid: 0 to 1"},
       [](World& w) { return tw_gather(w.a, w.b, 4, TW_FP32, 9, w.comm, nullptr); }},
      {"scatter: root 9",
       kArgument,
       {"9", "valid: 0 to 1"},
       [](World& w) { return tw_scatter(w.a, w.b, 4, TW_FP32, 9, w.comm, nullptr); }},
      {"barrier: null comm",
       kHandle,
       {"comm"},
       [](World&) { return tw_barrier(nullptr, nullptr); }},
      {"barrier: foreign stream",
       kHandle,
       {"stream"},
       [](World& w) { return tw_barrier(w.comm, w.foreign); }},
      {"send: peer 2",
       kArgument,
       {"2", "valid"},
       [](World& w) { return tw_send(w.a, 4, TW_FP32, 2, w.comm, nullptr); }},
      {"send: peer -1",
       kArgument,
       {"-1", "valid"},
       [](World& w) { return tw_send(w.a, 4, TW_FP32, -1, w.comm, nullptr); }},
      {"send: null buffer",
       kArgument,
       {"NULL"},
       [](World& w) { return tw_send(nullptr, 4, TW_FP32, 1, w.comm, nullptr); }},
      {"send: overflow",
       kArgument,
       {"overflow"},
       [](World& w) { return tw_send(w.a, SIZE_MAX / 2, TW_FP64, 1, w.comm, nullptr); }},
      {"recv: peer 2",
       kArgument,
       {"2", "valid"},
       [](World& w) { return tw_recv(w.a, 4, TW_FP32, 2, w.comm, nullptr); }},
      {"recv: type 99",
       kArgument,
       {"99", "valid"},
       [](World& w) { return tw_recv(w.a, 4, type_of(99), 1, w.comm, nullptr); }},
      {"recv: destroyed comm",
       kHandle,
       {"comm"},
       [](World& w) { return tw_recv(w.a, 4, TW_FP32, 1, w.dead_comm, nullptr); }},
      {"group_end without begin", kState, {"group"}, [](World&) { return tw_group_end(); }},
      {"op_create: null factor",
       kArgument,
       {"factor"},
       [](World& w) {
         tw_op_t op;
         return tw_op_create_scaled_sum(nullptr, TW_FP32, w.comm, &op);
       }},
      {"op_create: bad type",
       kArgument,
       {"40", "valid"},
       [](World& w) {
         tw_op_t op;
         return tw_op_create_scaled_sum(w.a, type_of(40), w.comm, &op);
       }},
      {"op_create: null out",
       kArgument,
       {"op"},
       [](World& w) { return tw_op_create_scaled_sum(w.a, TW_FP32, w.comm, nullptr); }},
      {"op_destroy: builtin",
       kArgument,
       {"0"},
       [](World& w) { return tw_op_destroy(TW_SUM, w.comm); }},
      {"op_destroy: unknown",
       kArgument,
       {"1000"},
       [](World& w) { return tw_op_destroy(op_of(1000), w.comm); }},
      {"scaled op of another type",
       kArgument,
       {"TW_FP64"},
       [](World& w) {
         tw_op_t op;
         if (tw_op_create_scaled_sum(w.a, TW_FP32, w.comm, &op) != TW_OK) return TW_OK;
         const tw_status_t status = tw_all_reduce(w.a, w.b, 4, TW_FP64, op, w.comm, nullptr);
         const std::string sentence = tw_last_error();
         tw_op_destroy(op, w.comm);
         // The failed call again: it must say the same of an op that is gone.
         return sentence.empty() ? TW_OK
                                 : (status == kArgument
                                        ? tw_all_reduce(w.a, w.b, 4, TW_FP64, op, w.comm, nullptr)
                                        : status);
       }},
  };
  rows.insert(rows.end(), more.begin(), more.end());
  rows.back().says = {"valid"};
}

void add_uneven(std::vector<Row>& rows) {
  const std::vector<Row> more = {
      {"all_gather_v: null counts",
       kArgument,
       {"counts", "NULL"},
       [](World& w) {
         return tw_all_gather_v(w.a, w.b, nullptr, w.displs, TW_FP32, w.comm, nullptr);
       }},
      {"all_gather_v: overlapping parts",
       kArgument,
       {"overlap"},
       [](World& w) {
         return tw_all_gather_v(w.a, w.b, w.counts, w.bad_displs, TW_FP32, w.comm, nullptr);
       }},
      {"all_gather_v: overflow",
       kArgument,
       {"overflow"},
       [](World& w) {
         return tw_all_gather_v(w.a, w.b, w.huge, nullptr, TW_FP32, w.comm, nullptr);
       }},
      {"reduce_scatter_v: null counts",
       kArgument,
       {"counts", "NULL"},
       [](World& w) {
         return tw_reduce_scatter_v(w.a, w.b, nullptr, TW_FP32, TW_SUM, w.comm, nullptr);
       }},
      {"reduce_scatter_v: op 9",
       kArgument,
       {"9", "valid"},
       [](World& w) {
         return tw_reduce_scatter_v(w.a, w.b, w.counts, TW_FP32, op_of(9), w.comm, nullptr);
       }},
      {"all_to_all_v: null send counts",
       kArgument,
       {"counts", "NULL"},
       [](World& w) {
         return tw_all_to_all_v(w.a, nullptr, w.displs, w.b, w.counts, w.displs, TW_FP32, w.comm,
                                nullptr);
       }},
      {"all_to_all_v: null recv counts",
       kArgument,
       {"counts", "NULL"},
       [](World& w) {
         return tw_all_to_all_v(w.a, w.counts, w.displs, w.b, nullptr, w.displs, TW_FP32, w.comm,
                                nullptr);
       }},
      {"all_to_all_v: overlapping recv parts",
       kArgument,
       {"overlap"},
       [](World& w) {
         return tw_all_to_all_v(w.a, w.counts, w.displs, w.b, w.counts, w.bad_displs, TW_FP32,
                                w.comm, nullptr);
       }},
      {"all_to_all_v: bad type",
       kArgument,
       {"-7", "valid"},
       [](World& w) {
         return tw_all_to_all_v(w.a, w.counts, w.displs, w.b, w.counts, w.displs, type_of(-7),
                                w.comm, nullptr);
       }},
  };
  rows.insert(rows.end(), more.begin(), more.end());
}

/// A config with room behind it, as a program built against a newer header would pass.
struct LongConfig {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  char tail[16] = {};
};

tw_status_t create_with(const std::function<void(LongConfig&)>& change) {
  LongConfig c;
  change(c);
  tw_comm_t comms[1];
  const tw_status_t status = tw_comm_create_all(1, &c.config, comms);
  if (status == TW_OK) tw_comm_destroy(comms[0]);
  return status;
}

void add_comm(std::vector<Row>& rows) {
  const std::vector<Row> more = {
      {"unique_id_create: null",
       kArgument,
       {"id"},
       [](World&) { return tw_unique_id_create(nullptr); }},
      {"unique_id_to_text: null id",
       kArgument,
       {"id"},
       [](World&) {
         char text[TW_UNIQUE_ID_TEXT_BYTES];
         return tw_unique_id_to_text(nullptr, text);
       }},
      {"unique_id_from_text: garbage (never quoted: it may hold a secret)",
       kArgument,
       {"valid"},
       [](World&) {
         tw_unique_id_t id;
         return tw_unique_id_from_text("zzz", &id);
       }},
      {"unique_id_from_text: null",
       kArgument,
       {"text"},
       [](World&) {
         tw_unique_id_t id;
         return tw_unique_id_from_text(nullptr, &id);
       }},
      {"comm_create: n 0",
       kArgument,
       {"0", "valid: 1 to 64"},
       [](World&) {
         tw_unique_id_t id = {};
         tw_comm_t comm;
         return tw_comm_create(0, 0, &id, nullptr, &comm);
       }},
      {"comm_create: n 65",
       kArgument,
       {"65", "valid: 1 to 64"},
       [](World&) {
         tw_unique_id_t id = {};
         tw_comm_t comm;
         return tw_comm_create(65, 0, &id, nullptr, &comm);
       }},
      {"comm_create: rank 2 of 2",
       kArgument,
       {"rank", "2", "valid: 0 to 1"},
       [](World&) {
         tw_unique_id_t id = {};
         tw_comm_t comm;
         return tw_comm_create(2, 2, &id, nullptr, &comm);
       }},
      {"comm_create: null id",
       kArgument,
       {"id"},
       [](World&) {
         tw_comm_t comm;
         return tw_comm_create(2, 0, nullptr, nullptr, &comm);
       }},
      {"comm_create: an id that is none",
       kArgument,
       {"id"},
       [](World&) {
         tw_unique_id_t id;
         std::memset(&id, 0x5a, sizeof id);
         tw_comm_t comm;
         return tw_comm_create(2, 0, &id, nullptr, &comm);
       }},
      {"comm_create: null out",
       kArgument,
       {"comm"},
       [](World&) {
         tw_unique_id_t id = {};
         return tw_comm_create(2, 0, &id, nullptr, nullptr);
       }},
      {"comm_create_all: n -1",
       kArgument,
       {"-1", "valid: 1 to 64"},
       [](World&) {
         tw_comm_t comms[1];
         return tw_comm_create_all(-1, nullptr, comms);
       }},
      {"comm_create_all: null out",
       kArgument,
       {"comms"},
       [](World&) { return tw_comm_create_all(2, nullptr, nullptr); }},
      {"comm_create_env: null out",
       kArgument,
       {"comm"},
       [](World&) { return tw_comm_create_env(nullptr, nullptr); }},
      {"comm_create_env: no environment",
       kArgument,
       {"TW_"},
       [](World&) {
         tw_comm_t comm;
         return tw_comm_create_env(nullptr, &comm);
       }},
      {"config: size 0",
       kArgument,
       {"size", "0"},
       [](World&) { return create_with([](LongConfig& c) { c.config.size = 0; }); }},
      {"config: long with a tail that is not zero",
       kArgument,
       {"size"},
       [](World&) {
         return create_with([](LongConfig& c) {
           c.config.size = sizeof c;
           c.tail[3] = 1;
         });
       }},
      {"config: device kind 9",
       kArgument,
       {"9"},
       [](World&) {
         return create_with(
             [](LongConfig& c) { c.config.device.kind = static_cast<tw_device_kind_t>(9); });
       }},
      {"config: workers -3",
       kArgument,
       {"-3"},
       [](World&) { return create_with([](LongConfig& c) { c.config.workers = -3; }); }},
      {"config: max_blocks -3",
       kArgument,
       {"-3"},
       [](World&) { return create_with([](LongConfig& c) { c.config.max_blocks = -3; }); }},
      {"config: timeout -2",
       kArgument,
       {"-2"},
       [](World&) { return create_with([](LongConfig& c) { c.config.timeout_ms = -2; }); }},
      {"comm_rank: null out",
       kArgument,
       {"rank"},
       [](World& w) { return tw_comm_rank(w.comm, nullptr); }},
      {"comm_rank: null comm",
       kHandle,
       {"comm"},
       [](World&) {
         int rank;
         return tw_comm_rank(nullptr, &rank);
       }},
      {"comm_size: destroyed",
       kHandle,
       {"comm"},
       [](World& w) {
         int size;
         return tw_comm_size(w.dead_comm, &size);
       }},
      {"comm_device: foreign",
       kHandle,
       {"comm"},
       [](World& w) {
         tw_device_t device = TW_DEVICE_INIT;
         return tw_comm_device(foreign<tw_comm_t>(w), &device);
       }},
      {"comm_memory: null out",
       kArgument,
       {"bytes"},
       [](World& w) { return tw_comm_memory(w.comm, nullptr); }},
      {"comm_error: destroyed",
       kHandle,
       {"comm"},
       [](World& w) { return tw_comm_error(w.dead_comm, nullptr, nullptr); }},
      {"comm_set_max_blocks: -1",
       kArgument,
       {"-1"},
       [](World& w) { return tw_comm_set_max_blocks(w.comm, -1); }},
      {"comm_split: color -2",
       kArgument,
       {"-2", "valid"},
       [](World& w) {
         tw_comm_t child;
         return tw_comm_split(w.comm, -2, 0, nullptr, &child);
       }},
      {"comm_split: null out",
       kArgument,
       {"child"},
       [](World& w) { return tw_comm_split(w.comm, 0, 0, nullptr, nullptr); }},
      {"comm_shrink: null comm",
       kHandle,
       {"comm"},
       [](World&) {
         tw_comm_t comm;
         return tw_comm_shrink(nullptr, nullptr, &comm);
       }},
      {"comm_shrink: a healthy comm",
       kState,
       {"shrink"},
       [](World& w) {
         tw_comm_t comm;
         return tw_comm_shrink(w.comm, nullptr, &comm);
       }},
      {"comm_abort: destroyed",
       kHandle,
       {"comm"},
       [](World& w) { return tw_comm_abort(w.dead_comm); }},
      {"comm_destroy: destroyed twice",
       kHandle,
       {"comm"},
       [](World& w) { return tw_comm_destroy(w.dead_comm); }},
      {"comm_destroy: live windows",
       kState,
       {"window"},
       [](World& w) { return tw_comm_destroy(w.comm); }},
      {"comm_destroy: a window handle",
       kHandle,
       {"comm"},
       [](World& w) { return tw_comm_destroy(reinterpret_cast<tw_comm_t>(w.window)); }},
  };
  rows.insert(rows.end(), more.begin(), more.end());
}

void add_memory(std::vector<Row>& rows) {
  const std::vector<Row> more = {
      {"mem_alloc: null out",
       kArgument,
       {"ptr"},
       [](World&) { return tw_mem_alloc(64, nullptr, nullptr); }},
      {"mem_alloc: too much",
       TW_ERROR_OUT_OF_MEMORY,
       {},
       [](World&) {
         void* p;
         return tw_mem_alloc(SIZE_MAX / 2, nullptr, &p);
       }},
      {"mem_free: foreign",
       kArgument,
       {"tw_mem_alloc"},
       [](World& w) { return tw_mem_free(w.foreign); }},
      {"window_create: null comm",
       kHandle,
       {"comm"},
       [](World&) {
         tw_window_t window;
         return tw_window_create(nullptr, 64, &window);
       }},
      {"window_create: null out",
       kArgument,
       {"window"},
       [](World& w) { return tw_window_create(w.comm, 64, nullptr); }},
      {"window_register: not from mem_alloc",
       kArgument,
       {"tw_mem_alloc"},
       [](World& w) {
         tw_window_t window;
         return tw_window_register(w.comm, w.foreign, 64, &window);
       }},
      {"window_share: not a child",
       kArgument,
       {"tw_comm_split"},
       [](World& w) {
         tw_window_t window;
         return tw_window_share(w.window, w.comm, &window);
       }},
      {"window_share: destroyed window",
       kHandle,
       {"window"},
       [](World& w) {
         tw_window_t window;
         return tw_window_share(w.dead_window, w.comm, &window);
       }},
      {"window_share: destroyed comm",
       kHandle,
       {"comm"},
       [](World& w) {
         tw_window_t window;
         return tw_window_share(w.window, w.dead_comm, &window);
       }},
      {"window_share: null out",
       kArgument,
       {"shared"},
       [](World& w) { return tw_window_share(w.window, w.comm, nullptr); }},
      {"window_destroy: destroyed",
       kHandle,
       {"window"},
       [](World& w) { return tw_window_destroy(w.dead_window); }},
      {"window_ptr: rank 2",
       kArgument,
       {"2", "valid: 0 to 1"},
       [](World& w) {
         void* p;
         return tw_window_ptr(w.window, 2, &p);
       }},
      {"window_ptr: null out",
       kArgument,
       {"ptr"},
       [](World& w) { return tw_window_ptr(w.window, 0, nullptr); }},
      {"window_size: foreign",
       kHandle,
       {"window"},
       [](World& w) {
         size_t bytes;
         return tw_window_size(foreign<tw_window_t>(w), 0, &bytes);
       }},
      {"put: rank 5",
       kArgument,
       {"5", "valid: 0 to 1"},
       [](World& w) { return tw_put(w.window, 5, 0, w.a, 4, nullptr); }},
      {"put: beyond the end",
       kArgument,
       {"4096", "valid"},
       [](World& w) { return tw_put(w.window, 0, 4096, w.a, 4, nullptr); }},
      {"put: offset + bytes overflows",
       kArgument,
       {"valid"},
       [](World& w) { return tw_put(w.window, 0, SIZE_MAX - 1, w.a, 4, nullptr); }},
      {"put: null source",
       kArgument,
       {"src", "NULL"},
       [](World& w) { return tw_put(w.window, 0, 0, nullptr, 4, nullptr); }},
      {"put: foreign stream",
       kHandle,
       {"stream"},
       [](World& w) { return tw_put(w.window, 0, 0, w.a, 4, w.foreign); }},
      {"get: null destination",
       kArgument,
       {"dst", "NULL"},
       [](World& w) { return tw_get(nullptr, w.window, 0, 0, 4, nullptr); }},
      {"get: beyond the end",
       kArgument,
       {"valid"},
       [](World& w) { return tw_get(w.a, w.window, 1, 4090, 16, nullptr); }},
      {"get: destroyed window",
       kHandle,
       {"window"},
       [](World& w) { return tw_get(w.a, w.dead_window, 0, 0, 4, nullptr); }},
      {"window_get_view: null",
       kArgument,
       {"view"},
       [](World& w) { return tw_window_get_view(w.window, nullptr); }},
      {"signals_create: 0 slots",
       kArgument,
       {"0", "valid"},
       [](World& w) {
         tw_signals_t signals;
         return tw_signals_create(w.comm, 0, &signals);
       }},
      {"signals_create: null out",
       kArgument,
       {"signals"},
       [](World& w) { return tw_signals_create(w.comm, 1, nullptr); }},
      {"signals_destroy: destroyed",
       kHandle,
       {"signals"},
       [](World& w) { return tw_signals_destroy(w.dead_signals); }},
      {"signal: slot 4 of 4",
       kArgument,
       {"4", "valid: 0 to 3"},
       [](World& w) { return tw_signal(w.signals, 0, 4, nullptr); }},
      {"signal: peer 2",
       kArgument,
       {"2", "valid: 0 to 1"},
       [](World& w) { return tw_signal(w.signals, 2, 0, nullptr); }},
      {"wait_signal: sender -1",
       kArgument,
       {"-1", "valid: 0 to 1"},
       [](World& w) { return tw_wait_signal(w.signals, -1, 0, 1, 10, nullptr); }},
      {"wait_signal: timeout -2",
       kArgument,
       {"-2", "valid"},
       [](World& w) { return tw_wait_signal(w.signals, 0, 0, 1, -2, nullptr); }},
      {"wait_signal: nobody signals",
       TW_ERROR_TIMEOUT,
       {"1"},
       [](World& w) { return tw_wait_signal(w.signals, 1, 0, 1, 10, nullptr); }},
      {"wait_signal: destroyed",
       kHandle,
       {"signals"},
       [](World& w) { return tw_wait_signal(w.dead_signals, 0, 0, 1, 10, nullptr); }},
      {"signals_get_view: null",
       kArgument,
       {"view"},
       [](World& w) { return tw_signals_get_view(w.signals, nullptr); }},
      {"type_size: bad type",
       kArgument,
       {"55", "valid"},
       [](World&) {
         size_t bytes;
         return tw_type_size(type_of(55), &bytes);
       }},
      {"type_size: null out",
       kArgument,
       {"bytes"},
       [](World&) { return tw_type_size(TW_FP32, nullptr); }},
      {"stream_create: null out",
       kArgument,
       {"stream"},
       [](World&) { return tw_stream_create(nullptr, nullptr); }},
      {"stream_synchronize: destroyed",
       kHandle,
       {"stream"},
       [](World& w) { return tw_stream_synchronize(w.dead_stream); }},
      {"stream_destroy: destroyed",
       kHandle,
       {"stream"},
       [](World& w) { return tw_stream_destroy(w.dead_stream); }},
      {"stream_destroy: null",
       kHandle,
       {"stream"},
       [](World&) { return tw_stream_destroy(nullptr); }},
      {"log_set: level 9",
       kArgument,
       {"9"},
       [](World&) {
         return tw_log_set([](tw_log_level_t, const char*, void*) {}, nullptr,
                           static_cast<tw_log_level_t>(9));
       }},
      {"kernel_launch: null kernel",
       kArgument,
       {"kernel"},
       [](World& w) { return tw_kernel_launch(nullptr, w.comm, w.a, 4, 0, nullptr); }},
  };
  rows.insert(rows.end(), more.begin(), more.end());
}

class Arguments : public ::testing::Test {
 protected:
  static World make(const ThreadRanks& ranks) {
    World w;
    w.comm = ranks.comm(0);
    ranks.run([&](int rank, tw_comm_t comm) {
      tw_window_t window, dead_window;
      tw_signals_t signals, dead_signals;
      ASSERT_EQ(tw_window_create(comm, 4096, &window), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_window_create(comm, 64, &dead_window), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_window_destroy(dead_window), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_signals_create(comm, 4, &signals), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_signals_create(comm, 1, &dead_signals), TW_OK) << tw_last_error();
      ASSERT_EQ(tw_signals_destroy(dead_signals), TW_OK) << tw_last_error();
      if (rank == 0) {
        w.window = window;
        w.dead_window = dead_window;
        w.signals = signals;
        w.dead_signals = dead_signals;
      } else {
        other_window_ = window;
        other_signals_ = signals;
      }
    });
    tw_comm_t gone;
    EXPECT_EQ(tw_comm_create_all(1, nullptr, &gone), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_comm_destroy(gone), TW_OK) << tw_last_error();
    w.dead_comm = gone;
    EXPECT_EQ(tw_stream_create(nullptr, &w.dead_stream), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_stream_destroy(w.dead_stream), TW_OK) << tw_last_error();
    return w;
  }

  static void end(const ThreadRanks& ranks, const World& w) {
    ranks.run([&](int rank, tw_comm_t) {
      EXPECT_EQ(tw_window_destroy(rank == 0 ? w.window : other_window_), TW_OK) << tw_last_error();
      EXPECT_EQ(tw_signals_destroy(rank == 0 ? w.signals : other_signals_), TW_OK)
          << tw_last_error();
    });
  }

  /// An all-reduce of both ranks, from one thread.
  static void expect_works(const ThreadRanks& ranks, const char* after) {
    float in[2][3] = {{1, 2, 3}, {10, 20, 30}};
    float out[2][3] = {{-1, -1, -1}, {-1, -1, -1}};
    ASSERT_EQ(tw_group_begin(), TW_OK);
    for (int r = 0; r < 2; ++r)
      ASSERT_EQ(tw_all_reduce(in[r], out[r], 3, TW_FP32, TW_SUM, ranks.comm(r), nullptr), TW_OK)
          << after << ": " << tw_last_error();
    ASSERT_EQ(tw_group_end(), TW_OK) << after << ": " << tw_last_error();
    for (const auto& row : out)
      for (int i = 0; i < 3; ++i) ASSERT_EQ(row[i], 11 * (i + 1)) << after;
  }

  static inline tw_window_t other_window_;
  static inline tw_signals_t other_signals_;
};

TEST_F(Arguments, EveryBadOneIsNamedAndTheCommStillWorks) {
  std::vector<Row> rows;
  add_collectives(rows);
  add_ops_and_roots(rows);
  add_uneven(rows);
  add_comm(rows);
  add_memory(rows);
  const ThreadRanks ranks(2);
  World w = make(ranks);
  for (const Row& row : rows) {
    const tw_status_t status = row.call(w);
    const std::string sentence = tw_last_error();
    EXPECT_EQ(status, row.status) << row.name << ": " << tw_status_name(status) << ", " << sentence;
    EXPECT_FALSE(sentence.empty()) << row.name;
    for (const std::string& text : row.says)
      EXPECT_NE(sentence.find(text), std::string::npos)
          << row.name << ": \"" << sentence << "\" does not say \"" << text << '"';
    ASSERT_NO_FATAL_FAILURE(expect_works(ranks, row.name));
  }
  end(ranks, w);
}

TEST_F(Arguments, StructsOfOtherVersions) {
  // A shorter struct: what an older header knew; the rest is default.
  EXPECT_EQ(create_with([](LongConfig& c) {
              c.config.size = offsetof(tw_comm_config_t, timeout_ms);
              c.config.timeout_ms = -77;
            }),
            TW_OK)
      << tw_last_error();
  // A longer one whose unknown part is zero.
  EXPECT_EQ(create_with([](LongConfig& c) { c.config.size = sizeof c; }), TW_OK) << tw_last_error();
}

TEST_F(Arguments, ZeroCountsNeedNoBuffers) {
  const ThreadRanks ranks(2);
  ranks.run([](int, tw_comm_t comm) {
    EXPECT_EQ(tw_all_reduce(nullptr, nullptr, 0, TW_FP32, TW_SUM, comm, nullptr), TW_OK)
        << tw_last_error();
    EXPECT_EQ(tw_all_gather(nullptr, nullptr, 0, TW_INT8, comm, nullptr), TW_OK) << tw_last_error();
    EXPECT_EQ(tw_all_to_all(nullptr, nullptr, 0, TW_FP64, comm, nullptr), TW_OK) << tw_last_error();
  });
}

}  // namespace
