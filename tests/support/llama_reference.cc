#include "tests/support/llama_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "tests/support/add_scaled.h"

namespace tw::test {
namespace {

constexpr double kTwoPi = 6.283185307179586476925;

/// The sum of x[i] * y[i] for i < n. ThreadSanitizer does not look: only the caller has these.
__attribute__((no_sanitize("thread"))) double dot(const double* x, const double* y, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

/// out[r] = the sum of w[r][i] * x[i] for i < cols, in order of i. Four rows at a time, because the
/// chain of additions is what takes time. Not for ThreadSanitizer, as dot().
__attribute__((no_sanitize("thread"))) void multiply(double* out, const double* x, const float* w,
                                                     size_t rows, size_t cols) {
  size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    const float* w0 = w + r * cols;
    const float *w1 = w0 + cols, *w2 = w1 + cols, *w3 = w2 + cols;
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t i = 0; i < cols; ++i) {
      s0 += w0[i] * x[i];
      s1 += w1[i] * x[i];
      s2 += w2[i] * x[i];
      s3 += w3[i] * x[i];
    }
    out[r] = s0, out[r + 1] = s1, out[r + 2] = s2, out[r + 3] = s3;
  }
  for (; r < rows; ++r) {
    out[r] = 0;
    for (size_t i = 0; i < cols; ++i) out[r] += w[r * cols + i] * x[i];
  }
}

void round_if(bool asked, double* x, size_t n) {
  if (!asked) return;
  for (size_t i = 0; i < n; ++i) x[i] = round_to_bf16(x[i]);
}

void round_if(bool asked, std::vector<double>& x) { round_if(asked, x.data(), x.size()); }

/// Llama 3: wave lengths beyond original_context / low_freq_factor are stretched by `factor`, those
/// below original_context / high_freq_factor are left, and between them the frequency goes over
/// linearly in original_context / wave length.
double llama3_frequency(const RopeScaling& s, double frequency) {
  const double waves = s.original_context * frequency / kTwoPi;
  if (waves < s.low_freq_factor) return frequency / s.factor;
  if (waves > s.high_freq_factor) return frequency;
  const double kept = (waves - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return kept * frequency + (1 - kept) * frequency / s.factor;
}

/// Pairs are (i, i + half), as in Hugging Face's files.
void rotate(double* head, const std::vector<double>& frequencies, int position) {
  const size_t half = frequencies.size();
  for (size_t i = 0; i < half; ++i) {
    const double cosine = std::cos(position * frequencies[i]);
    const double sine = std::sin(position * frequencies[i]);
    const double a = head[i], b = head[i + half];
    head[i] = a * cosine - b * sine;
    head[i + half] = b * cosine + a * sine;
  }
}

}  // namespace

Rounding Rounding::fused() {
  Rounding r;
  r.norms = r.cached = r.probabilities = r.attention = r.residual = r.swiglu = true;
  return r;
}

Rounding Rounding::all() {
  Rounding r = fused();
  r.qkv = r.projections = r.gate_up = r.logits = true;
  return r;
}

std::vector<double> rope_frequencies(const LlamaConfig& c) {
  std::vector<double> frequencies(c.head_size / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double plain = std::pow(c.rope_theta, -2.0 * static_cast<double>(i) / c.head_size);
    frequencies[i] = c.rope.kind == RopeScaling::kLinear   ? plain / c.rope.factor
                     : c.rope.kind == RopeScaling::kLlama3 ? llama3_frequency(c.rope, plain)
                                                           : plain;
  }
  return frequencies;
}

ReferenceSequence::ReferenceSequence(const ReferenceModel& model, const Rounding& rounding)
    : model_(&model),
      rounding_(rounding),
      frequencies_(rope_frequencies(model.config)),
      caches_(model.config.layers) {}

ReferenceSequence::Values ReferenceSequence::append(const std::vector<int>& tokens) {
  std::vector<int> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), next_position_);
  return append(tokens, positions);
}

ReferenceSequence::Values ReferenceSequence::append(const std::vector<int>& tokens,
                                                    const std::vector<int>& positions) {
  if (tokens.empty()) return {};
  next_position_ = positions.back() + 1;
  return head(run(embed(tokens), positions, 0, model_->config.layers));
}

ReferenceSequence::Values ReferenceSequence::embed(const std::vector<int>& tokens) const {
  const size_t hidden = model_->config.hidden;
  const float* table = weight("model.embed_tokens.weight");
  Values rows;
  for (const int token : tokens)
    rows.insert(rows.end(), table + token * hidden, table + (token + 1) * hidden);
  return rows;
}

ReferenceSequence::Values ReferenceSequence::run(Values rows, const std::vector<int>& positions,
                                                 int first, int last) {
  const size_t hidden = model_->config.hidden;
  for (int layer = first; layer < last; ++layer)
    for (size_t i = 0; i < positions.size(); ++i)
      run_row(rows.data() + i * hidden, layer, positions[i]);
  return rows;
}

ReferenceSequence::Values ReferenceSequence::head(const Values& rows) const {
  const LlamaConfig& c = model_->config;
  const float* matrix = weight(c.tied ? "model.embed_tokens.weight" : "lm_head.weight");
  const size_t hidden = c.hidden, vocab = c.vocab, count = rows.size() / hidden;
  Values out(count * vocab);
  for (size_t i = 0; i < count; ++i) {
    Values x = norm(rows.data() + i * hidden, weight("model.norm.weight"), c.hidden);
    round_if(rounding_.norms, x);
    multiply(out.data() + i * vocab, x.data(), matrix, vocab, hidden);
  }
  round_if(rounding_.logits, out);
  return out;
}

