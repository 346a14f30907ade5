#include "lib/cli/tw_generate/synthetic.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <mutex>
#include <sstream>
#include <vector>

namespace tw::cli {
namespace {

struct Shape {
  const char* name;
  int64_t layers, hidden, heads, kv_heads, head_size, ffn, vocab;
  bool tied;
  float rope_factor;
};

/// Of Meta's configurations of Llama 3.1 (8B, 70B) and 3.2 (1B).
constexpr Shape kShapes[] = {
    {"llama-1b", 16, 2048, 32, 8, 64, 8192, 128256, true, 32},
    {"llama-8b", 32, 4096, 32, 8, 128, 14336, 128256, false, 8},
    {"llama-70b", 80, 8192, 64, 8, 128, 28672, 128256, false, 8},
};

/// splitmix64, by Sebastiano Vigna (public domain): a number of each state.
uint64_t next(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint16_t bf16(float value) { return static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16); }

void fill(const std::string& name, float most, std::vector<uint16_t>* values) {
  uint64_t state = std::hash<std::string>()(name);
  uint64_t drawn = 0;
  for (size_t i = 0; i < values->size(); ++i, drawn >>= 16) {
    if (i % 4 == 0) drawn = next(&state);
    const auto step = static_cast<int32_t>(drawn & 0xffff) - 0x8000;
    (*values)[i] = bf16(static_cast<float>(step) * (most / 0x8000));
  }
}

std::string missing(tw_model_t model) {
  size_t needed = 0;
  cpp::check(tw_model_missing(model, nullptr, 0, &needed));
  std::string names(needed, '\0');
  cpp::check(tw_model_missing(model, names.data(), names.size(), &needed));
  return names.c_str();
}

void set_weight(tw_model_t model, const std::string& name) {
  tw_weight_t weight = TW_WEIGHT_INIT;
  weight.name = name.c_str();
  cpp::check(tw_model_weight_shape(model, weight.name, &weight.rows, &weight.cols));
  std::vector<uint16_t> values(weight.rows * weight.cols);
  if (weight.rows == 1)
    std::fill(values.begin(), values.end(), bf16(1));
  else
    fill(name, std::sqrt(3.0F / static_cast<float>(weight.cols)), &values);
  weight.data = values.data();
  cpp::check(tw_model_set_weight(model, &weight));
}

}  // namespace

std::string shape_names() {
  std::string names;
  for (const Shape& shape : kShapes) names += (names.empty() ? "" : ", ") + std::string(shape.name);
  return names;
}

std::optional<tw_model_desc_t> find_shape(const std::string& name, int layers) {
  for (const Shape& shape : kShapes) {
    if (shape.name != name) continue;
    tw_model_desc_t desc = TW_MODEL_DESC_INIT;
    desc.layers = layers > 0 ? std::min<int64_t>(layers, shape.layers) : shape.layers;
    desc.hidden = shape.hidden;
    desc.heads = shape.heads;
    desc.kv_heads = shape.kv_heads;
    desc.head_size = shape.head_size;
    desc.ffn = shape.ffn;
    desc.vocab = shape.vocab;
    desc.context = 131072;
    desc.rms_norm_eps = 1e-5F;
    desc.rope_theta = 500000;
    desc.rope_scaling = TW_ROPE_SCALING_LLAMA3;
    desc.rope_factor = shape.rope_factor;
    desc.rope_low_freq_factor = 1;
    desc.rope_high_freq_factor = 4;
    desc.rope_original_context = 8192;
    desc.tied_embeddings = shape.tied ? 1 : 0;
    return desc;
  }
  return std::nullopt;
}

cpp::Model make_synthetic(tw_comm_t comm, const tw_model_desc_t& desc) {
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> lock(one_at_a_time);
  tw_model_t handle = nullptr;
  cpp::check(tw_model_create(comm, &desc, &handle));
  cpp::Model model(handle);
  std::istringstream names(missing(handle));
  for (std::string name; std::getline(names, name);) set_weight(handle, name);
  return model;
}

}  // namespace tw::cli
