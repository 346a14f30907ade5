// mov, cvta, isspacep: registers, addresses and special registers.
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/machine.h"

namespace tw::vgpu {
namespace {

using ptx::Operand;

struct Copy {
  template <class T>
  T operator()(T a) const {
    return a;
  }
};

Step move_predicate(Warp& warp, const Op& op) {
  warp.set_predicate(op.d, warp.predicate(op.a));
  return Step::kNext;
}

using Octets = unsigned __int128;

/// {parts} = a, from the lowest bits up; the list has the parts.
template <class Part, class Whole>
Step unpack(Warp& warp, const Op& op) {
  const Whole* whole = warp.at<Whole>(op.a);
  // A part may be in the whole's own register only where lanes are apart, which sizes rule out.
  for (size_t i = 0; i < sizeof(Whole) / sizeof(Part); ++i) {
    const Slot slot = warp.lists[op.list + i];
    if (slot == kNoSlot) continue;
    for_lanes(warp, warp.at<Part>(slot),
              [=](int lane) { return static_cast<Part>(whole[lane] >> (8 * sizeof(Part) * i)); });
  }
  return Step::kNext;
}

/// d = {parts}.
template <class Part, class Whole>
Step pack(Warp& warp, const Op& op) {
  constexpr size_t kParts = sizeof(Whole) / sizeof(Part);
  const Part* parts[kParts];
  for (size_t i = 0; i < kParts; ++i) parts[i] = warp.at<Part>(warp.lists[op.list + i]);
  for_lanes(warp, warp.at<Whole>(op.d), [&](int lane) {
    Whole whole = 0;
    for (size_t i = 0; i < kParts; ++i)
      whole |= static_cast<Whole>(static_cast<Whole>(parts[i][lane]) << (8 * sizeof(Part) * i));
    return whole;
  });
  return Step::kNext;
}

template <class Part, class Whole>
Run choose_parts(bool unpacks) {
  return unpacks ? Run{unpack<Part, Whole>} : Run{pack<Part, Whole>};
}

Run choose_parts(int part_bytes, int bytes, bool unpacks) {
  switch (part_bytes * 100 + bytes) {
    case 102:
      return choose_parts<uint8_t, uint16_t>(unpacks);
    case 104:
      return choose_parts<uint8_t, uint32_t>(unpacks);
    case 204:
      return choose_parts<uint16_t, uint32_t>(unpacks);
    case 208:
      return choose_parts<uint16_t, uint64_t>(unpacks);
    case 408:
      return choose_parts<uint32_t, uint64_t>(unpacks);
    case 416:
      return choose_parts<uint32_t, Octets>(unpacks);
    case 816:
      return choose_parts<uint64_t, Octets>(unpacks);
    default:
      return nullptr;
  }
}

Step parameter_address(Warp& warp, const Op& op) {
  const uint64_t address = reinterpret_cast<uint64_t>(warp.block->launch->parameters.data()) +
                           static_cast<uint64_t>(op.immediate);
  for_lanes(warp, warp.at<uint64_t>(op.d), [=](int) { return address; });
  return Step::kNext;
}

enum Clock : uint8_t { kTimer, kTimerLow, kTimerHigh, kCycles, kCyclesLow };

/// Time passes: 1 ns is a cycle. op.kind: a Clock.
Step read_clock(Warp& warp, const Op& op) {
  const uint64_t now = warp.block->machine->now();
  if (op.kind == kTimer || op.kind == kCycles)
    for_lanes(warp, warp.at<uint64_t>(op.d), [=](int) { return now; });
  else
    for_lanes(warp, warp.at<uint32_t>(op.d), [half = op.kind == kTimerHigh ? now >> 32 : now](int) {
      return static_cast<uint32_t>(half);
    });
  return Step::kNext;
}

bool clock_named(std::string_view name, uint8_t* clock, int* bytes) {
  struct Name {
    std::string_view name;
    Clock clock;
    int bytes;
  };
  constexpr Name kNames[] = {{"%globaltimer", kTimer, 8},
                             {"%globaltimer_lo", kTimerLow, 4},
                             {"%globaltimer_hi", kTimerHigh, 4},
                             {"%clock64", kCycles, 8},
                             {"%clock", kCyclesLow, 4}};
  for (const Name& row : kNames) {
    if (row.name != name) continue;
    *clock = row.clock;
    *bytes = row.bytes;
    return true;
  }
  return false;
}

/// mov between a register and the parts of one; true when it was that.
bool move_parts(Form& form, int bytes) {
  const bool unpacks = form.operand(0).kind == Operand::Kind::kVector;
  if (!unpacks && form.operand(1).kind != Operand::Kind::kVector) return false;
  const std::vector<Operand>& parts = form.parts(unpacks ? 0 : 1);
  const auto count = static_cast<int>(parts.size());
  if (count < 2 || count > 8 || bytes % count != 0) form.fail("the parts do not make the whole");
  std::vector<Slot> slots;
  for (const Operand& part : parts)
    slots.push_back(unpacks ? form.out(part, bytes / count) : form.in(part, bytes / count));
  form.list(slots);
  if (unpacks)
    form.op.a = form.in(1, bytes);
  else
    form.op.d = form.out(0, bytes);
  form.emit(choose_parts(bytes / count, bytes, unpacks), 2);
  return true;
}

void mov(Form& form) {
  const Type type = form.type();
  const int bytes = ptx::bytes_of(type);
  if (type == Type::kPred) {
    form.op.d = form.predicate_out(0);
    form.op.a = form.predicate_in(1);
    return form.emit(move_predicate, 2);
  }
  if (move_parts(form, bytes)) return;
  const Operand& source = form.operand(1);
  form.op.d = form.out(0, bytes);
  int clock_bytes = 0;
  if (source.kind == Operand::Kind::kName &&
      clock_named(source.name, &form.op.kind, &clock_bytes)) {
    if (clock_bytes != bytes) form.fail("the clock has " + std::to_string(clock_bytes) + " bytes");
    return form.emit(read_clock, 2);
  }
  const Symbol* symbol = source.kind == Operand::Kind::kName
                             ? form.symbols().find(source.name, form.statement().scope)
                             : nullptr;
  if (symbol != nullptr && symbol->kind == Symbol::Kind::kParameter) {
    if (bytes != 8) form.fail("the address of a parameter has 8 bytes");
    form.op.immediate = symbol->address + source.offset;
    return form.emit(parameter_address, 2);
  }
  form.op.a = form.in(1, bytes);
  form.emit(bytes == 16 ? map1<Copy, Octets, Octets> : map_bits<Copy, 1>(type), 2);
}

template <bool kToShared>
Step shared_address(Warp& warp, const Op& op) {
  const auto base = reinterpret_cast<uint64_t>(warp.block->shared);
  const auto* a = warp.at<uint64_t>(op.a);
  for_lanes(warp, warp.at<uint64_t>(op.d),
            [=](int lane) { return kToShared ? a[lane] - base : a[lane] + base; });
  return Step::kNext;
}

template <bool kToLocal>
Step local_address(Warp& warp, const Op& op) {
  const auto base = reinterpret_cast<uint64_t>(warp.local);
  const uint64_t stride = warp.local_stride;
  const auto* a = warp.at<uint64_t>(op.a);
  for_lanes(warp, warp.at<uint64_t>(op.d), [=](int lane) {
    const uint64_t own = base + stride * static_cast<uint64_t>(lane);
    return kToLocal ? a[lane] - own : a[lane] + own;
  });
  return Step::kNext;
}

void cvta(Form& form) {
  const bool is_to = form.take("to");
  if (form.take("shared::cta")) {
    form.fail("cvta of .shared::cta is written .shared");
  }
  const int space = form.take_one({"global", "shared", "local", "param", "const"});
  if (form.type() != Type::kU64) form.fail("addresses have 64 bits");
  form.op.d = form.out(0, 8);
  const Operand& source = form.operand(1);
  const Symbol* symbol = source.kind == Operand::Kind::kName
                             ? form.symbols().find(source.name, form.statement().scope)
                             : nullptr;
  if (symbol != nullptr && symbol->kind == Symbol::Kind::kParameter) {
    form.op.immediate = symbol->address + source.offset;
    return form.emit(parameter_address, 2);
  }
  form.op.a = form.in(1, 8);
  Run run = map1<Copy, uint64_t, uint64_t>;
  if (space == 1) run = is_to ? shared_address<true> : shared_address<false>;
  if (space == 2) run = is_to ? local_address<true> : local_address<false>;
  form.emit(run, 2);
}

Step is_in_space(Warp& warp, const Op& op) {
  const auto* a = warp.at<uint64_t>(op.a);
  uint32_t result = 0;
  TW_VGPU_EACH(lane, warp.active) {
    const uint64_t address = a[lane];
    const auto shared = reinterpret_cast<uint64_t>(warp.block->shared);
    const auto local = reinterpret_cast<uint64_t>(warp.local);
    const auto& parameters = warp.block->launch->parameters;
    const auto parameter = reinterpret_cast<uint64_t>(parameters.data());
    const bool in_shared = address - shared < warp.block->shared_end;
    const bool in_local = address - local < uint64_t{warp.local_stride} * kLanes;
    const bool in_parameters = address - parameter < parameters.size();
    const bool is_in = op.space == Space::kShared  ? in_shared
                       : op.space == Space::kLocal ? in_local
                       : op.space == Space::kParam ? in_parameters
                                                   : !in_shared && !in_local && !in_parameters;
    result |= static_cast<uint32_t>(is_in) << lane;
  }
  warp.set_predicate(op.d, result);
  return Step::kNext;
}

void isspacep(Form& form) {
  const int space = form.take_one({"global", "shared", "local", "param", "shared::cta"});
  const Space spaces[] = {Space::kGlobal, Space::kShared, Space::kLocal, Space::kParam,
                          Space::kShared};
  form.op.space = spaces[space];
  form.op.d = form.predicate_out(0);
  form.op.a = form.in(1, 8);
  form.emit(is_in_space, 2);
}

}  // namespace

const Row kMoveRows[] = {{"mov", mov}, {"cvta", cvta}, {"isspacep", isspacep}, {}};

}  // namespace tw::vgpu
