// The C API of models as far as it needs no running model: every entry point with every kind of bad
// argument, and what can be asked of a model without weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "tests/support/bad_calls.h"
#include "tests/support/refusal.h"

namespace tw::test {
namespace {

template <class T>
T any(int value) {
  return static_cast<T>(value);
}

tw_model_desc_t small_desc() {
  tw_model_desc_t desc = TW_MODEL_DESC_INIT;
  desc.layers = 2;
  desc.hidden = 64;
  desc.heads = 4;
  desc.kv_heads = 2;
  desc.ffn = 96;
  desc.vocab = 100;
  desc.context = 128;
  return desc;
}

tw_model_limits_t small_limits() {
  tw_model_limits_t limits = TW_MODEL_LIMITS_INIT;
  limits.rows = 8;
  limits.sequences = 2;
  limits.logit_rows = 2;
  limits.pages = 16;
  return limits;
}

/// One rank with a model that nothing has been done to, one that is prepared, and one that is gone.
class ModelApi : public ::testing::Test {
 protected:
  static constexpr uint32_t kLayers = 2;

  void SetUp() override {
    ASSERT_EQ(tw_comm_create_all(1, nullptr, &comm_), TW_OK) << tw_last_error();
    const tw_model_desc_t desc = small_desc();
    ASSERT_EQ(tw_model_create(comm_, &desc, &model_), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_model_create(comm_, &desc, &dead_), TW_OK) << tw_last_error();
    ASSERT_EQ(tw_model_destroy(dead_), TW_OK) << tw_last_error();
  }
  void TearDown() override {
    for (const tw_model_t model : {model_, prepared_})
      if (model != nullptr) {
        EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
      }
    EXPECT_EQ(tw_comm_destroy(comm_), TW_OK) << tw_last_error();
  }

  void prepare() {
    const tw_model_desc_t desc = small_desc();
    ASSERT_EQ(tw_model_create(comm_, &desc, &prepared_), TW_OK) << tw_last_error();
    const tw_model_limits_t limits = small_limits();
    ASSERT_EQ(tw_model_prepare(prepared_, &limits), TW_OK) << tw_last_error();
  }

