/* Programs: the part of tilewire.h, which includes it, on running many ops as one launch.
 *
 * A program is an ordered list of ops on tensors, over the ranks of a comm. The library cuts them
 * into instructions (a tile, some rows), derives from what these access what each must wait for,
 * across ranks too, checks the result, and runs all of it in one launch at each rank, in which
 * instructions of different ops overlap.
 *
 *   tw_program_create
 *   tw_program_add_tensor             what there is
 *   tw_program_gemm, _copy, ...       what is done to it, in order
 *   tw_program_build                  collective: waits, the check, memory; nothing is added later
 *   tw_program_launch                 as often as wanted
 *   tw_program_destroy                before the comm's and the windows' that it uses
 *
 * Each rank declares its own part, in the same order with the same shapes; columns of tensors may
 * differ between ranks where ranks have shares of a matrix. An op comes after the ops before it, as
 * if they ran one by one: a tensor has the values that the last op before gave it.
 *
 * Rows. A tensor whose `rows` is 0 has the program's: a launch computes that many of them or fewer
 * (tw_program_launch). Ops of such a tensor take the rows of the launch only.
 *
 * Bits. Rows have the same bits on every rank, in every run, with any number of rows, and as the
 * calls that they are named after: tw_gemm, tw_gemm_all_reduce.
 *
 * 1 to TW_MAX_FUSED_RANKS ranks. A program belongs to its comm's thread (INVALID_STATE for a second
 * one), and its collective calls are not allowed in a group (INVALID_STATE). Several programs may
 * live on one comm: the order of their launches, with the comm's other calls, is then the same on
 * all ranks, or the comm ends (MISMATCH) naming both; in messages programs and prepared models are
 * numbered from 1 in the order in which they were built on the comm. Once it is built
 * nothing can be added (INVALID_STATE); before, it cannot be launched (INVALID_STATE). Memory and
 * windows that it is given stay the caller's and outlive it. Functions that add something are
 * local; INVALID_ARGUMENT names field, value and what is valid. */
#ifndef TILEWIRE_PROGRAM_H_
#define TILEWIRE_PROGRAM_H_

#include "tilewire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tw_program* tw_program_t;

typedef struct tw_program_config {
  size_t size;
  uint32_t rows;             /* the most of a launch, 1 to 65536; equal on all ranks */
  const tw_kernel_t* kernel; /* NULL: the library's, which has no ops of the user's own */
  size_t row;                /* floats that own ops want of ProgramBlock::row, if more than the
                              * widest tensor's columns */
  size_t scratch;            /* bytes that own ops want of ProgramBlock::scratch */
} tw_program_config_t;
#define TW_PROGRAM_CONFIG_INIT \
  { sizeof(tw_program_config_t), 1, NULL, 0, 0 }

/* An empty program. Not collective. Errors: UNSUPPORTED (more ranks than TW_MAX_FUSED_RANKS, a
 * kernel that was not built for the comm's target), INVALID_ARGUMENT (a kernel that runs no
 * programs, or of another layout version). */
TW_API tw_status_t tw_program_create(tw_comm_t comm, const tw_program_config_t* config,
                                     tw_program_t* program);

/* Frees the program after this rank's queued launches. Collective once it was built. When the comm
 * has ended it is local and TW_OK. */
TW_API tw_status_t tw_program_destroy(tw_program_t program);

/* ---- Tensors -------------------------------------------------------------------------------- */

#define TW_NO_TENSOR (-1)

/* A matrix that every rank has. It lies in one of
 *   a window, `offset` bytes from the start of each rank's part: peers reach it
 *   `data`, memory of the rank's own
 *   the program's memory, where neither is given: peers reach it; zeros when built, and nobody's
 *   but the program's while it lives (tw_program_tensor_ptr)
 * and no two tensors overlap; columns of one wide matrix do not. Name, type, rows, kind of memory,
 * and offset and stride of a window's are equal on all ranks (MISMATCH when it is built). */
typedef struct tw_tensor {
  size_t size;
  const char* name; /* up to 31 bytes, copied, for messages and traces */
  tw_type_t type;   /* TW_BF16, TW_FP16, TW_FP32 */
  uint32_t rows;    /* 0: the program's */
  size_t cols;      /* of this rank; 0 is allowed */
  size_t stride;    /* elements from row to row; 0: cols. Not for the program's own */
  tw_window_t window;
  size_t offset; /* a multiple of the element */
  void* data;    /* aligned to the element */
} tw_tensor_t;
#define TW_TENSOR_INIT \
  { sizeof(tw_tensor_t), NULL, TW_BF16, 0, 0, 0, NULL, 0, NULL }

