/* tilewire: windows in peer memory, signals, collectives, fused GEMM and whole models over CPUs and
 * GPUs.
 *
 * This header, with tilewire/model.h and tilewire/program.h that it includes, is the reference of
 * the C API. It is C99 and complete.
 *
 * Conventions, true of every function unless it says otherwise
 * - Returns a tw_status_t. On failure tw_last_error() is this thread's sentence: it names the
 *   offending value and what would be valid. No function prints to stdout, exits, aborts, or
 *   changes the caller's affinity, signal handlers, locale or CUDA context.
 * - Output parameters come last and are written only on TW_OK.
 * - Handles are checked: NULL, destroyed or foreign handles give TW_ERROR_INVALID_HANDLE.
 * - Structs begin with `size_t size`, set by their initialiser macro. A shorter struct is accepted
 *   with defaults for the rest; a longer one is refused when its unknown tail is not zero.
 * - "collective": every rank of the comm must make the call, in the same order.
 * - `stream`: NULL runs the call in the caller's thread and returns when it is done (CPU), or
 *   queues it on the default stream (GPU). A tw_stream_t queues it. Errors of queued calls surface
 *   at the next call on the comm and at tw_stream_synchronize.
 * - One comm must not be used by two threads at once (TW_ERROR_INVALID_STATE). Different comms may.
 * - After fork() the child must not use the library (TW_ERROR_INVALID_STATE).
 */
#ifndef TILEWIRE_H_
#define TILEWIRE_H_

#include <stddef.h>
#include <stdint.h>

#define TW_VERSION_MAJOR 0
#define TW_VERSION_MINOR 1
#define TW_VERSION_PATCH 0
#define TW_VERSION (TW_VERSION_MAJOR * 10000 + TW_VERSION_MINOR * 100 + TW_VERSION_PATCH)

#if defined(__GNUC__)
#define TW_API __attribute__((visibility("default")))
#else
#define TW_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Status --------------------------------------------------------------------------------- */

/* X(name, value, text). Values never change. */
#define TW_STATUS_MAP(X)                                                               \
  X(TW_OK, 0, "success")                                                               \
  X(TW_ERROR_INVALID_ARGUMENT, 1, "an argument is invalid")                            \
  X(TW_ERROR_INVALID_HANDLE, 2, "a handle is null, destroyed or not of this library")  \
  X(TW_ERROR_INVALID_STATE, 3, "the call is not allowed in this state")                \
  X(TW_ERROR_OUT_OF_MEMORY, 4, "out of memory")                                        \
  X(TW_ERROR_OUT_OF_RESOURCES, 5, "out of file descriptors, threads or address space") \
  X(TW_ERROR_TIMEOUT, 6, "a peer was late beyond the configured time")                 \
  X(TW_ERROR_PEER_LOST, 7, "a peer died or closed its connection")                     \
  X(TW_ERROR_ABORTED, 8, "the comm was aborted")                                       \
  X(TW_ERROR_MISMATCH, 9, "the ranks' calls or settings do not match")                 \
  X(TW_ERROR_UNREACHABLE, 10, "two ranks cannot reach each other's memory")            \
  X(TW_ERROR_UNSUPPORTED, 11, "not supported on this device or in this build")         \
  X(TW_ERROR_SYSTEM, 12, "an operating system call failed")                            \
  X(TW_ERROR_INTERNAL, 13, "internal error: please report it")

typedef enum tw_status {
#define TW_STATUS_ENUM(name, value, text) name = value,
  TW_STATUS_MAP(TW_STATUS_ENUM)
#undef TW_STATUS_ENUM
} tw_status_t;

/* Name of a status ("TW_ERROR_TIMEOUT"); "unknown status" for other values. Static storage. */
TW_API const char* tw_status_name(tw_status_t status);

/* The sentence of this thread's last failed call; "" when none failed. Valid until this thread's
 * next call into the library. */
TW_API const char* tw_last_error(void);

/* Makes `sentence` (copied) this thread's and returns `status`: for headers on top of the library,
 * such as tilewire/mpi.h. */
TW_API tw_status_t tw_fail(tw_status_t status, const char* sentence);

/* TW_VERSION of the loaded library. */
TW_API int tw_version(void);

/* What tw_describe tells, as text for people. The form of the text may change at any time. */
typedef enum tw_describe_what {
  TW_DESCRIBE_VERSION = 0,     /* version and targets of the build */
  TW_DESCRIBE_TARGETS = 1,     /* instruction sets: what this CPU has, which target is chosen */
  TW_DESCRIBE_TOPOLOGY = 2,    /* packages, NUMA nodes, caches, cores that this thread may use */
  TW_DESCRIBE_CHOICES = 3,     /* the collectives' choice table of this machine, and the others */
  TW_DESCRIBE_ENVIRONMENT = 4, /* every environment variable: value, default, help */
  TW_DESCRIBE_LIBRARIES = 5    /* CUDA driver, NCCL, UCX: what was found, or why not. Opens them */
} tw_describe_what_t;

