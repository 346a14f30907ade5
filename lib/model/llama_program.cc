#include "lib/model/llama_program.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "lib/program/parts.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

class LlamaWriter {
 public:
  LlamaWriter(const LlamaContext& context, const StepSize& size)
      : c_(context),
        size_(size),
        owned_(rows_have_owners(size.rows, context.ranks)),
        builder_(context.ranks, context.workers),
        hidden_(static_cast<size_t>(context.desc.hidden)),
        x_(builder_.tensor("x", size.rows, hidden_)),
        y_(builder_.tensor("y", size.rows, hidden_)),
        qkv_(builder_.tensor("qkv", size.rows, c_.memory.qkv.stride)),
        attended_(builder_.tensor("attended", attends() + merges(), 1)),
        parts_(builder_.tensor("attention parts", attends(), 1)),
        plan_(builder_.tensor("attention plan", 1, 1)),
        gated_(builder_.tensor("gated", size.rows, c_.memory.gated.stride)),
        o_sums_(builder_.tensor("o sums", size.rows * ranks(), hidden_)),
        down_sums_(builder_.tensor("down sums", size.rows * ranks(), hidden_)),
        hidden_rows_(builder_.tensor("hidden", size.rows, hidden_)),
        wanted_(builder_.tensor("wanted", size.logit_rows, 1)),
        logits_(builder_.tensor("logits", size.logit_rows, c_.memory.logits.stride)),
        records_(builder_.tensor("records", size.logit_rows, ranks())) {}

  LlamaProgram build() {
    const int take = write();
    std::vector<ProgramImage> parts = parts_of(builder_.program(), take, c_.rank);
    return {builder_.build(c_.rank), std::move(parts)};
  }
  std::vector<char> arguments() {
    write();
    return builder_.arguments();
  }
  Program instructions() {
    write();
    builder_.build(c_.rank);
    return builder_.program();
  }

 private:
  // ---- Names for what there is ----

  size_t ranks() const { return static_cast<size_t>(c_.ranks); }
  uint32_t layers() const { return static_cast<uint32_t>(c_.desc.layers); }
  uint32_t all_ranks() const { return (1u << c_.ranks) - 1; }
  const HeadShare& heads() const { return c_.share.heads[static_cast<size_t>(c_.rank)]; }
  uint32_t attends() const { return c_.attention.instructions; }
  uint32_t merges() const { return c_.attention.merges; }
  Matrix own(const SharedMatrix& m) const { return {c_.data + m.offset, m.stride, m.type}; }
  /// Rows of a shared matrix on this rank, as a factor.
  Operand factor(const SharedMatrix& m, size_t rows, size_t cols) const {
    return {c_.data + m.offset, m.stride, rows, cols, m.type, MatrixLayout::kRows, nullptr};
  }
  static Operand packed(const char* weights, size_t k, size_t n) {
    return {weights, n, k, n, TW_BF16, MatrixLayout::kPacked, nullptr};
  }
  static Epilogue with_bias(const Buffer& bias, Activation activation = Activation::kNone) {
    Epilogue e{};
    e.type = TW_FP32;
    e.activation = activation;
    if (bias.bytes() != 0) e.bias = bias.data();
    return e;
  }
  LiveRows live(uint32_t l) const { return {c_.layer_rows + l}; }
  size_t cols_of(int tensor) const {
    return builder_.program().tensors[static_cast<size_t>(tensor)].cols;
  }
  size_t rows_of(int tensor) const {
    return builder_.program().tensors[static_cast<size_t>(tensor)].rows;
  }
  template <class Args>
  int op(const std::string& name, LlamaKind kind, uint32_t l, const Args& args) {
    const bool ahead = kind == LlamaKind::kReduceNorm || kind == LlamaKind::kPlace;
    const Order order = ahead ? Order::kAhead : Order::kInPlace;
    return builder_.op(name, static_cast<uint32_t>(kind), l, order, args);
  }

  // ---- Accesses ----

