#include "tests/support/model_ranks.h"

#include <algorithm>
#include <cstring>
#include <random>

namespace tw::test {
namespace {

tw_comm_config_t comm_config(int workers) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.workers = workers;
  return config;
}

void make_ready(tw_model_t model, const tw_model_limits_t& limits) {
  EXPECT_EQ(tw_model_prepare(model, &limits), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_model_kv_create(model, limits.page_size, limits.pages), TW_OK) << tw_last_error();
}

}  // namespace

tw_model_desc_t desc_of(const LlamaConfig& config) {
  tw_model_desc_t desc = TW_MODEL_DESC_INIT;
  desc.layers = config.layers;
  desc.hidden = config.hidden;
  desc.heads = config.heads;
  desc.kv_heads = config.kv_heads;
  desc.head_size = config.head_size;
  desc.ffn = config.ffn;
  desc.vocab = config.vocab;
  desc.context = 1 << 16;
  desc.rms_norm_eps = static_cast<float>(config.rms_eps);
  desc.rope_theta = static_cast<float>(config.rope_theta);
  desc.rope_scaling = static_cast<tw_rope_scaling_t>(config.rope.kind);
  desc.rope_factor = static_cast<float>(config.rope.factor);
  desc.rope_low_freq_factor = static_cast<float>(config.rope.low_freq_factor);
  desc.rope_high_freq_factor = static_cast<float>(config.rope.high_freq_factor);
  desc.rope_original_context = config.rope.original_context;
  desc.sliding_window = config.window;
  desc.tied_embeddings = config.tied;
  desc.q_bias = desc.k_bias = desc.v_bias = config.qkv_bias;
  desc.o_bias = config.o_bias;
  desc.mlp_bias = config.mlp_bias;
  desc.qk_norm = config.qk_norm;
  return desc;
}

tw_model_t make_model(tw_comm_t comm, const ReferenceModel& reference,
                      const tw_model_limits_t& limits) {
  tw_model_t model = nullptr;
  const tw_model_desc_t desc = desc_of(reference.config);
  EXPECT_EQ(tw_model_create(comm, &desc, &model), TW_OK) << tw_last_error();
  for (const auto& [name, from] : reference.weights) {
    tw_weight_t weight = TW_WEIGHT_INIT;
    weight.name = name.c_str();
    weight.data = from.values.data();
    weight.type = TW_FP32;
    weight.rows = from.rows;
    weight.cols = from.cols;
    EXPECT_EQ(tw_model_set_weight(model, &weight), TW_OK) << tw_last_error();
  }
  make_ready(model, limits);
  return model;
}

LlamaConfig small_config() {
  LlamaConfig c;
  c.hidden = 48;
  c.heads = 6;
  c.kv_heads = 3;
  c.head_size = 64;
  c.ffn = 80;
  c.vocab = 131;
  return c;
}

