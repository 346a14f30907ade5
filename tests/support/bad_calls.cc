#include "tests/support/bad_calls.h"

#include "tilewire/signal_device.h"
#include "tilewire/window_device.h"

namespace tw::test {

tw_status_t create_with(const std::function<void(LongConfig&)>& change) {
  LongConfig c;
  change(c);
  tw_comm_t comms[1];
  const tw_status_t status = tw_comm_create_all(1, &c.config, comms);
  if (status == TW_OK) tw_comm_destroy(comms[0]);
  return status;
}

namespace {

const std::vector<BadCall> kOpsAndRoots = {
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
     [](World& w) { return tw_all_reduce(w.a, w.b, 4, TW_FP32, op_of(1 << 20), w.comm, nullptr); }},
    {"reduce_scatter: op 77",
     kArgument,
     {"77", "valid"},
     [](World& w) { return tw_reduce_scatter(w.a, w.b, 4, TW_FP32, op_of(77), w.comm, nullptr); }},
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
    {"barrier: null comm", kHandle, {"comm"}, [](World&) { return tw_barrier(nullptr, nullptr); }},
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
     {"factor is NULL"},
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
     {"op is NULL"},
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
     {"TW_FP32", "TW_FP64"},
     [](World& w) {
       static tw_op_t op = TW_SUM;  // lives on: its destruction would be a sentence of its own
       if (op == TW_SUM && tw_op_create_scaled_sum(w.a, TW_FP32, w.comm, &op) != TW_OK)
         return TW_OK;
       return tw_all_reduce(w.a, w.b, 4, TW_FP64, op, w.comm, nullptr);
     }},
};

const std::vector<BadCall> kUneven = {
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
     [](World& w) { return tw_all_gather_v(w.a, w.b, w.huge, nullptr, TW_FP32, w.comm, nullptr); }},
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
       return tw_all_to_all_v(w.a, w.counts, w.displs, w.b, w.counts, w.bad_displs, TW_FP32, w.comm,
                              nullptr);
     }},
    {"all_to_all_v: bad type",
     kArgument,
     {"-7", "valid"},
     [](World& w) {
       return tw_all_to_all_v(w.a, w.counts, w.displs, w.b, w.counts, w.displs, type_of(-7), w.comm,
                              nullptr);
     }},
};

const std::vector<BadCall> kComms = {
    {"unique_id_create: null",
     kArgument,
     {"id is NULL"},
     [](World&) { return tw_unique_id_create(nullptr); }},
    {"unique_id_destroy: null",
     kArgument,
     {"id is NULL"},
     [](World&) { return tw_unique_id_destroy(nullptr); }},
    {"unique_id_destroy: an id that is none",
     kArgument,
     {"the unique id"},
     [](World&) {
       tw_unique_id_t id;
       std::memset(&id, 0x5a, sizeof id);
       return tw_unique_id_destroy(&id);
     }},
    {"unique_id_to_text: null id",
     kArgument,
     {"id is NULL"},
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
     {"text is NULL"},
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
     {"id is NULL"},
     [](World&) {
       tw_comm_t comm;
       return tw_comm_create(2, 0, nullptr, nullptr, &comm);
     }},
    {"comm_create: an id that is none",
     kArgument,
     {"the unique id"},
     [](World&) {
       tw_unique_id_t id;
       std::memset(&id, 0x5a, sizeof id);
       tw_comm_t comm;
       return tw_comm_create(2, 0, &id, nullptr, &comm);
     }},
    {"comm_create: null out",
     kArgument,
     {"comm is NULL"},
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
     {"comms is NULL"},
     [](World&) { return tw_comm_create_all(2, nullptr, nullptr); }},
    {"comm_create_env: null out",
     kArgument,
     {"comm is NULL"},
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
    {"config: a longer device",
     kArgument,
     {"config.device.size"},
     [](World&) {
       return create_with([](LongConfig& c) { c.config.device.size = sizeof(tw_device_t) + 8; });
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
     {"rank is NULL"},
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
     {"bytes is NULL"},
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
     {"child is NULL"},
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

const std::vector<BadCall> kMemory = {
    {"mem_alloc: null out",
     kArgument,
     {"ptr is NULL"},
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
     {"window is NULL"},
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
     {"shared is NULL"},
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
     {"ptr is NULL"},
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
     {"view is NULL"},
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
     {"signals is NULL"},
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
     {"view is NULL"},
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
     {"bytes is NULL"},
     [](World&) { return tw_type_size(TW_FP32, nullptr); }},
    {"stream_create: null out",
     kArgument,
     {"stream is NULL"},
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

}  // namespace

std::vector<BadCall> bad_calls() {
  std::vector<BadCall> all;
  for (const auto* rows : {&kOpsAndRoots, &kUneven, &kComms, &kMemory})
    all.insert(all.end(), rows->begin(), rows->end());
  return all;
}

}  // namespace tw::test
