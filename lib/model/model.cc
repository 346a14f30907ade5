#include "lib/model/model.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/comm/issue.h"
#include "lib/model/rows.h"
#include "lib/model/run.h"
#include "lib/model/share.h"
#include "lib/model/weights.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

/// Reads a weight from the caller's memory.
class SourceReader final : public WeightReader {
 public:
  SourceReader(std::string_view name, const WeightSource& source) : name_(name), source_(source) {}

  void read(const WeightRange& range, uint16_t* out, size_t stride) const override {
    copy(range, {out, stride, TW_BF16});
  }
  void read(const WeightRange& range, float* out, size_t stride) const override {
    copy(range, {out, stride, TW_FP32});
  }

 private:
  void copy(const WeightRange& range, const Matrix& out) const {
    check("rows", range.first_row, range.rows, source_.first_row, source_.rows);
    check("columns", range.first_col, range.cols, source_.first_col, source_.cols);
    const Matrix from{const_cast<void*>(source_.data), source_.row_stride, source_.type};
    const TilePlace at =
        from.at(range.first_row - source_.first_row, range.first_col - source_.first_col);
    copy_rows({at.data, at.stride, at.type}, out, range.rows, range.cols);
  }
  void check(const char* what, uint64_t first, uint64_t count, uint64_t there, size_t have) const {
    const unsigned long long need_end = first + count, have_end = there + have;
    if (first >= there && need_end <= have_end) return;
    fail(TW_ERROR_INVALID_ARGUMENT,
         "weight \"%.*s\": this rank needs %s %llu to %llu, the source has %llu to %llu",
         static_cast<int>(name_.size()), name_.data(), what, static_cast<unsigned long long>(first),
         need_end, static_cast<unsigned long long>(there), have_end);
  }

  std::string_view name_;
  const WeightSource& source_;
};

}  // namespace

class Model::Impl {
 public:
  Impl(Comm& comm, const ModelDesc& desc)
      : comm_(comm),
        desc_(checked(comm, desc)),
        share_(desc_, comm.size()),
        weights_(desc_, share_, comm.rank()) {}
  ~Impl() { comm_.device().drain(); }

  static const ModelDesc& checked(const Comm& comm, const ModelDesc& desc) {
    check_desc(desc, "tw_model_create");
    if (comm.size() > kMaxFusedRanks)
      fail(TW_ERROR_UNSUPPORTED, "tw_model_create: a comm of %d ranks; supported: up to %d",
           comm.size(), kMaxFusedRanks);
    if (desc.head_size % 16 != 0 || desc.head_size > kMostHeadSize)
      fail(TW_ERROR_UNSUPPORTED,
           "tw_model_create: heads of %lld elements; supported: multiples of 16 up to %u",
           static_cast<long long>(desc.head_size), kMostHeadSize);
    return desc;
  }

  ModelRun& run(const char* function) {
    if (run_ == nullptr)
      fail(TW_ERROR_INVALID_STATE, "%s: the model has not been prepared; valid after prepare",
           function);
    return *run_;
  }

  void require_weights(const char* function) {
    if (complete_) return;
    const std::vector<std::string> missing = weights_.missing();
    if (!missing.empty())
      fail(TW_ERROR_INVALID_STATE, "%s: %zu weights are missing, the first \"%s\"", function,
           missing.size(), missing[0].c_str());
    complete_ = true;
  }

  ModelRun& ready(const Step& step, const char* function) {
    ModelRun& ready = run(function);
    require_weights(function);
    if (!ready.bound())
      fail(TW_ERROR_INVALID_STATE,
           "%s: the model has no KV memory; valid after kv_bind or kv_create", function);
    ready.check(step, function);
    return ready;
  }

  void bind(const KvMemory& memory) {
    const ModelLimits& limits = run("tw_model_kv_bind").limits();
    const auto differs = [](const char* what, size_t value, size_t valid) {
      if (value != valid)
        fail(TW_ERROR_INVALID_ARGUMENT, "KV memory: %s = %zu; valid: %zu, as prepared", what, value,
             valid);
    };
    differs("page_size", memory.layout.page_size, limits.page_size);
    differs("pages", memory.layout.pages, limits.pages);
    differs("bases of K", memory.k.size(), layers());
    differs("bases of V", memory.v.size(), layers());
    run_->bind(memory);
    kv_ = memory;
  }

  void create_kv(uint32_t page_size, uint32_t pages) {
    KvMemory memory;
    memory.layout = tw::kv_layout(desc_, share_, comm_.rank(), page_size, pages);
    const size_t bytes = layer_bytes(memory.layout);
    Buffer buffer(2 * layers() * bytes);
    for (size_t l = 0; l < layers(); ++l) {
      memory.k.push_back(buffer.data() + 2 * l * bytes);
      memory.v.push_back(buffer.data() + (2 * l + 1) * bytes);
    }
    bind(memory);
    own_kv_ = std::move(buffer);
  }

  static size_t layer_bytes(const KvLayout& layout) {
    const size_t bytes = layout.page * layout.pages * packed_element(layout.type);
    return std::max<size_t>(divide_up(bytes, 64) * 64, 64);
  }