  tw_comm_t comm_ = nullptr;
  tw_model_t model_ = nullptr, prepared_ = nullptr, dead_ = nullptr;
};

/// Every call on a model, its other arguments good.
struct Call {
  const char* name;
  std::function<tw_status_t(tw_model_t)> call;
};

std::vector<Call> calls() {
  static tw_model_desc_t desc = TW_MODEL_DESC_INIT;
  static tw_model_limits_t limits = small_limits();
  static tw_model_bytes_t bytes = TW_MODEL_BYTES_INIT;
  static tw_kv_layout_t layout = TW_KV_LAYOUT_INIT;
  static tw_step_t step = TW_STEP_INIT;
  static float values[128];
  static void* layers[2] = {values, values};
  static uint32_t pages[1];
  static uint64_t launches;
  static size_t a, b;
  static tw_weight_t weight = TW_WEIGHT_INIT;
  weight.name = "model.norm.weight";
  weight.data = values;
  weight.type = TW_FP32;
  weight.rows = 1;
  weight.cols = 64;
  return {
      {"destroy", [](tw_model_t m) { return tw_model_destroy(m); }},
      {"get_desc", [](tw_model_t m) { return tw_model_get_desc(m, &desc); }},
      {"set_weight", [](tw_model_t m) { return tw_model_set_weight(m, &weight); }},
      {"weight_shape",
       [](tw_model_t m) { return tw_model_weight_shape(m, "model.norm.weight", &a, &b); }},
      {"missing", [](tw_model_t m) { return tw_model_missing(m, nullptr, 0, &a); }},
      {"vocab_shard", [](tw_model_t m) { return tw_model_vocab_shard(m, 0, &a, &b); }},
      {"memory", [](tw_model_t m) { return tw_model_memory(m, &limits, &bytes); }},
      {"prepare", [](tw_model_t m) { return tw_model_prepare(m, &limits); }},
      {"kv_layout", [](tw_model_t m) { return tw_model_kv_layout(m, 16, 1, &layout); }},
      {"kv_bind", [](tw_model_t m) { return tw_model_kv_bind(m, &layout, layers, layers); }},
      {"kv_create", [](tw_model_t m) { return tw_model_kv_create(m, 16, 1); }},
      {"kv_copy", [](tw_model_t m) { return tw_model_kv_copy(m, pages, pages, 1); }},
      {"step", [](tw_model_t m) { return tw_model_step(m, &step, nullptr); }},
      {"step_by_ops", [](tw_model_t m) { return tw_model_step_by_ops(m, &step); }},
      {"launches", [](tw_model_t m) { return tw_model_launches(m, &launches); }},
      {"set_tracing", [](tw_model_t m) { return tw_model_set_tracing(m, 1); }},
      {"write_trace", [](tw_model_t m) { return tw_model_write_trace(m, "/nonexistent/trace"); }},
  };
}

TEST_F(ModelApi, BadHandles) {
  char foreign[64] = {};
  for (const Call& call : calls()) {
    expect_refused(call.call(nullptr), kHandle, call.name, {"model", "NULL"});
    expect_refused(call.call(dead_), kHandle, call.name, {"model", "destroyed"});
    expect_refused(call.call(reinterpret_cast<tw_model_t>(foreign)), kHandle, call.name, {"model"});
    expect_refused(call.call(reinterpret_cast<tw_model_t>(comm_)), kHandle, call.name, {"model"});
  }
}

TEST_F(ModelApi, CollectiveCallsAreRefusedInGroups) {
  for (const Call& call : calls()) {
    const std::string name = call.name;
    if (name != "destroy" && name != "prepare" && name != "step" && name != "step_by_ops" &&
        name != "write_trace")
      continue;
    ASSERT_EQ(tw_group_begin(), TW_OK);
    expect_refused(call.call(model_), kState, call.name, {"tw_group_begin", "valid"});
    EXPECT_EQ(tw_group_end(), kState) << call.name;
  }
}

TEST_F(ModelApi, NullPointers) {
  const tw_model_desc_t desc = small_desc();
  const tw_model_limits_t limits = small_limits();
  tw_model_bytes_t bytes = TW_MODEL_BYTES_INIT;
  tw_kv_layout_t layout = TW_KV_LAYOUT_INIT;
  tw_model_t model = nullptr;
  size_t n = 0;
  uint32_t page = 0;
  char text[8];
  const auto refused = [&](tw_status_t got, const char* says) {
    expect_refused(got, kArgument, says, {says, "NULL", "valid"});
  };
  refused(tw_model_create(comm_, nullptr, &model), "desc");
  refused(tw_model_create(comm_, &desc, nullptr), "model");
  refused(tw_model_load(comm_, nullptr, nullptr, &model), "path");
  refused(tw_model_load(comm_, "x.gguf", nullptr, nullptr), "model");
  refused(tw_model_get_desc(model_, nullptr), "desc");
  refused(tw_model_set_weight(model_, nullptr), "weight");
  refused(tw_model_weight_shape(model_, nullptr, &n, &n), "name");
  refused(tw_model_weight_shape(model_, "x", nullptr, &n), "rows");
  refused(tw_model_weight_shape(model_, "x", &n, nullptr), "cols");
  refused(tw_model_missing(model_, text, sizeof text, nullptr), "needed");
  refused(tw_model_missing(model_, nullptr, 8, &n), "text");
  refused(tw_model_vocab_shard(model_, 0, nullptr, &n), "begin");
  refused(tw_model_vocab_shard(model_, 0, &n, nullptr), "end");
  refused(tw_model_memory(model_, nullptr, &bytes), "limits");
  refused(tw_model_memory(model_, &limits, nullptr), "bytes");
  refused(tw_model_prepare(model_, nullptr), "limits");
  refused(tw_model_kv_layout(model_, 16, 4, nullptr), "layout");
  refused(tw_model_kv_bind(model_, nullptr, nullptr, nullptr), "layout");
  ASSERT_EQ(tw_model_kv_layout(model_, 16, 4, &layout), TW_OK) << tw_last_error();
  refused(tw_model_kv_bind(model_, &layout, nullptr, nullptr), "k");
  refused(tw_model_kv_copy(model_, nullptr, &page, 1), "from");
  refused(tw_model_kv_copy(model_, &page, nullptr, 1), "to");
  refused(tw_model_step(model_, nullptr, nullptr), "step");
  refused(tw_model_step_by_ops(model_, nullptr), "step");
  refused(tw_model_launches(model_, nullptr), "launches");
  refused(tw_model_write_trace(model_, nullptr), "path");
}

TEST_F(ModelApi, BadComms) {
  const tw_model_desc_t desc = small_desc();
  tw_model_t model = nullptr;
  expect_refused(tw_model_create(nullptr, &desc, &model), kHandle, "create", {"comm"});
  expect_refused(tw_model_load(nullptr, "x.gguf", nullptr, &model), kHandle, "load", {"comm"});
}

TEST_F(ModelApi, BadDescriptions) {
  struct Row {
    const char* says;
    const char* value;
    std::function<void(tw_model_desc_t&)> change;
  };
  const std::vector<Row> rows = {
      {"layers", "0", [](tw_model_desc_t& d) { d.layers = 0; }},
      {"layers", "-1", [](tw_model_desc_t& d) { d.layers = -1; }},
      {"hidden", "0", [](tw_model_desc_t& d) { d.hidden = 0; }},
      {"hidden", "9223372036854775807", [](tw_model_desc_t& d) { d.hidden = INT64_MAX; }},
      {"heads", "0", [](tw_model_desc_t& d) { d.heads = 0; }},
      {"heads", "3", [](tw_model_desc_t& d) { d.kv_heads = 3; }},
      {"heads", "5", [](tw_model_desc_t& d) { d.kv_heads = 5; }},
      {"head size", "17", [](tw_model_desc_t& d) { d.head_size = 17; }},
      {"head size", "-2", [](tw_model_desc_t& d) { d.head_size = -2; }},
      {"feed-forward", "0", [](tw_model_desc_t& d) { d.ffn = 0; }},
      {"vocabulary", "0", [](tw_model_desc_t& d) { d.vocab = 0; }},
      {"context", "0", [](tw_model_desc_t& d) { d.context = 0; }},
      {"epsilon", "0", [](tw_model_desc_t& d) { d.rms_norm_eps = 0; }},
      {"epsilon", "nan",
       [](tw_model_desc_t& d) { d.rms_norm_eps = std::numeric_limits<float>::quiet_NaN(); }},
      {"base", "-1", [](tw_model_desc_t& d) { d.rope_theta = -1; }},
      {"rope_scaling", "3", [](tw_model_desc_t& d) { d.rope_scaling = any<tw_rope_scaling_t>(3); }},
      {"factor", "0", [](tw_model_desc_t& d) { d.rope_scaling = TW_ROPE_SCALING_LINEAR; }},
      {"rope_high_freq_factor", "0",
       [](tw_model_desc_t& d) { d.rope_scaling = TW_ROPE_SCALING_LLAMA3; }},
      {"window", "-1", [](tw_model_desc_t& d) { d.sliding_window = -1; }},
      {"tied_embeddings", "2", [](tw_model_desc_t& d) { d.tied_embeddings = 2; }},
      {"q_bias", "-1", [](tw_model_desc_t& d) { d.q_bias = -1; }},
      {"qk_norm", "7", [](tw_model_desc_t& d) { d.qk_norm = 7; }},
      {"size", "3", [](tw_model_desc_t& d) { d.size = 3; }},
      {"size", "valid", [](tw_model_desc_t& d) { d.size = SIZE_MAX; }},
  };
  for (const Row& row : rows) {
    tw_model_desc_t desc = small_desc();
    row.change(desc);
    tw_model_t model = nullptr;
    expect_refused(tw_model_create(comm_, &desc, &model), kArgument, row.says,
                   {row.says, row.value});
    EXPECT_EQ(model, nullptr) << row.says;
  }
  float divisors[8] = {1, 1, 1, 0, 1, 1, 1, 1};
  tw_model_desc_t desc = small_desc();
  desc.rope_divisors = divisors;
  tw_model_t model = nullptr;
  expect_refused(tw_model_create(comm_, &desc, &model), kArgument, "divisor", {"RoPE factor is 0"});
}

TEST_F(ModelApi, ADescriptionComesBack) {
  float divisors[8] = {1, 1, 2, 2, 4, 4, 8, 8};
  tw_model_desc_t desc = small_desc();
  desc.rope_divisors = divisors;
  desc.o_bias = 1;
  desc.sliding_window = 32;
  tw_model_t model = nullptr;
  ASSERT_EQ(tw_model_create(comm_, &desc, &model), TW_OK) << tw_last_error();
  struct {
    tw_model_desc_t desc = TW_MODEL_DESC_INIT;
    char newer[16];
  } got;
  std::memset(got.newer, 7, sizeof got.newer);
  got.desc.size = sizeof got;  // of a program that knows more
  ASSERT_EQ(tw_model_get_desc(model, &got.desc), TW_OK) << tw_last_error();
  EXPECT_EQ(got.desc.size, sizeof got);
  EXPECT_EQ(got.desc.layers, 2);
  EXPECT_EQ(got.desc.head_size, 16);  // hidden / heads
  EXPECT_EQ(got.desc.o_bias, 1);
  EXPECT_EQ(got.desc.q_bias, 0);
  EXPECT_EQ(got.desc.sliding_window, 32);
  ASSERT_NE(got.desc.rope_divisors, nullptr);
  EXPECT_TRUE(std::equal(std::begin(divisors), std::end(divisors), got.desc.rope_divisors));
  for (const char byte : got.newer) EXPECT_EQ(byte, 0);
  // And of one that knows less: nothing is written beyond what it has.
  tw_model_desc_t old = TW_MODEL_DESC_INIT;
  old.size = offsetof(tw_model_desc_t, heads);
  old.heads = -77;
  ASSERT_EQ(tw_model_get_desc(model, &old), TW_OK) << tw_last_error();
  EXPECT_EQ(old.hidden, 64);
  EXPECT_EQ(old.heads, -77);
  EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
}

TEST_F(ModelApi, TheCommNamesModelsThatLive) {
  expect_refused(tw_comm_destroy(comm_), kState, "destroy", {"a model of 2 layers"});
}

TEST_F(ModelApi, FilesThatAreNone) {
  tw_model_t model = nullptr;
  expect_refused(tw_model_load(comm_, "nonesuch.gguf", nullptr, &model), kArgument, "load",
                 {"nonesuch.gguf"});
  expect_refused(tw_model_load(comm_, "README.md", nullptr, &model), kArgument, "load",
                 {"README.md", "valid"});
  tw_load_config_t config = TW_LOAD_CONFIG_INIT;
  config.size = 1;
  expect_refused(tw_model_load(comm_, "x.gguf", &config, &model), kArgument, "load", {"size = 1"});
  EXPECT_EQ(model, nullptr);
}

TEST_F(ModelApi, AFileIsLoadedWithProgress) {
  struct Told {
    uint64_t done = 0, all = 0;
  } told;
  tw_load_config_t config = TW_LOAD_CONFIG_INIT;
  config.progress = [](uint64_t done, uint64_t all, void* user) {
    *static_cast<Told*>(user) = {done, all};
  };
  config.user = &told;
  tw_model_t model = nullptr;
  ASSERT_EQ(tw_model_load(comm_, "tests/fixtures/models/llama.gguf", &config, &model), TW_OK)
      << tw_last_error();
  size_t needed = 0;
  EXPECT_EQ(tw_model_missing(model, nullptr, 0, &needed), TW_OK) << tw_last_error();
  EXPECT_EQ(needed, 1u);
  EXPECT_GT(told.done, 0u);
  EXPECT_LE(told.done, told.all);
  EXPECT_EQ(tw_model_destroy(model), TW_OK) << tw_last_error();
}

TEST_F(ModelApi, BadWeights) {
  struct Row {
    std::vector<std::string> says;
    std::function<void(tw_weight_t&)> change;
  };
  static float values[100 * 64];
  const std::vector<Row> rows = {
      {{"weight.name", "NULL"}, [](tw_weight_t& w) { w.name = nullptr; }},
      {{"weight.data", "NULL"}, [](tw_weight_t& w) { w.data = nullptr; }},
      {{"weight.type = 0", "valid"}, [](tw_weight_t& w) { w.type = TW_INT8; }},
      {{"weight.type = -1", "valid"}, [](tw_weight_t& w) { w.type = any<tw_type_t>(-1); }},
      {{"weight.rows = 0", "valid"}, [](tw_weight_t& w) { w.rows = 0; }},
      {{"weight.cols = 0", "valid"}, [](tw_weight_t& w) { w.cols = 0; }},
      {{"weight.rows", "valid"}, [](tw_weight_t& w) { w.rows = SIZE_MAX; }},
      {{"weight.row_stride = 63", "64"}, [](tw_weight_t& w) { w.row_stride = 63; }},
      {{"weight.first_row", "valid"}, [](tw_weight_t& w) { w.first_row = SIZE_MAX; }},
      {{"weight.first_col", "valid"}, [](tw_weight_t& w) { w.first_col = SIZE_MAX; }},
      {{"model.embed_tokens.bias"}, [](tw_weight_t& w) { w.name = "model.embed_tokens.bias"; }},
      {{"model.embed_tokens.weight"}, [](tw_weight_t& w) { w.rows = 99; }},
      {{"model.embed_tokens.weight"}, [](tw_weight_t& w) { w.cols = 63; }},
      {{"model.layers.2.mlp.up_proj.weight"},
       [](tw_weight_t& w) { w.name = "model.layers.2.mlp.up_proj.weight"; }},
      {{"model.embed_tokens.weight", "1 to 101"}, [](tw_weight_t& w) { w.first_row = 1; }},
      {{"model.embed_tokens.weight", "100 x 64"}, [](tw_weight_t& w) { w.whole_rows = 101; }},
      {{"model.embed_tokens.weight", "100 x 64"}, [](tw_weight_t& w) { w.whole_cols = 63; }},
      {{"size"}, [](tw_weight_t& w) { w.size = 0; }},
  };
  for (const Row& row : rows) {
    tw_weight_t weight = TW_WEIGHT_INIT;
    weight.name = "model.embed_tokens.weight";
    weight.data = values;
    weight.type = TW_FP32;
    weight.rows = 100;
    weight.cols = 64;
    row.change(weight);
    expect_refused(tw_model_set_weight(model_, &weight), kArgument, row.says[0], row.says);
  }
}

TEST_F(ModelApi, WeightsAreNamedUntilTheyAreSet) {
  size_t needed = 0;
  ASSERT_EQ(tw_model_missing(model_, nullptr, 0, &needed), TW_OK) << tw_last_error();
  std::string names(needed, '?');
  ASSERT_EQ(tw_model_missing(model_, names.data(), names.size(), &needed), TW_OK);
  EXPECT_EQ(names.back(), '\0');
  for (const char* name : {"model.embed_tokens.weight\n", "model.layers.1.mlp.down_proj.weight\n",
                           "model.norm.weight\n", "lm_head.weight\n"})
    EXPECT_NE(names.find(name), std::string::npos) << name;
  char cut[6];
  ASSERT_EQ(tw_model_missing(model_, cut, sizeof cut, &needed), TW_OK);
  EXPECT_EQ(needed, names.size());
  EXPECT_EQ(std::strlen(cut), 5u);

  size_t rows = 0, cols = 0;
  ASSERT_EQ(tw_model_weight_shape(model_, "model.layers.1.self_attn.k_proj.weight", &rows, &cols),
            TW_OK);
  EXPECT_EQ(rows, 32u);
  EXPECT_EQ(cols, 64u);
  expect_refused(tw_model_weight_shape(model_, "lm_head.bias", &rows, &cols), kArgument, "shape",
                 {"lm_head.bias", "valid"});

  const std::vector<float> ones(64, 1.0F);
  tw_weight_t weight = TW_WEIGHT_INIT;
  weight.name = "model.norm.weight";
  weight.data = ones.data();
  weight.type = TW_FP32;
  weight.rows = 1;
  weight.cols = 64;
  ASSERT_EQ(tw_model_set_weight(model_, &weight), TW_OK) << tw_last_error();
  ASSERT_EQ(tw_model_missing(model_, names.data(), names.size(), &needed), TW_OK);
  EXPECT_EQ(names.find("model.norm.weight\n"), std::string::npos);
}

TEST_F(ModelApi, ShardsOfTheVocabulary) {
  size_t begin = 9, end = 9;
  ASSERT_EQ(tw_model_vocab_shard(model_, 0, &begin, &end), TW_OK) << tw_last_error();
  EXPECT_EQ(begin, 0u);
  EXPECT_EQ(end, 100u);
  expect_refused(tw_model_vocab_shard(model_, 1, &begin, &end), kArgument, "shard", {"rank = 1"});
  expect_refused(tw_model_vocab_shard(model_, -1, &begin, &end), kArgument, "shard", {"rank = -1"});
}

TEST_F(ModelApi, BadLimits) {
  struct Row {
    const char* says;
    std::function<void(tw_model_limits_t&)> change;
  };
  const std::vector<Row> rows = {
      {"limits.rows = 0", [](tw_model_limits_t& l) { l.rows = 0; }},
      {"limits.rows = 4294967295", [](tw_model_limits_t& l) { l.rows = UINT32_MAX; }},
      {"limits.sequences = 0", [](tw_model_limits_t& l) { l.sequences = 0; }},
      {"limits.sequences = 9", [](tw_model_limits_t& l) { l.sequences = 9; }},
      {"limits.logit_rows = 9", [](tw_model_limits_t& l) { l.logit_rows = 9; }},
      {"limits.context", [](tw_model_limits_t& l) { l.context = UINT32_MAX; }},
      {"limits.page_size", [](tw_model_limits_t& l) { l.page_size = UINT32_MAX; }},
      {"limits.pages = 0", [](tw_model_limits_t& l) { l.pages = 0; }},
      {"size = 1", [](tw_model_limits_t& l) { l.size = 1; }},
  };
  tw_model_bytes_t bytes = TW_MODEL_BYTES_INIT;
  for (const Row& row : rows) {
    tw_model_limits_t limits = small_limits();
    row.change(limits);
    expect_refused(tw_model_memory(model_, &limits, &bytes), kArgument, row.says, {row.says});
    expect_refused(tw_model_prepare(model_, &limits), kArgument, row.says, {row.says});
  }
  const tw_model_limits_t limits = small_limits();
  bytes.size = 2;
  expect_refused(tw_model_memory(model_, &limits, &bytes), kArgument, "bytes", {"size = 2"});
}

TEST_F(ModelApi, BadLayouts) {
  tw_kv_layout_t layout = TW_KV_LAYOUT_INIT;
  expect_refused(tw_model_kv_layout(model_, 0, 4, &layout), kArgument, "layout", {"page_size = 0"});
  expect_refused(tw_model_kv_layout(model_, 16, 0, &layout), kArgument, "layout", {"pages = 0"});
  expect_refused(tw_model_kv_create(model_, 0, 4), kArgument, "create", {"page_size = 0"});
  expect_refused(tw_model_kv_create(model_, 16, 0), kArgument, "create", {"pages = 0"});
  ASSERT_EQ(tw_model_kv_layout(model_, 16, 4, &layout), TW_OK) << tw_last_error();
  EXPECT_EQ(layout.heads, 2u);
  EXPECT_EQ(layout.head_size, 16u);
  EXPECT_GE(layout.layer_bytes, size_t{2} * 16 * 4 * 2 * 16);
  struct Row {
    std::vector<std::string> says;
    std::function<void(tw_kv_layout_t&)> change;
  };
  const std::vector<Row> rows = {
      {{"layout.type = 8", "valid: 7"}, [](tw_kv_layout_t& l) { l.type = TW_FP32; }},
      {{"layout.heads = 3", "valid: 2"}, [](tw_kv_layout_t& l) { l.heads = 3; }},
      {{"layout.head_size = 8", "valid: 16"}, [](tw_kv_layout_t& l) { l.head_size = 8; }},
      {{"page_size = 0"}, [](tw_kv_layout_t& l) { l.page_size = 0; }},
      {{"pages = 0"}, [](tw_kv_layout_t& l) { l.pages = 0; }},
      {{"layout.token = 15", "valid: 16"}, [](tw_kv_layout_t& l) { l.token = 15; }},
      {{"layout.page", "valid"}, [](tw_kv_layout_t& l) { l.page -= 1; }},
      {{"layout.page", "valid"}, [](tw_kv_layout_t& l) { l.page = SIZE_MAX; }},
      {{"layout.head", "valid"}, [](tw_kv_layout_t& l) { l.head = 0; }},
      {{"size"}, [](tw_kv_layout_t& l) { l.size = 0; }},
  };
  char memory[64];
  void* layers[kLayers] = {memory, memory};
  for (const Row& row : rows) {
    tw_kv_layout_t bad = layout;
    row.change(bad);
    expect_refused(tw_model_kv_bind(model_, &bad, layers, layers), kArgument, row.says[0],
                   row.says);
  }
  void* lacking[kLayers] = {memory, nullptr};
  expect_refused(tw_model_kv_bind(model_, &layout, lacking, layers), kArgument, "k", {"k[1]"});
  expect_refused(tw_model_kv_bind(model_, &layout, layers, lacking), kArgument, "v", {"v[1]"});
}

/// A step of two rows of one sequence; nothing is wrong with it.
struct Arrays {
  int32_t tokens[2] = {1, 2};
  int32_t positions[2] = {0, 1};
  int64_t slots[2] = {0, 1};
  uint32_t query_begin[2] = {0, 2};
  uint32_t page_begin[2] = {0, 1};
  uint32_t pages[1] = {0};
  uint32_t logit_row[1] = {1};
  tw_sampling_t sampling[1] = {{0, 0, 1, -1, 0}};
  uint32_t adapters[2] = {0, 3};
  int32_t sampled[1] = {};
  float room[256] = {};

