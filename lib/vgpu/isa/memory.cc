// ld and st in every space, their orders and vectors; prefetch and the like, which do nothing here.
#include <algorithm>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

using ptx::Operand;

bool is_strong(const Op& op) { return op.order != Order::kWeak; }

/// A strong access is a point where other warps get their turn.
Step after_access(Warp& warp, const Op& op, bool stores) {
  if (stores) warp.block->machine->note_progress();
  return is_strong(op) ? Step::kYield : Step::kNext;
}

/// Elements of type T into registers of type R, each extended by its sign.
template <class T, class R>
Step load(Warp& warp, const Op& op) {
  Addresses addresses;
  const uint32_t bytes = sizeof(T) * op.count;
  resolve(warp, op, op.a, bytes, bytes, false, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, bytes, AccessKind::kLoad);
  const Slot* registers = warp.lists + op.list;
  for (int i = 0; i < op.count; ++i) {
    if (registers[i] == kNoSlot) continue;
    for_lanes(warp, warp.at<R>(registers[i]), [&](int lane) {
      return static_cast<R>(*reinterpret_cast<const T*>(addresses.lane[lane] + i * sizeof(T)));
    });
  }
  return after_access(warp, op, false);
}

template <class T, class R>
Step store(Warp& warp, const Op& op) {
  Addresses addresses;
  const uint32_t bytes = sizeof(T) * op.count;
  resolve(warp, op, op.a, bytes, bytes, true, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, bytes, AccessKind::kStore);
  const Slot* registers = warp.lists + op.list;
  // Two lanes that store to one place: the later lane's value stays, all of it.
  TW_VGPU_EACH(lane, warp.active) {
    auto* to = reinterpret_cast<T*>(addresses.lane[lane]);
    for (int i = 0; i < op.count; ++i) to[i] = static_cast<T>(warp.at<R>(registers[i])[lane]);
  }
  return after_access(warp, op, true);
}

using Octets = unsigned __int128;

/// 16 bytes of one strong access, which no other process sees half of.
template <bool kLoads>
Step whole_vector(Warp& warp, const Op& op) {
  Addresses addresses;
  resolve(warp, op, op.a, 16, 16, !kLoads, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, 16,
                                 kLoads ? AccessKind::kLoad : AccessKind::kStore);
  const Slot* registers = warp.lists + op.list;
  TW_VGPU_EACH(lane, warp.active) {
    using Vector = long long __attribute__((vector_size(16)));
    auto* memory = reinterpret_cast<volatile Vector*>(addresses.lane[lane]);
    union {
      Vector vector;
      uint8_t bytes[16];
    } value;
    if (kLoads) value.vector = *memory;
    for (int i = 0; i < op.count; ++i) {
      if (registers[i] == kNoSlot) continue;
      uint8_t* place = warp.at<uint8_t>(registers[i]) + lane * op.bytes;
      if (kLoads)
        __builtin_memcpy(place, value.bytes + i * op.bytes, op.bytes);
      else
        __builtin_memcpy(value.bytes + i * op.bytes, place, op.bytes);
    }
    if (!kLoads) *memory = value.vector;
  }
  return after_access(warp, op, !kLoads);
}

// ---- Parameters -----------------------------------------------------------------------------

/// `bytes` bytes extended to a register of `width`, by the sign if op.kind says so.
void put(uint8_t* to, int width, const uint8_t* from, const Op& op) {
  if (width == op.bytes) {
    __builtin_memcpy(to, from, static_cast<size_t>(width));
    return;
  }
  uint64_t bits = 0;
  __builtin_memcpy(&bits, from, op.bytes);
  const int unused = 64 - 8 * op.bytes;
  if (op.kind != 0) bits = static_cast<uint64_t>(static_cast<int64_t>(bits << unused) >> unused);
  __builtin_memcpy(to, &bits, static_cast<size_t>(width));
}

