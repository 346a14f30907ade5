#include "lib/vgpu/isa/symbols.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "lib/vgpu/ptx/error.h"
#include "lib/vgpu/sim/launch.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {
namespace {

using ptx::Space;

constexpr uint32_t kMostFrame = 1 << 30;

struct SpecialName {
  std::string_view name;
  Special special;
};

constexpr SpecialName kSpecials[] = {
    {"%tid.x", Special::kTidX},
    {"%tid.y", Special::kTidY},
    {"%tid.z", Special::kTidZ},
    {"%ntid.x", Special::kNtidX},
    {"%ntid.y", Special::kNtidY},
    {"%ntid.z", Special::kNtidZ},
    {"%ctaid.x", Special::kCtaidX},
    {"%ctaid.y", Special::kCtaidY},
    {"%ctaid.z", Special::kCtaidZ},
    {"%nctaid.x", Special::kNctaidX},
    {"%nctaid.y", Special::kNctaidY},
    {"%nctaid.z", Special::kNctaidZ},
    {"%laneid", Special::kLaneid},
    {"%warpid", Special::kWarpid},
    {"%nwarpid", Special::kNwarpid},
    {"%smid", Special::kSmid},
    {"%nsmid", Special::kNsmid},
    {"%gridid", Special::kGridid},
    {"%lanemask_eq", Special::kLanemaskEq},
    {"%lanemask_lt", Special::kLanemaskLt},
    {"%lanemask_le", Special::kLanemaskLe},
    {"%lanemask_gt", Special::kLanemaskGt},
    {"%lanemask_ge", Special::kLanemaskGe},
    {"%clusterid.x", Special::kClusteridX},
    {"%clusterid.y", Special::kClusteridY},
    {"%clusterid.z", Special::kClusteridZ},
    {"%nclusterid.x", Special::kNclusteridX},
    {"%nclusterid.y", Special::kNclusteridY},
    {"%nclusterid.z", Special::kNclusteridZ},
    {"%cluster_ctaid.x", Special::kClusterCtaidX},
    {"%cluster_ctaid.y", Special::kClusterCtaidY},
    {"%cluster_ctaid.z", Special::kClusterCtaidZ},
    {"%cluster_nctaid.x", Special::kClusterNctaidX},
    {"%cluster_nctaid.y", Special::kClusterNctaidY},
    {"%cluster_nctaid.z", Special::kClusterNctaidZ},
    {"%cluster_ctarank", Special::kClusterCtarank},
    {"%cluster_nctarank", Special::kClusterNctarank},
    {"%dynamic_smem_size", Special::kDynamicSmemSize},
    {"%total_smem_size", Special::kTotalSmemSize},
};

uint32_t align_up(uint32_t value, uint32_t align) { return (value + align - 1) / align * align; }

/// Splits "%r12" into "%r" and 12; false when there is no number, or one with leading zeros.
bool split_number(std::string_view name, std::string_view* prefix, int* number) {
  size_t begin = name.size();
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(name[begin - 1]))) --begin;
  const std::string_view digits = name.substr(begin);
  if (digits.empty() || digits.size() > 8 || (digits.size() > 1 && digits[0] == '0')) return false;
  *number = 0;
  for (const char digit : digits) *number = *number * 10 + (digit - '0');
  *prefix = name.substr(0, begin);
  return true;
}

}  // namespace

Slot Draft::allocate(uint32_t bytes) {
  const Slot slot = program.frame_bytes;
  const uint32_t room = align_up(bytes * kLanes, 64);
  if (room > kMostFrame - slot)
    throw ptx::Error(0, "the registers of '" + program.name + "' need more than 1 GiB a warp");
  program.frame_bytes += room;
  return slot;
}

Slot Draft::constant(uint64_t bits, int bytes) {
  const auto [at, is_new] = constants.try_emplace({bits, bytes}, kNoSlot);
  if (!is_new) return at->second;
  const auto offset = static_cast<uint32_t>(program.constants.size());
  program.constants.resize(offset + static_cast<size_t>(bytes) * kLanes);
  for (int lane = 0; lane < kLanes; ++lane)
    std::memcpy(program.constants.data() + offset + lane * bytes, &bits,
                static_cast<size_t>(std::min(bytes, 8)));
  program.constants.resize(align_up(static_cast<uint32_t>(program.constants.size()), 64));
  at->second = offset | 1;
  return at->second;
}

