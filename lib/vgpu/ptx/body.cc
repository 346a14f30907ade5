#include "lib/vgpu/ptx/body.h"

#include "lib/vgpu/ptx/declaration.h"

namespace tw::vgpu::ptx {
namespace {

class Body {
 public:
  Body(Cursor& cursor, Function* function) : cursor_(cursor), function_(*function) {}

  void parse() {
    open_scope(-1);
    while (!stack_.empty()) {
      if (cursor_.at_end()) cursor_.fail("the body of a function has no end");
      if (cursor_.take_if('{')) {
        open_scope(stack_.back());
      } else if (cursor_.take_if('}')) {
        stack_.pop_back();
      } else if (cursor_.take_if(';')) {
        continue;
      } else if (cursor_.token().kind == Token::Kind::kWord && cursor_.token().text[0] == '.') {
        directive();
      } else {
        label_or_statement();
      }
    }
  }

 private:
  void open_scope(int parent) {
    stack_.push_back(static_cast<int>(function_.parents.size()));
    function_.parents.push_back(parent);
  }

  void directive() {
    const std::string_view word = cursor_.token().text;
    const int line = cursor_.line();
    if (word == ".loc") {
      cursor_.take();
      place_.file = static_cast<int>(cursor_.expect_integer("a file's number"));
      place_.line = static_cast<int>(cursor_.expect_integer("a line"));
      cursor_.skip_line(line);
    } else if (word == ".pragma") {
      while (!cursor_.take_if(';')) cursor_.take();
    } else {
      for (Variable& variable : parse_declaration(cursor_, true)) {
        variable.scope = stack_.back();
        function_.variables.push_back(std::move(variable));
      }
      cursor_.expect(';');
    }
  }

  void label_or_statement() {
    Statement statement;
    statement.line = cursor_.line();
    statement.scope = stack_.back();
    statement.place = place_;
    const char* begin = cursor_.token().text.data();
    if (cursor_.take_if('@')) {
      statement.guard_negated = cursor_.take_if('!');
      statement.guard = cursor_.expect_word("a predicate");
    }
    statement.opcode = cursor_.expect_word("an instruction");
    if (statement.guard.empty() && cursor_.take_if(':')) return label(statement);
    while (!cursor_.token().is(';')) {
      statement.operands.push_back(operand());
      if (!cursor_.token().is(';')) cursor_.expect(',');
    }
    statement.text = cursor_.text_from(begin);
    cursor_.take();
    function_.statements.push_back(std::move(statement));
  }

  void label(const Statement& statement) {
    if (cursor_.take_if(".branchtargets")) {
      Targets targets{statement.opcode, stack_.back(), {}};
      do targets.labels.push_back(cursor_.expect_word("a label"));
      while (cursor_.take_if(','));
      cursor_.expect(';');
      function_.targets.push_back(std::move(targets));
      return;
    }
    if (cursor_.token().is(".callprototype") || cursor_.token().is(".calltargets"))
      cursor_.fail("calls through pointers are not supported");
    function_.labels.push_back({statement.opcode, stack_.back(),
                                static_cast<int>(function_.statements.size()), statement.line});
  }

  Operand list(Operand::Kind kind, char end) {
    Operand result;
    result.kind = kind;
    while (!cursor_.take_if(end)) {
      result.parts.push_back(operand());
      if (!cursor_.token().is(end)) cursor_.expect(',');
    }
    return result;
  }

  int64_t offset() {
    int64_t sum = 0;
    while (cursor_.token().is('+') || cursor_.token().is('-')) {
      bool minus = cursor_.take().text[0] == '-';
      if (cursor_.take_if('-')) minus = !minus;
      const auto value = static_cast<int64_t>(cursor_.expect_integer("an offset"));
      sum += minus ? -value : value;
    }
    return sum;
  }

  Operand address() {
    Operand result;
    result.kind = Operand::Kind::kAddress;
    result.parts.push_back(operand());
    result.offset = result.parts[0].offset + offset();
    result.parts[0].offset = 0;
    while (cursor_.take_if(',')) result.parts.push_back(operand());
    cursor_.expect(']');
    return result;
  }

  Operand operand() {
    if (++depth_ > kDeepest) cursor_.fail("operands nested too deep");
    Operand result = nested_operand();
    --depth_;
    return result;
  }

  Operand nested_operand() {
    if (cursor_.take_if('{')) return list(Operand::Kind::kVector, '}');
    if (cursor_.take_if('(')) return list(Operand::Kind::kList, ')');
    if (cursor_.take_if('[')) return address();
    Operand result;
    result.negated = cursor_.take_if('!');
    result.minus = cursor_.take_if('-');
    if (!result.minus) cursor_.take_if('+');
    const Token token = cursor_.take();
    switch (token.kind) {
      case Token::Kind::kInteger:
        result.kind = Operand::Kind::kInteger;
        result.bits = result.minus ? 0 - token.bits : token.bits;
        return result;
      case Token::Kind::kFloat:
      case Token::Kind::kDouble:
        result.kind =
            token.kind == Token::Kind::kFloat ? Operand::Kind::kFloat : Operand::Kind::kDouble;
        result.bits = token.bits;
        if (result.minus)
          result.bits ^= uint64_t{1} << (result.kind == Operand::Kind::kFloat ? 31 : 63);
        return result;
      case Token::Kind::kWord:
        result.name = token.text;
        break;
      default:
        throw Error(token.line, "expected an operand, found " + shown(token));
    }
    if (cursor_.token().is('+') || cursor_.token().is('-')) result.offset = offset();
    if (cursor_.take_if('|')) {
      Operand pair;
      pair.kind = Operand::Kind::kPair;
      pair.parts.push_back(std::move(result));
      pair.parts.push_back(operand());
      return pair;
    }
    return result;
  }

  static constexpr int kDeepest = 16;

  Cursor& cursor_;
  Function& function_;
  std::vector<int> stack_;  // of scopes
  Place place_;
  int depth_ = 0;
};

}  // namespace

void parse_body(Cursor& cursor, Function* function) { Body(cursor, function).parse(); }

}  // namespace tw::vgpu::ptx