/* Writes `what` into `text` (room for `bytes`), NUL-terminated and cut where it does not fit, and
 * the bytes that the whole needs, NUL included, to *needed. `text` may be NULL when bytes is 0. */
TW_API tw_status_t tw_describe(tw_describe_what_t what, char* text, size_t bytes, size_t* needed);

/* ---- Types, reductions, devices ------------------------------------------------------------- */

/* X(name, value, bytes of an element, text). Values never change. */
#define TW_TYPE_MAP(X)              \
  X(TW_INT8, 0, 1, "int8")          \
  X(TW_UINT8, 1, 1, "uint8")        \
  X(TW_INT32, 2, 4, "int32")        \
  X(TW_UINT32, 3, 4, "uint32")      \
  X(TW_INT64, 4, 8, "int64")        \
  X(TW_UINT64, 5, 8, "uint64")      \
  X(TW_FP16, 6, 2, "fp16")          \
  X(TW_BF16, 7, 2, "bf16")          \
  X(TW_FP32, 8, 4, "fp32")          \
  X(TW_FP64, 9, 8, "fp64")          \
  X(TW_FP8_E4M3, 10, 1, "fp8_e4m3") \
  X(TW_FP8_E5M2, 11, 1, "fp8_e5m2")

typedef enum tw_type {
#define TW_TYPE_ENUM(name, value, bytes, text) name = value,
  TW_TYPE_MAP(TW_TYPE_ENUM)
#undef TW_TYPE_ENUM
      TW_TYPE_WIDTH_ = 0x7fffffff /* no type: makes the enumeration 32 bits wide */
} tw_type_t;

/* Bytes of one element. Errors: INVALID_ARGUMENT for an unknown type. */
TW_API tw_status_t tw_type_size(tw_type_t type, size_t* bytes);

/* X(name, value, text) */
#define TW_OP_MAP(X)    \
  X(TW_SUM, 0, "sum")   \
  X(TW_PROD, 1, "prod") \
  X(TW_MIN, 2, "min")   \
  X(TW_MAX, 3, "max")   \
  X(TW_AVG, 4, "avg")

/* How elements are combined. 16- and 8-bit floats accumulate in fp32 and round once; ranks are
 * combined in rank order, so results have the same bits on every rank in every run. TW_AVG divides
 * the sum once, in the accumulator's type (integers truncate towards zero). Further values come
 * from tw_op_create_scaled_sum. */
typedef enum tw_op {
#define TW_OP_ENUM(name, value, text) name = value,
  TW_OP_MAP(TW_OP_ENUM)
#undef TW_OP_ENUM
      TW_OP_WIDTH_ = 0x7fffffff /* no op: makes room for those of tw_op_create_scaled_sum */
} tw_op_t;

typedef enum tw_device_kind {
  TW_DEVICE_AUTO = 0, /* as TW_DEVICE_KIND says, else CPU */
  TW_DEVICE_CPU = 1,
  TW_DEVICE_GPU = 2
} tw_device_kind_t;

typedef struct tw_device {
  size_t size;
  tw_device_kind_t kind;
  int ordinal; /* of the GPU; in tw_comm_create_all rank 0's: ranks take one after the other */
} tw_device_t;
#define TW_DEVICE_INIT \
  { sizeof(tw_device_t), TW_DEVICE_AUTO, 0 }

/* ---- Log ------------------------------------------------------------------------------------ */

typedef enum tw_log_level {
  TW_LOG_NONE = 0,
  TW_LOG_ERROR = 1,
  TW_LOG_WARN = 2,
  TW_LOG_INFO = 3,
  TW_LOG_DEBUG = 4
} tw_log_level_t;

/* Receives one line, without newline, possibly from several threads at once. Must not call back
 * into the library. */
typedef void (*tw_log_fn)(tw_log_level_t level, const char* line, void* user);

/* Sends messages up to `level` to `fn` (NULL: back to TW_LOG / TW_LOG_FILE). Process wide. */
TW_API tw_status_t tw_log_set(tw_log_fn fn, void* user, tw_log_level_t level);

/* ---- Streams -------------------------------------------------------------------------------- */

/* A CUstream / cudaStream_t on GPUs, a queue made by tw_stream_create on CPUs. */
typedef void* tw_stream_t;

/* A queue with its own thread that runs calls in order. `device` NULL: CPU. */
TW_API tw_status_t tw_stream_create(const tw_device_t* device, tw_stream_t* stream);

/* Blocks until every call queued before is done; returns the first error of a queued call since
 * the last synchronise. NULL: returns TW_OK at once on CPUs. */
TW_API tw_status_t tw_stream_synchronize(tw_stream_t stream);

/* Runs what is queued, then ends the queue. */
TW_API tw_status_t tw_stream_destroy(tw_stream_t stream);

