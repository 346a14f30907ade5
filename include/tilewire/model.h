/* Models: the part of tilewire.h, which includes it, on networks that run as one launch a step.
 *
 * A Llama-like network (Llama, Mistral, Qwen2, Qwen3) over the ranks of a comm; a step is one
 * launch at each rank. The engine keeps sequences, pages and the choice of what runs next; the
 * model keeps weights and programs.
 *
 *   tw_model_create + tw_model_set_weight for each weight, or tw_model_load from files
 *   tw_model_prepare     builds every size of step: from here on steps allocate nothing
 *   tw_model_kv_bind, or tw_model_kv_create
 *   tw_model_step        as often as wanted, each alike on all ranks
 *   tw_model_destroy     before the comm's, which names the models that live
 *
 * Matrices are held as bf16; ranks hold nearly equal shares of heads and of the vocabulary, which
 * need not divide; who has fewer heads has more feed-forward columns. 1 to TW_MAX_FUSED_RANKS
 * ranks. Several models may live on one comm (a draft and its target), their steps in the same
 * order on all ranks. A model belongs to its comm's thread (INVALID_STATE for a second one), and
 * its collective calls are not allowed in a group (INVALID_STATE); their errors are also those of
 * collectives. A struct that a call fills in is given with its size set, by the initialiser. */
#ifndef TILEWIRE_MODEL_H_
#define TILEWIRE_MODEL_H_

#include "tilewire.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tw_model* tw_model_t;

typedef enum tw_rope_scaling {
  TW_ROPE_SCALING_NONE = 0,
  TW_ROPE_SCALING_LINEAR = 1, /* all pairs are stretched by rope_factor */
  TW_ROPE_SCALING_LLAMA3 = 2, /* Llama 3.1's rule, by the four fields below */
  TW_ROPE_SCALING_WIDTH_ = 0x7fffffff
} tw_rope_scaling_t;

/* What a model computes, by the words of Hugging Face's config.json. Sizes are positive. */
typedef struct tw_model_desc {
  size_t size;
  int64_t layers;    /* num_hidden_layers */
  int64_t hidden;    /* hidden_size */
  int64_t heads;     /* num_attention_heads */
  int64_t kv_heads;  /* num_key_value_heads, which divides heads */
  int64_t head_size; /* head_dim, even; 0: hidden / heads */
  int64_t ffn;       /* intermediate_size */
  int64_t vocab;     /* vocab_size: rows of the embedding */
  int64_t context;   /* max_position_embeddings */
  float rms_norm_eps;
  float rope_theta;
  tw_rope_scaling_t rope_scaling;
  float rope_factor, rope_low_freq_factor, rope_high_freq_factor;
  int64_t rope_original_context; /* original_max_position_embeddings */
  /* Instead of the five above, their result: the angle of pair i at position p is
   * p * rope_theta^(-2 i / head_size) / rope_divisors[i]. [head_size / 2], copied; or NULL. */
  const float* rope_divisors;
  int64_t sliding_window; /* a position sees itself and window - 1 before it; 0: all before it */
  int tied_embeddings;    /* 1: the head is the embedding, there is no lm_head.weight */
  int q_bias, k_bias, v_bias, o_bias, mlp_bias; /* 1: these projections have a bias */
  int qk_norm; /* 1: q and k of each head are normed before RoPE (q_norm, k_norm) */
} tw_model_desc_t;
#define TW_MODEL_DESC_INIT                                                                        \
  {                                                                                               \
    sizeof(tw_model_desc_t), 0, 0, 0, 0, 0, 0, 0, 0, 1e-5f, 10000.0f, TW_ROPE_SCALING_NONE, 0, 0, \
        0, 0, NULL, 0, 0, 0, 0, 0, 0, 0, 0                                                        \
  }

/* A model without weights. Not collective. Errors: INVALID_ARGUMENT names field, value and what is
 * valid; UNSUPPORTED (more ranks than TW_MAX_FUSED_RANKS, a head_size that is no multiple of
 * 16). */
TW_API tw_status_t tw_model_create(tw_comm_t comm, const tw_model_desc_t* desc, tw_model_t* model);

/* Told while files are read, from the reading thread: bytes `done` of `all` that this rank reads.
 * Must not call the library. */
typedef void (*tw_progress_fn)(uint64_t done, uint64_t all, void* user);