  /// Whole rows of a tensor.
  Access rows(bool writes, int device, int tensor, size_t first, size_t count) const {
    return {{device, tensor, first, count, 0, cols_of(tensor)}, writes};
  }
  Access reads(int device, int tensor, size_t first, size_t count) const {
    return rows(false, device, tensor, first, count);
  }
  Access writes(int device, int tensor, size_t first, size_t count) const {
    return rows(true, device, tensor, first, count);
  }
  Access reads_all(int device, int tensor) const {
    return reads(device, tensor, 0, rows_of(tensor));
  }

  // ---- Rows ----

  /// The rows of the residual stream that a device keeps.
  RowRange kept(int device) const {
    return owned_ ? owned_rows(size_.rows, c_.ranks, device) : RowRange{0, size_.rows};
  }
  /// The ranks that keep the rows which `device` keeps.
  uint32_t keepers(int device) const { return owned_ ? 1u << device : all_ranks(); }

  ProgramRanks program_ranks() const { return {c_.rank, c_.ranks, c_.workers}; }
  /// f(device, first, rows) for the pieces in which row instructions take what rows_of(device).
  template <class RowsOf, class F>
  void each_block(RowsOf rows_of, F f) const {
    for (int d = 0; d < c_.ranks; ++d)
      each_piece(program_ranks(), rows_of(d),
                 [&](uint32_t first, uint32_t count) { f(d, first, count); });
  }
  auto kept_rows() const {
    return [this](int device) { return kept(device); };
  }
  auto every(uint32_t count) const {
    return [count](int) { return RowRange{0, count}; };
  }

  // ---- Products ----

  void add(Product p) {
    add_product(&builder_, program_ranks(), static_cast<uint32_t>(LlamaKind::kGemm), std::move(p));
  }

  /// A product of layer l whose result stays on its device. `cols`: of the result.
  void add_local(std::string name, uint32_t l, const Operand& a, int from, const Operand& b,
                 const Epilogue& epilogue, const SharedMatrix& to, int to_tensor,
                 std::function<size_t(int)> cols) {
    Product p{};
    p.name = std::move(name);
    p.layer = l;
    p.rows = size_.rows;
    p.owned = owned_;
    p.own.live = live(l);
    p.own.a = a;
    p.own.b = b;
    p.own.epilogue = epilogue;
    p.own.to = to;
    p.cols = std::move(cols);
    p.reads = [this, from](int device, const Tile& t) {
      return std::vector{reads(device, from, t.row, t.rows)};
    };
    p.receivers = [](int device, const Tile&) { return 1u << device; };
    p.to = [to_tensor](int, int receiver, const Tile& t) {
      return Region{receiver, to_tensor, t.row, t.rows, t.col, t.cols};
    };
    add(std::move(p));
  }

  /// A product of which every rank with k(rank) != 0 has a part of the sum: to all ranks, or to the
  /// rows' owner. `reads`: of its first factor.
  void add_sums(std::string name, uint32_t l, const Operand& a, const Operand& b,
                const Buffer& bias, const SharedMatrix& sums, int tensor,
                const std::function<size_t(int)>& k,
                std::function<Access(int, const Tile&)> reads) {
    Product p{};
    p.name = std::move(name);
    p.layer = l;
    p.rows = size_.rows;
    p.owned = owned_;
    p.to_peers = true;
    p.own.live = live(l);
    p.own.a = a;
    p.own.b = b;
    p.own.epilogue = with_bias(bias);
    p.own.to = sums;
    p.own.to.offset += static_cast<size_t>(c_.rank) * c_.memory.sender_bytes;
    p.own.by_owner = owned_ ? 1 : 0;
    p.cols = [this, k](int device) { return k(device) == 0 ? 0 : hidden_; };
    p.reads = [reads = std::move(reads)](int device, const Tile& t) {
      return std::vector{reads(device, t)};
    };
    p.receivers = [this](int, const Tile& t) { return owned_ ? 1u << t.row_owner : all_ranks(); };
    p.to = [this, tensor](int device, int receiver, const Tile& t) {
      const size_t first = static_cast<size_t>(device) * size_.rows;
      return Region{receiver, tensor, first + t.row, t.rows, t.col, t.cols};
    };
    add(std::move(p));
  }

