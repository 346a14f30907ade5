// One rank's weights, in the form in which the programs read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/device/buffer.h"
#include "lib/model/desc.h"
#include "lib/model/file.h"
#include "lib/model/share.h"

namespace tw {

/// Where a weight's elements come from.
class WeightReader {
 public:
  virtual ~WeightReader() = default;
  /// The rows and columns of the whole weight that `range` names, row r of them at out + r *
  /// stride.
  virtual void read(const WeightRange& range, uint16_t* out, size_t stride) const = 0;
  virtual void read(const WeightRange& range, float* out, size_t stride) const = 0;
};

/// Products read packed bf16 matrices (inputs x outputs), everything else fp32 vectors.
struct LayerWeights {
  char *qkv = nullptr, *o = nullptr, *gate_up = nullptr, *down = nullptr;  // null: empty
  Buffer qkv_bias, o_bias, gate_up_bias, down_bias;                        // without data: none
  Buffer q_norm, k_norm;
  const float* post_norm = nullptr;
};

class ModelWeights {
 public:
  ModelWeights(const ModelDesc& desc, const ModelShare& share, int rank);
  /// Bytes that one of them has.
  static size_t bytes(const ModelDesc& desc, const ModelShare& share, int rank);

  /// Takes this rank's part of `name`. Throws INVALID_ARGUMENT when it is unknown.
  void set(std::string_view name, const WeightReader& reader);
  void load(const ModelFile& file);
  uint64_t load_bytes(const ModelFile& file) const;
  /// Names that were not given yet.
  std::vector<std::string> missing() const;

  const LayerWeights& layer(size_t l) const { return layers_[l]; }
  /// The norm before layer l's attention; with l = layers the last one. They lie in this order.
  const float* input_norm(size_t l) const;
  /// This rank's columns of the embedding, bf16, vocab x embedding_size.
  const char* embedding() const { return embedding_.data(); }
  /// hidden x vocab_size, packed.
  const char* head() const { return head_; }

 private:
  enum class Form { kPacked, kPlain, kFloats };
  /// A part of a weight and where it goes.
  struct Piece {
    WeightRange range;
    Form form;
    char* to;
    size_t first_col;  // kPacked: of the packed matrix
  };
  void add_layer(size_t l);
  void add(const std::string& name, const Piece& piece);
  /// A whole vector, or elements first .. of it.
  void add_floats(const std::string& name, uint64_t first, uint64_t count, float* to);
  /// The next k x n of matrices_.
  char* packed(size_t k, size_t n);
  static void take(const Piece& piece, const WeightReader& reader);

  const ModelDesc desc_;
  const ModelShare share_;
  const int rank_;
  std::vector<LayerWeights> layers_;
  Buffer norms_;  // [2 layers + 1][hidden]: input norms and the last one, then post norms
  Buffer embedding_;
  Buffer matrices_;    // all packed ones in the order in which a step reads them
  size_t packed_ = 0;  // bytes of them given out
  char* head_ = nullptr;
  std::map<std::string, std::vector<Piece>, std::less<>> pieces_;  // of each weight
  std::set<std::string, std::less<>> given_;
};

}  // namespace tw
