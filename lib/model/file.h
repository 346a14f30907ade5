// A model's files, whatever their format: what the model is, its vocabulary, and its weights by
// their Hugging Face names ("model.layers.0.self_attn.q_proj.weight").
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/desc.h"
#include "lib/model/quant.h"
#include "lib/model/vocabulary.h"

namespace tw {

class Gguf;
class Safetensors;

/// A weight as a matrix: rows are outputs. A vector is one row.
struct Weight {
  uint64_t rows;
  uint64_t cols;
  QuantType type;          // in the file
  std::string_view data;   // in the mapping
  uint64_t head_size = 0;  // not 0: rows of such a head lie interleaved for RoPE
};

/// Rows first_row ... and columns first_col ... of a weight.
struct WeightRange {
  uint64_t first_row;
  uint64_t rows;
  uint64_t first_col;
  uint64_t cols;
};

/// Reading is const and may be done by several threads at once.
class ModelFile {
 public:
  /// `path`: a .gguf (any part of a split one), a .safetensors, a model.safetensors.index.json, or
  /// a folder with one of them. Weights are mapped, not read; every weight that the model needs
  /// must be there with its shape. Throws INVALID_ARGUMENT or UNSUPPORTED, naming file and key or
  /// tensor.
  explicit ModelFile(const std::string& path);
  ~ModelFile();
  ModelFile(const ModelFile&) = delete;
  ModelFile& operator=(const ModelFile&) = delete;

  const std::string& path() const { return path_; }
  const ModelDesc& desc() const { return desc_; }

  /// Made at each call: a rank that sees no text needs none. Throws as vocabulary_of does.
  Vocabulary vocabulary() const;

  /// Null when there is no such weight.
  const Weight* find(std::string_view name) const;
  /// The same; throws INVALID_ARGUMENT naming it when there is none.
  const Weight& weight(std::string_view name) const;

  /// Expands rows first_row ... of `name` to bf16 or fp32, dense, in Hugging Face's order of rows
  /// (a GGUF of architecture "llama" stores q and k interleaved). Touches only these rows of the
  /// mapping. Throws INVALID_ARGUMENT naming weight and range when they reach beyond it.
  void read_rows(std::string_view name, uint64_t first_row, uint64_t rows, uint16_t* out) const;
  void read_rows(std::string_view name, uint64_t first_row, uint64_t rows, float* out) const;

  /// The same for a block; row r of it begins at out + r * stride. Touches only its quantisation
  /// blocks.
  void read(std::string_view name, const WeightRange& range, uint16_t* out, uint64_t stride) const;
  void read(std::string_view name, const WeightRange& range, float* out, uint64_t stride) const;

  /// Bytes of all weights in the file, and of a block of one: the units of progress.
  uint64_t bytes() const { return bytes_; }
  uint64_t bytes_of(std::string_view name, const WeightRange& range) const;

  /// `call(done, all)` during reads, from the thread that reads, at most once a megabyte and once
  /// at the end of a read. `all`: what this rank will read. Set before the first read.
  using Progress = std::function<void(uint64_t done, uint64_t all)>;
  void set_progress(Progress call, uint64_t all);

 private:
  void open_parts();
  void open_gguf();
  void open_safetensors();
  void add(std::string name, const Weight& weight, const std::string& path);
  void check_weights() const;
  const Weight& weight(std::string_view name, const WeightRange& range) const;
  static uint64_t bytes_of_row(const Weight& weight, const WeightRange& range);
  template <class T>
  void read_block(std::string_view name, const WeightRange& range, T* out, uint64_t stride) const;
  void count(uint64_t bytes) const;

  std::string path_;    // of the file or index that stands for the model
  std::string folder_;  // of a safetensors model: config.json and tokenizer.json stand in it
  std::vector<std::unique_ptr<Gguf>> ggufs_;
  std::vector<std::unique_ptr<Safetensors>> safetensors_;
  ModelDesc desc_;
  std::map<std::string, Weight, std::less<>> weights_;
  uint64_t bytes_ = 0;
  Progress progress_;
  uint64_t all_ = 0;
  mutable std::atomic<uint64_t> done_{0};
};

}  // namespace tw