/* Adds a tensor; *tensor is its number, from 0. */
TW_API tw_status_t tw_program_add_tensor(tw_program_t program, const tw_tensor_t* tensor,
                                         int* number);

/* Where `rank` has a tensor, as mapped here. NULL: memory of another rank's own. Of the program's
 * own memory: once it is built (INVALID_STATE), until it is destroyed, at *stride elements a row.
 * `stride` may be NULL. */
TW_API tw_status_t tw_program_tensor_ptr(tw_program_t program, int tensor, int rank, void** ptr,
                                         size_t* stride);

/* ---- Ops ------------------------------------------------------------------------------------ */

/* A product: as tw_gemm_args_t, on tensors. */
typedef struct tw_program_gemm {
  size_t size;
  const char* name;     /* as a tensor's; NULL: the function's */
  int a;                /* rows x k */
  const void* b_packed; /* k x n (SwiGLU: 2 n), of A's type: tw_pack_weights */
  int c;                /* rows x n; not A */
  const void* bias;     /* [n] (SwiGLU: [2 n]) of C's type, or NULL */
  tw_activation_t activation;
  int residual; /* of C's shape and type, may be C; or TW_NO_TENSOR */
  /* tw_program_gemm_all_reduce only: */
  tw_type_t partial_type;  /* of ranks' addends: C's, or TW_FP32. 0: C's */
  const void* norm_weight; /* [n] of C's type, or NULL */
  float norm_eps;
  int normed; /* rows x n of any type; with norm_weight only */
} tw_program_gemm_t;
#define TW_PROGRAM_GEMM_INIT                                                                     \
  {                                                                                              \
    sizeof(tw_program_gemm_t), NULL, TW_NO_TENSOR, NULL, TW_NO_TENSOR, NULL, TW_ACTIVATION_NONE, \
        TW_NO_TENSOR, (tw_type_t)0, NULL, 1e-5f, TW_NO_TENSOR                                    \
  }

/* C = activation(A B + bias) + residual, of this rank. k and n may differ between ranks. The
 * weights are read by launches and stay the caller's. */
TW_API tw_status_t tw_program_gemm(tw_program_t program, const tw_program_gemm_t* args);

/* C = activation(sum over ranks of A B + bias) + residual on every rank; normed = RMSNorm(C) *
 * norm_weight where it is wanted. Ranks have shares of k (some may have none); bias, residual and
 * norm_weight are equal on all. Ranks' addends are rounded to partial_type and added in rank order
 * in fp32; the total is rounded to it too, C to its type before the norm: the bits of
 * tw_gemm_all_reduce. No SwiGLU. From 64 rows on, where C and normed are in windows or in the
 * program's memory, each rank adds its share of the rows for all. */
TW_API tw_status_t tw_program_gemm_all_reduce(tw_program_t program, const tw_program_gemm_t* args);

/* y = x / sqrt(mean over the row of x^2 + eps) * weight ([cols] of x's type). y has x's shape, any
 * type, and may be x. */
TW_API tw_status_t tw_program_rms_norm(tw_program_t program, int x, const void* weight, float eps,
                                       int y);

/* y = silu(gate) * up, in fp32, rounded to y's type. Equal shapes, any types; y may be either. (A
 * product with TW_SWIGLU does the same without the tensors between.) */
TW_API tw_status_t tw_program_swiglu(tw_program_t program, int gate, int up, int y);

/* y = x + addend, in fp32, rounded to y's type. Equal shapes, any types; y may be either. */
TW_API tw_status_t tw_program_add(tw_program_t program, int x, int addend, int y);

#define TW_ALL_RANKS (-1)

/* Rows of x to rows to_row ... and columns to_col ... of y, on one rank or all. x, to_rank, to_row
 * and to_col are each rank's own choice: with to_row = rank * rows it is an all-gather. */
typedef struct tw_program_copy {
  size_t size;
  const char* name;
  int x;
  int y;       /* of any type; not x; in a window or the program's memory when peers get it */
  int to_rank; /* a rank, or TW_ALL_RANKS */
  uint32_t to_row;
  size_t to_col;
} tw_program_copy_t;
#define TW_PROGRAM_COPY_INIT \
  { sizeof(tw_program_copy_t), NULL, TW_NO_TENSOR, TW_NO_TENSOR, TW_ALL_RANKS, 0, 0 }

/* y = x, rounded to y's type, for rows of x. Columns beyond another rank's y are found out by
 * tw_program_build (INVALID_ARGUMENT). */
TW_API tw_status_t tw_program_copy(tw_program_t program, const tw_program_copy_t* args);

/* ---- Ops of the user's own ------------------------------------------------------------------ */

/* An op of config.kernel, a kernel that runs ProgramOpsAnd<...> of tilewire/tile/program_ops.h. Its
 * argument struct is this rank's; how it finds memory is its own affair (pointers, views). */