  /// x += the ranks' sums; y = its norm, at all ranks.
  void add_residual(const std::string& name, uint32_t l, const SharedMatrix& sums, int tensor,
                    const std::function<size_t(int)>& k, const float* weight) {
    uint32_t senders = 0;
    for (int r = 0; r < c_.ranks; ++r)
      if (k(r) != 0) senders |= 1u << r;
    const ProgramReduceNorm args{
        live(l),          hidden_,
        own(c_.memory.x), {sums, c_.memory.sender_bytes, kept(c_.rank).first, senders},
        weight,           c_.desc.rms_epsilon,
        c_.memory.y};
    const int number = op(name, LlamaKind::kReduceNorm, l, args);
    each_block(kept_rows(), [&](int d, uint32_t first, uint32_t count) {
      std::vector<Access> accesses{writes(d, x_, first, count)};
      for (int r = 0; r < c_.ranks; ++r)
        if ((senders >> r & 1) != 0)
          accesses.push_back(reads(d, tensor, static_cast<size_t>(r) * size_.rows + first, count));
      const uint32_t receivers = y_receivers(d);
      add_writes(&accesses, y_, first, count, receivers);
      builder_.add(d, number, {first, count, receivers, 0}, std::move(accesses));
    });
  }
  /// Who gets the normed rows that `device` makes.
  uint32_t y_receivers(int device) const { return owned_ ? all_ranks() : 1u << device; }
  void add_writes(std::vector<Access>* accesses, int tensor, size_t first, size_t count,
                  uint32_t receivers) const {
    for (int q = 0; q < c_.ranks; ++q)
      if ((receivers >> q & 1) != 0) accesses->push_back(writes(q, tensor, first, count));
  }

  // ---- The program ----

  /// The op that can stand for taking what peers sent.
  int write() {
    begin();
    for (uint32_t l = 0; l < layers(); ++l) layer(l);
    return end();
  }

  void begin() {
    const int planned = op("plan attention", LlamaKind::kPlanAttention, kNoLayer, planning());
    for (int d = 0; d < c_.ranks; ++d) builder_.add(d, planned, {}, {writes(d, plan_, 0, 1)});
    embed();
    const LlamaFirstNorm norm{
        c_.step,    hidden_, own(c_.memory.x), c_.weights.input_norm(0), c_.desc.rms_epsilon,
        c_.memory.y};
    const int first = op("norm", LlamaKind::kFirstNorm, kNoLayer, norm);
    each_block(kept_rows(), [&](int d, uint32_t row, uint32_t count) {
      std::vector<Access> accesses{reads(d, x_, row, count)};
      const uint32_t receivers = y_receivers(d);
      add_writes(&accesses, y_, row, count, receivers);
      builder_.add(d, first, {row, count, receivers, 0}, std::move(accesses));
    });
  }

  /// Every rank has columns of the embedding, and gives them to who keeps the row.
  void embed() {
    const auto r = static_cast<size_t>(c_.rank);
    const size_t cols = c_.share.embedding_size(c_.rank);
    const LlamaEmbed args{c_.step,
                          {const_cast<char*>(c_.weights.embedding()), cols, TW_BF16},
                          c_.share.embedding[r],
                          cols,
                          c_.memory.x,
                          static_cast<uint32_t>(c_.desc.vocab)};
    const int number = op("embed", LlamaKind::kEmbed, kNoLayer, args);
    for (int owner = 0; owner < (owned_ ? c_.ranks : 1); ++owner) {
      const auto of_owner = [&](int) { return kept(owner); };
      each_block(of_owner, [&](int d, uint32_t first, uint32_t count) {
        std::vector<Access> accesses;
        for (int q = 0; q < c_.ranks; ++q)
          if ((keepers(owner) >> q & 1) != 0 && c_.share.embedding_size(d) != 0)
            accesses.push_back({{q, x_, first, count, c_.share.embedding[static_cast<size_t>(d)],
                                 c_.share.embedding_size(d)},
                                true});
        builder_.add(d, number, {first, count, keepers(owner), 0}, std::move(accesses));
      });
    }
  }

