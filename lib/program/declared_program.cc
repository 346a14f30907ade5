#include "lib/program/declared_program.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "lib/base/error.h"

namespace tw {
namespace {

constexpr size_t kAlign = 4096;

class DeclaredWriter {
 public:
  DeclaredWriter(const DeclaredContext& context, ProgramBuilder* builder)
      : c_(context), builder_(*builder) {}

  std::vector<int> write() {
    for (size_t t = 0; t < c_.mine.tensors.size(); ++t) {
      const TensorTerms& terms = c_.mine.tensors[t].terms;
      size_t cols = 0;
      for (const Terms& rank : c_.all) cols = std::max<size_t>(cols, rank.tensors[t].cols);
      builder_.tensor(terms.name, terms.rows, cols);
    }
    for (const SumSlots& s : c_.layout.slots)
      slot_tensors_.push_back(
          builder_.tensor(text("addends of %zu columns", s.cols), s.rows * ranks(), s.cols));
    std::vector<int> numbers;
    for (size_t i = 0; i < c_.mine.ops.size(); ++i) numbers.push_back(write(i));
    // What only waits stays last.
    builder_.add_takes(builder_.op("take", static_cast<uint32_t>(ProgramKind::kRows), kNoLayer,
                                   Order::kInPlace, ProgramRows{}));
    return numbers;
  }

 private:
  // ---- Names for what there is ----

  size_t ranks() const { return static_cast<size_t>(c_.ranks.ranks); }
  size_t self() const { return static_cast<size_t>(c_.ranks.rank); }
  uint32_t all_ranks() const { return (1u << c_.ranks.ranks) - 1; }
  const DeclaredTensor& tensor(int t) const { return c_.mine.tensors[static_cast<size_t>(t)]; }
  uint32_t rows(int t) const { return tensor(t).terms.rows; }
  size_t cols(int device, int t) const { return c_.all[static_cast<size_t>(device)].cols(t); }
  LiveRows live(int t) const { return {tensor(t).terms.moves != 0 ? c_.live : nullptr}; }

  size_t stride(int t) const {
    return tensor(t).terms.place == TensorPlace::kProgram
               ? c_.layout.strides[static_cast<size_t>(t)]
               : tensor(t).stride;
  }
  /// Where rank r has a tensor, as mapped here; null where it is not reached, or not there yet.
  char* at(int t, size_t r) const {
    if (tensor(t).terms.place != TensorPlace::kProgram) return tensor(t).at[r];
    return c_.data.empty() ? nullptr : c_.data[r] + c_.layout.tensors[static_cast<size_t>(t)];
  }
  Matrix own(int t) const {
    if (t == kNoTensor) return {};
    return {at(t, self()), stride(t), tensor(t).terms.type};
  }
  RankMatrix of_ranks(int t, size_t row = 0, size_t col = 0) const {
    RankMatrix m{{}, stride(t), tensor(t).terms.type};
    const size_t shift = (row * m.stride + col) * packed_element(m.type);
    for (size_t r = 0; r < ranks(); ++r)
      if (char* const there = at(t, r)) m.at[r] = there + shift;
    return m;
  }
  /// Own memory as a place in the data, which it need not lie in: modulo 2^64.
  SharedMatrix shared(int t) const {
    const uintptr_t data = c_.data.empty() ? 0 : reinterpret_cast<uintptr_t>(c_.data[self()]);
    return {reinterpret_cast<uintptr_t>(at(t, self())) - data, stride(t), tensor(t).terms.type};
  }
  Operand factor(int t) const {
    const TensorTerms& terms = tensor(t).terms;
    return {at(t, self()), stride(t),           terms.rows, terms.cols,
            terms.type,    MatrixLayout::kRows, nullptr};
  }
  Operand packed(const DeclaredOp& op, size_t n) const {
    const TensorTerms& a = tensor(op.terms.a).terms;
    return {op.weights, n, a.cols, n, a.type, MatrixLayout::kPacked, nullptr};
  }
  Epilogue epilogue(const DeclaredOp& op) const {
    Epilogue e{};
    e.bias = op.bias;
    e.type = tensor(op.terms.c).terms.type;
    e.activation = op.terms.activation;
    e.residual = own(op.terms.b);
    return e;
  }
  const OpTerms& terms_of(size_t op, int device) const {
    return c_.all[static_cast<size_t>(device)].ops[op];
  }

  // ---- Accesses ----

