// What each rank has of a model: query heads with the K and V heads that they read, columns of the
// feed-forward network, of the embedding, and tokens of the vocabulary, in whole units; every rank
// computes all of it alike. Heads, embedding and vocabulary are nearly equal; who has fewer heads
// has more of the feed-forward network: ranks that then wait for each other within a layer fetch
// weights meanwhile (tile/fetch_ahead.h).
#pragma once

#include <cstddef>
#include <vector>

#include "lib/model/desc.h"
#include "tilewire/kernels/llama.h"

namespace tw {

struct ModelShare {
  ModelShare(const ModelDesc& desc, int ranks);

  /// With as many K and V heads as ranks or more, each rank has whole groups; else query heads are
  /// divided, and ranks of one group each have its K and V head. Ranks may have none.
  std::vector<HeadShare> heads;
  std::vector<size_t> ffn;        // [ranks + 1] first column of each rank
  std::vector<size_t> vocab;      // [ranks + 1] first token
  std::vector<size_t> embedding;  // [ranks + 1] first column of the embedding

  size_t ffn_size(int rank) const { return size(ffn, rank); }
  size_t vocab_size(int rank) const { return size(vocab, rank); }
  size_t embedding_size(int rank) const { return size(embedding, rank); }
  /// Columns of q, k and v together.
  size_t qkv_size(int rank) const;
  size_t q_size(int rank) const;

 private:
  void divide_ffn(size_t columns);
  static size_t size(const std::vector<size_t>& begin, int rank) {
    const auto r = static_cast<size_t>(rank);
    return begin[r + 1] - begin[r];
  }
};

}  // namespace tw
