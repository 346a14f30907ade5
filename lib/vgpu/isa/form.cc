#include "lib/vgpu/isa/form.h"

#include <bit>

#include "lib/vgpu/ptx/error.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {

using ptx::Operand;

Form::Form(Symbols& symbols, const ptx::Statement& statement)
    : symbols_(symbols), statement_(statement) {
  std::string_view rest = statement.opcode;
  while (!rest.empty()) {
    const size_t dot = rest.find('.');
    words_.push_back(rest.substr(0, dot));
    rest.remove_prefix(dot == std::string_view::npos ? rest.size() : dot + 1);
  }
  if (words_.empty() || words_[0].empty()) fail("an instruction without a name");
  is_taken_.resize(words_.size());
  is_taken_[0] = true;
  if (!statement.guard.empty()) {
    const Symbol* guard = symbols.find(statement.guard, statement.scope);
    if (guard == nullptr || guard->kind != Symbol::Kind::kPredicate)
      fail("the guard '" + std::string(statement.guard) + "' is no predicate");
    op.guard = guard->number;
    op.guard_flip = statement.guard_negated ? kAllLanes : 0;
  }
}

void Form::fail(const std::string& sentence) const {
  throw ptx::Error(statement_.line, sentence + ": " + std::string(statement_.text));
}

bool Form::take(std::string_view modifier) {
  for (size_t i = 1; i < words_.size(); ++i) {
    if (is_taken_[i] || words_[i] != modifier) continue;
    is_taken_[i] = true;
    return true;
  }
  return false;
}

int Form::take_one(std::initializer_list<std::string_view> modifiers, int otherwise) {
  int index = 0;
  for (const std::string_view modifier : modifiers) {
    if (take(modifier)) return index;
    ++index;
  }
  if (otherwise >= 0) return otherwise;
  std::string names;
  for (const std::string_view modifier : modifiers) names += " ." + std::string(modifier);
  fail("one of" + names + " must stand here");
}

Type Form::take_type() {
  for (size_t i = 1; i < words_.size(); ++i) {
    const Type type = is_taken_[i] ? Type::kNone : ptx::type_named(words_[i]);
    if (type == Type::kNone) continue;
    is_taken_[i] = true;
    return type;
  }
  return Type::kNone;
}

Type Form::type() {
  const Type found = take_type();
  if (found == Type::kNone) fail("a type is missing");
  return found;
}

std::string_view Form::next() const {
  for (size_t i = 1; i < words_.size(); ++i)
    if (!is_taken_[i]) return words_[i];
  return {};
}

const Operand& Form::operand(size_t i) const {
  if (i >= statement_.operands.size()) fail("operand " + std::to_string(i + 1) + " is missing");
  return statement_.operands[i];
}

Slot Form::in(const Operand& operand, int bytes) {
  if (operand.kind == Operand::Kind::kInteger || operand.kind == Operand::Kind::kFloat ||
      operand.kind == Operand::Kind::kDouble) {
    if (operand.kind == Operand::Kind::kDouble && bytes == 4)
      return draft().constant(
          std::bit_cast<uint32_t>(static_cast<float>(std::bit_cast<double>(operand.bits))), bytes);
    if (operand.kind == Operand::Kind::kFloat && bytes == 8)
      return draft().constant(std::bit_cast<uint64_t>(static_cast<double>(
                                  std::bit_cast<float>(static_cast<uint32_t>(operand.bits)))),
                              bytes);
    const uint64_t mask = bytes >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * bytes)) - 1;
    return draft().constant(operand.bits & mask, bytes);
  }
  if (operand.kind != Operand::Kind::kName || operand.negated || operand.minus)
    fail("an operand must be a register or a constant");
  const Symbol* symbol = symbols_.find(operand.name, statement_.scope);
  if (symbol != nullptr && symbol->kind == Symbol::Kind::kRegister) {
    if (symbol->bytes != static_cast<uint32_t>(bytes) || operand.offset != 0)
      fail("'" + std::string(operand.name) + "' has " + std::to_string(symbol->bytes) +
           " bytes, the instruction takes " + std::to_string(bytes));
    return symbol->slot;
  }
  if (symbol != nullptr && bytes >= 4) {
    const Slot slot = symbols_.address_constant(*symbol, operand.name, operand.offset, bytes);
    if (slot != kNoSlot) return slot;
  }
  const Slot special = symbols_.special(operand.name);
  if (special == kNoSlot) fail("the operand '" + std::string(operand.name) + "' is not known here");
  if (bytes != 4) fail("'" + std::string(operand.name) + "' has 4 bytes");
  return special;
}

Slot Form::in(size_t i, Type type) {
  const Operand& source = operand(i);
  const bool is_integer = source.kind == Operand::Kind::kInteger;
  if (ptx::kind_of(type) == ptx::Kind::kFloat && is_integer && ptx::bytes_of(type) >= 4 &&
      source.bits != 0)
    fail("an integer constant where the type is " + std::string(ptx::name_of(type)));
  return in(source, ptx::bytes_of(type));
}