int Draft::function(std::string_view name) {
  for (size_t i = 0; i < functions.size(); ++i)
    if (functions[i].symbols->function().name == name) return static_cast<int>(i);
  const ptx::Function* called = module.function(name);
  if (called == nullptr || !called->has_body || called->is_entry) return -1;
  functions.push_back({std::make_unique<Symbols>(*this, *called), -1});
  return static_cast<int>(functions.size()) - 1;
}

Symbols::Symbols(Draft& draft, const ptx::Function& function) : draft_(draft), function_(function) {
  const size_t scopes = std::max<size_t>(function.parents.size(), 1);
  declared_.resize(scopes);
  found_.resize(scopes);
  labels_.resize(scopes);
  for (const ptx::Variable& variable : function.variables)
    if (!declared_[static_cast<size_t>(variable.scope)].emplace(variable.name, &variable).second)
      throw ptx::Error(variable.line, "'" + std::string(variable.name) + "' is declared twice");
  for (const ptx::Label& label : function.labels)
    if (!labels_[static_cast<size_t>(label.scope)].emplace(label.name, label.at).second)
      throw ptx::Error(label.line, "the label '" + std::string(label.name) + "' stands twice");
  add_parameters();
}

void Symbols::add_parameters() {
  if (!function_.is_entry) {
    return_pc = draft_.allocate(4);
    const auto add = [&](const ptx::Variable& variable, std::vector<Symbol>* to) {
      const Symbol symbol =
          variable.space == Space::kReg ? make_register(variable) : make_variable(variable);
      to->push_back(symbol);
      found_[0].emplace(variable.name, symbol);
    };
    for (const ptx::Variable& variable : function_.parameters) add(variable, &parameters);
    for (const ptx::Variable& variable : function_.results) add(variable, &results);
    return;
  }
  Program& program = draft_.program;
  for (const ptx::Variable& variable : function_.parameters) {
    if (variable.bytes == 0 || variable.bytes > 32764)
      throw ptx::Error(variable.line, "parameter '" + std::string(variable.name) + "' has " +
                                          std::to_string(variable.bytes) +
                                          " bytes: valid are 1 to 32764");
    const uint32_t offset = align_up(program.parameter_bytes, variable.align);
    const auto bytes = static_cast<uint32_t>(variable.bytes);
    program.parameters.push_back({offset, bytes});
    program.parameter_bytes = offset + bytes;
    Symbol symbol;
    symbol.kind = Symbol::Kind::kParameter;
    symbol.bytes = bytes;
    symbol.address = offset;
    found_[0].emplace(variable.name, symbol);
  }
}

Symbol Symbols::make_register(const ptx::Variable& variable) {
  Symbol symbol;
  if (variable.type == ptx::Type::kPred) {
    symbol.kind = Symbol::Kind::kPredicate;
    symbol.number = draft_.program.predicates++;
    return symbol;
  }
  symbol.bytes = static_cast<uint32_t>(ptx::bytes_of(variable.type));
  if (variable.vector != 1)
    throw ptx::Error(variable.line,
                     "vector registers are not supported: '" + std::string(variable.name) + "'");
  symbol.slot = draft_.allocate(symbol.bytes);
  return symbol;
}

Symbol Symbols::make_variable(const ptx::Variable& variable) {
  Program& program = draft_.program;
  Symbol symbol;
  symbol.bytes = static_cast<uint32_t>(variable.bytes);
  switch (variable.space) {
    case Space::kShared:
      if (variable.bytes == 0) {
        symbol.kind = Symbol::Kind::kDynamic;
        draft_.dynamic_align = std::max(draft_.dynamic_align, variable.align);
        break;
      }
      symbol.kind = Symbol::Kind::kShared;
      program.shared_bytes = align_up(program.shared_bytes, variable.align);
      symbol.address = kSharedBase + program.shared_bytes;
      if (variable.bytes > kBlockShared - std::min(kBlockShared, program.shared_bytes))
        throw ptx::Error(variable.line, "shared variables of more than 227 KiB: '" +
                                            std::string(variable.name) + "'");
      program.shared_bytes += symbol.bytes;
      break;
    case Space::kLocal:
      symbol.kind = Symbol::Kind::kLocal;
      program.local_bytes = align_up(program.local_bytes, variable.align);
      symbol.address = program.local_bytes;
      program.local_bytes += symbol.bytes;
      break;
    case Space::kParam:
      symbol.kind = Symbol::Kind::kFrameParameter;
      symbol.bytes = align_up(symbol.bytes, 8);
      symbol.slot = draft_.allocate(symbol.bytes);
      break;
    default:
      symbol.kind = Symbol::Kind::kGlobal;
      break;
  }
  return symbol;
}

