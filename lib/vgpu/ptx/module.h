// A module as its text says it: functions with statements, nothing resolved but scopes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/vgpu/ptx/types.h"

namespace tw::vgpu::ptx {

struct Operand {
  enum class Kind : uint8_t {
    kName,     // name, and offset in "name+8" outside of an address
    kInteger,  // bits
    kFloat,    // bits of a binary32
    kDouble,   // bits of a binary64
    kVector,   // {a, b, ...}
    kAddress,  // [parts[0] + offset] and further parts after commas
    kPair,     // a|b
    kList,     // (a, b, ...) of a call
  };
  Kind kind = Kind::kName;
  bool negated = false;  // !name
  bool minus = false;    // -name
  std::string_view name;
  uint64_t bits = 0;
  int64_t offset = 0;
  std::vector<Operand> parts;
};

/// A place in the program's own source (.loc); file 0 when there is none.
struct Place {
  int file = 0;
  int line = 0;
};

struct Statement {
  int line = 0;
  int scope = 0;
  Place place;
  std::string_view guard;  // empty: always
  bool guard_negated = false;
  std::string_view opcode;  // with its modifiers
  std::vector<Operand> operands;
  std::string_view text;  // as written
};

enum class Space : uint8_t { kGeneric, kGlobal, kShared, kLocal, kParam, kConst, kReg };

/// A pointer in a variable's initial value: the address of `symbol` + `addend` at `offset`.
struct Pointer {
  uint32_t offset = 0;
  std::string_view symbol;
  int64_t addend = 0;
};

/// A variable, a parameter, or (Space::kReg) registers: `count` of them when name is a prefix.
struct Variable {
  Space space = Space::kReg;
  Type type = Type::kNone;
  int vector = 1;
  uint32_t align = 1;
  std::string_view name;
  uint64_t bytes = 0;  // 0: extern, of a size that the launch gives
  int count = -1;      // of registers name0 .. name(count-1); -1: one, called name
  bool is_extern = false;
  int scope = 0;
  int line = 0;
  std::vector<uint8_t> initial;  // empty: zeros
  std::vector<Pointer> pointers;
};

struct Label {
  std::string_view name;
  int scope = 0;
  int at = 0;  // the statement that it stands before
  int line = 0;
};

/// .branchtargets of brx.idx.
struct Targets {
  std::string_view name;
  int scope = 0;
  std::vector<std::string_view> labels;
};

struct Function {
  std::string_view name;
  bool is_entry = false;
  bool has_body = false;
  int line = 0;
  std::vector<Variable> results;
  std::vector<Variable> parameters;
  std::vector<Variable> variables;  // of all scopes
  std::vector<int> parents;         // of each scope; scope 0 has parent -1
  std::vector<Statement> statements;
  std::vector<Label> labels;
  std::vector<Targets> targets;
  int max_threads = 0;       // .maxntid's product, 0: not given
  int required_threads = 0;  // .reqntid's product
  int min_blocks = 0;        // .minnctapersm
  int max_registers = 0;     // .maxnreg
  int cluster_blocks = 0;    // .reqnctapercluster's product
};

struct Module {
  std::string text;  // what all views point into
  std::string_view target;
  int version = 0;  // 90 for 9.0
  std::vector<Variable> variables;
  std::vector<Function> functions;
  std::vector<std::string_view> files;  // by .file's number

  const Function* function(std::string_view name) const;
};

/// Parses a whole module. Throws Error for whatever is not understood.
std::unique_ptr<Module> parse(std::string text);

}  // namespace tw::vgpu::ptx
