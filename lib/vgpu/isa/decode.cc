#include "lib/vgpu/isa/decode.h"

#include <cstring>
#include <unordered_map>

#include "lib/vgpu/isa/control.h"
#include "lib/vgpu/ptx/error.h"
#include "lib/vgpu/sim/warp.h"

namespace tw::vgpu {
namespace {

using Mnemonics = std::unordered_map<std::string_view, void (*)(Form&)>;

const Mnemonics& mnemonics() {
  static const Mnemonics all = [] {
    Mnemonics rows;
    for (const Row* family : {
#define TW_VGPU_FAMILY(name) name,
#include "lib/vgpu/isa/families.def"
#undef TW_VGPU_FAMILY
         })
      for (const Row* row = family; row->decode != nullptr; ++row)
        rows.emplace(row->mnemonic, row->decode);
    return rows;
  }();
  return all;
}

/// Decodes the body of the draft's function `number`.
void decode_function(Draft& draft, size_t number) {
  Symbols& symbols = *draft.functions[number].symbols;
  const ptx::Function& function = symbols.function();
  draft.functions[number].pc = static_cast<int>(draft.program.code.size());
  draft.current = number;
  draft.jumps.clear();
  draft.first_table = draft.program.jump_tables.size();
  std::vector<int> pcs;  // of the statements
  for (const ptx::Statement& statement : function.statements) {
    pcs.push_back(static_cast<int>(draft.program.code.size()));
    Form form(symbols, statement);
    const auto row = mnemonics().find(form.mnemonic());
    if (row == mnemonics().end())
      form.fail("the instruction '" + std::string(form.mnemonic()) + "' is not supported");
    row->second(form);
  }
  pcs.push_back(static_cast<int>(draft.program.code.size()));
  append_return(symbols);
  for (const Draft::Jump& jump : draft.jumps)
    draft.program.code[static_cast<size_t>(jump.op)].target =
        pcs[static_cast<size_t>(jump.statement)];
  for (size_t i = draft.first_table; i < draft.program.jump_tables.size(); ++i)
    for (int& place : draft.program.jump_tables[i]) place = pcs[static_cast<size_t>(place)];
}

/// Functions have one frame each, so a call that comes back to its own function cannot work.
void refuse_recursion(const Draft& draft) {
  const size_t count = draft.functions.size();
  std::vector<std::vector<bool>> calls(count, std::vector<bool>(count));
  for (const CallSite& call : draft.program.calls)
    calls[static_cast<size_t>(call.caller)][static_cast<size_t>(call.callee)] = true;
  for (size_t via = 0; via < count; ++via)
    for (size_t from = 0; from < count; ++from)
      for (size_t to = 0; to < count; ++to)
        if (calls[from][via] && calls[via][to]) calls[from][to] = true;
  for (size_t i = 0; i < count; ++i)
    if (calls[i][i])
      throw ptx::Error(draft.functions[i].symbols->function().line,
                       "the function '" + std::string(draft.functions[i].symbols->function().name) +
                           "' calls itself: recursion is not supported");
}

void place_dynamic_shared(Draft& draft) {
  Program& program = draft.program;
  program.shared_align = draft.dynamic_align;
  const uint32_t end = kSharedBase + program.shared_bytes;
  const uint32_t align = draft.dynamic_align;
  const int64_t begin = (end + align - 1) / align * align;
  for (const Draft::Dynamic& constant : draft.dynamic) {
    const int64_t value = begin + constant.addend;
    for (int lane = 0; lane < kLanes; ++lane)
      std::memcpy(program.constants.data() + (constant.slot & ~1u) + lane * constant.bytes, &value,
                  static_cast<size_t>(constant.bytes));
  }
}

}  // namespace

std::unique_ptr<Program> decode(const std::shared_ptr<const ptx::Module>& module,
                                std::string_view name) {
  const ptx::Function* entry = module->function(name);
  if (entry == nullptr || !entry->is_entry || !entry->has_body)
    throw ptx::Error(0, "the module has no entry '" + std::string(name) + "'");
  auto program = std::make_unique<Program>();
  program->name = name;
  program->module = module;
  if (entry->max_threads > 0) program->max_threads = entry->max_threads;
  program->required_threads = entry->required_threads;
  program->min_blocks = entry->min_blocks;
  program->cluster_blocks = entry->cluster_blocks;
  Draft draft(*module, *program);
  draft.functions.push_back({std::make_unique<Symbols>(draft, *entry), -1});
  // Decoding a call adds its function at the end.
  for (size_t i = 0; i < draft.functions.size(); ++i) decode_function(draft, i);
  refuse_recursion(draft);
  for (CallSite& call : program->calls)
    call.pc = draft.functions[static_cast<size_t>(call.callee)].pc;
  place_dynamic_shared(draft);
  program->local_bytes = (program->local_bytes + 15) / 16 * 16;
  return program;
}

}  // namespace tw::vgpu