typedef struct tw_load_config {
  size_t size;
  tw_progress_fn progress; /* or NULL */
  void* user;
} tw_load_config_t;
#define TW_LOAD_CONFIG_INIT \
  { sizeof(tw_load_config_t), NULL, NULL }

/* tw_model_create and tw_model_set_weight from files: `path` is a .gguf (any part of a split one),
 * a .safetensors, a model.safetensors.index.json, or a folder with one of them. Reads this rank's
 * shard only. Not collective. `config` NULL: defaults. Errors: INVALID_ARGUMENT and UNSUPPORTED
 * name file and key or tensor. */
TW_API tw_status_t tw_model_load(tw_comm_t comm, const char* path, const tw_load_config_t* config,
                                 tw_model_t* model);

/* Frees the model, its programs and what tw_model_kv_create made, after this rank's queued calls.
 * Collective once the model was prepared. When the comm has ended it is local and TW_OK. */
TW_API tw_status_t tw_model_destroy(tw_model_t model);

/* What the model computes; rope_divisors is valid until the model is destroyed. */
TW_API tw_status_t tw_model_get_desc(tw_model_t model, tw_model_desc_t* desc);

/* A weight, or the part of it that begins at (first_row, first_col), as the caller has it. */
typedef struct tw_weight {
  size_t size;
  const char* name; /* Hugging Face's: "model.layers.0.mlp.up_proj.weight" */
  const void* data; /* host memory */
  tw_type_t type;   /* TW_BF16, TW_FP16 or TW_FP32 */
  size_t rows;      /* of `data`: outputs; a vector is one row */
  size_t cols;
  size_t row_stride; /* elements; 0: cols */
  size_t first_row;
  size_t first_col;
  size_t whole_rows; /* of the whole, as the caller knows it; 0: as the model does */
  size_t whole_cols;
} tw_weight_t;
#define TW_WEIGHT_INIT \
  { sizeof(tw_weight_t), NULL, NULL, TW_BF16, 0, 0, 0, 0, 0, 0, 0 }

/* Takes this rank's shard out of `weight`, which is the whole or covers at least that. The memory
 * may go when the call returns. Repeatable between steps: later ones use the new values. Waits for
 * this rank's queued calls. Not collective, but every rank must give its own before the next step.
 * Errors: INVALID_ARGUMENT names the weight and what is wrong: unknown, a shape beyond the
 * weight's, rows or columns of this rank that are not in it. */
TW_API tw_status_t tw_model_set_weight(tw_model_t model, const tw_weight_t* weight);

/* Rows and columns of the whole weight `name`. Errors: INVALID_ARGUMENT when the model has none of
 * that name. */
TW_API tw_status_t tw_model_weight_shape(tw_model_t model, const char* name, size_t* rows,
                                         size_t* cols);

/* The names of the weights that have not been set, each followed by a newline, as tw_describe
 * writes its text: *needed is 1 when there is none. */
TW_API tw_status_t tw_model_missing(tw_model_t model, char* text, size_t bytes, size_t* needed);

/* Tokens [*begin, *end) are those whose logits `rank` computes. */
TW_API tw_status_t tw_model_vocab_shard(tw_model_t model, int rank, size_t* begin, size_t* end);

/* The most that a step may have. */
typedef struct tw_model_limits {
  size_t size;
  uint32_t rows;        /* tokens, 1 to 65536 */
  uint32_t sequences;   /* 1 to rows */
  uint32_t logit_rows;  /* rows whose logits are wanted, up to rows; 0: none ever */
  uint32_t context;     /* positions are below it; up to the model's; 0: the model's */
  uint32_t page_size;   /* tokens of a KV page, up to 256; 0: 16 */
  uint32_t pages;       /* page numbers are below it, 1 and more */
  uint32_t table_pages; /* of all page tables of a step together; 0: whole contexts' */
  uint32_t slots;       /* sampled tokens that later steps can name (tw_sampling_t) */
} tw_model_limits_t;
#define TW_MODEL_LIMITS_INIT \
  { sizeof(tw_model_limits_t), 1, 1, 1, 0, 0, 1, 0, 0 }

/* Memory at this rank, in bytes. */
typedef struct tw_model_bytes {
  size_t size;
  size_t weights;
  size_t kv;          /* what tw_model_kv_create would take for limits.pages */
  size_t activations; /* what steps work in, where peers reach it */
  size_t local;       /* scratch and tables; programs, some MB, are not counted */
} tw_model_bytes_t;
#define TW_MODEL_BYTES_INIT \
  { sizeof(tw_model_bytes_t), 0, 0, 0, 0 }

