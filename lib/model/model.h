// A Llama-architecture model over the ranks of a comm: weights by name, programs, steps.
//
//   Model model(comm, desc);
//   model.load(file);            // or set_weight for each
//   model.prepare(limits);       // collective; from here on nothing is allocated
//   model.kv_create(pages);      // or kv_bind: the engine's memory
//   model.step(step, stream);    // collective; one launch
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/comm/comm.h"
#include "lib/model/desc.h"
#include "lib/model/file.h"
#include "tilewire/kernels/llama.h"

namespace tw {

/// The most that a step may have.
struct ModelLimits {
  uint32_t rows = 0;  // tokens
  uint32_t sequences = 0;
  uint32_t logit_rows = 0;   // rows whose logits are wanted
  uint32_t context = 0;      // positions are below it
  uint32_t page_size = 0;    // tokens of a KV page
  uint32_t pages = 0;        // page numbers are below it
  uint32_t table_pages = 0;  // entries of all page tables of a step together
  uint32_t slots = 0;        // sampled tokens that later steps can name
};

/// Memory at one rank, in bytes.
struct ModelMemory {
  size_t weights = 0;
  size_t kv = 0;           // for limits.pages, if the library makes it
  size_t activations = 0;  // what a step works in, at addresses that peers reach
  size_t local = 0;        // scratch, tables, programs
};

/// A weight as the caller has it: rows x cols in Hugging Face's orientation (rows are outputs), of
/// TW_BF16, TW_FP16 or TW_FP32; a vector is one row. It is the part of the whole weight that begins
/// at first_row, first_col; every rank may give all of it, or at least what it needs.
struct WeightSource {
  const void* data = nullptr;
  tw_type_t type = TW_BF16;
  size_t rows = 0, cols = 0;
  size_t row_stride = 0;  // elements
  size_t first_row = 0, first_col = 0;
};

/// Where a rank's K and V of each layer begin.
struct KvMemory {
  std::vector<char*> k, v;  // [layers]
  KvLayout layout{};
};

enum class LogitsTo { kNone, kAll, kOne, kOwnShard };

/// One step. Arrays are host memory, copied before step() returns.
struct Step {
  uint32_t rows = 0, sequences = 0, logit_rows = 0;
  const int32_t* tokens = nullptr;
  const int32_t* positions = nullptr;
  const int64_t* slots = nullptr;
  const uint32_t* query_begin = nullptr;
  const uint32_t* page_begin = nullptr;
  const uint32_t* pages = nullptr;
  const uint32_t* logit_row = nullptr;
  const RowSampling* sampling = nullptr;  // null: no tokens
  const uint32_t* allowed = nullptr;

  // Results, valid when the step is done; null: not wanted.
  int32_t* sampled = nullptr;
  float* log_probability = nullptr;
  LogitsTo logits_to = LogitsTo::kNone;
  int logits_rank = 0;  // kOne
  void* logits = nullptr;
  tw_type_t logits_type = TW_FP32;
  size_t logits_stride = 0;  // elements

  // A part of the model: layers first_layer <= l < last_layer; with first_layer != 0 or hidden_in
  // the rows come from hidden_in (rows x hidden), and hidden_out gets them after the last layer
  // (before the final norm).
  uint32_t first_layer = 0;
  uint32_t last_layer = UINT32_MAX;  // all
  const void* hidden_in = nullptr;
  void* hidden_out = nullptr;
  tw_type_t hidden_type = TW_FP32;
};

class Model {
 public:
  /// Throws UNSUPPORTED for more ranks than kMaxFusedRanks. Not collective.
  Model(Comm& comm, const ModelDesc& desc);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  Comm& comm() const;
  const ModelDesc& desc() const;
  /// The first column of the vocabulary of each rank, and the end.
  const std::vector<size_t>& vocab_begin() const;

  /// Takes this rank's shard of `name` ("model.layers.0.mlp.up_proj.weight"). The source may go
  /// when it returns. Repeatable, between steps too. Throws INVALID_ARGUMENT naming the weight and
  /// what is wrong: unknown, another shape, a part that lacks what this rank needs.
  void set_weight(std::string_view name, const WeightSource& source);
  /// Every weight from a file.
  void load(const ModelFile& file);
  /// Bytes of the file that this rank's load reads: for ModelFile::set_progress.
  uint64_t load_bytes(const ModelFile& file) const;
  /// The weights that are still to be given.
  std::vector<std::string> missing_weights() const;

  /// What prepare would allocate. Throws INVALID_ARGUMENT naming a limit that is out of range.
  ModelMemory memory(const ModelLimits& limits) const;
  /// Collective: builds and checks the programs of every size of step, allocates what they work in.
  /// Again with other limits: replaces them. Throws MISMATCH when ranks' limits differ.
  void prepare(const ModelLimits& limits);
  bool prepared() const;
  const ModelLimits& limits() const;

  /// This rank's K and V: for `pages` pages of `page_size`, one head after the other in a page.
  KvLayout kv_layout(uint32_t page_size, uint32_t pages) const;
  size_t kv_layer_bytes(const KvLayout& layout) const;  // of K, or of V, of one layer
  /// Uses the caller's memory, which must outlive the steps.
  void kv_bind(const KvMemory& memory);
  /// Memory of the library's own, zeroed.
  void kv_create(uint32_t page_size, uint32_t pages);
  /// Copies pages from[i] to to[i], in all layers, at this rank, in the caller's thread, after what
  /// is queued.
  void kv_copy(const uint32_t* from, const uint32_t* to, size_t count);

  /// Collective: every rank with an equal step. One launch. `stream` null: done when it returns.
  /// Throws INVALID_ARGUMENT naming the array, the index and the value (a page out of range, a
  /// position beyond the context ...), INVALID_STATE (not prepared, no KV, weights missing),
  /// MISMATCH (ranks' steps differ, shows both), and what ended the comm.
  void step(const Step& step, tw_stream_t stream);
  /// The same op by op: a launch for each op, for comparison. Inline only.
  void step_by_ops(const Step& step);
  /// Launches since the model was made, as the device counts them.
  uint64_t launches() const;

  /// The next steps write their instructions' times; write_trace makes Chrome/Perfetto JSON of the
  /// last step's, this rank's part (collective: rank 0 writes all ranks' to `path`).
  void set_tracing(bool on);
  void write_trace(const std::string& path);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tw
