#include "lib/model/weights.h"

#include <algorithm>

#include "lib/base/error.h"
#include "lib/device/pack.h"
#include "lib/model/names.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

constexpr size_t kReadRows = 64;  // of a matrix at a time

class FileReader final : public WeightReader {
 public:
  FileReader(const ModelFile& file, std::string_view name) : file_(file), name_(name) {}
  void read(const WeightRange& range, uint16_t* out, size_t stride) const override {
    file_.read(name_, range, out, stride);
  }
  void read(const WeightRange& range, float* out, size_t stride) const override {
    file_.read(name_, range, out, stride);
  }

 private:
  const ModelFile& file_;
  std::string_view name_;
};

size_t packed_size(size_t k, size_t n) {
  return k == 0 || n == 0 ? 0 : packed_bytes(PackedFor::kCpu, k, n, TW_BF16);
}

size_t packed_size(const ModelDesc& desc, const ModelShare& share, int rank) {
  const auto hidden = static_cast<size_t>(desc.hidden);
  const size_t q = share.q_size(rank), qkv = share.qkv_size(rank), ffn = share.ffn_size(rank);
  return static_cast<size_t>(desc.layers) *
             (packed_size(hidden, qkv) + packed_size(q, hidden) + packed_size(hidden, 2 * ffn) +
              packed_size(ffn, hidden)) +
         packed_size(hidden, share.vocab_size(rank));
}

}  // namespace

ModelWeights::ModelWeights(const ModelDesc& desc, const ModelShare& share, int rank)
    : desc_(desc),
      share_(share),
      rank_(rank),
      layers_(static_cast<size_t>(desc.layers)),
      norms_((2 * layers_.size() + 1) * static_cast<size_t>(desc.hidden) * sizeof(float)) {
  for (const ExpectedWeight& w : expected_weights(desc)) pieces_[w.name];
  const auto hidden = static_cast<uint64_t>(desc.hidden), vocab = static_cast<uint64_t>(desc.vocab);
  const auto r = static_cast<size_t>(rank);
  const size_t cols = share.embedding_size(rank), tokens = share.vocab_size(rank);
  embedding_ = Buffer(vocab * cols * sizeof(uint16_t));
  matrices_ = Buffer(packed_size(desc, share, rank));
  for (size_t l = 0; l < layers_.size(); ++l) add_layer(l);
  head_ = packed(hidden, tokens);
  add("model.embed_tokens.weight",
      {{0, vocab, share.embedding[r], cols}, Form::kPlain, embedding_.data(), 0});
  add(desc.tied_embeddings ? "model.embed_tokens.weight" : "lm_head.weight",
      {{share.vocab[r], tokens, 0, hidden}, Form::kPacked, head_, 0});
  add_floats("model.norm.weight", 0, hidden, const_cast<float*>(input_norm(layers_.size())));
}

size_t ModelWeights::bytes(const ModelDesc& desc, const ModelShare& share, int rank) {
  const auto hidden = static_cast<size_t>(desc.hidden), vocab = static_cast<size_t>(desc.vocab);
  const auto layers = static_cast<size_t>(desc.layers);
  return packed_size(desc, share, rank) + (2 * layers + 1) * hidden * sizeof(float) +
         vocab * share.embedding_size(rank) * sizeof(uint16_t);
}

const float* ModelWeights::input_norm(size_t l) const {
  return reinterpret_cast<const float*>(norms_.data()) + l * static_cast<size_t>(desc_.hidden);
}

char* ModelWeights::packed(size_t k, size_t n) {
  const size_t bytes = packed_size(k, n);
  if (bytes == 0) return nullptr;
  char* const at = matrices_.data() + packed_;
  packed_ += bytes;
  pack_header(k, n, at);
  return at;
}

void ModelWeights::add(const std::string& name, const Piece& piece) {
  if (piece.range.rows != 0 && piece.range.cols != 0) pieces_.at(name).push_back(piece);
}

void ModelWeights::add_floats(const std::string& name, uint64_t first, uint64_t count, float* to) {
  add(name, {{0, 1, first, count}, Form::kFloats, reinterpret_cast<char*>(to), 0});
}