/* ---- Communicators -------------------------------------------------------------------------- */

typedef struct tw_comm* tw_comm_t;

/* Opaque. Holds where to meet and a 128-bit secret: hand it to the ranks over a private channel. */
typedef struct tw_unique_id {
  unsigned char bytes[128];
} tw_unique_id_t;

#define TW_UNIQUE_ID_TEXT_BYTES 257 /* 256 hexadecimal digits and a NUL */

/* Time-outs in milliseconds: -1 = environment or default, 0 = never. */
typedef struct tw_comm_config {
  size_t size;
  tw_device_t device;
  int max_blocks;     /* blocks a launch may use; 0 = all workers */
  int workers;        /* CPU worker threads; 0 = cores of the affinity mask / ranks sharing it */
  int64_t timeout_ms; /* a live but late peer; default 600000. A dead peer is noticed at once */
  int64_t setup_timeout_ms; /* for set-up calls: all ranks must arrive; default 600000 */
  size_t max_memory;        /* cap on the library's own bytes per rank (not windows); 0 = default */
  const char* name;         /* for messages; copied; NULL = "comm", "comm/<color>" and the like */
} tw_comm_config_t;
#define TW_COMM_CONFIG_INIT \
  { sizeof(tw_comm_config_t), TW_DEVICE_INIT, 0, 0, -1, -1, 0, NULL }

/* Makes an id and starts listening for the ranks in the background, in this process, on the
 * interface TW_BOOT_INTERFACE, until the comm is made, TW_COMM_SETUP_TIMEOUT_MS has passed or
 * tw_unique_id_destroy is called. One id serves one comm. Not collective: one process calls it. */
TW_API tw_status_t tw_unique_id_create(tw_unique_id_t* id);

/* Calls a set-up off, in the process that made the id: ranks that wait for others return ABORTED,
 * one that comes later finds nobody (PEER_LOST). When all ranks have arrived, and for any other
 * id, there is nothing to do. Errors: INVALID_ARGUMENT (not an id). */
TW_API tw_status_t tw_unique_id_destroy(const tw_unique_id_t* id);

/* An id as text, for environment variables and command lines, and back. `text` has room for
 * TW_UNIQUE_ID_TEXT_BYTES. The text holds the secret.
 * from_text also takes a place instead of an id, for processes that are started without any
 * launcher: "tcp://host:port/<secret>" with 32 hexadecimal digits of your own, fresh for each job,
 * e.g. tcp://node7:4711/8f1e...; IPv6 in brackets, tcp://[fd00::7]:4711/8f1e.... Then rank 0
 * listens there while it is in tw_comm_create, the others try until it does, and the id may serve
 * one comm after another. Errors: INVALID_ARGUMENT. */
TW_API tw_status_t tw_unique_id_to_text(const tw_unique_id_t* id, char* text);
TW_API tw_status_t tw_unique_id_from_text(const char* text, tw_unique_id_t* id);

#define TW_MAX_RANKS 64

/* Joins as `rank` of `n` ranks (1 to TW_MAX_RANKS), each a process or a thread. Collective: blocks
 * until all ranks arrived or config->setup_timeout_ms passed; the error names who is missing.
 * `config` NULL: defaults. Threads of one process call it at the same time. Errors: TIMEOUT,
 * MISMATCH (n, version, settings, two ranks claiming one number), PEER_LOST (a rank died, nobody
 * serves the id), ABORTED (tw_unique_id_destroy), UNREACHABLE (two ranks that cannot share memory),
 * OUT_OF_MEMORY, OUT_OF_RESOURCES. */
TW_API tw_status_t tw_comm_create(int n, int rank, const tw_unique_id_t* id,
                                  const tw_comm_config_t* config, tw_comm_t* comm);

/* As tw_comm_create, with TW_RANK, TW_WORLD_SIZE and TW_UNIQUE_ID from the environment, as tw_run
 * sets them. Once per process. */
TW_API tw_status_t tw_comm_create_env(const tw_comm_config_t* config, tw_comm_t* comm);

/* Makes all `n` ranks of a comm in this process: comms[i] is rank i. Called by one thread. Drive
 * them from one thread each, or from one thread inside a group or on queued streams. */
TW_API tw_status_t tw_comm_create_all(int n, const tw_comm_config_t* config, tw_comm_t* comms);

/* Collective over `comm`: ranks with equal `color` (>= 0) form a new comm, ordered by (key, rank).
 * `color` -1: takes part but gets no comm (*child = NULL). The child may use the parent's windows
 * by its own rank numbers (tw_window_share); the parent must outlive it. */
TW_API tw_status_t tw_comm_split(tw_comm_t comm, int color, int key, const tw_comm_config_t* config,
                                 tw_comm_t* child);

/* Called by the survivors after TW_ERROR_PEER_LOST: makes a comm of them, in rank order. The old
 * comm's windows can then only be destroyed. Waits for every rank that lives and has not destroyed
 * the comm to call it. */