  void layer(uint32_t l) {
    const LayerWeights& w = c_.weights.layer(l);
    const size_t qkv = c_.share.qkv_size(c_.rank), q = c_.share.q_size(c_.rank);
    const size_t ffn = c_.share.ffn_size(c_.rank);
    const auto q_of = [this](int device) { return c_.share.q_size(device); };
    const auto ffn_of = [this](int device) { return c_.share.ffn_size(device); };

    add_local("qkv", l, factor(c_.memory.y, size_.rows, hidden_), y_, packed(w.qkv, hidden_, qkv),
              with_bias(w.qkv_bias), c_.memory.qkv, qkv_,
              [this](int device) { return c_.share.qkv_size(device); });
    attend(l, w);
    add_sums("o", l, factor(c_.memory.attended, size_.rows, q), packed(w.o, q, hidden_), w.o_bias,
             c_.memory.o_sums, o_sums_, q_of,
             [this](int device, const Tile&) { return reads_all(device, attended_); });
    add_residual("add, norm", l, c_.memory.o_sums, o_sums_, q_of, w.post_norm);
    add_local("gate, up", l, factor(c_.memory.y, size_.rows, hidden_), y_,
              packed(w.gate_up, hidden_, 2 * ffn), with_bias(w.gate_up_bias, Activation::kSwiGlu),
              c_.memory.gated, gated_, ffn_of);
    add_sums("down", l, factor(c_.memory.gated, size_.rows, ffn), packed(w.down, ffn, hidden_),
             w.down_bias, c_.memory.down_sums, down_sums_, ffn_of,
             [this](int device, const Tile& t) { return reads(device, gated_, t.row, t.rows); });
    add_residual("add, norm", l, c_.memory.down_sums, down_sums_, ffn_of,
                 c_.weights.input_norm(l + 1));
  }

  AttentionPlanning planning() const {
    return {c_.step,      heads(), c_.kv.layout, static_cast<uint32_t>(c_.desc.sliding_window),
            c_.attention, c_.plan};
  }
  Attention attention(uint32_t l) const {
    return {planning(),
            l,
            1 / std::sqrt(static_cast<float>(c_.desc.head_size)),
            own(c_.memory.qkv),
            own(c_.memory.attended),
            c_.kv.k[l],
            c_.kv.v[l],
            c_.partials};
  }

  void attend(uint32_t l, const LayerWeights& w) {
    const int kv = builder_.tensor("kv of layer " + std::to_string(l), size_.rows, 1);
    const LlamaPlace place{c_.step,
                           heads(),
                           own(c_.memory.qkv),
                           reinterpret_cast<const float*>(w.q_norm.data()),
                           reinterpret_cast<const float*>(w.k_norm.data()),
                           c_.desc.rms_epsilon,
                           c_.cosines,
                           c_.sines,
                           c_.kv.layout,
                           c_.kv.k[l],
                           c_.kv.v[l],
                           c_.context,
                           live(l)};
    const int placed = op("rope, append", LlamaKind::kPlace, l, place);
    each_block(every(size_.rows), [&](int d, uint32_t first, uint32_t count) {
      builder_.add(d, placed, {first, count, 0, 0},
                   {writes(d, qkv_, first, count), writes(d, kv, first, count)});
    });
    const Attention args = attention(l);
    const int attended = op("attend", LlamaKind::kAttend, l, args);
    const int merged = op("merge", LlamaKind::kMerge, l, args);
    for (int d = 0; d < c_.ranks; ++d) {
      for (uint32_t a = 0; a < attends(); ++a)
        builder_.add(d, attended, {a, 0, 0, 0},
                     {reads_all(d, plan_), reads_all(d, qkv_), reads_all(d, kv),
                      writes(d, parts_, a, 1), writes(d, attended_, a, 1)});
      for (uint32_t m = 0; m < merges(); ++m)
        builder_.add(
            d, merged, {m, 0, 0, 0},
            {reads_all(d, plan_), reads_all(d, parts_), writes(d, attended_, attends() + m, 1)});
    }
  }

  int end() {
    const LlamaHidden hidden{c_.step, hidden_, own(c_.memory.x), c_.memory.hidden};
    const int given = op("hidden", LlamaKind::kHidden, kNoLayer, hidden);
    each_block(kept_rows(), [&](int d, uint32_t first, uint32_t count) {
      std::vector<Access> accesses{reads(d, x_, first, count)};
      const uint32_t receivers = y_receivers(d);
      add_writes(&accesses, hidden_rows_, first, count, receivers);
      builder_.add(d, given, {first, count, receivers, 0}, std::move(accesses));
    });
    // What peers store here is waited for here.
    for (int d = 0; owned_ && d < c_.ranks; ++d)
      builder_.add(d, given, {0, 0, 0, 0}, {reads_all(d, hidden_rows_)});
    if (size_.logit_rows != 0) choose();
    return given;
  }