  Access access(bool writes, int device, int t, size_t first, size_t count) const {
    return {{device, t, first, count, 0, cols(device, t)}, writes};
  }
  Access reads(int device, int t, size_t first, size_t count) const {
    return access(false, device, t, first, count);
  }
  void add_writes(std::vector<Access>* accesses, int t, size_t first, size_t count,
                  uint32_t receivers) const {
    for (int q = 0; t != kNoTensor && q < c_.ranks.ranks; ++q)
      if ((receivers >> q & 1) != 0) accesses->push_back(access(true, q, t, first, count));
  }

  // ---- Ops ----

  int write(size_t i) {
    const DeclaredOp& op = c_.mine.ops[i];
    switch (op.terms.kind) {
      case DeclaredKind::kGemm:
        return gemm(op);
      case DeclaredKind::kGemmAllReduce:
        return gemm_all_reduce(i, op);
      case DeclaredKind::kCopy:
        return copy(i, op);
      case DeclaredKind::kOwn:
        return own_op(i, op);
      case DeclaredKind::kRmsNorm:
      case DeclaredKind::kSwiGlu:
      case DeclaredKind::kAdd:
        break;
    }
    return local_rows(op);
  }

  Product product(const DeclaredOp& op) const {
    Product p{};
    p.name = op.terms.name;
    p.layer = kNoLayer;
    p.rows = rows(op.terms.a);
    p.own.live = live(op.terms.a);
    p.own.a = factor(op.terms.a);
    return p;
  }
  int add(Product p) {
    return add_product(&builder_, c_.ranks, static_cast<uint32_t>(ProgramKind::kGemm),
                       std::move(p));
  }

  int gemm(const DeclaredOp& op) {
    const OpTerms& t = op.terms;
    Product p = product(op);
    p.own.b = packed(op, tensor(t.c).terms.cols * (t.activation == Activation::kSwiGlu ? 2 : 1));
    p.own.epilogue = epilogue(op);
    p.own.to = shared(t.c);
    p.cols = [this, c = t.c](int device) { return cols(device, c); };
    p.reads = [this, t](int device, const Tile& tile) {
      std::vector<Access> accesses{reads(device, t.a, tile.row, tile.rows)};
      if (t.b != kNoTensor)
        accesses.push_back({{device, t.b, tile.row, tile.rows, tile.col, tile.cols}, false});
      return accesses;
    };
    p.receivers = [](int device, const Tile&) { return 1u << device; };
    p.to = [c = t.c](int, int receiver, const Tile& tile) {
      return Region{receiver, c, tile.row, tile.rows, tile.col, tile.cols};
    };
    return add(std::move(p));
  }

  int gemm_all_reduce(size_t i, const DeclaredOp& op) {
    const OpTerms& t = op.terms;
    const SumSlots& slots = c_.layout.slots[c_.layout.slots_of[i]];
    const int tensor_of_slots = slot_tensors_[c_.layout.slots_of[i]];
    Product p = product(op);
    p.owned = slots.by_owner;
    p.to_peers = true;
    p.own.by_owner = slots.by_owner ? 1 : 0;
    p.own.b = packed(op, slots.cols);
    p.own.to = {slots.offset + self() * slots.sender_bytes(), slots.cols, slots.type};
    p.cols = [this, &slots, a = t.a](int device) { return cols(device, a) == 0 ? 0 : slots.cols; };
    p.reads = [this, a = t.a](int device, const Tile& tile) {
      return std::vector{reads(device, a, tile.row, tile.rows)};
    };
    p.receivers = [this, &slots](int, const Tile& tile) {
      return slots.by_owner ? 1u << tile.row_owner : all_ranks();
    };
    p.to = [tensor_of_slots, &slots](int device, int receiver, const Tile& tile) {
      const size_t first = static_cast<size_t>(device) * slots.rows;
      return Region{receiver, tensor_of_slots, first + tile.row, tile.rows, tile.col, tile.cols};
    };
    add(std::move(p));
    return add_sums(op, slots, tensor_of_slots);
  }

  /// The rows of a sum that a device keeps.
  RowRange kept(const SumSlots& slots, int device) const {
    return slots.by_owner ? owned_rows(slots.rows, c_.ranks.ranks, device)
                          : RowRange{0, slots.rows};
  }