TW_API tw_status_t tw_comm_shrink(tw_comm_t comm, const tw_comm_config_t* config,
                                  tw_comm_t* survivors);

/* Ends pending and later calls of all ranks of the comm with TW_ERROR_ABORTED. Any thread may call
 * it, at any time before destroy. */
TW_API tw_status_t tw_comm_abort(tw_comm_t comm);

/* Frees the comm. Collective in the sense that no peer may still be inside a call. Waits for this
 * rank's queued calls, not for peers. Refused (INVALID_STATE, naming them) while windows, signals,
 * models or children live. MISMATCH: this rank's last calls differ from a peer's in a way that only
 * shows now (each took itself for the root); the comm is gone all the same. */
TW_API tw_status_t tw_comm_destroy(tw_comm_t comm);

/* What the comm is: this rank's number, the number of ranks, the device this rank owns. */
TW_API tw_status_t tw_comm_rank(tw_comm_t comm, int* rank);
TW_API tw_status_t tw_comm_size(tw_comm_t comm, int* size);
TW_API tw_status_t tw_comm_device(tw_comm_t comm, tw_device_t* device);

/* Bytes this rank holds for the comm itself, windows not counted. */
TW_API tw_status_t tw_comm_memory(tw_comm_t comm, size_t* bytes);

/* Status of the comm (TW_OK, or why it ended) and its sentence, from any thread. `*sentence` is
 * valid until the comm is destroyed. Either output may be NULL. */
TW_API tw_status_t tw_comm_error(tw_comm_t comm, tw_status_t* status, const char** sentence);

/* Limits the blocks of this comm's later launches: 1 to 64; 0 = the config's value. To be called
 * alike on all ranks: collectives with different limits end in MISMATCH. */
TW_API tw_status_t tw_comm_set_max_blocks(tw_comm_t comm, int max_blocks);

/* ---- Memory and windows --------------------------------------------------------------------- */

typedef struct tw_window* tw_window_t;

/* Zeroed memory that tw_window_register accepts. Local; needs no comm. `device` NULL: CPU. */
TW_API tw_status_t tw_mem_alloc(size_t bytes, const tw_device_t* device, void** ptr);
/* Refused (INVALID_STATE) while windows of tw_window_register live. NULL: does nothing. */
TW_API tw_status_t tw_mem_free(void* ptr);

/* Allocates `bytes` (may differ between ranks, may be 0) of zeroed symmetric memory. Collective. */
TW_API tw_status_t tw_window_create(tw_comm_t comm, size_t bytes, tw_window_t* window);

/* Makes a window of [ptr, ptr + bytes), which lies inside one tw_mem_alloc allocation. The memory
 * stays the caller's and must outlive the window. Collective. */
TW_API tw_status_t tw_window_register(tw_comm_t comm, void* ptr, size_t bytes, tw_window_t* window);

/* Makes `window` known to `child`, a comm from tw_comm_split of the window's comm: the same memory,
 * by the child's rank numbers, for its puts, views and collectives. Collective over `child`. Ends
 * with tw_window_destroy, before `window` does. Errors: INVALID_ARGUMENT (no child of that comm),
 * MISMATCH (ranks passed different windows). */
TW_API tw_status_t tw_window_share(tw_window_t window, tw_comm_t child, tw_window_t* shared);

/* Collective: returns when no rank can access the window any more. Refused (INVALID_STATE) while
 * windows of tw_window_share live. All ranks destroy in the same order (MISMATCH). When a peer dies
 * or does not come, the error says so and the window is gone all the same; once the comm has ended
 * it is local and TW_OK. */
TW_API tw_status_t tw_window_destroy(tw_window_t window);

/* `rank`'s part as mapped in this process (own part: rank = own rank), and its size in bytes. */
TW_API tw_status_t tw_window_ptr(tw_window_t window, int rank, void** ptr);
TW_API tw_status_t tw_window_size(tw_window_t window, int rank, size_t* bytes);

/* Copies between local memory and `rank`'s part of a window. Complete when the call (or, queued,
 * its stream) is done; visible to the peer after a later tw_signal that it waited for. */
TW_API tw_status_t tw_put(tw_window_t window, int rank, size_t offset, const void* src,
                          size_t bytes, tw_stream_t stream);
TW_API tw_status_t tw_get(void* dst, tw_window_t window, int rank, size_t offset, size_t bytes,
                          tw_stream_t stream);

/* ---- Signals -------------------------------------------------------------------------------- */

/* `slots` counters on every rank, each with one 64-bit word per sender. Words only grow. */
typedef struct tw_signals* tw_signals_t;

/* Collective; `slots` is equal on all ranks. A slot is for host calls or for kernels, not both. */
TW_API tw_status_t tw_signals_create(tw_comm_t comm, size_t slots, tw_signals_t* signals);
TW_API tw_status_t tw_signals_destroy(tw_signals_t signals);