tw_model_limits_t step_limits(uint32_t rows, uint32_t page_size) {
  tw_model_limits_t l = TW_MODEL_LIMITS_INIT;
  l.rows = l.logit_rows = rows;
  l.sequences = std::min(rows, 8u);
  l.context = 1024;
  l.page_size = page_size;
  l.pages = 4096 / page_size;
  l.table_pages = 2 * l.pages;
  l.slots = 4;
  return l;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

ModelRanks::ModelRanks(int vocab, const ModelRanksShape& shape)
    : vocab_(static_cast<size_t>(vocab)),
      limits_(shape.limits),
      comm_config_(comm_config(shape.workers)),
      ranks_(shape.ranks, &comm_config_),
      models_(static_cast<size_t>(shape.ranks)),
      users_(shape.limits.pages) {
  for (uint32_t page = limits_.pages; page-- > 0;) free_.push_back(page);
}

ModelRanks::ModelRanks(const ReferenceModel& model, const ModelRanksShape& shape)
    : ModelRanks(model.config.vocab, shape) {
  ranks_.run([&](int rank, tw_comm_t comm) {
    models_[static_cast<size_t>(rank)] = make_model(comm, model, limits_);
  });
}

ModelRanks::ModelRanks(const std::string& file, int vocab, const ModelRanksShape& shape)
    : ModelRanks(vocab, shape) {
  ranks_.run([&](int rank, tw_comm_t comm) {
    tw_model_t* const model = &models_[static_cast<size_t>(rank)];
    EXPECT_EQ(tw_model_load(comm, file.c_str(), nullptr, model), TW_OK) << tw_last_error();
    make_ready(*model, limits_);
  });
}

ModelRanks::~ModelRanks() {
  ranks_.run([&](int rank, tw_comm_t) {
    EXPECT_EQ(tw_model_destroy(model(rank)), TW_OK) << tw_last_error();
  });
}

uint32_t ModelRanks::take_page() {
  EXPECT_FALSE(free_.empty()) << "the test wants more pages than there are";
  const uint32_t page = free_.back();
  free_.pop_back();
  users_[page] = 1;
  reused_ += used_.insert(page).second ? 0 : 1;
  return page;
}
void ModelRanks::give_page(uint32_t page) {
  if (--users_[page] == 0) free_.push_back(page);
}

void ModelRanks::end(int sequence) {
  for (const uint32_t page : sequences_[sequence].pages) give_page(page);
  sequences_.erase(sequence);
}

void ModelRanks::fork(int from, int to, int tokens) {
  const Sequence source = sequences_[from];
  Sequence& made = sequences_[to];
  made.length = tokens;
  const auto size = static_cast<int>(limits_.page_size);
  for (int p = 0; p * size < tokens; ++p) {
    const uint32_t page = source.pages[static_cast<size_t>(p)];
    if ((p + 1) * size <= tokens) {
      ++users_[page];
      made.pages.push_back(page);
      continue;
    }
    const uint32_t copy = take_page();
    made.pages.push_back(copy);
    for (int r = 0; r < ranks_.size(); ++r)
      EXPECT_EQ(tw_model_kv_copy(model(r), &page, &copy, 1), TW_OK) << tw_last_error();
  }
}

void ModelRanks::shuffle_pages(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::shuffle(free_.begin(), free_.end(), random);
}

ModelRanks::Arrays ModelRanks::arrays_of(const std::vector<Chunk>& chunks) {
  Arrays a;
  const uint32_t size = limits_.page_size;
  for (const Chunk& chunk : chunks) {
    Sequence& sequence = sequences_[chunk.sequence];
    for (const int token : chunk.tokens) {
      const auto position = static_cast<uint32_t>(sequence.length++);
      if (position / size == sequence.pages.size()) sequence.pages.push_back(take_page());
      a.tokens.push_back(token);
      a.positions.push_back(static_cast<int32_t>(position));
      a.slots.push_back(int64_t{sequence.pages[position / size]} * size + position % size);
    }
    a.query_begin.push_back(static_cast<uint32_t>(a.tokens.size()));
    a.pages.insert(a.pages.end(), sequence.pages.begin(), sequence.pages.end());
    a.page_begin.push_back(static_cast<uint32_t>(a.pages.size()));
  }
  return a;
}

tw_step_t ModelRanks::Arrays::step() const {
  tw_step_t s = TW_STEP_INIT;
  s.rows = static_cast<uint32_t>(tokens.size());
  s.sequences = static_cast<uint32_t>(query_begin.size()) - 1;
  s.logit_rows = static_cast<uint32_t>(logit_row.size());
  s.tokens = tokens.data();
  s.positions = positions.data();
  s.slots = slots.data();
  s.query_begin = query_begin.data();
  s.page_begin = page_begin.data();
  s.pages = pages.data();
  s.logit_row = logit_row.data();
  return s;
}

std::vector<float> ModelRanks::step(const std::vector<Chunk>& chunks, bool by_ops) {
  Arrays arrays = arrays_of(chunks);
  for (uint32_t i = 0; i < arrays.tokens.size(); ++i) arrays.logit_row.push_back(i);
  const size_t count = arrays.tokens.size() * vocab_;
  std::vector<std::vector<float>> logits(models_.size(), std::vector<float>(count, -12345.0f));
  ranks_.run([&](int rank, tw_comm_t) {
    tw_step_t step = arrays.step();
    step.logits_to = TW_LOGITS_TO_ALL;
    step.logits = logits[static_cast<size_t>(rank)].data();
    const tw_status_t status = by_ops ? tw_model_step_by_ops(model(rank), &step)
                                      : tw_model_step(model(rank), &step, nullptr);
    EXPECT_EQ(status, TW_OK) << tw_last_error();
  });
  for (const auto& other : logits)
    EXPECT_EQ(std::memcmp(other.data(), logits[0].data(), count * sizeof(float)), 0)
        << "ranks have other logits";
  return logits[0];
}

std::vector<int> ModelRanks::sample(const std::vector<Chunk>& chunks,
                                    const tw_sampling_t& sampling) {
  Arrays arrays = arrays_of(chunks);
  for (size_t s = 1; s < arrays.query_begin.size(); ++s)
    arrays.logit_row.push_back(arrays.query_begin[s] - 1);
  const std::vector<tw_sampling_t> how(chunks.size(), sampling);
  std::vector<std::vector<int32_t>> drawn(models_.size(), std::vector<int32_t>(chunks.size(), -7));
  ranks_.run([&](int rank, tw_comm_t) {
    tw_step_t step = arrays.step();
    step.sampling = how.data();
    step.sampled = drawn[static_cast<size_t>(rank)].data();
    EXPECT_EQ(tw_model_step(model(rank), &step, nullptr), TW_OK) << tw_last_error();
  });
  for (const auto& other : drawn) EXPECT_EQ(other, drawn[0]);
  return {drawn[0].begin(), drawn[0].end()};
}

uint64_t ModelRanks::launches() const {
  uint64_t launches = 0;
  EXPECT_EQ(tw_model_launches(model(0), &launches), TW_OK) << tw_last_error();
  return launches;
}

}  // namespace tw::test
