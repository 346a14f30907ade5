// Jumps, calls, exits.
#include "lib/vgpu/isa/control.h"

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/machine.h"

namespace tw::vgpu {
namespace {

using ptx::Operand;

/// Sends the active lanes to `target`; the group's others go on at `rest`.
Step jump_to(Warp& warp, int target, int rest) {
  const uint32_t stay = warp.mask & ~warp.active;
  if (stay != 0) {
    warp.others.push_back({rest, stay, false});
    warp.mask = warp.active;
  }
  warp.pc = target;
  return Step::kJump;
}

Step branch(Warp& warp, const Op& op) { return jump_to(warp, op.target, warp.pc + 1); }

Step branch_table(Warp& warp, const Op& op) {
  const std::vector<int>& table = warp.program->jump_tables[static_cast<size_t>(op.target)];
  const auto* index = warp.at<uint32_t>(op.a);
  uint32_t left = warp.active;
  const uint32_t stay = warp.mask & ~warp.active;
  if (stay != 0) warp.others.push_back({warp.pc + 1, stay, false});
  while (left != 0) {
    const uint32_t wanted = index[std::countr_zero(left)];
    if (wanted >= table.size())
      warp.fault(FaultKind::kIllegalInstruction, "brx.idx with index " + std::to_string(wanted) +
                                                     " into a table of " +
                                                     std::to_string(table.size()));
    uint32_t same = 0;
    TW_VGPU_EACH(lane, left) same |= static_cast<uint32_t>(index[lane] == wanted) << lane;
    left &= ~same;
    if (left != 0) {
      warp.others.push_back({table[wanted], same, false});
      continue;
    }
    warp.mask = same;
    warp.pc = table[wanted];
  }
  return Step::kJump;
}

Step leave(Warp& warp, const Op&) {
  const uint32_t gone = warp.active;
  warp.live &= ~gone;
  const uint32_t stay = warp.mask & ~gone;
  warp.mask = 0;
  // Lanes that wait for others to come to an aligned op need not wait for those that are gone.
  for (LaneGroup& group : warp.others) group.is_parked = false;
  if (stay != 0) warp.others.push_back({warp.pc + 1, stay, false});
  warp.is_done = warp.live == 0;
  warp.block->machine->note_progress();
  return Step::kLeft;
}

/// Lanes' copies of parameters lie one after the other: `bytes` each.
void copy_lanes(const Warp& warp, const std::vector<CallSite::Copy>& copies) {
  for (const CallSite::Copy& copy : copies) TW_VGPU_EACH(lane, warp.active)
  __builtin_memcpy(warp.at<uint8_t>(copy.to) + static_cast<size_t>(lane) * copy.bytes,
                   warp.at<uint8_t>(copy.from) + static_cast<size_t>(lane) * copy.bytes,
                   copy.bytes);
}

Step call(Warp& warp, const Op& op) {
  const CallSite& site = warp.program->calls[static_cast<size_t>(op.target)];
  copy_lanes(warp, site.arguments);
  auto* return_pc = warp.at<uint32_t>(site.return_pc);
  TW_VGPU_EACH(lane, warp.active) return_pc[lane] = static_cast<uint32_t>(warp.pc + 1);
  // Behind the call stands the op that fetches its results, for the lanes that made it.
  return jump_to(warp, site.pc, warp.pc + 2);
}

Step fetch_results(Warp& warp, const Op& op) {
  copy_lanes(warp, warp.program->calls[static_cast<size_t>(op.target)].results);
  return Step::kNext;
}

Step return_to_callers(Warp& warp, const Op& op) {
  const auto* return_pc = warp.at<uint32_t>(op.a);
  const uint32_t stay = warp.mask & ~warp.active;
  if (stay != 0) warp.others.push_back({warp.pc + 1, stay, false});
  uint32_t left = warp.active;
  for (;;) {
    const uint32_t pc = return_pc[std::countr_zero(left)];
    uint32_t same = 0;
    TW_VGPU_EACH(lane, left) same |= static_cast<uint32_t>(return_pc[lane] == pc) << lane;
    left &= ~same;
    if (left == 0) {
      warp.mask = same;
      warp.pc = static_cast<int>(pc);
      return Step::kJump;
    }
    warp.others.push_back({static_cast<int>(pc), same, false});
  }
}

Step trap(Warp& warp, const Op&) { warp.fault(FaultKind::kTrap, "trap"); }

/// Sleeping lets the others run.
Step sleep(Warp&, const Op&) { return Step::kYield; }

Step nothing(Warp&, const Op&) { return Step::kNext; }

void bra(Form& form) {
  form.take("uni");
  form.jump(0);
  form.emit(branch, 1);
}

void brx(Form& form) {
  if (!form.take("idx")) form.fail("brx.idx is meant");
  form.take("uni");
  form.op.a = form.in(0, 4);
  const Operand& name = form.operand(1);
  const int scope = form.statement().scope;
  const ptx::Targets* targets = form.symbols().targets(name.name, scope);
  if (targets == nullptr) form.fail("'" + std::string(name.name) + "' is no list of targets");
  std::vector<int> statements;
  for (const std::string_view label : targets->labels) {
    statements.push_back(form.symbols().label(label, scope));
    if (statements.back() < 0) form.fail("'" + std::string(label) + "' is no label");
  }
  form.op.target = static_cast<int>(form.program().jump_tables.size());
  form.program().jump_tables.push_back(std::move(statements));
  form.emit(branch_table, 2);
}

void ret(Form& form) {
  form.take("uni");
  if (form.mnemonic() == "exit" || form.symbols().function().is_entry) return form.emit(leave, 0);
  form.op.a = form.symbols().return_pc;
  form.emit(return_to_callers, 0);
}

/// The variables that a call names, in the caller's frame, beside the callee's own.
std::vector<CallSite::Copy> copies(Form& form, const std::vector<Operand>& actual,
                                   const std::vector<Symbol>& formal, bool are_results) {
  if (actual.size() != formal.size())
    form.fail("the call has " + std::to_string(actual.size()) + " values where the function has " +
              std::to_string(formal.size()));
  std::vector<CallSite::Copy> result;
  for (size_t i = 0; i < actual.size(); ++i) {
    const Symbol* mine = actual[i].kind == Operand::Kind::kName
                             ? form.symbols().find(actual[i].name, form.statement().scope)
                             : nullptr;
    const Slot slot = mine != nullptr && mine->kind == formal[i].kind
                          ? mine->slot
                          : form.in(actual[i], static_cast<int>(formal[i].bytes));
    if (mine != nullptr && mine->bytes != formal[i].bytes)
      form.fail("'" + std::string(actual[i].name) + "' has another size than the parameter");
    result.push_back(are_results ? CallSite::Copy{slot, formal[i].slot, formal[i].bytes}
                                 : CallSite::Copy{formal[i].slot, slot, formal[i].bytes});
  }
  return result;
}

/// call (results), name, (arguments): each part but the name may be missing.
void call_function(Form& form) {
  form.take("uni");
  static const std::vector<Operand> kNothing;
  size_t next = 0;
  const auto list = [&]() -> const std::vector<Operand>& {
    const bool is_list = next < form.operands() && form.operand(next).kind == Operand::Kind::kList;
    return is_list ? form.operand(next++).parts : kNothing;
  };
  const std::vector<Operand>& results = list();
  const std::string_view name = form.operand(next++).name;
  const std::vector<Operand>& arguments = list();
  const int callee = form.draft().function(name);
  if (callee < 0) form.fail("the module has no function '" + std::string(name) + "' with a body");
  const Symbols& called = *form.draft().functions[static_cast<size_t>(callee)].symbols;
  CallSite site;
  site.caller = static_cast<int>(form.draft().current);
  site.callee = callee;
  site.return_pc = called.return_pc;
  site.arguments = copies(form, arguments, called.parameters, false);
  site.results = copies(form, results, called.results, true);
  form.op.target = static_cast<int>(form.program().calls.size());
  form.program().calls.push_back(std::move(site));
  form.emit(call, next);
  form.emit(fetch_results, next);
}

void no_operands(Form& form, Run run) { form.emit(run, 0); }

void nanosleep(Form& form) {
  form.type();
  form.in(0, 4);
  form.emit(sleep, 1);
}

}  // namespace

void append_return(Symbols& symbols) {
  Op op;
  op.run = symbols.function().is_entry ? leave : return_to_callers;
  op.a = symbols.return_pc;
  Program& program = symbols.draft().program;
  program.code.push_back(op);
  program.origins.push_back({symbols.function().line, {}, "the end of a function"});
}

const Row kControlRows[] = {{"bra", bra},
                            {"brx", brx},
                            {"ret", ret},
                            {"exit", ret},
                            {"call", call_function},
                            {"trap", [](Form& form) { no_operands(form, trap); }},
                            {"brkpt", [](Form& form) { no_operands(form, trap); }},
                            {"nanosleep", nanosleep},
                            {"pmevent",
                             [](Form& form) {
                               form.constant(0);
                               form.emit(nothing, 1);
                             }},
                            {}};

}  // namespace tw::vgpu