/// Of the launch: the same for all lanes. op.target: the registers' width.
Step load_parameter(Warp& warp, const Op& op) {
  const uint8_t* from = warp.block->launch->parameters.data() + op.immediate;
  for (int i = 0; i < op.count; ++i) {
    const Slot slot = warp.lists[op.list + static_cast<uint32_t>(i)];
    if (slot == kNoSlot) continue;
    TW_VGPU_EACH(lane, warp.active)
    put(warp.at<uint8_t>(slot) + lane * op.target, op.target, from + i * op.bytes, op);
  }
  return Step::kNext;
}

/// Of a call: op.e bytes for each lane, lanes one after the other.
template <bool kLoads>
Step frame_parameter(Warp& warp, const Op& op) {
  uint8_t* memory = warp.at<uint8_t>(op.a) + op.immediate;
  for (int i = 0; i < op.count; ++i) {
    const Slot slot = warp.lists[op.list + static_cast<uint32_t>(i)];
    if (slot == kNoSlot) continue;
    TW_VGPU_EACH(lane, warp.active) {
      uint8_t* mine = memory + static_cast<size_t>(lane) * op.e + i * op.bytes;
      uint8_t* place = warp.at<uint8_t>(slot) + lane * op.target;
      if (kLoads)
        put(place, op.target, mine, op);
      else
        __builtin_memcpy(mine, place, op.bytes);
    }
  }
  return Step::kNext;
}

// ---- Forms ----------------------------------------------------------------------------------

template <class T, class R>
Run either(bool loads) {
  return loads ? Run{load<T, R>} : Run{store<T, R>};
}

Run choose(Type type, int width, bool loads) {
  const bool is_signed = ptx::kind_of(type) == ptx::Kind::kSigned && loads;
  switch (ptx::bytes_of(type) * 100 + width + (is_signed ? 50 : 0)) {
    case 102:
      return either<uint8_t, uint16_t>(loads);
    case 104:
      return either<uint8_t, uint32_t>(loads);
    case 108:
      return either<uint8_t, uint64_t>(loads);
    case 152:
      return either<int8_t, int16_t>(loads);
    case 154:
      return either<int8_t, int32_t>(loads);
    case 158:
      return either<int8_t, int64_t>(loads);
    case 202:
    case 252:
      return either<uint16_t, uint16_t>(loads);
    case 204:
      return either<uint16_t, uint32_t>(loads);
    case 208:
      return either<uint16_t, uint64_t>(loads);
    case 254:
      return either<int16_t, int32_t>(loads);
    case 258:
      return either<int16_t, int64_t>(loads);
    case 404:
    case 454:
      return either<uint32_t, uint32_t>(loads);
    case 408:
      return either<uint32_t, uint64_t>(loads);
    case 458:
      return either<int32_t, int64_t>(loads);
    case 808:
    case 858:
      return either<uint64_t, uint64_t>(loads);
    case 1616:
      return either<Octets, Octets>(loads);
    default:
      return nullptr;
  }
}

/// What says how to cache, and changes no result.
void take_hints(Form& form) {
  for (const std::string_view hint :
       {"nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1::evict_normal", "L1::evict_unchanged",
        "L1::evict_first", "L1::evict_last", "L1::no_allocate", "L2::64B", "L2::128B", "L2::256B",
        "L2::evict_last", "L2::evict_normal", "L2::evict_first"})
    form.take(hint);
}

/// The registers of one side of a load or store, all of one width.
int take_registers(Form& form, size_t i, Type type, bool loads) {
  std::vector<Slot> slots;
  int width = 0;
  for (const Operand& part : form.parts(i)) {
    int own = 0;
    slots.push_back(form.wide(part, ptx::bytes_of(type), &own));
    if (part.kind != Operand::Kind::kName &&
        own < 2) {  // constants of one byte: in registers of two
      slots.back() = form.in(part, 2);
      own = 2;
    }
    if (loads && part.kind != Operand::Kind::kName) form.fail("a destination must be a register");
    if (slots.back() != kNoSlot && width != 0 && own != width)
      form.fail("the registers of a vector have different widths");
    if (slots.back() != kNoSlot) width = own;
  }
  form.list(slots);
  return width != 0 ? width : std::max(ptx::bytes_of(type), 2);
}