  void copy_pages(const uint32_t* from, const uint32_t* to, size_t count) {
    if (!run("tw_model_kv_copy").bound())
      fail(TW_ERROR_INVALID_STATE,
           "tw_model_kv_copy: the model has no KV memory; valid after kv_bind or kv_create");
    comm_.device().drain();
    const KvLayout& l = kv_.layout;
    const auto in_range = [&](const char* array, size_t i, uint32_t page) {
      if (page >= l.pages)
        fail(TW_ERROR_INVALID_ARGUMENT, "tw_model_kv_copy: %s[%zu] = %u; valid: 0 to %u", array, i,
             page, l.pages - 1);
    };
    for (size_t i = 0; i < count; ++i) {
      in_range("from", i, from[i]);
      in_range("to", i, to[i]);
    }
    for (size_t layer = 0; layer < kv_.k.size(); ++layer)
      for (size_t i = 0; i < count; ++i)
        for (char* const base : {kv_.k[layer], kv_.v[layer]}) copy_page(base, from[i], to[i]);
  }

  size_t layers() const { return static_cast<size_t>(desc_.layers); }

  Comm& comm_;
  const ModelDesc desc_;
  const ModelShare share_;
  ModelWeights weights_;
  std::unique_ptr<ModelRun> run_;
  KvMemory kv_;
  Buffer own_kv_;

 private:
  void copy_page(char* base, uint32_t from, uint32_t to) const {
    const KvLayout& l = kv_.layout;
    const size_t element = packed_element(l.type), bytes = l.head_size * element;
    for (size_t h = 0; h < l.heads; ++h)
      for (size_t t = 0; t < l.page_size; ++t) {
        const size_t at = h * l.head + t * l.token;
        std::memmove(base + (to * l.page + at) * element, base + (from * l.page + at) * element,
                     bytes);
      }
  }

  bool complete_ = false;
};

Model::Model(Comm& comm, const ModelDesc& desc) : impl_(std::make_unique<Impl>(comm, desc)) {}
Model::~Model() = default;

Comm& Model::comm() const { return impl_->comm_; }
const ModelDesc& Model::desc() const { return impl_->desc_; }
const std::vector<size_t>& Model::vocab_begin() const { return impl_->share_.vocab; }

void Model::set_weight(std::string_view name, const WeightSource& source) {
  impl_->comm_.device().drain();
  impl_->weights_.set(name, SourceReader(name, source));
}
void Model::load(const ModelFile& file) {
  impl_->comm_.device().drain();
  impl_->weights_.load(file);
}
uint64_t Model::load_bytes(const ModelFile& file) const { return impl_->weights_.load_bytes(file); }
std::vector<std::string> Model::missing_weights() const { return impl_->weights_.missing(); }

ModelMemory Model::memory(const ModelLimits& limits) const {
  ModelRun::check(impl_->desc_, limits);
  return ModelRun::memory(impl_->comm_, impl_->desc_, impl_->share_, limits);
}
void Model::prepare(const ModelLimits& limits) {
  ModelRun::check(impl_->desc_, limits);
  impl_->run_.reset();
  impl_->own_kv_ = {};
  impl_->run_ = std::make_unique<ModelRun>(impl_->comm_, impl_->desc_, impl_->share_,
                                           impl_->weights_, limits);
}
bool Model::prepared() const { return impl_->run_ != nullptr; }
const ModelLimits& Model::limits() const { return impl_->run("limits").limits(); }

KvLayout Model::kv_layout(uint32_t page_size, uint32_t pages) const {
  return tw::kv_layout(impl_->desc_, impl_->share_, impl_->comm_.rank(), page_size, pages);
}
size_t Model::kv_layer_bytes(const KvLayout& layout) const { return Impl::layer_bytes(layout); }
void Model::kv_bind(const KvMemory& memory) { impl_->bind(memory); }
void Model::kv_create(uint32_t page_size, uint32_t pages) { impl_->create_kv(page_size, pages); }
void Model::kv_copy(const uint32_t* from, const uint32_t* to, size_t count) {
  impl_->copy_pages(from, to, count);
}

void Model::step(const Step& step, tw_stream_t stream) {
  ModelRun& run = impl_->ready(step, "tw_model_step");
  StagedStep& staged = run.stage(step);
  run.number(&staged);
  issue_numbered(impl_->comm_, stream, [&run, &staged] {
    run.run(staged);
    return TW_OK;
  });
}

void Model::step_by_ops(const Step& step) {
  ModelRun& run = impl_->ready(step, "tw_model_step_by_ops");
  impl_->comm_.device().drain();
  run.run_by_ops(run.stage(step));
}

void Model::set_tracing(bool on) {
  ModelRun& run = impl_->run("tw_model_set_tracing");
  impl_->comm_.device().drain();
  run.set_tracing(on);
}
void Model::write_trace(const std::string& path) {
  impl_->run("tw_model_write_trace").write_trace(path);
}

uint64_t Model::launches() const { return impl_->comm_.device().launches(); }

}  // namespace tw
