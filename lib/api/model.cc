// Models, but for their steps and their keys and values: tilewire/model.h.
#include "lib/api/model.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/api/group.h"
#include "lib/api/issue.h"
#include "lib/model/file.h"
#include "lib/model/name_text.h"
#include "lib/model/names.h"

namespace tw::api {
namespace {

tw_model_t handle_of(HandleTable<tw_model_t, Model, 5>::Place& place,
                     std::unique_ptr<Model> model) {
  model->comm().add_live(
      model.get(), text("a model of %lld layers", static_cast<long long>(model->desc().layers)));
  return place.fill(std::move(model));
}

tw_model_t load(Comm& comm, const char* path, const tw_load_config_t& config) {
  ModelFile file(path);
  auto place = models.place();
  auto model = std::make_unique<Model>(comm, file.desc());
  if (config.progress != nullptr)
    file.set_progress(
        [config](uint64_t done, uint64_t all) { config.progress(done, all, config.user); },
        model->load_bytes(file));
  model->load(file);
  return handle_of(place, std::move(model));
}

/// Far beyond any weight, and products stay within 64 bits.
constexpr size_t kMostElements = size_t{1} << 31;

void check_size(size_t value, size_t least, size_t most, const char* name) {
  if (value < least || value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "tw_model_set_weight: weight.%s = %zu; valid: %zu to %zu", name,
         value, least, most);
}

/// Throws unless the part lies within the whole.
void check_within(const char* what, size_t first, size_t count, size_t whole, const char* name) {
  if (first + count > whole)
    fail(TW_ERROR_INVALID_ARGUMENT, "weight %s: %s %zu to %zu were given; valid: up to %zu",
         name_text(name).c_str(), what, first, first + count, whole);
}

/// Throws when the part, or the whole as the caller knows it, is not the model's. Names that the
/// model does not know are found out later.
void check_shape(const tw_weight_t& weight, const Model& model) {
  for (const ExpectedWeight& expected : expected_weights(model.desc())) {
    if (expected.name != weight.name) continue;
    check_within("rows", weight.first_row, weight.rows, expected.rows, weight.name);
    check_within("columns", weight.first_col, weight.cols, expected.cols, weight.name);
    const size_t rows = weight.whole_rows == 0 ? expected.rows : weight.whole_rows;
    const size_t cols = weight.whole_cols == 0 ? expected.cols : weight.whole_cols;
    if (rows != expected.rows || cols != expected.cols)
      fail(TW_ERROR_INVALID_ARGUMENT, "weight %s is %zu x %zu; valid: %llu x %llu",
           name_text(weight.name).c_str(), rows, cols,
           static_cast<unsigned long long>(expected.rows),
           static_cast<unsigned long long>(expected.cols));
  }
}

WeightSource source_of(const tw_weight_t& weight, const Model& model) {
  require(weight.name, "tw_model_set_weight", "weight.name");
  require(weight.data, "tw_model_set_weight", "weight.data");
  if (weight.type != TW_BF16 && weight.type != TW_FP16 && weight.type != TW_FP32)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "tw_model_set_weight: weight.type = %d; valid: TW_BF16, TW_FP16, TW_FP32",
         static_cast<int>(weight.type));
  check_size(weight.rows, 1, kMostElements, "rows");
  check_size(weight.cols, 1, kMostElements, "cols");
  if (weight.row_stride != 0)
    check_size(weight.row_stride, weight.cols, kMostElements, "row_stride");
  check_size(weight.first_row, 0, kMostElements, "first_row");
  check_size(weight.first_col, 0, kMostElements, "first_col");
  check_size(weight.whole_rows, 0, kMostElements, "whole_rows");
  check_size(weight.whole_cols, 0, kMostElements, "whole_cols");
  WeightSource source;
  source.data = weight.data;
  source.type = weight.type;
  source.rows = weight.rows;
  source.cols = weight.cols;
  source.row_stride = weight.row_stride != 0 ? weight.row_stride : weight.cols;
  source.first_row = weight.first_row;
  source.first_col = weight.first_col;
  check_shape(weight, model);
  return source;
}

ExpectedWeight expected_weight(const Model& model, const char* name) {
  for (ExpectedWeight& weight : expected_weights(model.desc()))
    if (weight.name == name) return std::move(weight);
  fail(TW_ERROR_INVALID_ARGUMENT,
       "tw_model_weight_shape: name = %s is no weight of this model; valid: Hugging Face's names, "
       "as tw_model_missing lists them",
       name_text(name).c_str());
}

}  // namespace
}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_model_create(tw_comm_t comm, const tw_model_desc_t* desc, tw_model_t* model) {
  return guard([&] {
    const CommInUse use(comm);
    require_cpu(*use, "tw_model_create");
    require(desc, "tw_model_create", "desc");
    require(model, "tw_model_create", "model");
    const ModelDesc checked = checked_desc(desc, "tw_model_create");
    auto place = models.place();
    *model = handle_of(place, std::make_unique<Model>(*use, checked));
  });
}