void ModelWeights::add_layer(size_t l) {
  LayerWeights& w = layers_[l];
  const std::string prefix = "model.layers." + std::to_string(l) + ".";
  const auto r = static_cast<size_t>(rank_);
  const HeadShare& heads = share_.heads[r];
  const auto hidden = static_cast<size_t>(desc_.hidden);
  const size_t head = heads.head_size, q = heads.queries * head, kv = heads.kvs * head;
  const size_t ffn = share_.ffn_size(rank_), first_ffn = share_.ffn[r];

  w.qkv = packed(hidden, q + 2 * kv);
  w.o = packed(q, hidden);
  w.gate_up = packed(hidden, 2 * ffn);
  w.down = packed(ffn, hidden);
  const auto floats = [](size_t n) { return Buffer(n * sizeof(float)); };
  if (desc_.q_bias || desc_.k_bias || desc_.v_bias) w.qkv_bias = floats(q + 2 * kv);
  if (desc_.mlp_bias) w.gate_up_bias = floats(2 * ffn);
  // Added once, by the first rank that has a part of the sum.
  if (desc_.o_bias && heads.first_query == 0 && q != 0) w.o_bias = floats(hidden);
  if (desc_.mlp_bias && first_ffn == 0 && ffn != 0) w.down_bias = floats(hidden);

  /// Outputs first .. of a product's weight, as columns of `to` from `at`, with their bias.
  const auto outputs = [&](const std::string& name, size_t first, size_t count, char* to, size_t at,
                           const Buffer& bias, bool has_bias) {
    add(prefix + name + ".weight", {{first, count, 0, hidden}, Form::kPacked, to, at});
    if (has_bias)
      add_floats(prefix + name + ".bias", first, count, reinterpret_cast<float*>(bias.data()) + at);
  };
  const size_t first_kv = heads.first_kv * head;
  outputs("self_attn.q_proj", heads.first_query * head, q, w.qkv, 0, w.qkv_bias, desc_.q_bias);
  outputs("self_attn.k_proj", first_kv, kv, w.qkv, q, w.qkv_bias, desc_.k_bias);
  outputs("self_attn.v_proj", first_kv, kv, w.qkv, q + kv, w.qkv_bias, desc_.v_bias);
  outputs("mlp.gate_proj", first_ffn, ffn, w.gate_up, 0, w.gate_up_bias, desc_.mlp_bias);
  outputs("mlp.up_proj", first_ffn, ffn, w.gate_up, ffn, w.gate_up_bias, desc_.mlp_bias);

  /// Inputs first .. of one whose outputs are all added up over the ranks.
  const auto inputs = [&](const std::string& name, size_t first, size_t count, char* to,
                          const Buffer& bias) {
    add(prefix + name + ".weight", {{0, hidden, first, count}, Form::kPacked, to, 0});
    if (bias.data() != nullptr)
      add_floats(prefix + name + ".bias", 0, hidden, reinterpret_cast<float*>(bias.data()));
  };
  inputs("self_attn.o_proj", heads.first_query * head, q, w.o, w.o_bias);
  inputs("mlp.down_proj", first_ffn, ffn, w.down, w.down_bias);

  add_floats(prefix + "input_layernorm.weight", 0, hidden, const_cast<float*>(input_norm(l)));
  w.post_norm = input_norm(layers_.size() + 1 + l);
  add_floats(prefix + "post_attention_layernorm.weight", 0, hidden,
             const_cast<float*>(w.post_norm));
  if (!desc_.qk_norm) return;
  w.q_norm = floats(head);
  w.k_norm = floats(head);
  add_floats(prefix + "self_attn.q_norm.weight", 0, head,
             reinterpret_cast<float*>(w.q_norm.data()));
  add_floats(prefix + "self_attn.k_norm.weight", 0, head,
             reinterpret_cast<float*>(w.k_norm.data()));
}

void ModelWeights::take(const Piece& piece, const WeightReader& reader) {
  const WeightRange& all = piece.range;
  if (piece.form == Form::kFloats)
    return reader.read(all, reinterpret_cast<float*>(piece.to), all.cols);
  if (piece.form == Form::kPlain)
    return reader.read(all, reinterpret_cast<uint16_t*>(piece.to), all.cols);
  std::vector<uint16_t> rows(std::min<size_t>(kReadRows, all.rows) * all.cols);
  for (uint64_t i = 0; i < all.rows; i += kReadRows) {
    const uint64_t n = std::min<uint64_t>(kReadRows, all.rows - i);
    reader.read({all.first_row + i, n, all.first_col, all.cols}, rows.data(), all.cols);
    pack_columns(piece.to, piece.first_col + i, n, rows.data(), all.cols);
  }
}

void ModelWeights::set(std::string_view name, const WeightReader& reader) {
  const auto found = pieces_.find(name);
  if (found == pieces_.end())
    fail(TW_ERROR_INVALID_ARGUMENT,
         "the model has no weight \"%.*s\"; valid: Hugging Face's names of a %s model's weights",
         static_cast<int>(name.size()), name.data(), family_name(desc_.family));
  for (const Piece& piece : found->second) take(piece, reader);
  given_.insert(found->first);
}

void ModelWeights::load(const ModelFile& file) {
  for (const auto& [name, pieces] : pieces_) set(name, FileReader(file, name));
}

uint64_t ModelWeights::load_bytes(const ModelFile& file) const {
  uint64_t sum = 0;
  for (const auto& [name, pieces] : pieces_)
    for (const Piece& piece : pieces) sum += file.bytes_of(name, piece.range);
  return sum;
}

std::vector<std::string> ModelWeights::missing() const {
  std::vector<std::string> names;
  for (const auto& [name, pieces] : pieces_)
    if (!given_.contains(name)) names.push_back(name);
  return names;
}

}  // namespace tw