Slot Form::out(const Operand& operand, int bytes) {
  if (operand.kind != Operand::Kind::kName || operand.negated || operand.minus ||
      operand.offset != 0)
    fail("a destination must be a register");
  if (operand.name == "_") return kNoSlot;
  const Symbol* symbol = symbols_.find(operand.name, statement_.scope);
  if (symbol == nullptr || symbol->kind != Symbol::Kind::kRegister)
    fail("the destination '" + std::string(operand.name) + "' is no register");
  if (symbol->bytes != static_cast<uint32_t>(bytes))
    fail("'" + std::string(operand.name) + "' has " + std::to_string(symbol->bytes) +
         " bytes, the instruction gives " + std::to_string(bytes));
  return symbol->slot;
}

Slot Form::wide(const Operand& operand, int bytes, int* width) {
  *width = bytes;
  if (operand.kind != Operand::Kind::kName) return in(operand, bytes);
  if (operand.name == "_") return kNoSlot;
  const Symbol* symbol = symbols_.find(operand.name, statement_.scope);
  if (symbol == nullptr || symbol->kind != Symbol::Kind::kRegister) {
    *width = std::max(bytes, 4);
    return in(operand, *width);
  }
  if (operand.negated || operand.minus || operand.offset != 0)
    fail("an operand must be a register or a constant");
  if (symbol->bytes < static_cast<uint32_t>(bytes))
    fail("'" + std::string(operand.name) + "' has only " + std::to_string(symbol->bytes) +
         " bytes");
  *width = static_cast<int>(symbol->bytes);
  return symbol->slot;
}

bool Form::is_predicate(const Operand& operand) const {
  if (operand.kind != Operand::Kind::kName) return false;
  const Symbol* symbol = symbols_.find(operand.name, statement_.scope);
  return symbol != nullptr && symbol->kind == Symbol::Kind::kPredicate;
}

PredicateRef Form::predicate_in(const Operand& operand) {
  if (operand.kind == Operand::Kind::kInteger) {
    const bool value = (operand.bits != 0) != operand.negated;
    return value ? kTrue : kTrue ^ 1;
  }
  if (!is_predicate(operand)) fail("a predicate must stand here");
  const Symbol* symbol = symbols_.find(operand.name, statement_.scope);
  return symbol->number * 2 + (operand.negated ? 1 : 0);
}

uint32_t Form::predicate_out(const Operand& operand) {
  if (operand.kind == Operand::Kind::kName && operand.name == "_") return kNoSlot;
  if (!is_predicate(operand) || operand.negated) fail("a predicate must stand here");
  return symbols_.find(operand.name, statement_.scope)->number;
}

int64_t Form::constant(size_t i) {
  const Operand& value = operand(i);
  if (value.kind != Operand::Kind::kInteger)
    fail("operand " + std::to_string(i + 1) + " must be an integer constant");
  return static_cast<int64_t>(value.bits);
}

const std::vector<Operand>& Form::parts(size_t i) {
  const Operand& whole = operand(i);
  if (whole.kind == Operand::Kind::kVector) return whole.parts;
  single_.assign(1, whole);
  return single_;
}

void Form::expect_address(size_t i) {
  if (operand(i).kind != Operand::Kind::kAddress)
    fail("operand " + std::to_string(i + 1) + " must be an [address]");
}

void Form::address(const Operand& base, const Operand& whole, Slot* slot, bool* is_wide) {
  if (whole.kind != Operand::Kind::kAddress) fail("an [address] must stand here");
  op.immediate = whole.offset;
  *is_wide = true;
  if (base.kind == Operand::Kind::kInteger) {
    *slot = draft().constant(base.bits, 8);
    return;
  }
  const Symbol* symbol =
      base.kind == Operand::Kind::kName ? symbols_.find(base.name, statement_.scope) : nullptr;
  if (symbol == nullptr || symbol->kind != Symbol::Kind::kRegister) {
    *slot = in(base, 8);
    return;
  }
  *is_wide = symbol->bytes == 8;
  *slot = in(base, static_cast<int>(symbol->bytes));
  if (symbol->bytes < 4) fail("an address has 4 or 8 bytes");
}

void Form::list(const std::vector<Slot>& slots) {
  op.list = static_cast<uint32_t>(program().lists.size());
  op.count = static_cast<uint8_t>(slots.size());
  program().lists.insert(program().lists.end(), slots.begin(), slots.end());
}

void Form::jump(size_t i) {
  const Operand& name = operand(i);
  const int statement =
      name.kind == Operand::Kind::kName ? symbols_.label(name.name, statement_.scope) : -1;
  if (statement < 0) fail("a label of this function must stand here");
  draft().jumps.push_back({static_cast<int>(program().code.size()), statement});
}

void Form::emit(Run run, size_t operands) {
  if (!next().empty()) fail("the modifier ." + std::string(next()) + " is not supported here");
  if (run == nullptr) fail("this form is not supported");
  if (statement_.operands.size() != operands)
    fail(std::to_string(statement_.operands.size()) + " operands where the form has " +
         std::to_string(operands));
  op.run = run;
  program().code.push_back(op);
  program().origins.push_back({statement_.line, statement_.place, statement_.text});
}

}  // namespace tw::vgpu