/* What `limits` would take, before any of it is allocated; needs no weights. Not collective.
 * Errors: INVALID_ARGUMENT names the limit that is out of range. */
TW_API tw_status_t tw_model_memory(tw_model_t model, const tw_model_limits_t* limits,
                                   tw_model_bytes_t* bytes);

/* Builds and checks the programs of every size of step within `limits` and allocates what they work
 * in. Collective, equal limits on all ranks (MISMATCH). Again: replaces them, and KV is to be bound
 * or created again. Errors: as tw_model_memory; OUT_OF_MEMORY, OUT_OF_RESOURCES
 * (config.max_memory). */
TW_API tw_status_t tw_model_prepare(tw_model_t model, const tw_model_limits_t* limits);

/* Where keys and values lie: element d of head h of the token at place t of page p is at
 * p * page + h * head + t * token + d of the layer's K, or V. Strides are elements. */
typedef struct tw_kv_layout {
  size_t size;
  tw_type_t type;     /* TW_BF16 */
  uint32_t page_size; /* tokens of a page */
  uint32_t pages;
  uint32_t heads; /* of this rank */
  uint32_t head_size;
  size_t page, head, token;
  size_t layer_bytes; /* of K, and of V, of one layer */
} tw_kv_layout_t;
#define TW_KV_LAYOUT_INIT \
  { sizeof(tw_kv_layout_t), TW_BF16, 0, 0, 0, 0, 0, 0, 0, 0 }

/* This rank's layout with the library's own strides: a page holds one head after the other. */
TW_API tw_status_t tw_model_kv_layout(tw_model_t model, uint32_t page_size, uint32_t pages,
                                      tw_kv_layout_t* layout);

/* Uses the caller's memory, in a model that was prepared for this page_size and these pages: k[l]
 * and v[l] are where layer l's begin, `layers` pointers each (copied). The memory stays the
 * caller's and must outlive the steps. `layout` is tw_model_kv_layout's, or has strides of the
 * caller's own under which no two elements meet; layer_bytes is not read. Local; replaces what was
 * bound or created. Errors: INVALID_ARGUMENT, INVALID_STATE (not prepared). */
TW_API tw_status_t tw_model_kv_bind(tw_model_t model, const tw_kv_layout_t* layout, void* const* k,
                                    void* const* v);

/* The same over zeroed memory of the library's own. Local. Errors: also OUT_OF_MEMORY. */
TW_API tw_status_t tw_model_kv_create(tw_model_t model, uint32_t page_size, uint32_t pages);

/* Copies page from[i] to page to[i] in all layers of this rank, for i < count in this order, after
 * this rank's queued calls. Errors: INVALID_ARGUMENT (names the index and the page), INVALID_STATE
 * (no KV). */
TW_API tw_status_t tw_model_kv_copy(tw_model_t model, const uint32_t* from, const uint32_t* to,
                                    size_t count);

/* How the next token of a row is drawn: logits / temperature, then the top_k most probable (0:
 * all), then of these the fewest whose probabilities, renormalised, sum to top_p or more (1: all);
 * ties go to the smaller token. Temperature 0: the most probable. The same numbers give the same
 * token; where no token is allowed it is -1. An element of an array: it has no size and never
 * grows. */
typedef struct tw_sampling {
  float temperature;
  int32_t top_k;
  float top_p;
  int32_t slot;  /* below limits.slots: a later step's token -1 - slot is this one; -1: none */
  uint64_t seed; /* with the row's position it gives the number that is drawn */
} tw_sampling_t;

/* Which ranks get the logits. */
typedef enum tw_logits_to {
  TW_LOGITS_TO_NONE = 0,
  TW_LOGITS_TO_ALL = 1,
  TW_LOGITS_TO_ONE = 2,       /* logits_rank */
  TW_LOGITS_TO_OWN_SHARD = 3, /* every rank those of tw_model_vocab_shard */
  TW_LOGITS_TO_WIDTH_ = 0x7fffffff
} tw_logits_to_t;

#define TW_ALL_LAYERS UINT32_MAX