tw_status_t tw_model_load(tw_comm_t comm, const char* path, const tw_load_config_t* config,
                          tw_model_t* model) {
  return guard([&] {
    const CommInUse use(comm);
    require_cpu(*use, "tw_model_load");
    require(path, "tw_model_load", "path");
    require(model, "tw_model_load", "model");
    *model = load(*use, path,
                  versioned(config, tw_load_config_t TW_LOAD_CONFIG_INIT, "tw_load_config_t"));
  });
}

tw_status_t tw_model_destroy(tw_model_t model) {
  return guard([&] {
    group::refuse_call("tw_model_destroy");
    auto pinned = pin(model);
    Model& m = *pinned;
    Comm& comm = m.comm();
    const InUse use(comm);
    comm.device().drain();  // queued steps use the model
    pinned.release();       // nobody else destroys it while `use` lives
    models.erase(model);
    comm.remove_live(&m);
    const std::unique_ptr<Model> gone(&m);
  });
}

tw_status_t tw_model_get_desc(tw_model_t model, tw_model_desc_t* desc) {
  return guard([&] {
    const auto pinned = pin(model);
    require(desc, "tw_model_get_desc", "desc");
    answer(desc, described((*pinned).desc()), "tw_model_desc_t");
  });
}

tw_status_t tw_model_set_weight(tw_model_t model, const tw_weight_t* weight) {
  return guard([&] {
    const ModelInUse m(model);
    require(weight, "tw_model_set_weight", "weight");
    const tw_weight_t given = versioned(weight, tw_weight_t TW_WEIGHT_INIT, "tw_weight_t");
    const WeightSource source = source_of(given, *m);
    m->set_weight(given.name, source);
  });
}

tw_status_t tw_model_weight_shape(tw_model_t model, const char* name, size_t* rows, size_t* cols) {
  return guard([&] {
    const auto pinned = pin(model);
    require(name, "tw_model_weight_shape", "name");
    require(rows, "tw_model_weight_shape", "rows");
    require(cols, "tw_model_weight_shape", "cols");
    const ExpectedWeight weight = expected_weight(*pinned, name);
    *rows = weight.rows;
    *cols = weight.cols;
  });
}

tw_status_t tw_model_missing(tw_model_t model, char* text, size_t bytes, size_t* needed) {
  return guard([&] {
    const ModelInUse m(model);
    require(needed, "tw_model_missing", "needed");
    if (bytes != 0) require(text, "tw_model_missing", "text");
    std::string names;
    for (const std::string& name : m->missing_weights()) names += name + "\n";
    answer_text(names, text, bytes, needed);
  });
}

tw_status_t tw_model_vocab_shard(tw_model_t model, int rank, size_t* begin, size_t* end) {
  return guard([&] {
    const auto pinned = pin(model);
    const Model& m = *pinned;
    require_range(rank, 0, m.comm().size() - 1, "tw_model_vocab_shard", "rank");
    require(begin, "tw_model_vocab_shard", "begin");
    require(end, "tw_model_vocab_shard", "end");
    const std::vector<size_t>& first = m.vocab_begin();
    *begin = first[static_cast<size_t>(rank)];
    *end = first[static_cast<size_t>(rank) + 1];
  });
}

tw_status_t tw_model_memory(tw_model_t model, const tw_model_limits_t* limits,
                            tw_model_bytes_t* bytes) {
  return guard([&] {
    const ModelInUse m(model);
    require(limits, "tw_model_memory", "limits");
    require(bytes, "tw_model_memory", "bytes");
    const ModelMemory memory = m->memory(checked_limits(limits, *m, "tw_model_memory"));
    tw_model_bytes_t told = TW_MODEL_BYTES_INIT;
    told.weights = memory.weights;
    told.kv = memory.kv;
    told.activations = memory.activations;
    told.local = memory.local;
    answer(bytes, told, "tw_model_bytes_t");
  });
}

tw_status_t tw_model_prepare(tw_model_t model, const tw_model_limits_t* limits) {
  return guard([&] {
    group::refuse_call("tw_model_prepare");
    const ModelInUse m(model);
    require(limits, "tw_model_prepare", "limits");
    check_ready(m->comm(), nullptr);
    const ModelLimits checked = checked_limits(limits, *m, "tw_model_prepare");
    m->prepare(checked);
  });
}

tw_status_t tw_model_launches(tw_model_t model, uint64_t* launches) {
  return guard([&] {
    const auto pinned = pin(model);
    require(launches, "tw_model_launches", "launches");
    *launches = (*pinned).launches();
  });
}

tw_status_t tw_model_set_tracing(tw_model_t model, int on) {
  return guard([&] {
    const ModelInUse m(model);
    require_range(on, 0, 1, "tw_model_set_tracing", "on");
    m->set_tracing(on != 0);
  });
}

tw_status_t tw_model_write_trace(tw_model_t model, const char* path) {
  return guard([&] {
    group::refuse_call("tw_model_write_trace");
    const ModelInUse m(model);
    require(path, "tw_model_write_trace", "path");
    check_ready(m->comm(), nullptr);
    m->write_trace(path);
  });
}