void check_vector(Form& form) {
  const int count = form.take_one({"v2", "v4", "v8"}, 3);
  constexpr int kCounts[] = {2, 4, 8, 1};
  if (form.op.count != kCounts[count])
    form.fail(std::to_string(form.op.count) + " registers where there are " +
              std::to_string(kCounts[count]) + " elements");
}

/// A named parameter of this function or of a call, which has no address of the host; true if it
/// was.
bool parameter(Form& form, size_t i, int width, bool loads) {
  const Operand& base = form.operand(i).parts[0];
  const Symbol* symbol = base.kind == Operand::Kind::kName
                             ? form.symbols().find(base.name, form.statement().scope)
                             : nullptr;
  if (symbol == nullptr ||
      (symbol->kind != Symbol::Kind::kParameter && symbol->kind != Symbol::Kind::kFrameParameter))
    return false;
  const int64_t offset = form.operand(i).offset;
  if (offset < 0 || offset + int64_t{form.op.bytes} * form.op.count > symbol->bytes)
    form.fail("beyond the parameter's " + std::to_string(symbol->bytes) + " bytes");
  form.op.target = width;
  if (symbol->kind == Symbol::Kind::kParameter) {
    if (!loads) form.fail("the parameters of a kernel are not written");
    form.op.immediate = symbol->address + offset;
    form.emit(load_parameter, 2);
    return true;
  }
  form.op.immediate = offset;
  form.op.a = symbol->slot;
  form.op.e = symbol->bytes;
  form.emit(loads ? frame_parameter<true> : frame_parameter<false>, 2);
  return true;
}

void access(Form& form) {
  const bool loads = form.mnemonic() != "st";
  take_order(form);
  form.take("mmio");
  form.op.space = take_space(form, Space::kGeneric);
  take_hints(form);
  const bool has_policy = form.take("L2::cache_hint");
  const Type type = form.type();
  if (type == Type::kPred) form.fail("predicates are not in memory");
  form.op.bytes = static_cast<uint8_t>(ptx::bytes_of(type));
  form.op.kind = ptx::kind_of(type) == ptx::Kind::kSigned ? 1 : 0;
  const size_t memory = loads ? 1 : 0;
  form.expect_address(memory);
  const int width = take_registers(form, loads ? 0 : 1, type, loads);
  check_vector(form);
  if (form.op.space == Space::kParam && parameter(form, memory, width, loads)) return;
  form.address(memory);
  if (form.op.space == Space::kConst) form.op.space = Space::kGlobal;
  if (has_policy) form.in(2, 8);
  const bool is_whole = is_strong(form.op) && form.op.bytes * form.op.count == 16 &&
                        form.op.bytes == width && form.op.space != Space::kShared;
  Run run = choose(type, width, loads);
  if (is_whole) run = loads ? whole_vector<true> : whole_vector<false>;
  form.emit(run, has_policy ? 3 : 2);
}

Step nothing(Warp&, const Op&) { return Step::kNext; }

/// prefetch, prefetchu, discard, applypriority: advice about one address.
void advice(Form& form) {
  take_space(form, Space::kGeneric);
  take_hints(form);
  for (const std::string_view word : {"L1", "L2", "tensormap"}) form.take(word);
  form.address(0);
  form.emit(nothing, form.operands() > 1 ? 2 : 1);
}

/// createpolicy: a number that only hints take.
void create_policy(Form& form) {
  while (!form.next().empty()) form.take(form.next());
  form.op.d = form.out(0, 8);
  form.op.a = form.draft().constant(0, 8);
  struct Zero {
    uint64_t operator()(uint64_t a) const { return a; }
  };
  form.emit(map1<Zero, uint64_t, uint64_t>, form.operands());
}

}  // namespace

const Row kMemoryRows[] = {{"ld", access},
                           {"ldu", access},
                           {"st", access},
                           {"prefetch", advice},
                           {"prefetchu", advice},
                           {"discard", advice},
                           {"applypriority", advice},
                           {"createpolicy", create_policy},
                           {}};

}  // namespace tw::vgpu
