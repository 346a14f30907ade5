#include "lib/program/declared.h"

#include <algorithm>
#include <cstring>

#include "lib/base/error.h"
#include "lib/comm/call_text.h"
#include "lib/comm/control.h"

namespace tw {
namespace {

constexpr const char* kBuild = "tw_program_build";

// ---- What ranks tell each other ----

struct Counts {
  uint32_t rows;
  int32_t blocks;
  uint32_t traced;
  CpuTarget target;
  uint32_t tensors, ops, instructions, accesses;
};

template <class T>
void put(std::string* to, const T* values, size_t n) {
  if (n != 0) to->append(reinterpret_cast<const char*>(values), n * sizeof(T));
}

template <class T>
size_t take(const std::string& from, size_t at, std::vector<T>* values) {
  if (!values->empty()) std::memcpy(values->data(), from.data() + at, values->size() * sizeof(T));
  return at + values->size() * sizeof(T);
}

std::string told(const Comm& comm, const Declaration& d, bool traced) {
  const auto size = [](const auto& v) { return static_cast<uint32_t>(v.size()); };
  const Counts counts{
      d.rows,          comm.max_blocks(), traced ? 1u : 0u,     comm.device().target(),
      size(d.tensors), size(d.ops),       size(d.instructions), size(d.accesses)};
  std::string text;
  put(&text, &counts, 1);
  for (const DeclaredTensor& tensor : d.tensors) put(&text, &tensor.terms, 1);
  for (const DeclaredOp& op : d.ops) put(&text, &op.terms, 1);
  put(&text, d.instructions.data(), d.instructions.size());
  put(&text, d.accesses.data(), d.accesses.size());
  return text;
}

Terms heard(const std::string& text) {
  Counts counts;
  std::memcpy(&counts, text.data(), sizeof counts);
  Terms terms;
  terms.rows = counts.rows;
  terms.blocks = counts.blocks;
  terms.traced = counts.traced;
  terms.target = counts.target;
  terms.tensors.resize(counts.tensors);
  terms.ops.resize(counts.ops);
  terms.instructions.resize(counts.instructions);
  terms.accesses.resize(counts.accesses);
  size_t at = take(text, sizeof counts, &terms.tensors);
  at = take(text, at, &terms.ops);
  at = take(text, at, &terms.instructions);
  take(text, at, &terms.accesses);
  return terms;
}

/// all_gather of messages of any length.
std::vector<std::string> tell_all(Comm& comm, const std::string& mine) {
  const uint64_t length = mine.size();
  const auto lengths = comm.control().all_gather(
      ControlKind::kProgramBuild, {reinterpret_cast<const char*>(&length), sizeof length});
  std::vector<uint64_t> wanted(lengths.size());
  for (size_t r = 0; r < lengths.size(); ++r)
    std::memcpy(&wanted[r], lengths[r].data(), sizeof wanted[r]);
  std::vector<std::string> all(lengths.size());
  const uint64_t most = *std::max_element(wanted.begin(), wanted.end());
  for (size_t at = 0; at < most; at += Control::kMaxMessage) {
    const std::string_view rest = std::string_view(mine).substr(std::min(at, mine.size()));
    const auto parts =
        comm.control().all_gather(ControlKind::kProgramBuild, rest.substr(0, Control::kMaxMessage));
    for (size_t r = 0; r < parts.size(); ++r) all[r] += parts[r];
  }
  return all;
}

// ---- What must be equal ----

const char* place_text(TensorPlace place) {
  switch (place) {
    case TensorPlace::kProgram:
      return "the program's memory";
    case TensorPlace::kWindow:
      return "a window";
    case TensorPlace::kLocal:
      break;
  }
  return "memory of its own";
}

std::string text_of(const Terms& terms, const TensorTerms& t) {
  const std::string rows =
      t.moves != 0 ? text("up to %u rows", terms.rows) : text("%u fixed rows", t.rows);
  std::string words = text("\"%s\" of %s, %s, in %s", t.name, type_name(static_cast<int>(t.type)),
                           rows.c_str(), place_text(t.place));
  if (t.place == TensorPlace::kWindow)
    words += text(" at %#llx, stride %llu", static_cast<unsigned long long>(t.location),
                  static_cast<unsigned long long>(t.stride));
  return words;
}

std::string text_of(const Terms& terms, const OpTerms& op) {
  const auto name = [&](int32_t tensor) {
    return tensor == kNoTensor ? "-" : terms.tensors[static_cast<size_t>(tensor)].name;
  };
  std::string words = text("%s \"%s\" (%s, %s -> %s, %s)", declared_name(op.kind), op.name,
                           name(op.a), name(op.b), name(op.c), name(op.y));
  if (op.activation != Activation::kNone)
    words += text(", activation %u", static_cast<unsigned>(op.activation));
  if ((op.options & 1) != 0) words += ", bias";
  if ((op.options & 2) != 0) words += text(", norm weight, eps %g", static_cast<double>(op.eps));
  if (op.kind == DeclaredKind::kGemmAllReduce)
    words += text(", sums of %s", type_name(static_cast<int>(op.partial_type)));
  if (op.kind == DeclaredKind::kOwn)
    words += text(", own op %u of %llu bytes", op.own_op,
                  static_cast<unsigned long long>(op.args_bytes));
  return words;
}

[[noreturn]] void differ(const std::string& what, const std::string& first, size_t rank,
                         const std::string& other) {
  fail(TW_ERROR_MISMATCH, "%s: %s: %s on rank 0, %s on rank %zu; valid: equal on all ranks", kBuild,
       what.c_str(), first.c_str(), other.c_str(), rank);
}

void compare_numbers(const Terms& first, const Terms& other, size_t rank) {
  const auto equal = [&](const char* what, size_t a, size_t b) {
    if (a != b) differ(what, std::to_string(a), rank, std::to_string(b));
  };
  equal("config.rows", first.rows, other.rows);
  equal("whether TW_PROGRAM_TRACE is set", first.traced, other.traced);
  if (first.target != other.target)
    differ("the CPU target", cpu_target_name(first.target), rank, cpu_target_name(other.target));
}

template <class T>
void compare_lists(const char* what, const Terms& first, const std::vector<T>& a,
                   const Terms& other, const std::vector<T>& b, size_t rank) {
  for (size_t i = 0; i < std::max(a.size(), b.size()); ++i) {
    const std::string mine = i < a.size() ? text_of(first, a[i]) : "none",
                      theirs = i < b.size() ? text_of(other, b[i]) : "none";
    if (mine != theirs) differ(text("%s %zu", what, i), mine, rank, theirs);
  }
}

// ---- What must fit together ----

[[noreturn]] void unfit(const std::string& why) {
  fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s", kBuild, why.c_str());
}

/// Rows that all ranks add, or one gives to another, are as long on all.
void check_lengths(const std::vector<Terms>& all, const OpTerms& op) {
  for (size_t r = 1; r < all.size(); ++r)
    if (all[r].cols(op.c) != all[0].cols(op.c))
      unfit(
          text("\"%s\" adds %zu columns of tensor \"%s\" on rank 0 and %zu on rank %zu; valid: "
               "as many on all ranks",
               op.name, all[0].cols(op.c), all[0].tensors[static_cast<size_t>(op.c)].name,
               all[r].cols(op.c), r));
  if (std::all_of(all.begin(), all.end(), [&](const Terms& t) { return t.cols(op.a) == 0; }))
    unfit(text("\"%s\" adds nothing: tensor \"%s\" has no columns on any rank", op.name,
               all[0].tensors[static_cast<size_t>(op.a)].name));
}

/// That a part of a tensor is there, on the rank that has it, as `from` says.
void check_part(const std::vector<Terms>& all, const std::string& who, size_t from,
                const DeclaredAccess& a) {
  if (a.rank < 0 || static_cast<size_t>(a.rank) >= all.size())
    unfit(text("%s on rank %zu names rank %d; valid: 0 to %zu", who.c_str(), from, a.rank,
               all.size() - 1));
  const TensorTerms& tensor =
      all[static_cast<size_t>(a.rank)].tensors[static_cast<size_t>(a.tensor)];
  if (static_cast<size_t>(a.rank) != from && tensor.place == TensorPlace::kLocal)
    unfit(
        text("%s on rank %zu %s tensor \"%s\" of rank %d, which is in memory of that rank's "
             "own; valid: in a window or in the program's memory",
             who.c_str(), from, a.writes != 0 ? "writes" : "reads", tensor.name, a.rank));
  const bool rows_fit = a.row <= tensor.rows && a.rows <= tensor.rows - a.row;
  const bool cols_fit = a.col <= tensor.cols && a.cols <= tensor.cols - a.col;
  if (!rows_fit || !cols_fit)
    unfit(
        text("%s on rank %zu %s rows %u + %u, columns %llu + %llu of tensor \"%s\" of rank %d; "
             "valid: within %u rows, %llu columns",
             who.c_str(), from, a.writes != 0 ? "writes" : "reads", a.row, a.rows,
             static_cast<unsigned long long>(a.col), static_cast<unsigned long long>(a.cols),
             tensor.name, a.rank, tensor.rows, static_cast<unsigned long long>(tensor.cols)));
}

void check_copy(const std::vector<Terms>& all, size_t from, const OpTerms& op) {
  const auto rows = all[from].tensors[static_cast<size_t>(op.a)].rows;
  for (int r = 0; r < static_cast<int>(all.size()); ++r)
    if (op.to_rank == r || op.to_rank < 0)
      check_part(
          all, text("\"%s\"", op.name), from,
          {op.c, r, 1, static_cast<uint32_t>(op.to_row), rows, op.to_col, all[from].cols(op.a)});
}

void check_instructions(const std::vector<Terms>& all, size_t from) {
  const Terms& terms = all[from];
  for (size_t i = 0; i < terms.instructions.size(); ++i) {
    const DeclaredInstruction& instruction = terms.instructions[i];
    const OpTerms& op = terms.ops[static_cast<size_t>(instruction.op)];
    for (uint32_t a = 0; a < instruction.count; ++a)
      check_part(all, text("instruction %zu of \"%s\"", i, op.name), from,
                 terms.accesses[instruction.first + a]);
  }
}

}  // namespace

const char* declared_name(DeclaredKind kind) {
  constexpr const char* kNames[] = {"gemm", "gemm_all_reduce", "rms_norm", "swiglu", "add",
                                    "copy", "own op"};
  return kNames[static_cast<size_t>(kind)];
}

std::vector<Terms> agree(Comm& comm, const Declaration& mine, bool traced) {
  std::vector<Terms> all;
  for (const std::string& words : tell_all(comm, told(comm, mine, traced)))
    all.push_back(heard(words));
  for (size_t r = 1; r < all.size(); ++r) {
    compare_numbers(all[0], all[r], r);
    compare_lists("tensor", all[0], all[0].tensors, all[r], all[r].tensors, r);
    compare_lists("op", all[0], all[0].ops, all[r], all[r].ops, r);
  }
  for (size_t r = 0; r < all.size(); ++r) {
    for (const OpTerms& op : all[r].ops) {
      if (op.kind == DeclaredKind::kGemmAllReduce && r == 0) check_lengths(all, op);
      if (op.kind == DeclaredKind::kCopy) check_copy(all, r, op);
    }
    check_instructions(all, r);
  }
  return all;
}

}  // namespace tw