  tw_step_t step() {
    tw_step_t s = TW_STEP_INIT;
    s.rows = 2;
    s.sequences = 1;
    s.logit_rows = 1;
    s.tokens = tokens;
    s.positions = positions;
    s.slots = slots;
    s.query_begin = query_begin;
    s.page_begin = page_begin;
    s.pages = pages;
    s.logit_row = logit_row;
    s.sampling = sampling;
    s.sampled = sampled;
    return s;
  }
};

struct BadStep {
  std::vector<std::string> says;
  std::function<void(tw_step_t&, Arrays&)> change;
  tw_status_t status = kArgument;
};

std::vector<BadStep> bad_steps() {
  return {
      {{"step.rows = 0", "valid"}, [](tw_step_t& s, Arrays&) { s.rows = 0; }},
      {{"step.rows = 9", "limits.rows"}, [](tw_step_t& s, Arrays&) { s.rows = 9; }},
      {{"step.sequences = 0"}, [](tw_step_t& s, Arrays&) { s.sequences = 0; }},
      {{"step.sequences = 3", "limits"}, [](tw_step_t& s, Arrays&) { s.sequences = 3; }},
      {{"step.logit_rows = 3", "limits"}, [](tw_step_t& s, Arrays&) { s.logit_rows = 3; }},
      {{"step.tokens", "NULL"}, [](tw_step_t& s, Arrays&) { s.tokens = nullptr; }},
      {{"step.positions", "NULL"}, [](tw_step_t& s, Arrays&) { s.positions = nullptr; }},
      {{"step.slots", "NULL"}, [](tw_step_t& s, Arrays&) { s.slots = nullptr; }},
      {{"step.query_begin", "NULL"}, [](tw_step_t& s, Arrays&) { s.query_begin = nullptr; }},
      {{"step.page_begin", "NULL"}, [](tw_step_t& s, Arrays&) { s.page_begin = nullptr; }},
      {{"step.pages", "NULL"}, [](tw_step_t& s, Arrays&) { s.pages = nullptr; }},
      {{"step.logit_row", "NULL"}, [](tw_step_t& s, Arrays&) { s.logit_row = nullptr; }},
      {{"step.sampling", "NULL"}, [](tw_step_t& s, Arrays&) { s.sampling = nullptr; }},
      {{"step.adapters[1] = 3"},
       [](tw_step_t& s, Arrays& a) { s.adapters = a.adapters; },
       TW_ERROR_UNSUPPORTED},
      {{"step.logits_to = 4"}, [](tw_step_t& s, Arrays&) { s.logits_to = any<tw_logits_to_t>(4); }},
      {{"step.logits", "NULL"}, [](tw_step_t& s, Arrays&) { s.logits_to = TW_LOGITS_TO_ALL; }},
      {{"step.logits_rank = 1"},
       [](tw_step_t& s, Arrays& a) {
         s.logits_to = TW_LOGITS_TO_ONE;
         s.logits_rank = 1;
         s.logits = a.room;
       }},
      {{"step.logits_type = 2"},
       [](tw_step_t& s, Arrays& a) {
         s.logits_to = TW_LOGITS_TO_ALL;
         s.logits = a.room;
         s.logits_type = TW_INT32;
       }},
      {{"step.logits_stride = 99", "100"},
       [](tw_step_t& s, Arrays& a) {
         s.logits_to = TW_LOGITS_TO_OWN_SHARD;
         s.logits = a.room;
         s.logits_stride = 99;
       }},
      {{"step.first_layer = 3", "0 to 2"}, [](tw_step_t& s, Arrays&) { s.first_layer = 3; }},
      {{"step.hidden_in", "NULL"}, [](tw_step_t& s, Arrays&) { s.first_layer = 1; }},
      {{"step.last_layer = 0", "1 to 2"},
       [](tw_step_t& s, Arrays&) {
         s.first_layer = 1;
         s.last_layer = 0;
       }},
      {{"step.last_layer = 3", "0 to 2"}, [](tw_step_t& s, Arrays&) { s.last_layer = 3; }},
      {{"step.hidden_type = 0"},
       [](tw_step_t& s, Arrays& a) {
         s.hidden_in = a.room;
         s.hidden_type = TW_INT8;
       }},
      {{"size = 4"}, [](tw_step_t& s, Arrays&) { s.size = 4; }},
      {{"size"}, [](tw_step_t& s, Arrays&) { s.size = SIZE_MAX; }},
  };
}

TEST_F(ModelApi, BadSteps) {
  ASSERT_NO_FATAL_FAILURE(prepare());
  uint64_t before = 0, after = 1;
  EXPECT_EQ(tw_model_launches(prepared_, &before), TW_OK) << tw_last_error();
  for (const BadStep& row : bad_steps()) {
    Arrays arrays;
    tw_step_t step = arrays.step();
    row.change(step, arrays);
    expect_refused(tw_model_step(prepared_, &step, nullptr), row.status, row.says[0], row.says);
    expect_refused(tw_model_step_by_ops(prepared_, &step), row.status, row.says[0], row.says);
  }
  EXPECT_EQ(tw_model_launches(prepared_, &after), TW_OK) << tw_last_error();
  EXPECT_EQ(before, after);
}

TEST_F(ModelApi, StepsNeedAPreparedModelWithEverything) {
  Arrays arrays;
  const tw_step_t step = arrays.step();
  expect_refused(tw_model_step(model_, &step, nullptr), kState, "not prepared",
                 {"tw_model_prepare"});
  ASSERT_NO_FATAL_FAILURE(prepare());
  expect_refused(tw_model_step(prepared_, &step, nullptr), kState, "no weights, no KV", {});
  const uint32_t page = 1;
  expect_refused(tw_model_kv_copy(prepared_, &page, &page, 1), kState, "no KV", {"kv_create"});
  ASSERT_EQ(tw_model_kv_create(prepared_, 16, 16), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_model_kv_copy(prepared_, &page, &page, 1), TW_OK) << tw_last_error();
  const tw_model_limits_t limits = small_limits();
  ASSERT_EQ(tw_model_prepare(prepared_, &limits), TW_OK) << tw_last_error();
  expect_refused(tw_model_kv_copy(prepared_, &page, &page, 1), kState, "KV of before", {});
  expect_refused(tw_model_step(prepared_, &step, arrays.room), kHandle, "foreign stream",
                 {"stream"});
}

TEST_F(ModelApi, TracingIsOnOrOff) {
  expect_refused(tw_model_set_tracing(model_, 2), kArgument, "tracing", {"on = 2", "0 to 1"});
}

}  // namespace
}  // namespace tw::test