  void choose() {
    const uint32_t wanted = size_.logit_rows;
    const LlamaGather gather{c_.step, hidden_, own(c_.memory.y), own(c_.memory.wanted)};
    const int gathered = op("gather", LlamaKind::kGather, kNoLayer, gather);
    each_block(every(wanted), [&](int d, uint32_t first, uint32_t count) {
      builder_.add(d, gathered, {first, count, 0, 0},
                   {reads_all(d, y_), writes(d, wanted_, first, count)});
    });

    Product p{};
    p.name = "logits";
    p.layer = kNoLayer;
    p.rows = wanted;
    p.own.live = {&c_.step->logit_rows};
    p.own.a = factor(c_.memory.wanted, wanted, hidden_);
    p.own.b = packed(c_.weights.head(), hidden_, c_.share.vocab_size(c_.rank));
    p.own.epilogue.type = TW_FP32;
    p.own.to = c_.memory.logits;
    p.own.to.offset += c_.share.vocab[static_cast<size_t>(c_.rank)] * sizeof(float);
    p.own.shared = &c_.step->gather_logits;
    p.cols = [this](int device) { return c_.share.vocab_size(device); };
    p.reads = [this](int device, const Tile& t) {
      return std::vector{reads(device, wanted_, t.row, t.rows)};
    };
    p.receivers = [this](int, const Tile&) { return all_ranks(); };
    p.to = [this](int device, int receiver, const Tile& t) {
      const size_t first = c_.share.vocab[static_cast<size_t>(device)];
      return Region{receiver, logits_, t.row, t.rows, first + t.col, t.cols};
    };
    add(std::move(p));
    sample();
  }

  void sample() {
    const LlamaSample args{c_.step,
                           static_cast<size_t>(c_.desc.vocab),
                           c_.share.vocab[static_cast<size_t>(c_.rank)],
                           c_.share.vocab_size(c_.rank),
                           c_.memory.logits,
                           c_.memory.records,
                           c_.memory.record_bytes,
                           all_ranks()};
    const int best = op("best of shard", LlamaKind::kSampleLocal, kNoLayer, args);
    const int chosen = op("sample", LlamaKind::kSample, kNoLayer, args);
    each_block(every(size_.logit_rows), [&](int d, uint32_t first, uint32_t count) {
      const size_t col = c_.share.vocab[static_cast<size_t>(d)];
      std::vector<Access> accesses;
      if (c_.share.vocab_size(d) != 0)
        accesses.push_back({{d, logits_, first, count, col, c_.share.vocab_size(d)}, false});
      for (int q = 0; q < c_.ranks; ++q)
        accesses.push_back({{q, records_, first, count, static_cast<size_t>(d), 1}, true});
      builder_.add(d, best, {first, count, 0, 0}, std::move(accesses));
    });
    each_block(every(size_.logit_rows), [&](int d, uint32_t first, uint32_t count) {
      builder_.add(d, chosen, {first, count, 0, 0},
                   {reads(d, records_, first, count), reads(d, logits_, first, count)});
    });
  }

  const LlamaContext& c_;
  const StepSize size_;
  const bool owned_;
  ProgramBuilder builder_;
  const size_t hidden_;
  const int x_, y_, qkv_, attended_, parts_, plan_, gated_, o_sums_, down_sums_, hidden_rows_,
      wanted_, logits_, records_;
};

}  // namespace

LlamaProgram build_llama(const LlamaContext& context, const StepSize& size) {
  return LlamaWriter(context, size).build();
}

Program llama_instructions(const LlamaContext& context, const StepSize& size) {
  return LlamaWriter(context, size).instructions();
}

std::vector<char> llama_arguments(const LlamaContext& context, const StepSize& size) {
  return LlamaWriter(context, size).arguments();
}

}  // namespace tw