  int add_sums(const DeclaredOp& op, const SumSlots& slots, int tensor_of_slots) {
    const OpTerms& t = op.terms;
    ProgramRows args = rows_of(op, slots.cols);
    args.sums = {{slots.offset, slots.cols, slots.type},
                 slots.sender_bytes(),
                 kept(slots, c_.ranks.rank).first,
                 0};
    for (int r = 0; r < c_.ranks.ranks; ++r)
      if (cols(r, t.a) != 0) args.sums.senders |= 1u << r;
    const int number = row_op(text("%s: sum", t.name), args);
    for (int d = 0; d < c_.ranks.ranks; ++d) {
      const uint32_t receivers = slots.by_owner ? all_ranks() : 1u << d;
      each_piece(c_.ranks, kept(slots, d), [&](uint32_t first, uint32_t count) {
        std::vector<Access> accesses;
        for (int r = 0; r < c_.ranks.ranks; ++r)
          if ((args.sums.senders >> r & 1) != 0)
            accesses.push_back({{d, tensor_of_slots, static_cast<size_t>(r) * slots.rows + first,
                                 count, 0, slots.cols},
                                false});
        add_row_piece(op, number, d, first, count, receivers, std::move(accesses));
      });
    }
    return number;
  }

  /// What row ops have in common: residual, results, norm.
  ProgramRows rows_of(const DeclaredOp& op, size_t n) const {
    const OpTerms& t = op.terms;
    ProgramRows args{};
    args.live = live(t.a);
    args.n = n;
    if (t.c != kNoTensor) {
      args.epilogue = epilogue(op);
      args.to = of_ranks(t.c);
    }
    args.weight = op.norm_weight;
    args.eps = t.eps;
    args.weight_type = tensor(t.c != kNoTensor ? t.c : t.a).terms.type;
    if (t.y != kNoTensor) args.y = of_ranks(t.y);
    return args;
  }
  int row_op(const std::string& name, const ProgramRows& args) {
    return builder_.op(name, static_cast<uint32_t>(ProgramKind::kRows), kNoLayer, Order::kAhead,
                       args);
  }
  /// Rows of `accesses` (without residual and results).
  void add_row_piece(const DeclaredOp& op, int number, int device, uint32_t first, uint32_t count,
                     uint32_t receivers, std::vector<Access> accesses) {
    const OpTerms& t = op.terms;
    if (t.b != kNoTensor) accesses.push_back(reads(device, t.b, first, count));
    add_writes(&accesses, t.c, first, count, receivers);
    add_writes(&accesses, t.y, first, count, receivers);
    builder_.add(device, number, {first, count, receivers, 0}, std::move(accesses));
  }

  int local_rows(const DeclaredOp& op) {
    const OpTerms& t = op.terms;
    ProgramRows args = rows_of(op, tensor(t.a).terms.cols);
    args.x = own(t.a);
    if (t.kind == DeclaredKind::kSwiGlu) {
      args.epilogue.activation = Activation::kSilu;
      args.epilogue.residual = {};
      args.times = own(t.b);
    }
    const int number = row_op(t.name, args);
    for (int d = 0; d < c_.ranks.ranks; ++d) {
      if (cols(d, t.a) == 0) continue;
      each_piece(c_.ranks, {0, rows(t.a)}, [&](uint32_t first, uint32_t count) {
        add_row_piece(op, number, d, first, count, 1u << d, {reads(d, t.a, first, count)});
      });
    }
    return number;
  }

  int copy(size_t i, const DeclaredOp& op) {
    const OpTerms& t = op.terms;
    ProgramRows args{};
    args.live = live(t.a);
    args.n = tensor(t.a).terms.cols;
    args.x = own(t.a);
    args.to = of_ranks(t.c, t.to_row, t.to_col);
    const int number = row_op(t.name, args);
    for (int d = 0; d < c_.ranks.ranks; ++d) {
      const OpTerms& theirs = terms_of(i, d);
      const uint32_t receivers = theirs.to_rank < 0 ? all_ranks() : 1u << theirs.to_rank;
      if (cols(d, t.a) == 0) continue;
      each_piece(c_.ranks, {0, rows(t.a)}, [&](uint32_t first, uint32_t count) {
        std::vector<Access> accesses{reads(d, t.a, first, count)};
        for (int q = 0; q < c_.ranks.ranks; ++q)
          if ((receivers >> q & 1) != 0)
            accesses.push_back(
                {{q, t.c, theirs.to_row + first, count, theirs.to_col, cols(d, t.a)}, true});
        builder_.add(d, number, {first, count, receivers, 0}, std::move(accesses));
      });
    }
    return number;
  }

