#include "lib/vgpu/ptx/declaration.h"

#include <algorithm>
#include <cstring>

namespace tw::vgpu::ptx {
namespace {

constexpr uint64_t kLargest = uint64_t{1} << 34;  // bytes of a variable

int64_t signed_integer(Cursor& cursor) {
  const bool minus = cursor.take_if('-');
  const auto value = static_cast<int64_t>(cursor.expect_integer("an integer"));
  return minus ? -value : value;
}

/// One value of an initialiser into `bytes` bytes at the variable's end.
void parse_value(Cursor& cursor, Variable* variable) {
  const size_t element = static_cast<size_t>(bytes_of(variable->type));
  const size_t offset = variable->initial.size();
  uint64_t bits = 0;
  const Token token = cursor.token();
  if (token.kind == Token::Kind::kFloat || token.kind == Token::Kind::kDouble) {
    bits = cursor.take().bits;
  } else if (token.kind == Token::Kind::kWord) {
    const bool generic = cursor.take_if("generic");
    if (generic) cursor.expect('(');
    Pointer pointer{static_cast<uint32_t>(offset), cursor.expect_word("a symbol"), 0};
    if (generic) cursor.expect(')');
    if (cursor.take_if('+')) pointer.addend = signed_integer(cursor);
    if (element != 8) cursor.fail("the address of a symbol needs 8 bytes");
    variable->pointers.push_back(pointer);
  } else {
    bits = static_cast<uint64_t>(signed_integer(cursor));
  }
  variable->initial.resize(offset + element);
  std::memcpy(variable->initial.data() + offset, &bits, std::min(element, sizeof bits));
}

void parse_values(Cursor& cursor, Variable* variable) {
  if (!cursor.take_if('{')) return parse_value(cursor, variable);
  while (!cursor.take_if('}')) {
    parse_values(cursor, variable);
    if (!cursor.token().is('}')) cursor.expect(',');
  }
}

void parse_dimensions(Cursor& cursor, Variable* variable) {
  variable->bytes = static_cast<uint64_t>(bytes_of(variable->type)) * variable->vector;
  bool is_open = false;
  while (cursor.take_if('[')) {
    if (cursor.take_if(']')) {
      is_open = true;
      continue;
    }
    const uint64_t extent = cursor.expect_integer("an extent");
    if (extent == 0 || extent > kLargest || variable->bytes > kLargest / extent)
      throw Error(variable->line, "extent " + std::to_string(extent) + " of '" +
                                      std::string(variable->name) +
                                      "': valid are 1 byte to 16 GiB in all");
    variable->bytes *= extent;
    cursor.expect(']');
  }
  if (is_open) variable->bytes = 0;
}

/// Everything before the name: ".align 8 .b8", ".v4 .f32", ".ptr .global .align 16".
Variable parse_head(Cursor& cursor, Space space) {
  Variable variable;
  variable.space = space;
  variable.line = cursor.line();
  while (cursor.token().kind == Token::Kind::kWord && cursor.token().text[0] == '.') {
    const std::string_view word = cursor.token().text.substr(1);
    Space pointed;
    if (word == "align") {
      cursor.take();
      const uint64_t align = cursor.expect_integer("an alignment");
      if (align == 0 || (align & (align - 1)) != 0 || align > 1 << 20)
        cursor.fail("alignment " + std::to_string(align) + " is no power of two up to 2^20");
      variable.align = std::max(variable.align, static_cast<uint32_t>(align));
    } else if (word == "v2" || word == "v4" || word == "v8") {
      variable.vector = word[1] - '0';
      cursor.take();
    } else if (word == "ptr" || (variable.type != Type::kNone && space_named(word, &pointed))) {
      cursor.take();  // what a parameter points to: advice
    } else if (const Type type = type_named(word); type != Type::kNone) {
      variable.type = type;
      cursor.take();
    } else {
      cursor.fail("not known in a declaration");
    }
  }
  if (variable.type == Type::kNone) cursor.fail("a declaration without a type");
  if (space != Space::kReg && variable.type == Type::kPred)
    cursor.fail("predicates live in registers only");
  variable.align = std::max(
      {variable.align, uint32_t{1},
       static_cast<uint32_t>(bytes_of(variable.type)) * static_cast<uint32_t>(variable.vector)});
  return variable;
}

}  // namespace

bool space_named(std::string_view word, Space* space) {
  struct Row {
    std::string_view name;
    Space space;
  };
  constexpr Row kRows[] = {{"global", Space::kGlobal}, {"shared", Space::kShared},
                           {"local", Space::kLocal},   {"param", Space::kParam},
                           {"const", Space::kConst},   {"reg", Space::kReg}};
  for (const Row& row : kRows) {
    if (row.name != word) continue;
    *space = row.space;
    return true;
  }
  return false;
}

std::vector<Variable> parse_declaration(Cursor& cursor, bool commas) {
  Space space = Space::kReg;
  const std::string_view word = cursor.expect_word("a state space");
  if (!space_named(word.substr(1), &space))
    throw Error(cursor.line(), "'" + std::string(word) + "' is no state space");
  const Variable head = parse_head(cursor, space);
  std::vector<Variable> declared;
  do {
    Variable variable = head;
    variable.line = cursor.line();
    variable.name = cursor.expect_word("a name");
    if (space == Space::kReg && cursor.take_if('<')) {
      const uint64_t count = cursor.expect_integer("a number of registers");
      if (count > 1 << 22) cursor.fail("more than 2^22 registers");
      variable.count = static_cast<int>(count);
      cursor.expect('>');
    }
    parse_dimensions(cursor, &variable);
    if (cursor.take_if('=')) {
      parse_values(cursor, &variable);
      if (variable.bytes == 0) variable.bytes = variable.initial.size();
      if (variable.initial.size() > variable.bytes)
        throw Error(variable.line, "'" + std::string(variable.name) + "' has " +
                                       std::to_string(variable.initial.size()) +
                                       " bytes of initial values and " +
                                       std::to_string(variable.bytes) + " of room");
      variable.initial.resize(variable.bytes);
    }
    declared.push_back(std::move(variable));
  } while (commas && cursor.take_if(','));
  return declared;
}

std::vector<Variable> parse_parameters(Cursor& cursor) {
  std::vector<Variable> parameters;
  if (!cursor.take_if('(')) return parameters;
  while (!cursor.take_if(')')) {
    for (Variable& variable : parse_declaration(cursor, false))
      parameters.push_back(std::move(variable));
    if (!cursor.token().is(')')) cursor.expect(',');
  }
  return parameters;
}

}  // namespace tw::vgpu::ptx
