// What lanes of a warp do together: shfl vote match redux elect activemask.
#include <algorithm>
#include <cstring>

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/lanes.h"

namespace tw::vgpu {
namespace {

using ptx::Operand;

/// The lanes named by the member mask that still live; 0 when some of them stand elsewhere.
uint32_t members(Warp& warp, Slot slot) {
  const uint32_t named = warp.at<uint32_t>(slot)[std::countr_zero(warp.active)];
  if (!warp.has_all(named)) return 0;
  if ((warp.active & ~named) != 0)
    warp.fault(FaultKind::kIllegalInstruction,
               "a lane executes this whose member mask does not name it");
  return named & warp.live;
}

enum Way : uint8_t { kUp, kDown, kButterfly, kIndex };

/// Where lane reads from, by the manual's rule; false: out of its segment.
bool shuffle_source(uint8_t way, int lane, uint32_t b, uint32_t c, int* source) {
  const int value = static_cast<int>(b & 31);
  const int clamp = static_cast<int>(c & 31);
  const int segment = static_cast<int>(c >> 8 & 31);
  const int last = (lane & segment) | (clamp & ~segment);
  const int first = lane & segment;
  switch (way) {
    case kUp:
      *source = lane - value;
      return *source >= last;
    case kDown:
      *source = lane + value;
      return *source <= last;
    case kButterfly:
      *source = lane ^ value;
      return *source <= last;
    default:
      *source = first | (value & ~segment);
      return *source <= last;
  }
}

Step shuffle(Warp& warp, const Op& op) {
  const uint32_t all = members(warp, op.e);
  if (all == 0) return Step::kPark;
  uint32_t values[kLanes];
  std::memcpy(values, warp.at<uint32_t>(op.a), sizeof values);
  const auto* b = warp.at<uint32_t>(op.b);
  const auto* c = warp.at<uint32_t>(op.c);
  uint32_t in_range = 0;
  TW_VGPU_EACH(lane, warp.active) {
    int source = lane;
    const bool is_in = shuffle_source(op.kind, lane, b[lane], c[lane], &source);
    if (!is_in) source = lane;
    in_range |= static_cast<uint32_t>(is_in) << lane;
    if (op.d != kNoSlot) warp.at<uint32_t>(op.d)[lane] = values[source];
  }
  if (op.target >= 0) warp.set_predicate(static_cast<uint32_t>(op.target), in_range);
  return Step::kNext;
}

enum Vote : uint8_t { kAll, kAny, kUniform, kBallot };

Step vote(Warp& warp, const Op& op) {
  const uint32_t all = members(warp, op.e);
  if (all == 0) return Step::kPark;
  const uint32_t yes = warp.predicate(op.a) & warp.active;
  switch (op.kind) {
    case kAll:
      warp.set_predicate(op.d, yes == warp.active ? kAllLanes : 0);
      break;
    case kAny:
      warp.set_predicate(op.d, yes != 0 ? kAllLanes : 0);
      break;
    case kUniform:
      warp.set_predicate(op.d, yes == 0 || yes == warp.active ? kAllLanes : 0);
      break;
    default:
      for_lanes(warp, warp.at<uint32_t>(op.d), [=](int) { return yes; });
  }
  return Step::kNext;
}

/// match.any: the lanes that have the same value; match.all: all of them if they agree, else none.
template <class T>
Step match(Warp& warp, const Op& op) {
  const uint32_t all = members(warp, op.e);
  if (all == 0) return Step::kPark;
  T values[kLanes];
  std::memcpy(values, warp.at<T>(op.a), sizeof values);
  uint32_t agree = 0;
  TW_VGPU_EACH(lane, warp.active) {
    uint32_t same = 0;
    TW_VGPU_EACH(other, warp.active)
    same |= static_cast<uint32_t>(values[other] == values[lane]) << other;
    const bool has_all = same == warp.active;
    agree |= static_cast<uint32_t>(has_all) << lane;
    if (op.d != kNoSlot) warp.at<uint32_t>(op.d)[lane] = op.kind == 0 || has_all ? same : 0;
  }
  if (op.target >= 0) warp.set_predicate(static_cast<uint32_t>(op.target), agree);
  return Step::kNext;
}

enum Reduction : uint8_t { kSum, kMinimum, kMaximum, kAnd, kOr, kXor };

template <class T>
Step reduce(Warp& warp, const Op& op) {
  const uint32_t all = members(warp, op.e);
  if (all == 0) return Step::kPark;
  const T* values = warp.at<T>(op.a);
  T result = values[std::countr_zero(warp.active)];
  TW_VGPU_EACH(lane, warp.active & (warp.active - 1)) {
    const T value = values[lane];
    switch (op.kind) {
      case kSum:
        result = static_cast<T>(result + value);
        break;
      case kMinimum:
        result = std::min(result, value);
        break;
      case kMaximum:
        result = std::max(result, value);
        break;
      case kAnd:
        result &= value;
        break;
      case kOr:
        result |= value;
        break;
      default:
        result ^= value;
        break;
    }
  }
  for_lanes(warp, warp.at<T>(op.d), [=](int) { return result; });
  return Step::kNext;
}

/// The lowest member is elected; which one it is is not said by the manual.
Step elect(Warp& warp, const Op& op) {
  const uint32_t all = members(warp, op.e);
  if (all == 0) return Step::kPark;
  const auto leader = static_cast<uint32_t>(std::countr_zero(all));
  warp.set_predicate(static_cast<uint32_t>(op.target), uint32_t{1} << leader);
  if (op.d != kNoSlot) for_lanes(warp, warp.at<uint32_t>(op.d), [=](int) { return leader; });
  return Step::kNext;
}

Step active_mask(Warp& warp, const Op& op) {
  const uint32_t active = warp.active;
  for_lanes(warp, warp.at<uint32_t>(op.d), [=](int) { return active; });
  return Step::kNext;
}

/// "d|p" or "d": the predicate goes to op.target, -1 when there is none.
void result_and_predicate(Form& form) {
  const Operand& whole = form.operand(0);
  form.op.target = -1;
  if (whole.kind != Operand::Kind::kPair) {
    form.op.d = form.out(whole, 4);
    return;
  }
  form.op.d = form.out(whole.parts[0], 4);
  const uint32_t number = form.predicate_out(whole.parts[1]);
  if (number != kNoSlot) form.op.target = static_cast<int32_t>(number);
}

void need_sync(Form& form) {
  if (!form.take("sync")) form.fail("only the .sync form exists since sm_70");
}

void decode_shuffle(Form& form) {
  need_sync(form);
  form.op.kind = static_cast<uint8_t>(form.take_one({"up", "down", "bfly", "idx"}));
  if (form.type() != Type::kB32) form.fail("shfl has .b32 only");
  result_and_predicate(form);
  form.op.a = form.in(1, 4);
  form.op.b = form.in(2, 4);
  form.op.c = form.in(3, 4);
  form.op.e = form.in(4, 4);
  form.emit(shuffle, 5);
}

void decode_vote(Form& form) {
  need_sync(form);
  form.op.kind = static_cast<uint8_t>(form.take_one({"all", "any", "uni", "ballot"}));
  const Type type = form.type();
  if ((form.op.kind == kBallot) != (type == Type::kB32)) form.fail("the result has another type");
  form.op.d = form.op.kind == kBallot ? form.out(0, 4) : form.predicate_out(0);
  form.op.a = form.predicate_in(1);
  form.op.e = form.in(2, 4);
  form.emit(vote, 3);
}

void decode_match(Form& form) {
  form.op.kind = static_cast<uint8_t>(form.take_one({"any", "all"}));
  need_sync(form);
  const int bytes = ptx::bytes_of(form.type());
  result_and_predicate(form);
  form.op.a = form.in(1, bytes);
  form.op.e = form.in(2, 4);
  form.emit(bytes == 4 ? match<uint32_t> : bytes == 8 ? Run{match<uint64_t>} : nullptr, 3);
}

void decode_reduce(Form& form) {
  need_sync(form);
  form.op.kind = static_cast<uint8_t>(form.take_one({"add", "min", "max", "and", "or", "xor"}));
  const Type type = form.type();
  form.op.d = form.out(0, 4);
  form.op.a = form.in(1, 4);
  form.op.e = form.in(2, 4);
  form.emit(type == Type::kS32                         ? reduce<int32_t>
            : type == Type::kU32 || type == Type::kB32 ? Run{reduce<uint32_t>}
                                                       : nullptr,
            3);
}

void decode_elect(Form& form) {
  need_sync(form);
  result_and_predicate(form);
  if (form.op.target < 0) form.fail("elect gives a predicate");
  form.op.e = form.in(1, 4);
  form.emit(elect, 2);
}

void decode_active_mask(Form& form) {
  if (form.type() != Type::kB32) form.fail("activemask has .b32 only");
  form.op.d = form.out(0, 4);
  form.emit(active_mask, 1);
}

}  // namespace

const Row kWarpRows[] = {{"shfl", decode_shuffle},
                         {"vote", decode_vote},
                         {"match", decode_match},
                         {"redux", decode_reduce},
                         {"elect", decode_elect},
                         {"activemask", decode_active_mask},
                         {}};

}  // namespace tw::vgpu