  int own_op(size_t i, const DeclaredOp& op) {
    const uint32_t kind = static_cast<uint32_t>(ProgramKind::kOwn) + op.terms.own_op;
    // Instructions of the user's own stand where the user put them.
    const int number = builder_.add_op(op.terms.name, {kind, kNoLayer, 0}, Order::kInPlace,
                                       op.args.data(), op.args.size());
    for (int d = 0; d < c_.ranks.ranks; ++d) {
      const Terms& terms = c_.all[static_cast<size_t>(d)];
      for (const DeclaredInstruction& instruction : terms.instructions) {
        if (instruction.op != static_cast<int32_t>(i)) continue;
        std::vector<Access> accesses;
        for (uint32_t a = 0; a < instruction.count; ++a) {
          const DeclaredAccess& from = terms.accesses[instruction.first + a];
          accesses.push_back({{from.rank, from.tensor, from.row, from.rows, from.col, from.cols},
                              from.writes != 0});
        }
        builder_.add(d, number,
                     {instruction.at[0], instruction.at[1], instruction.at[2], instruction.at[3]},
                     std::move(accesses));
      }
    }
    return number;
  }

  const DeclaredContext& c_;
  ProgramBuilder& builder_;
  std::vector<int> slot_tensors_;
};

/// Whether rows of a sum have owners: there are many, and peers reach the results.
bool sum_has_owners(const Terms& terms, const OpTerms& sum, int ranks) {
  const auto reached = [&](int32_t t) {
    return t == kNoTensor || terms.tensors[static_cast<size_t>(t)].place != TensorPlace::kLocal;
  };
  return rows_have_owners(terms.tensors[static_cast<size_t>(sum.a)].rows, ranks) &&
         reached(sum.c) && reached(sum.y);
}

}  // namespace

DeclaredLayout::DeclaredLayout(const std::vector<Terms>& all) {
  const Terms& first = all[0];
  const int ranks = static_cast<int>(all.size());
  const auto take = [this](size_t size) {
    const size_t at = bytes;
    bytes = divide_up(at + size, kAlign) * kAlign;
    return at;
  };
  for (size_t t = 0; t < first.tensors.size(); ++t) {
    const TensorTerms& terms = first.tensors[t];
    size_t cols = 0;
    for (const Terms& rank : all) cols = std::max<size_t>(cols, rank.tensors[t].cols);
    const bool mine = terms.place == TensorPlace::kProgram;
    strides.push_back(cols);
    tensors.push_back(mine ? take(terms.rows * cols * packed_element(terms.type)) : 0);
  }
  using Key = std::tuple<uint32_t, bool, size_t, tw_type_t>;
  std::map<Key, std::vector<size_t>> alike;
  std::map<Key, size_t> uses;
  for (const OpTerms& op : first.ops) {
    slots_of.push_back(0);
    if (op.kind != DeclaredKind::kGemmAllReduce) continue;
    const uint32_t rows = first.tensors[static_cast<size_t>(op.a)].rows;
    const bool by_owner = sum_has_owners(first, op, ranks);
    const Key key{rows, by_owner, first.cols(op.c), op.partial_type};
    std::vector<size_t>& sets = alike[key];
    if (sets.size() < 2) {
      sets.push_back(slots.size());
      const uint32_t kept = by_owner ? owned_rows(rows, ranks, 0).count : rows;
      SumSlots made{rows, kept, by_owner, first.cols(op.c), op.partial_type, 0};
      made.offset = take(all.size() * made.sender_bytes());
      slots.push_back(made);
    }
    slots_of.back() = sets[uses[key]++ % sets.size()];
  }
}

void write_declared(const DeclaredContext& context, ProgramBuilder* builder,
                    std::vector<int>* op_numbers) {
  *op_numbers = DeclaredWriter(context, builder).write();
}

size_t longest_row(const Declaration& mine) {
  size_t most = 16;
  for (const DeclaredTensor& tensor : mine.tensors)
    most = std::max<size_t>(most, tensor.terms.cols);
  return most;
}

size_t longest_k(const Declaration& mine) {
  size_t most = 0;
  for (const DeclaredOp& op : mine.ops)
    if (op.weights != nullptr)
      most = std::max<size_t>(most, mine.tensors[static_cast<size_t>(op.terms.a)].terms.cols);
  return most;
}

}  // namespace tw