typedef struct tw_program_op {
  size_t size;
  const char* name;
  uint32_t own_op;  /* place among the kernel's own ops, from 0 */
  const void* args; /* the op's argument struct, copied */
  size_t args_bytes;
} tw_program_op_t;
#define TW_PROGRAM_OP_INIT \
  { sizeof(tw_program_op_t), NULL, 0, NULL, 0 }

/* Adds an op without instructions; *op is its number. */
TW_API tw_status_t tw_program_add_op(tw_program_t program, const tw_program_op_t* args, int* op);

/* What an instruction reads or writes: rows row .. row + rows - 1, columns col .. col + cols - 1 of
 * a tensor on a rank. An element of an array: it has no size and never grows. */
typedef struct tw_program_access {
  int tensor;
  int rank;
  int writes; /* 0: reads; 1: writes */
  uint32_t row, rows;
  size_t col, cols;
} tw_program_access_t;

/* Adds an instruction of this rank to `op`, with the four numbers `at` that tell it which piece of
 * the op it is. It must touch nothing but what `accesses` says, all in the rows of the tensors,
 * whatever rows a launch has. Within an op, instructions of lower ranks come first. Errors:
 * INVALID_ARGUMENT (names the access); a part that is not there on another rank is found when it is
 * built. */
TW_API tw_status_t tw_program_add_instruction(tw_program_t program, int op, const uint32_t at[4],
                                              const tw_program_access_t* accesses, size_t count);

/* Gives `op` another argument struct (args_bytes of it), before or after it was built; waits for
 * this rank's queued launches. */
TW_API tw_status_t tw_program_set_args(tw_program_t program, int op, const void* args);

/* ---- Running -------------------------------------------------------------------------------- */

/* Derives waits and signals, checks, and allocates what launches work in. Collective. Errors:
 * MISMATCH shows what two ranks declared; INVALID_ARGUMENT for what does not fit together, on all
 * ranks; OUT_OF_MEMORY on all ranks. What it allocates does not count for config.max_memory of the
 * comm. After an error nothing is built. */
TW_API tw_status_t tw_program_build(tw_program_t program);

/* Proves again, on the instructions of all ranks: every wait is for instructions that come earlier
 * in the program's one order, every two accesses to the same memory of which one writes are
 * ordered, in a launch and from one to the next, and every access lies in its tensor. Errors:
 * INVALID_ARGUMENT names the two instructions. Local. */
TW_API tw_status_t tw_program_check(tw_program_t program);

/* Runs the program for `rows` rows (0: all) in one launch. Collective, equal rows on all ranks
 * (MISMATCH, which shows both; ends the comm). Launches may be queued one after the other. What it
 * writes is valid when it is done (after tw_stream_synchronize where it is queued); windows'
 * memory that it uses is not touched meanwhile. Errors: INVALID_STATE, INVALID_ARGUMENT (rows),
 * INVALID_HANDLE (a window that is gone); of the run, as collectives. */
TW_API tw_status_t tw_program_launch(tw_program_t program, uint32_t rows, tw_stream_t stream);

typedef struct tw_program_counts {
  size_t size;
  uint64_t instructions;     /* of this rank */
  uint64_t all_instructions; /* of all ranks */
  uint64_t signals;          /* counters that instructions wait for, of all ranks */
  uint64_t launches;         /* of this rank's device, so far, whoever's */
  uint64_t bytes;            /* of memory at this rank */
} tw_program_counts_t;
#define TW_PROGRAM_COUNTS_INIT \
  { sizeof(tw_program_counts_t), 0, 0, 0, 0, 0 }

/* Errors: INVALID_STATE before it is built. */
TW_API tw_status_t tw_program_get_counts(tw_program_t program, tw_program_counts_t* counts);

/* The instructions of all ranks in their order, a line each: what it is, what it accesses, what it
 * waits for. Text as tw_describe's. Errors: INVALID_STATE before it is built. */
TW_API tw_status_t tw_program_describe(tw_program_t program, char* text, size_t bytes,
                                       size_t* needed);

/* 1: launches from now on note when each instruction began, was ready and ended. 0: no more, as at
 * first unless TW_PROGRAM_TRACE is set. */
TW_API tw_status_t tw_program_set_tracing(tw_program_t program, int on);

/* Writes what the last traced launch noted on all ranks to `path` on rank 0, as JSON for Chrome's
 * tracing and Perfetto. Collective. Errors: INVALID_STATE (no launch was traced), SYSTEM. */
TW_API tw_status_t tw_program_write_trace(tw_program_t program, const char* path);

#ifdef __cplusplus
}
#endif

#endif /* TILEWIRE_PROGRAM_H_ */