/* Adds 1 to this rank's word of `slot` at `peer`, after this rank's earlier puts on this stream.
 * Scope: system. Order: release. Blocks: no. */
TW_API tw_status_t tw_signal(tw_signals_t signals, int peer, size_t slot, tw_stream_t stream);

/* Waits until `sender`'s word of `slot` at this rank is >= value. Order: acquire.
 * `timeout_ms`: -1 = the comm's, 0 = never. Errors: TIMEOUT (the comm stays usable), INVALID_STATE
 * (only this thread could raise it), and what ends a comm: PEER_LOST, ABORTED, MISMATCH. */
TW_API tw_status_t tw_wait_signal(tw_signals_t signals, int sender, size_t slot, uint64_t value,
                                  int64_t timeout_ms, tw_stream_t stream);

/* ---- Collectives ---------------------------------------------------------------------------- */
/* Counts are elements. Buffers may be any memory of the device, aligned or not, window or private,
 * and ranks may differ in that; windows are used in place, private memory is staged. send == recv
 * (or the op's natural in-place position) is in place; any other overlap is refused. All ranks pass
 * equal counts, types, ops and roots: a mismatch ends in TW_ERROR_MISMATCH that shows both calls.
 * Errors of all: MISMATCH, TIMEOUT, PEER_LOST, ABORTED; these end the comm (see tw_comm_shrink).
 * OUT_OF_RESOURCES: more bytes than the comm's memory can pipeline, which only a small
 * config.max_memory brings about. MISMATCH needs two collectives to compare: ranks that differ in
 * what kind of call comes next (a collective here, a window or a receive there), or in the order of
 * calls on two comms, end in TIMEOUT.
 * After TIMEOUT a rank that was only stopped may go on: until it sees that the comm has ended it
 * may still write up to 4 MiB into the receive windows of the call that was pending. Do not
 * register memory of such a window with another comm before that rank has returned. */

/* recv[i] = op over ranks of send[i]. */
TW_API tw_status_t tw_all_reduce(const void* send, void* recv, size_t count, tw_type_t type,
                                 tw_op_t op, tw_comm_t comm, tw_stream_t stream);

/* As all_reduce, at `root` only. `recv` is ignored elsewhere. */
TW_API tw_status_t tw_reduce(const void* send, void* recv, size_t count, tw_type_t type, tw_op_t op,
                             int root, tw_comm_t comm, tw_stream_t stream);

/* recv = root's send. `send` is ignored elsewhere. */
TW_API tw_status_t tw_broadcast(const void* send, void* recv, size_t count, tw_type_t type,
                                int root, tw_comm_t comm, tw_stream_t stream);

/* recv[r * send_count + i] = rank r's send[i]. In place: send == recv + rank * send_count. */
TW_API tw_status_t tw_all_gather(const void* send, void* recv, size_t send_count, tw_type_t type,
                                 tw_comm_t comm, tw_stream_t stream);

/* recv[i] = op over ranks of send[rank * recv_count + i]. In place: recv == send + rank * count. */
TW_API tw_status_t tw_reduce_scatter(const void* send, void* recv, size_t recv_count,
                                     tw_type_t type, tw_op_t op, tw_comm_t comm,
                                     tw_stream_t stream);

/* recv[r * count + i] = rank r's send[rank * count + i]. In place: send == recv. */
TW_API tw_status_t tw_all_to_all(const void* send, void* recv, size_t count, tw_type_t type,
                                 tw_comm_t comm, tw_stream_t stream);

/* At root: recv[r * send_count + i] = rank r's send[i]. */
TW_API tw_status_t tw_gather(const void* send, void* recv, size_t send_count, tw_type_t type,
                             int root, tw_comm_t comm, tw_stream_t stream);

/* recv[i] = root's send[rank * recv_count + i]. */
TW_API tw_status_t tw_scatter(const void* send, void* recv, size_t recv_count, tw_type_t type,
                              int root, tw_comm_t comm, tw_stream_t stream);

/* Uneven forms. counts[r] and displs[r] are elements, n entries each, equal on all ranks (for
 * all_to_all_v: send_counts[r] here equals recv_counts[own rank] at r). displs NULL: packed in rank
 * order. The arrays are copied before the call returns. */
TW_API tw_status_t tw_all_gather_v(const void* send, void* recv, const size_t* counts,
                                   const size_t* displs, tw_type_t type, tw_comm_t comm,
                                   tw_stream_t stream);
TW_API tw_status_t tw_reduce_scatter_v(const void* send, void* recv, const size_t* counts,
                                       tw_type_t type, tw_op_t op, tw_comm_t comm,
                                       tw_stream_t stream);
TW_API tw_status_t tw_all_to_all_v(const void* send, const size_t* send_counts,
                                   const size_t* send_displs, void* recv, const size_t* recv_counts,
                                   const size_t* recv_displs, tw_type_t type, tw_comm_t comm,
                                   tw_stream_t stream);