/* One step: `rows` tokens of `sequences` sequences, those of a sequence side by side. Arrays are
 * host memory, copied before the call returns, and equal on all ranks; what is not used is NULL.
 * Only hidden_in is read when the step runs, and stays as it is until then.
 * Token j of a sequence has its keys and values in page pages[page_begin[s] + j / page_size], at
 * place j % page_size; a row writes its own where slots says, and sees all positions up to its own.
 * Pages may be shared. While keys and values are finite, a sequence's bits do not depend on what
 * else is in its steps.
 * Results are the caller's memory, valid when the step is done (after tw_stream_synchronize where
 * it is queued), and equal on all ranks that get them. */
typedef struct tw_step {
  size_t size;
  uint32_t rows, sequences, logit_rows;
  const int32_t* tokens;    /* [rows]; -1 - s: the token last sampled into slot s */
  const int32_t* positions; /* [rows], ascending within a sequence */
  const int64_t* slots; /* [rows] page * page_size + place for K and V, each once; -1: padding */
  const uint32_t* query_begin;   /* [sequences + 1] sequence s has rows query_begin[s] ... */
  const uint32_t* page_begin;    /* [sequences + 1] and pages[page_begin[s]] ... */
  const uint32_t* pages;         /* [page_begin[sequences]] */
  const uint32_t* logit_row;     /* [logit_rows] the rows whose logits are wanted */
  const tw_sampling_t* sampling; /* [logit_rows]; NULL: no token is drawn */
  const uint32_t* allowed;  /* [logit_rows][(vocab + 31) / 32] bits: tokens that may be drawn */
  const uint32_t* adapters; /* [rows], reserved: all 0 (else UNSUPPORTED) */

  int32_t* sampled;       /* [logit_rows], at every rank */
  float* log_probability; /* [logit_rows] the sampled token's, among those allowed */
  tw_logits_to_t logits_to;
  int logits_rank;       /* of TW_LOGITS_TO_ONE; the others' `logits` is not used */
  void* logits;          /* logit_rows rows of vocab (own shard: of the shard's) */
  tw_type_t logits_type; /* TW_FP32 or TW_BF16 */
  size_t logits_stride;  /* elements from row to row; 0: no gap */

  /* Layers first_layer <= l < last_layer only. With hidden_in the rows (rows x hidden, packed,
   * equal on all ranks) come from there instead of the embedding, which first_layer != 0 demands;
   * with hidden_out they go there, before the last norm. logit_rows is 0 where last layers are left
   * out. No layer at all is allowed: the embedding alone, the head alone. */
  uint32_t first_layer, last_layer;
  const void* hidden_in;
  void* hidden_out;
  tw_type_t hidden_type; /* of both: TW_FP32 or TW_BF16 */
} tw_step_t;
#define TW_STEP_INIT                                                                              \
  {                                                                                               \
    sizeof(tw_step_t), 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
        NULL, TW_LOGITS_TO_NONE, 0, NULL, TW_FP32, 0, 0, TW_ALL_LAYERS, NULL, NULL, TW_FP32       \
  }

/* Runs a step in one launch. Collective, equal steps on all ranks, in one order with the comm's
 * other calls (MISMATCH, which shows both);
 * pointers to results are each rank's own, and hidden_out and log_probability are given by all
 * ranks or by none. Steps may be queued one after the other. Errors:
 * INVALID_ARGUMENT names array, index and value, or the limit that is exceeded, before a peer hears
 * of it; INVALID_STATE (not prepared, no KV, weights missing: names the first); UNSUPPORTED
 * (adapters). */
TW_API tw_status_t tw_model_step(tw_model_t model, const tw_step_t* step, tw_stream_t stream);

/* The same results with a launch for every op, to compare with. Returns when it is done. */
TW_API tw_status_t tw_model_step_by_ops(tw_model_t model, const tw_step_t* step);

/* Launches on this rank's device so far, as the device layer counts them: over a step they grow by
 * what the step took. */
TW_API tw_status_t tw_model_launches(tw_model_t model, uint64_t* launches);

/* `on` 1: later steps note when each instruction starts, waits and ends. Alike on all ranks. */
TW_API tw_status_t tw_model_set_tracing(tw_model_t model, int on);

/* Writes what the last traced step noted on all ranks to `path`, at rank 0, as JSON that Chrome's
 * tracing and Perfetto read. Collective. Errors: INVALID_STATE (nothing was traced), SYSTEM. */
TW_API tw_status_t tw_model_write_trace(tw_model_t model, const char* path);

#ifdef __cplusplus
}
#endif

#endif /* TILEWIRE_MODEL_H_ */