const Symbol* Symbols::in_scope(std::string_view name, int scope) {
  auto& found = found_[static_cast<size_t>(scope)];
  if (const auto at = found.find(name); at != found.end()) return &at->second;
  const auto& declared = declared_[static_cast<size_t>(scope)];
  std::string_view prefix;
  int number = 0;
  auto at = declared.find(name);
  if (at == declared.end() || at->second->count >= 0) {
    if (!split_number(name, &prefix, &number)) return nullptr;
    at = declared.find(prefix);
    if (at == declared.end() || number >= at->second->count) return nullptr;
  }
  const ptx::Variable& variable = *at->second;
  const Symbol symbol =
      variable.space == Space::kReg ? make_register(variable) : make_variable(variable);
  return &found.emplace(name, symbol).first->second;
}

const Symbol* Symbols::in_module(std::string_view name) {
  if (const auto at = draft_.variables.find(name); at != draft_.variables.end()) return &at->second;
  for (const ptx::Variable& variable : draft_.module.variables)
    if (variable.name == name)
      return &draft_.variables.emplace(name, make_variable(variable)).first->second;
  if (draft_.module.function(name) == nullptr) return nullptr;
  Symbol symbol;
  symbol.kind = Symbol::Kind::kFunction;
  return &draft_.variables.emplace(name, symbol).first->second;
}

const Symbol* Symbols::find(std::string_view name, int scope) {
  for (; scope >= 0; scope = function_.parents[static_cast<size_t>(scope)])
    if (const Symbol* symbol = in_scope(name, scope)) return symbol;
  return in_module(name);
}

int Symbols::label(std::string_view name, int scope) const {
  for (; scope >= 0; scope = function_.parents[static_cast<size_t>(scope)]) {
    const auto& labels = labels_[static_cast<size_t>(scope)];
    if (const auto at = labels.find(name); at != labels.end()) return at->second;
  }
  return -1;
}

const ptx::Targets* Symbols::targets(std::string_view name, int scope) const {
  for (; scope >= 0; scope = function_.parents[static_cast<size_t>(scope)])
    for (const ptx::Targets& targets : function_.targets)
      if (targets.scope == scope && targets.name == name) return &targets;
  return nullptr;
}

Slot Symbols::address_constant(const Symbol& symbol, std::string_view name, int64_t addend,
                               int bytes) {
  Program& program = draft_.program;
  switch (symbol.kind) {
    case Symbol::Kind::kShared:
    case Symbol::Kind::kLocal:
      return draft_.constant(static_cast<uint64_t>(symbol.address + addend), bytes);
    case Symbol::Kind::kDynamic:
    case Symbol::Kind::kGlobal: {
      // A constant of its own: its value comes later.
      const auto offset = static_cast<uint32_t>(program.constants.size());
      program.constants.resize(align_up(offset + static_cast<uint32_t>(bytes) * kLanes, 64));
      if (symbol.kind == Symbol::Kind::kDynamic)
        draft_.dynamic.push_back({offset | 1, addend, bytes});
      else
        program.relocations.push_back({offset | 1, name, addend});
      return offset | 1;
    }
    default:
      return kNoSlot;
  }
}

Slot Symbols::special(std::string_view name) {
  if (name == "WARP_SZ") return draft_.constant(kLanes, 4);
  if (name == "%is_explicit_cluster") return kNoSlot;
  if (const auto at = draft_.specials.find(name); at != draft_.specials.end()) return at->second;
  for (const SpecialName& row : kSpecials) {
    if (row.name != name) continue;
    const Slot slot = draft_.allocate(4);
    draft_.program.specials.push_back({row.special, slot});
    draft_.specials.emplace(row.name, slot);
    return slot;
  }
  return kNoSlot;
}

}  // namespace tw::vgpu