/* Returns when all ranks called it. */
TW_API tw_status_t tw_barrier(tw_comm_t comm, tw_stream_t stream);

/* Point to point; sends and receives between two ranks match in order; count and type must match.
 * A send may return before its receive has been posted. `peer` may be the own rank in a group. */
TW_API tw_status_t tw_send(const void* send, size_t count, tw_type_t type, int peer, tw_comm_t comm,
                           tw_stream_t stream);
TW_API tw_status_t tw_recv(void* recv, size_t count, tw_type_t type, int peer, tw_comm_t comm,
                           tw_stream_t stream);

/* Collectives, sends and receives of this thread between begin and the outermost end are gathered
 * and then run together: any mix, any order between comms and between collectives and messages, no
 * deadlock. Other calls (puts, signals, waits, kernels) run at once: none may wait for what is only
 * gathered, and tw_window_destroy is refused for comms with calls in the group. Calls inside only
 * check their arguments; errors of running come from tw_group_end. When a call inside was refused,
 * tw_group_end makes none and returns that error, since the others might wait for it. Collectives
 * of one comm run in the order of the calls. */
TW_API tw_status_t tw_group_begin(void);
TW_API tw_status_t tw_group_end(void);

/* An op that multiplies each rank's elements by that rank's `factor` (one element of `type`; the
 * product is rounded to `type`) and adds. Not collective; ranks may differ in the factor. Valid for
 * this comm and type until tw_op_destroy. */
TW_API tw_status_t tw_op_create_scaled_sum(const void* factor, tw_type_t type, tw_comm_t comm,
                                           tw_op_t* op);
TW_API tw_status_t tw_op_destroy(tw_op_t op, tw_comm_t comm);

/* ---- GEMM, and GEMM fused with communication ------------------------------------------------ */
/* C = epilogue(A B), A is m x k, B is k x n, accumulated in fp32. Every size may be 0 (k = 0: sums
 * are 0) or 1, ragged, prime, up to 2^31 - 1; strides are free; nothing has to be padded or aligned
 * (packed weights: to 64 bytes). A matrix without elements may be NULL.
 *
 * Epilogue, in fp32, of the sum x of column j, in this order; each part is optional:
 *   x += bias[j];  x = activation(x);  x += residual[i][j];  x is rounded to out_type
 *   hidden[i][j] = x, and C gets x / sqrt(mean over the row of x^2 + norm_eps) * norm_weight[j]
 *   (RMSNorm); without norm_weight C gets x.
 * TW_SWIGLU: B has 2 n columns, gate then up, and x = silu(g + bias[j]) * (u + bias[n + j]).
 *
 * Bits. A sum runs over K in an order that depends on the device's target, n and k only: a row of C
 * has the same bits alone, in any batch, packed or plain B, fused or not, in every run, with any
 * number of workers, whatever floating-point mode the caller's thread is in. Where ranks' products
 * are added, each is rounded to partial_type, they are added in rank order in fp32, and the total
 * is rounded to partial_type before the epilogue: the bits of tw_gemm to partial_type,
 * tw_all_reduce, and the epilogue.
 *
 * Overlaps. What is written (C, hidden, gathered) overlaps nothing else of the call, with one
 * exception: residual may be C, or hidden, itself (same address and stride); in
 * tw_all_reduce_residual_rms_norm so may `a`. Columns of one wide matrix do not overlap.
 *
 * Fused calls are collective and numbered with the comm's collectives: equal m, n, types, options,
 * rows, cols, and k where it must not differ, on all ranks, and one target (tw_info,
 * TW_DEVICE_TARGET) of their devices (MISMATCH, which shows both calls and what differs); pointers
 * and strides are each rank's own, and any memory will do; results go straight to windows and
 * through the comm's workspace to private memory. 1 to TW_MAX_FUSED_RANKS ranks (UNSUPPORTED). Not
 * allowed in groups (INVALID_STATE); tw_gemm and tw_pack_weights are local and run at once there.
 * Errors: as collectives; INVALID_ARGUMENT names field, value and what is valid, before a peer
 * hears of it.
 * Each call is carried out in one kernel, or by its parts where the table of the machine (tw_info
 * choices) has that as faster; TW_FUSED and TW_FUSED_PATH force one. */

#define TW_MAX_FUSED_RANKS 16

typedef enum tw_activation {
  TW_ACTIVATION_NONE = 0,
  TW_GELU = 1,      /* x / 2 * (1 + erf(x / sqrt(2))) */
  TW_GELU_TANH = 2, /* the tanh approximation */
  TW_SILU = 3,      /* x / (1 + exp(-x)) */
  TW_SWIGLU = 4,    /* see above */
  TW_ACTIVATION_WIDTH_ = 0x7fffffff
} tw_activation_t;

