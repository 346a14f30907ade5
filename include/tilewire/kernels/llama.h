// Argument structs of the ops of a Llama program (kernels/llama, kernels/attention), shared by host
// and kernels.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/kernels/program.h"

namespace tw {

/// How the next token of a row is chosen: temperature, then the top_k most probable (0: all), then
/// of these the fewest whose probabilities, renormalised, sum to top_p or more; ties go to the
/// smaller token. Temperature 0: the most probable.
struct RowSampling {
  float temperature;
  int32_t top_k;
  float top_p;
  int32_t slot;   // where a later step finds the token as -1 - slot; -1: nowhere
  uint64_t seed;  // with `position` of the row it gives the number that is drawn
};
// The number drawn is x / 2^32, x the upper half of mix(mix(seed + g) + (position + 1) * g), where
// g = 0x9e3779b97f4a7c15 and mix is the output function of SplitMix64 (Steele, Lea, Flood 2014).

/// What one step computes, in the device's memory. Arrays are as long as what they are by.
struct StepView {
  uint32_t rows;  // tokens
  uint32_t sequences;
  uint32_t logit_rows;               // rows whose logits are wanted
  uint32_t gather_logits;            // not 0: every rank gets all of the logits
  uint32_t first_layer, last_layer;  // layers first <= l < last are computed
  uint32_t embed_rows;               // rows, or 0 when hidden rows come from elsewhere
  uint32_t hidden_rows;              // rows, or 0 when nobody wants them after the last layer
  const int32_t* tokens;             // [rows]; -1 - s: the token last sampled into slot s
  const int32_t* positions;          // [rows]
  const int64_t* slots;         // [rows] page * page_size + place of the row's K and V; -1: nowhere
  const uint32_t* query_begin;  // [sequences + 1]: rows of sequence s are query_begin[s] ...
  const uint32_t* page_begin;   // [sequences + 1]: its pages are pages[page_begin[s]] ...
  const uint32_t* pages;        // token j of a sequence lies in page j / page_size at j % page_size
  const uint32_t* logit_row;    // [logit_rows]
  const RowSampling* sampling;  // [logit_rows], or null: no token is chosen
  const uint32_t* allowed;      // [logit_rows][(vocab + 31) / 32] bits of allowed tokens, or null
  int32_t* sampled;             // [logit_rows]
  float* log_probability;       // [logit_rows] of the sampled token, or null
  int32_t* sampled_slots;       // tokens of slots, by RowSampling::slot
  uint32_t slot_count;          // of sampled_slots
};

/// The op types of a Llama program, in the order of their kinds: ProgramOps of <name>Op.
#define TW_LLAMA_OPS(X) \
  X(Gemm)               \
  X(ReduceNorm)         \
  X(Embed)              \
  X(FirstNorm)          \
  X(PlanAttention)      \
  X(Place)              \
  X(Attend)             \
  X(Merge)              \
  X(Hidden)             \
  X(Gather)             \
  X(SampleLocal)        \
  X(Sample)

#define TW_LLAMA_KIND(name) k##name,
enum class LlamaKind : uint32_t { TW_LLAMA_OPS(TW_LLAMA_KIND) };
#undef TW_LLAMA_KIND

/// How K and V of one layer lie in memory: element d of head h of the token at place t of page p is
/// at p * page + h * head + t * token + d, in elements.
struct KvLayout {
  tw_type_t type;  // TW_BF16
  uint32_t page_size;
  uint32_t pages;
  uint32_t heads;  // of this rank
  uint32_t head_size;
  size_t page, head, token;
};

/// The query heads of this rank, and which K and V head each reads. Heads are numbered as in the
/// model: the rank has query heads first_query .. first_query + queries - 1 and K and V heads
/// first_kv .. first_kv + kvs - 1; query head h reads K and V head h / group.
struct HeadShare {
  uint32_t first_query, queries;
  uint32_t first_kv, kvs;
  uint32_t group;
  uint32_t head_size;
};

/// x = embedding of the rows' tokens, columns [first_col, first_col + cols) of it, at the ranks
/// whose bits at[2] has. at = {first row, rows, ranks}.
struct LlamaEmbed {
  const StepView* step;
  Matrix table;  // this rank's columns: vocab x cols
  size_t first_col, cols;
  SharedMatrix x;  // fp32
  uint32_t vocab;
};

/// y = norm of x with the weight of the first layer that is computed, at the ranks whose bits at[2]
/// has. at = {first row, rows, ranks}.
struct LlamaFirstNorm {
  const StepView* step;
  size_t n;
  Matrix x;              // fp32
  const float* weights;  // [layers + 1][n]
  float eps;
  SharedMatrix y;
};

/// hidden = x, at the ranks of at[2]. at = {first row, rows, ranks}.
struct LlamaHidden {
  const StepView* step;
  size_t n;
  Matrix x;             // fp32
  SharedMatrix hidden;  // fp32
};

/// q and k of rows: optional RMSNorm of each head, rotation by the row's position; k and v go to
/// their slots. at = {first row, rows}.
struct LlamaPlace {
  const StepView* step;
  HeadShare heads;
  Matrix qkv;           // rows x (queries, kvs, kvs) heads: q is rotated in place
  const float* q_norm;  // [head_size], or null
  const float* k_norm;
  float eps;
  const float* cosines;  // [positions][head_size / 2]
  const float* sines;
  KvLayout kv;
  char* k;  // of this layer
  char* v;
  uint32_t positions;  // of cosines and sines; a position beyond is taken for 0
  LiveRows live;
};

/// g[i] = y[logit_row[i]]. at = {first logit row, rows}.
struct LlamaGather {
  const StepView* step;
  size_t n;
  Matrix y, g;  // of the same type
};

/// Choosing tokens of rows of logits, in two ops with the same arguments. at = {first logit row,
/// rows}. A logit that is NaN or -infinity is taken for one of a token that is not allowed.
///   SampleLocal  what this rank's columns have: a record to every rank of `ranks`
///   Sample       the tokens, from the ranks' records and, for rows with a temperature, from all of
///                the logits: the same at each rank. No token is allowed: -1, and log-probability
///                -infinity.
/// Both need sample_scratch_bytes(vocab) of ProgramArgs::scratch.
struct LlamaSample {
  const StepView* step;
  size_t vocab;            // below 2^24
  size_t first_col, cols;  // of this rank
  SharedMatrix logits;     // fp32
  SharedMatrix records;    // fp32, SampleRecord::kFields columns, of the lowest rank; of rank r
  size_t sender_bytes;     // sender_bytes * r further on
  uint32_t ranks;          // a bit for each
  constexpr SharedMatrix records_of(int rank) const {
    return {records.offset + static_cast<size_t>(rank) * sender_bytes, records.stride,
            records.type};
  }
};

/// Columns of a record, as fp32 numbers: the largest logit, its token (-1: none), the sum of
/// e^(logit - largest) where log-probabilities are wanted.
struct SampleRecord {
  enum Field : size_t { kMost, kToken, kSum, kFields = 4 };
};

/// Where Sample keeps a row's logits and their weights, those near the largest, and those that it
/// looks closer at. Offsets in floats.
struct SampleScratch {
  size_t weights, near, near_weights, kept, kept_weights, end;
  size_t part;  // most that are near, or kept; there is room for 16 more
};
constexpr SampleScratch sample_scratch(size_t vocab) {
  const size_t all = (vocab + 15) / 16 * 16, part = all / 4, room = part + 16;
  return {all, 2 * all, 2 * all + room, 2 * all + 2 * room, 2 * all + 3 * room, 2 * all + 4 * room,
          part};
}
constexpr size_t sample_scratch_bytes(size_t vocab) {
  return sample_scratch(vocab).end * sizeof(float);
}

}  // namespace tw
