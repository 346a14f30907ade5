// Hugging Face's names of a model's weights: which there are, with which shapes, and what GGUF
// calls them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/model/desc.h"

namespace tw {

struct ExpectedWeight {
  std::string name;
  uint64_t rows;  // 1 for a vector
  uint64_t cols;
};

/// Every weight of such a model, the embedding first, then layer by layer.
std::vector<ExpectedWeight> expected_weights(const ModelDesc& desc);

/// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; "" when unknown.
std::string name_of_gguf(std::string_view name);

}  // namespace tw