/* Strides are elements from one row of the stored matrix to the next; 0 = no gap. The caller keeps
 * everything until the call is done; `rows` and `cols` are copied. Types: TW_BF16, TW_FP16,
 * TW_FP32. Fields that an op does not use are left as TW_GEMM_ARGS_INIT has them (strides of
 * matrices that are not there are not looked at). */
typedef struct tw_gemm_args {
  size_t size;
  size_t m, n, k;
  tw_type_t type;     /* of A and B */
  tw_type_t out_type; /* of C, bias, residual, hidden, norm_weight */
  const void* a;
  size_t a_stride;
  int a_transposed; /* 1: A is stored as k rows of m */
  const void* b;    /* plain B, or NULL */
  size_t b_stride;
  int b_transposed;     /* 1: B is stored as n (SwiGLU: 2 n) rows of k */
  const void* b_packed; /* what tw_pack_weights wrote, or NULL */
  void* c;
  size_t c_stride;
  const void* bias; /* [n] (SwiGLU: [2 n]), or NULL */
  tw_activation_t activation;
  const void* residual; /* as C, or NULL */
  size_t residual_stride;
  void* hidden; /* as C, or NULL; with norm_weight only */
  size_t hidden_stride;
  const void* norm_weight; /* [n], or NULL */
  float norm_eps;
  const size_t* rows;     /* rows of each rank, n of them; NULL: as equal as they can be */
  const size_t* cols;     /* gemm_all_to_all: columns of each rank; NULL: as equal as they can be */
  tw_type_t partial_type; /* of ranks' addends: out_type, or TW_FP32. 0: out_type */
  void* gathered;         /* all_gather_gemm: gets the whole of A (as A is stored), or NULL */
  size_t gathered_stride;
  int max_blocks; /* of this call, up to the comm's; 0 = the comm's; ranks may differ */
} tw_gemm_args_t;
#define TW_GEMM_ARGS_INIT                                                                        \
  {                                                                                              \
    sizeof(tw_gemm_args_t), 0, 0, 0, TW_BF16, TW_BF16, NULL, 0, 0, NULL, 0, 0, NULL, NULL, 0,    \
        NULL, TW_ACTIVATION_NONE, NULL, 0, NULL, 0, NULL, 1e-5f, NULL, NULL, (tw_type_t)0, NULL, \
        0, 0                                                                                     \
  }

/* Bytes of packed weights for args->n, k, type, activation on the comm's device. */
TW_API tw_status_t tw_packed_bytes(const tw_gemm_args_t* args, tw_comm_t comm, size_t* bytes);

/* Packs B (args->b, b_stride, b_transposed, n, k, type, activation) into `packed` (64-byte aligned,
 * `bytes` as tw_packed_bytes tells), in the layout that the comm's device multiplies fastest.
 * Local. The packed form serves every target of the same kind of device, and every m. */
TW_API tw_status_t tw_pack_weights(const tw_gemm_args_t* args, void* packed, size_t bytes,
                                   tw_comm_t comm, tw_stream_t stream);

/* C = epilogue(A B) on this rank's device. Local: not collective. */
TW_API tw_status_t tw_gemm(const tw_gemm_args_t* args, tw_comm_t comm, tw_stream_t stream);

/* C (m x n, every rank's m rows of A times own B): A is sharded by rows: `a` is this rank's rows[r]
 * rows. The own rows are multiplied where they lie, the peers' as they come; where no rank has more
 * than 64, all are gathered first. */
TW_API tw_status_t tw_all_gather_gemm(const tw_gemm_args_t* args, tw_comm_t comm,
                                      tw_stream_t stream);

/* The sum over ranks of A B (each rank has its own k columns of A and rows of B, k may differ),
 * scattered by rows: C and residual are rows[r] rows of this rank. No norm, no SwiGLU. */
TW_API tw_status_t tw_gemm_reduce_scatter(const tw_gemm_args_t* args, tw_comm_t comm,
                                          tw_stream_t stream);

/* The sum over ranks of A B (k may differ), all m rows on every rank (residual too, with the same
 * values). No SwiGLU, no `rows`. */
TW_API tw_status_t tw_gemm_all_reduce(const tw_gemm_args_t* args, tw_comm_t comm,
                                      tw_stream_t stream);

/* A is this rank's rows[r] rows (m in all); rank q gets column segment cols[q] of all rows: C is
 * m x cols[q]. The bias is of all n columns. No residual, no norm, no SwiGLU. */
TW_API tw_status_t tw_gemm_all_to_all(const tw_gemm_args_t* args, tw_comm_t comm,
                                      tw_stream_t stream);

/* The same end without the product, for engines that bring their own: x = sum over ranks of `a`
 * (m x n, out_type), then residual, hidden, norm_weight as above. Reads a, a_stride, c, residual,
 * hidden, norm_weight (required) and their strides; partial_type is out_type. */
