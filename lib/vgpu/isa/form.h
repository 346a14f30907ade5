// An instruction while it is decoded: what its modifiers and operands say. Whatever a family does
// not take is an error, so that an unknown form is never executed as something else.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "lib/vgpu/isa/symbols.h"
#include "lib/vgpu/ptx/module.h"
#include "lib/vgpu/sim/program.h"

namespace tw::vgpu {

using ptx::Type;

class Form {
 public:
  Form(Symbols& symbols, const ptx::Statement& statement);

  // ---- Modifiers ----------------------------------------------------------------------------
  std::string_view mnemonic() const { return words_[0]; }
  /// Takes the modifier if it stands anywhere among those not taken yet.
  bool take(std::string_view modifier);
  /// Takes one of `modifiers` and gives its index; `otherwise` when none stands there, an error
  /// when that is negative.
  int take_one(std::initializer_list<std::string_view> modifiers, int otherwise = -1);
  /// Takes the first type among the modifiers; kNone when there is none.
  Type take_type();
  /// As take_type, but a type must stand there.
  Type type();
  /// The first modifier that is not taken yet, or "".
  std::string_view next() const;

  // ---- Operands -----------------------------------------------------------------------------
  size_t operands() const { return statement_.operands.size(); }
  const ptx::Operand& operand(size_t i) const;
  /// The lanes of a source: a register of `bytes` bytes, a constant, a special register, the
  /// address of a variable.
  Slot in(size_t i, int bytes) { return in(operand(i), bytes); }
  Slot in(const ptx::Operand& operand, int bytes);
  /// A floating-point source: immediate values are converted to the type.
  Slot in(size_t i, Type type);
  /// The lanes of a destination of exactly `bytes` bytes; kNoSlot for "_".
  Slot out(size_t i, int bytes) { return out(operand(i), bytes); }
  Slot out(const ptx::Operand& operand, int bytes);
  /// A register of any width that is at least `bytes`; its width.
  Slot wide(const ptx::Operand& operand, int bytes, int* width);
  PredicateRef predicate_in(size_t i) { return predicate_in(operand(i)); }
  PredicateRef predicate_in(const ptx::Operand& operand);
  uint32_t predicate_out(size_t i) { return predicate_out(operand(i)); }
  uint32_t predicate_out(const ptx::Operand& operand);
  bool is_predicate(const ptx::Operand& operand) const;
  /// The value of an operand that must be an integer constant.
  int64_t constant(size_t i);
  /// The parts of operand i, {a, b} or a single one.
  const std::vector<ptx::Operand>& parts(size_t i);
  /// Operand i must be an address: fills op.a, op.immediate and op.is_wide.
  void address(size_t i) { address(operand(i).parts.at(0), operand(i), &op.a, &op.is_wide); }
  void address(const ptx::Operand& base, const ptx::Operand& whole, Slot* slot, bool* is_wide);
  void expect_address(size_t i);
  /// Appends `slots` to the program's lists: fills op.list and op.count.
  void list(const std::vector<Slot>& slots);

  /// op.target becomes the pc of the label that operand i names.
  void jump(size_t i);

  /// Ends decoding: everything must have been taken, and there must be as many operands as said.
  void emit(Run run, size_t operands);

  Symbols& symbols() { return symbols_; }
  Draft& draft() { return symbols_.draft(); }
  Program& program() { return draft().program; }
  const ptx::Statement& statement() const { return statement_; }
  [[noreturn]] void fail(const std::string& sentence) const;

  Op op;

 private:
  Symbols& symbols_;
  const ptx::Statement& statement_;
  std::vector<std::string_view> words_;  // the mnemonic and the modifiers
  std::vector<bool> is_taken_;
  std::vector<ptx::Operand> single_;
};

}  // namespace tw::vgpu