const float* ReferenceSequence::weight(const std::string& name) const {
  const auto found = model_->weights.find(name);
  if (found == model_->weights.end()) throw std::out_of_range("the model has no " + name);
  return found->second.values.data();
}

ReferenceSequence::Values ReferenceSequence::norm(const double* x, const float* weight,
                                                  int size) const {
  const double mean_square = dot(x, x, size) / size;
  const double scale = 1 / std::sqrt(mean_square + model_->config.rms_eps);
  Values out(size);
  for (int i = 0; i < size; ++i) out[i] = x[i] * scale * weight[i];
  return out;
}

/// name is without ".weight" and ".bias".
ReferenceSequence::Values ReferenceSequence::linear(const Values& x, const std::string& name,
                                                    bool bias) const {
  const LlamaWeight& matrix = model_->weights.at(name + ".weight");
  Values out(matrix.rows);
  multiply(out.data(), x.data(), matrix.values.data(), matrix.rows, matrix.cols);
  if (!bias) return out;
  const float* addend = weight(name + ".bias");
  for (size_t i = 0; i < out.size(); ++i) out[i] += addend[i];
  return out;
}

/// q or k of one token: normed where the model does that, turned to its position.
void ReferenceSequence::place(Values& heads, const std::string& norm_name, int position) const {
  const int size = model_->config.head_size;
  for (size_t at = 0; at < heads.size(); at += size) {
    if (model_->config.qk_norm) {
      Values normed = norm(heads.data() + at, weight(norm_name), size);
      round_if(rounding_.qkv, normed);
      std::copy(normed.begin(), normed.end(), heads.data() + at);
    }
    rotate(heads.data() + at, frequencies_, position);
  }
  round_if(rounding_.cached, heads);
}

/// The last cached token's attention to all cached tokens in its window.
ReferenceSequence::Values ReferenceSequence::attend(const Values& q, const Cache& cache) const {
  const LlamaConfig& c = model_->config;
  const size_t size = c.head_size, stride = c.kv_heads * size, count = cache.positions.size();
  size_t first = 0;
  if (c.window > 0)
    while (cache.positions.back() - cache.positions[first] >= c.window) ++first;
  Values out(q.size()), weights(count);
  for (int h = 0; h < c.heads; ++h) {
    const size_t kv = h / (c.heads / c.kv_heads) * size;
    double largest = -INFINITY;
    for (size_t i = first; i < count; ++i) {
      const double score = dot(q.data() + h * size, cache.keys.data() + i * stride + kv, size);
      weights[i] = score / std::sqrt(static_cast<double>(size));
      largest = std::max(largest, weights[i]);
    }
    double sum = 0;
    double* to = out.data() + h * size;
    for (size_t i = first; i < count; ++i) {
      double p = std::exp(weights[i] - largest);
      sum += p;
      round_if(rounding_.probabilities, &p, 1);
      add_scaled(to, p, cache.values.data() + i * stride + kv, size);
    }
    for (size_t i = 0; i < size; ++i) to[i] /= sum;
  }
  round_if(rounding_.attention, out);
  return out;
}

ReferenceSequence::Values ReferenceSequence::attention(const Values& x, int layer, int position) {
  const LlamaConfig& c = model_->config;
  const auto name = [layer](const char* of) { return layer_weight(layer, of); };
  Values q = linear(x, name("self_attn.q_proj"), c.qkv_bias);
  Values k = linear(x, name("self_attn.k_proj"), c.qkv_bias);
  Values v = linear(x, name("self_attn.v_proj"), c.qkv_bias);
  for (Values* made : {&q, &k, &v}) round_if(rounding_.qkv, *made);
  place(q, name("self_attn.q_norm.weight"), position);
  place(k, name("self_attn.k_norm.weight"), position);
  round_if(rounding_.cached, v);
  Cache& cache = caches_[layer];
  cache.keys.insert(cache.keys.end(), k.begin(), k.end());
  cache.values.insert(cache.values.end(), v.begin(), v.end());
  cache.positions.push_back(position);
  return linear(attend(q, cache), name("self_attn.o_proj"), c.o_bias);
}

ReferenceSequence::Values ReferenceSequence::mlp(const Values& x, int layer) const {
  const bool bias = model_->config.mlp_bias;
  Values gate = linear(x, layer_weight(layer, "mlp.gate_proj"), bias);
  Values up = linear(x, layer_weight(layer, "mlp.up_proj"), bias);
  for (Values* made : {&gate, &up}) round_if(rounding_.gate_up, *made);
  for (size_t i = 0; i < up.size(); ++i) up[i] *= gate[i] / (1 + std::exp(-gate[i]));
  round_if(rounding_.swiglu, up);
  return linear(up, layer_weight(layer, "mlp.down_proj"), bias);
}

/// One token through one layer; the layer's cache holds the tokens before it.
void ReferenceSequence::run_row(double* row, int layer, int position) {
  const int hidden = model_->config.hidden;
  const auto add = [&](Values part) {
    round_if(rounding_.projections, part);
    for (int i = 0; i < hidden; ++i) row[i] += part[i];
    round_if(rounding_.residual, row, hidden);
  };
  const auto normed = [&](const char* name) {
    Values x = norm(row, weight(layer_weight(layer, name)), hidden);
    round_if(rounding_.norms, x);
    return x;
  };
  add(attention(normed("input_layernorm.weight"), layer, position));
  add(mlp(normed("post_attention_layernorm.weight"), layer));
}

std::vector<double> logits(const ReferenceModel& model, const std::vector<int>& tokens,
                           const Rounding& rounding) {
  return ReferenceSequence(model, rounding).append(tokens);
}

}  // namespace tw::test
