// The peer: oneDNN's bf16 matmul, weights reordered beforehand into the layout that it asks for,
// and an MPI's collective behind or in front of it. Compiled against each oneDNN (perf.mk).
#include <dnnl.hpp>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "perf/gemm/engine.h"
#include "perf/peers/bf16_norm.h"
#include "perf/runner/loops.h"

namespace tw::perf {

namespace {

using dnnl::matmul;
using dnnl::memory;

memory::desc bf16_matrix(size_t rows, size_t columns, size_t stride) {
  const auto number = [](size_t value) { return static_cast<memory::dim>(value); };
  return {{number(rows), number(columns)}, memory::data_type::bf16, {number(stride), 1}};
}

class DnnlEngine final : public Engine {
 public:
  explicit DnnlEngine(Backend& backend)
      : backend_(backend), cpu_(dnnl::engine::kind::cpu, 0), stream_(cpu_) {}

  bool prepare(const Product& product) override {
    const Product before = std::exchange(product_, product);
    const memory::desc weights = std::exchange(weights_, memory::desc());
    if (product.n % product.parts != 0)
      throw std::runtime_error("this peer has as many columns for each rank");
    columns_ = product.n / product.parts;
    if (product.m > 0) {
      prepare_matmul();
    } else {  // nothing to multiply, and no layout to ask for
      weights_ = bf16_matrix(product.k, columns_, columns_);
    }
    return weights_ == weights && product.n == before.n && product.parts == before.parts;
  }

  size_t packed_bytes() const override { return part_bytes() * product_.parts; }

  void pack(const void* plain, void* packed) override {
    for (size_t part = 0; part < product_.parts; ++part) {
      const char* from = static_cast<const char*>(plain) + part * columns_ * 2;
      memory source(bf16_matrix(product_.k, columns_, product_.n), cpu_, const_cast<char*>(from));
      memory target(weights_, cpu_, static_cast<char*>(packed) + part * part_bytes());
      dnnl::reorder(source, target).execute(stream_, source, target);
      stream_.wait();
    }
  }

  void gemm(const GemmCall& c) override { multiply(c.a, c.weights, c.c); }

  void gemm_all_reduce(const GemmCall& c) override {
    multiply(c.a, c.weights, c.c);
    backend_.all_reduce({c.c, c.c, c.m * c.n, TW_BF16});
  }

  void gemm_reduce_scatter(const GemmCall& c) override {
    char* product = scratch(c.m * c.n);
    multiply(c.a, c.weights, product);
    if (single(c)) return backend_.reduce({product, c.c, c.n, TW_BF16});
    backend_.reduce_scatter({product, c.c, share(c) * c.n, TW_BF16});
  }

  void all_gather_gemm(const GemmCall& c) override {
    char* all = scratch(c.m * c.k);
    if (single(c)) {
      backend_.broadcast({c.a, all, c.k, TW_BF16});
    } else {
      backend_.all_gather({c.a, all, share(c) * c.k, TW_BF16});
    }
    multiply(all, c.weights, c.c);
  }

  // One product for each receiver, so that nothing has to be rearranged before or after.
  void gemm_all_to_all(const GemmCall& c) override {
    const size_t rows = c.rows[backend_.rank()];
    char* product = scratch(rows * c.n);
    for (size_t part = 0; part < product_.parts && rows > 0; ++part)
      multiply(c.a, static_cast<const char*>(c.weights) + part * part_bytes(),
               product + part * rows * columns_ * 2);
    if (single(c)) return backend_.scatter({product, c.c, columns_, TW_BF16});
    backend_.all_to_all({product, c.c, rows * columns_, TW_BF16});
  }

  void all_reduce_residual_rms_norm(const GemmCall& c) override {
    backend_.all_reduce({c.a, c.hidden, c.m * c.n, TW_BF16});
    bf16_residual_rms_norm(
        static_cast<uint16_t*>(c.hidden), static_cast<const uint16_t*>(c.residual),
        static_cast<const uint16_t*>(c.norm_weight), static_cast<uint16_t*>(c.c), c.m, c.n, 1e-5f);
  }

 private:
  void prepare_matmul() {
    const memory::desc a = bf16_matrix(product_.m, product_.k, product_.k);
    const memory::desc c = bf16_matrix(product_.m, columns_, columns_);
    const memory::desc any(
        {static_cast<memory::dim>(product_.k), static_cast<memory::dim>(columns_)},
        memory::data_type::bf16, memory::format_tag::any);
#if DNNL_VERSION_MAJOR >= 3
    const matmul::primitive_desc description(cpu_, a, any, c);
#else
    const matmul::primitive_desc description(matmul::desc(a, any, c), cpu_);
#endif
    weights_ = description.weights_desc();
    matmul_ = matmul(description);
    a_ = memory(a, cpu_, nullptr);
    b_ = memory(weights_, cpu_, nullptr);
    c_ = memory(c, cpu_, nullptr);
    arguments_ = {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}};
  }

  // Rows that do not divide have no MPI call without counts; a single row is its owner's, rank 0's.
  bool single(const GemmCall& c) const { return c.m == 1 && backend_.size() > 1; }
  size_t share(const GemmCall& c) const {
    if (c.m % static_cast<size_t>(backend_.size()) != 0)
      throw std::runtime_error("this peer shards one row, or as many for each rank");
    return c.rows[0];
  }
  size_t part_bytes() const { return weights_.get_size(); }

  void multiply(const void* a, const void* weights, void* c) {
    a_.set_data_handle(const_cast<void*>(a));
    b_.set_data_handle(const_cast<void*>(weights));
    c_.set_data_handle(c);
    matmul_.execute(stream_, arguments_);
    stream_.wait();
  }

  char* scratch(size_t elements) {
    if (elements > scratch_elements_) {
      scratch_ = allocate_private(elements * 2);
      scratch_elements_ = elements;
    }
    return scratch_;
  }

  Backend& backend_;
  dnnl::engine cpu_;
  dnnl::stream stream_;
  Product product_;
  size_t columns_ = 0;  // of a part
  memory::desc weights_;
  matmul matmul_;
  memory a_, b_, c_;
  std::unordered_map<int, memory> arguments_;  // the three, which it shares
  char* scratch_ = nullptr;
  size_t scratch_elements_ = 0;
};

}  // namespace

std::string engine_name() {
  const dnnl_version_t* v = dnnl_version();
  return "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." +
         std::to_string(v->patch) + " (" + v->hash + "); " + backend_name();
}

std::unique_ptr<Engine> make_engine(Backend& backend) {
  return std::make_unique<DnnlEngine>(backend);
}

}  // namespace tw::perf