TW_API tw_status_t tw_all_reduce_residual_rms_norm(const tw_gemm_args_t* args, tw_comm_t comm,
                                                   tw_stream_t stream);

/* The comm's workspace holds what peers send in fused calls. It grows in the first call that needs
 * more: a call without a stream waits there for this rank's queued calls and for the peers; on a
 * stream it grows when the call runs, so that one thread may drive several ranks. Collective calls
 * that are not queued (tw_window_create ...) wait for growing that was queued before them.
 *
 * Beside it a rank has memory of its own for its calls: scratch and rows for its blocks, and for
 * calls by their parts the results on the way. It is made and enlarged without waiting for anybody,
 * when a call is made. Neither shrinks while the comm lives, but what earlier calls left of a
 * rank's own gives way where config.max_memory leaves no room for both. tw_comm_memory counts all.
 *
 * tw_workspace_reserve grows the workspace beforehand to `bytes` (collective, equal on all ranks),
 * and nothing else: later calls that need no more of it wait for nobody. tw_fused_workspace tells
 * what a call needs at each rank (0 when it goes by its parts); it looks at no matrix, so pointers
 * may be NULL, but tells norm_weight and hidden that are wanted from those that are not.
 *
 * Errors of both and of fused calls: INVALID_ARGUMENT (bytes beyond 2^40), MISMATCH,
 * OUT_OF_RESOURCES (beyond config.max_memory, alike on all ranks), OUT_OF_MEMORY (a rank's system
 * has no more: on all ranks, and names the rank; the comm ends unless the workspace was about to
 * grow in calls without a stream). */
typedef enum tw_fused_op {
  TW_ALL_GATHER_GEMM = 0,
  TW_GEMM_REDUCE_SCATTER = 1,
  TW_GEMM_ALL_REDUCE = 2,
  TW_GEMM_ALL_TO_ALL = 3,
  TW_ALL_REDUCE_RESIDUAL_RMS_NORM = 4,
  TW_FUSED_OP_WIDTH_ = 0x7fffffff
} tw_fused_op_t;
TW_API tw_status_t tw_fused_workspace(tw_fused_op_t op, const tw_gemm_args_t* args, tw_comm_t comm,
                                      size_t* bytes);
TW_API tw_status_t tw_workspace_reserve(tw_comm_t comm, size_t bytes);

/* ---- Tile programs of the user's own --------------------------------------------------------- */

/* What the tile programs of a comm share: `bytes` of memory and `slots` signal words from each
 * sender, at each rank (tilewire/tile_device.h). */
typedef struct tw_tiles* tw_tiles_t;

typedef struct tw_tiles_config {
  size_t size;
  size_t bytes; /* data at each rank, equal on all ranks */
  size_t slots; /* signal slots, equal on all ranks */
  size_t k;     /* longest K of the programs' products, or 0: lets CPUs keep packed rows of A */
} tw_tiles_config_t;
#define TW_TILES_CONFIG_INIT \
  { sizeof(tw_tiles_config_t), 0, 0, 0 }

/* Both collective. Errors: MISMATCH (bytes or slots differ), OUT_OF_MEMORY. */
TW_API tw_status_t tw_tiles_create(tw_comm_t comm, const tw_tiles_config_t* config,
                                   tw_tiles_t* tiles);
TW_API tw_status_t tw_tiles_destroy(tw_tiles_t tiles);

/* The view that kernels take by value. Launch them with tw_kernel_launch, equally often on every
 * rank; blocks may differ. Valid until tw_tiles_destroy. */
struct tw_tile_view;
TW_API tw_status_t tw_tiles_get_view(tw_tiles_t tiles, struct tw_tile_view* view);

/* ---- Kernels of the user's own -------------------------------------------------------------- */

/* A kernel compiled for one or more targets, made by TW_KERNEL_TABLE (tilewire/kernels/table.h). */
typedef struct tw_kernel tw_kernel_t;

/* Runs `kernel` with `blocks` blocks (0 = the comm's default) on this rank's device. `args` points
 * to `bytes` bytes, the kernel's argument struct, copied before the call returns. Collective when
 * the kernel communicates. Errors: INVALID_ARGUMENT (size or layout version differs from what the
 * kernel was built with), UNSUPPORTED (not built for this device's targets). */
TW_API tw_status_t tw_kernel_launch(const tw_kernel_t* kernel, tw_comm_t comm, const void* args,
                                    size_t bytes, int blocks, tw_stream_t stream);

/* The views that kernels take by value: see tilewire/window_device.h, tilewire/signal_device.h. */
struct tw_window_view;
struct tw_signal_view;
TW_API tw_status_t tw_window_get_view(tw_window_t window, struct tw_window_view* view);
TW_API tw_status_t tw_signals_get_view(tw_signals_t signals, struct tw_signal_view* view);

#ifdef __cplusplus
}
#endif

#include "tilewire/model.h"
#include "tilewire/program.h"

#endif /* TILEWIRE_H_ */
