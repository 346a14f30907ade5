// Names of a kernel while it is decoded: registers, variables and labels with their scopes, and
// where the registers and constants lie.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/vgpu/ptx/module.h"
#include "lib/vgpu/sim/program.h"

namespace tw::vgpu {

/// What a name stands for.
struct Symbol {
  enum class Kind : uint8_t {
    kRegister,
    kPredicate,       // number
    kShared,          // address: a shared address
    kDynamic,         // the launch's shared memory
    kGlobal,          // a variable of the module, global or constant
    kLocal,           // address: an offset into the thread's local memory
    kParameter,       // address: an offset into the launch's parameters
    kFrameParameter,  // of a called function, in the frame: `bytes` bytes for each lane
    kFunction,
  };
  Kind kind = Kind::kRegister;
  Slot slot = kNoSlot;
  uint32_t number = 0;
  uint32_t bytes = 0;
  int64_t address = 0;
};

class Symbols;

/// A program that is being decoded, and what its functions share.
struct Draft {
  explicit Draft(const ptx::Module& of, Program& into) : module(of), program(into) {}

  struct Function {
    std::unique_ptr<Symbols> symbols;
    int pc = -1;
  };
  /// A constant that is the address of the launch's shared memory plus an addend.
  struct Dynamic {
    Slot slot;
    int64_t addend;
    int bytes;
  };
  struct Jump {
    int op;         // whose target is to be set
    int statement;  // of the same function
  };

  const ptx::Module& module;
  Program& program;
  std::map<std::pair<uint64_t, int>, Slot> constants;  // by bits and bytes
  std::unordered_map<std::string_view, Slot> specials;
  std::unordered_map<std::string_view, Symbol> variables;  // of the module
  std::vector<Dynamic> dynamic;
  std::vector<Function> functions;  // the entry, then what is called
  size_t current = 0;               // the function being decoded, and its
  std::vector<Jump> jumps;          // jumps
  size_t first_table = 0;           // and first jump table
  uint32_t dynamic_align = 16;

  /// The number of the function `name`, for calls; -1 when the module has no body of it.
  int function(std::string_view name);
  /// Room in the frame for 32 lanes of `bytes` bytes.
  Slot allocate(uint32_t bytes);
  Slot constant(uint64_t bits, int bytes);
};

/// The names within one function, on top of those of the module. Functions share the program's
/// frame: each has registers of its own, so that calls need no stack (and cannot recurse).
class Symbols {
 public:
  Symbols(Draft& draft, const ptx::Function& function);

  /// What `name` means in `scope`; null when nothing. Gives a register its place when first asked.
  const Symbol* find(std::string_view name, int scope);
  /// The statement that a label of `scope` stands before; -1 when there is none.
  int label(std::string_view name, int scope) const;
  const ptx::Targets* targets(std::string_view name, int scope) const;
  /// The constant that is the address of a symbol that is no register, plus `addend`; kNoSlot when
  /// it has no address.
  Slot address_constant(const Symbol& symbol, std::string_view name, int64_t addend, int bytes);
  /// The lanes of a special register; kNoSlot when there is none called so.
  Slot special(std::string_view name);

  Draft& draft() { return draft_; }
  const ptx::Function& function() const { return function_; }

  std::vector<Symbol> parameters, results;  // of a called function
  Slot return_pc = kNoSlot;                 // of a called function: lanes of 32 bits

 private:
  Symbol make_register(const ptx::Variable& variable);
  Symbol make_variable(const ptx::Variable& variable);
  void add_parameters();
  const Symbol* in_scope(std::string_view name, int scope);
  const Symbol* in_module(std::string_view name);

  Draft& draft_;
  const ptx::Function& function_;
  std::vector<std::unordered_map<std::string_view, const ptx::Variable*>> declared_;  // by scope
  std::vector<std::unordered_map<std::string_view, Symbol>> found_;
  std::vector<std::unordered_map<std::string_view, int>> labels_;
};

}  // namespace tw::vgpu
