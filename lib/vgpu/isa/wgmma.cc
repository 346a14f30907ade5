// wgmma: multiplications of a warpgroup, asynchronous. One is executed when all four warps have
// issued it, at a random time or as late as a wait for it allows. Sums are in fp32 (or s32) in the
// order of k, each product added by a fused multiply-add.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/elements.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/tensor_map.h"

namespace tw::vgpu {
namespace {

constexpr int kRows = 64, kMostColumns = 256, kMostK = 32, kWarps = 4;

// Op::kind
constexpr uint8_t kRegistersA = 1, kTransposedA = 2, kTransposedB = 4, kNegatedA = 8,
                  kNegatedB = 16;

/// A matrix in shared memory as its descriptor says.
class Descriptor {
 public:
  Descriptor(const Block& block, uint64_t bits, bool is_transposed)
      : shared_(block.shared),
        end_(block.shared_end),
        start_(static_cast<uint32_t>(bits & 0x3fff) << 4),
        leading_(static_cast<uint32_t>(bits >> 16 & 0x3fff) << 4),
        stride_(static_cast<uint32_t>(bits >> 32 & 0x3fff) << 4),
        swizzle_((4 - static_cast<int>(bits >> 62)) & 3),
        is_transposed_(is_transposed) {}

  /// Where the 16 bytes lie that hold element `minor` (of 16 / bytes) onwards: along k of row
  /// `major` or, transposed, along the rows of k = `major`. Null when that is beyond shared memory.
  const uint8_t* vector(int major, int minor_bytes) const {
    const uint32_t pitch = uint32_t{16} << swizzle_;
    const auto row = static_cast<uint32_t>(major);
    const auto vector = static_cast<uint32_t>(minor_bytes) / 16;
    uint32_t address = start_;
    if (!is_transposed_) {
      address += row / 8 * stride_ + row % 8 * pitch;
      address += swizzle_ == 0 ? vector * leading_ : vector * 16;
    } else if (swizzle_ == 0) {
      address += vector * stride_ + row % 8 * 16 + row / 8 * leading_;
    } else {
      const uint32_t in_atom = pitch / 16;
      address +=
          vector % in_atom * 16 + vector / in_atom * leading_ + row % 8 * pitch + row / 8 * stride_;
    }
    address = swizzled(address, swizzle_);
    return address >= kSharedBase && address + 16 <= end_ ? shared_ + address : nullptr;
  }

 private:
  const uint8_t* shared_;
  uint32_t end_, start_, leading_, stride_;
  int swizzle_;
  bool is_transposed_;
};

/// Fetches rows x k_size elements into to[row * row_step + k * k_step].
template <class From, class T>
bool fetch(const Descriptor& matrix, bool is_transposed, int rows, int k_size, T* to, int row_step,
           int k_step) {
  using Bits = typename From::Bits;
  constexpr int kPer = 16 / sizeof(Bits);
  const int majors = is_transposed ? k_size : rows, minors = is_transposed ? rows : k_size;
  const int major_step = is_transposed ? k_step : row_step,
            minor_step = is_transposed ? row_step : k_step;
  for (int major = 0; major < majors; ++major)
    for (int minor = 0; minor < minors; minor += kPer) {
      const uint8_t* from = matrix.vector(major, minor * static_cast<int>(sizeof(Bits)));
      if (from == nullptr) return false;
      Bits bits[kPer];
      std::memcpy(bits, from, sizeof bits);
      for (int i = 0; i < kPer; ++i)
        to[major * major_step + (minor + i) * minor_step] = From::value(bits[i]);
    }
  return true;
}

/// Calls f(warp of the group, register, lane, half, row, column) for all sums; halves only where
/// two are in a register.
template <bool kPacked, class F>
void for_sums(int columns, F f) {
  for (int warp = 0; warp < kWarps; ++warp)
    for (int tile = 0; tile < columns / 8; ++tile)
      for (int i = 0; i < 4; ++i)
        for (int lane = 0; lane < kLanes; ++lane) {
          const int row = warp * 16 + (lane >> 2) + (i >> 1) * 8;
          const int column = tile * 8 + (lane & 3) * 2 + (i & 1);
          const int at = kPacked ? tile * 2 + (i >> 1) : tile * 4 + i;
          f(warp, at, kPacked ? lane * 2 + (i & 1) : lane, row, column);
        }
}

/// The list: sums, then registers of a. op.immediate: N; op.bytes: K.
template <class A, class B, class Sum, bool kHalfSums>
void multiply(Block& block, int first_warp, const PendingWgmma& pending) {
  const Op& op = *pending.op;
  const int columns = static_cast<int>(op.immediate), k_size = op.bytes;
  const int sums_registers = kHalfSums ? columns / 4 : columns / 2;
  Sum left[kRows][kMostK], right[kMostK][kMostColumns], sums[kRows][kMostColumns];
  Warp* warps = &block.warps[static_cast<size_t>(first_warp)];
  bool is_within = true;
  if ((op.kind & kRegistersA) == 0) {
    const bool is_transposed = (op.kind & kTransposedA) != 0;
    is_within = fetch<A>(Descriptor(block, pending.a, is_transposed), is_transposed, kRows, k_size,
                         &left[0][0], kMostK, 1);
  } else {
    constexpr int kPer = 4 / sizeof(typename A::Bits);
    for (int warp = 0; warp < kWarps; ++warp)
      for (int i = 0; i < 4; ++i) {
        const auto* registers = warps[warp].at<typename A::Bits>(
            warps[warp].lists[op.list + static_cast<uint32_t>(sums_registers + i)]);
        for (int lane = 0; lane < kLanes; ++lane)
          for (int j = 0; j < kPer; ++j)
            left[warp * 16 + (lane >> 2) + 8 * (i & 1)][(lane & 3) * kPer + (i >> 1) * 4 * kPer +
                                                        j] = A::value(registers[lane * kPer + j]);
      }
  }
  const bool is_transposed = (op.kind & kTransposedB) != 0;
  is_within = is_within && fetch<B>(Descriptor(block, pending.b, is_transposed), is_transposed,
                                    columns, k_size, &right[0][0], 1, kMostColumns);
  if (!is_within)
    warps[0].fault(FaultKind::kIllegalAddress, "a matrix of wgmma reaches beyond shared memory");
  if ((op.kind & (kNegatedA | kNegatedB)) == kNegatedA ||
      (op.kind & (kNegatedA | kNegatedB)) == kNegatedB)
    for (auto& row : left)
      for (int k = 0; k < k_size; ++k) row[k] = -row[k];
  const Slot* list = warps[0].lists + op.list;
  for_sums<kHalfSums>(columns, [&](int warp, int at, int place, int row, int column) {
    if (!pending.accumulates)
      sums[row][column] = 0;
    else if constexpr (kHalfSums)
      sums[row][column] = from_half(warps[warp].at<uint16_t>(list[at])[place]);
    else
      sums[row][column] = warps[warp].at<Sum>(list[at])[place];
  });
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < k_size; ++k) {
      const Sum value = left[row][k];
      const Sum* from = right[k];
      Sum* to = sums[row];
      TW_VGPU_VECTOR
      for (int column = 0; column < columns; ++column) {
        if constexpr (std::is_floating_point_v<Sum>)
          to[column] = __builtin_fmaf(value, from[column], to[column]);
        else
          to[column] += value * from[column];
      }
    }
  for_sums<kHalfSums>(columns, [&](int warp, int at, int place, int row, int column) {
    if constexpr (kHalfSums)
      warps[warp].at<uint16_t>(list[at])[place] = to_half(sums[row][column]);
    else
      warps[warp].at<Sum>(list[at])[place] = sums[row][column];
  });
}

using Multiply = void (*)(Block&, int, const PendingWgmma&);

template <class A, class B>
Multiply for_sum(Type sum) {
  if constexpr (std::is_same_v<decltype(A::value(0)), int32_t>)
    return sum == Type::kS32 ? multiply<A, B, int32_t, false> : nullptr;
  else
    return sum == Type::kF32   ? multiply<A, B, float, false>
           : sum == Type::kF16 ? Multiply{multiply<A, B, float, true>}
                               : nullptr;
}

Multiply choose(Type a, Type b, Type sum) {
  if (a == Type::kF16 && b == a) return for_sum<FromHalf, FromHalf>(sum);
  if (a == Type::kBf16 && b == a && sum == Type::kF32) return for_sum<FromBfloat, FromBfloat>(sum);
  if (a == Type::kTf32 && b == a && sum == Type::kF32) return for_sum<FromTf32, FromTf32>(sum);
  if (a == Type::kE4m3 && b == Type::kE4m3) return for_sum<FromE4m3, FromE4m3>(sum);
  if (a == Type::kE4m3 && b == Type::kE5m2) return for_sum<FromE4m3, FromE5m2>(sum);
  if (a == Type::kE5m2 && b == Type::kE4m3) return for_sum<FromE5m2, FromE4m3>(sum);
  if (a == Type::kE5m2 && b == Type::kE5m2) return for_sum<FromE5m2, FromE5m2>(sum);
  if (a == Type::kS8 && b == Type::kS8) return for_sum<FromSigned, FromSigned>(sum);
  if (a == Type::kS8 && b == Type::kU8) return for_sum<FromSigned, FromUnsigned>(sum);
  if (a == Type::kU8 && b == Type::kS8) return for_sum<FromUnsigned, FromSigned>(sum);
  if (a == Type::kU8 && b == Type::kU8) return for_sum<FromUnsigned, FromUnsigned>(sum);
  return nullptr;
}

/// Types of an op: in op.target, a | b << 8 | sum << 16.
void execute_first(Block& block, int group) {
  Warpgroup& state = block.warpgroups[static_cast<size_t>(group)];
  const int types = state.pending.front().op->target;
  const auto type = [&](int shift) { return static_cast<Type>(types >> shift & 255); };
  choose(type(0), type(8), type(16))(block, group * kWarps, state.pending.front());
  state.pending.pop_front();
  ++state.first;
  block.machine->note_progress();
}

Step issue(Warp& warp, const Op& op) {
  if (warp.mask != warp.live) return Step::kPark;
  Block& block = *warp.block;
  const int group = warp.index / kWarps;
  if (static_cast<size_t>(group * kWarps + kWarps) > block.warps.size())
    warp.fault(FaultKind::kIllegalInstruction, "wgmma in a warp that has no warpgroup of four");
  Warpgroup& state = block.warpgroups[static_cast<size_t>(group)];
  const int lane = std::countr_zero(warp.active);
  const uint64_t a = (op.kind & kRegistersA) != 0 ? 0 : warp.at<uint64_t>(op.a)[lane];
  const uint64_t b = warp.at<uint64_t>(op.b)[lane];
  const bool accumulates = warp.predicate(op.c) >> lane & 1;
  const size_t place = warp.wgmma_issued++ - state.first;
  if (place == state.pending.size()) state.pending.push_back({&op, a, b, accumulates, 0});
  PendingWgmma& pending = state.pending[place];
  if (pending.op != &op || pending.a != a || pending.b != b || pending.accumulates != accumulates)
    warp.fault(FaultKind::kIllegalInstruction, "the warps of a warpgroup issue different wgmma");
  pending.issued |= 1u << (warp.index % kWarps);
  constexpr uint32_t kAll = (1u << kWarps) - 1;
  if (block.machine->random().below(4) == 0)
    while (!state.pending.empty() && state.pending.front().issued == kAll)
      execute_first(block, group);
  return Step::kNext;
}

Step commit(Warp& warp, const Op&) {
  if (warp.mask != warp.live) return Step::kPark;
  warp.wgmma_commits.push_back(warp.wgmma_issued);
  return Step::kNext;
}

Step wait(Warp& warp, const Op& op) {
  if (warp.mask != warp.live) return Step::kPark;
  const auto keep = static_cast<size_t>(op.immediate);
  if (warp.wgmma_commits.size() <= keep) return Step::kNext;
  const uint32_t upto = warp.wgmma_commits[warp.wgmma_commits.size() - 1 - keep];
  const int group = warp.index / kWarps;
  Warpgroup& state = warp.block->warpgroups[static_cast<size_t>(group)];
  while (static_cast<int32_t>(upto - state.first) > 0) {
    if (state.pending.front().issued != (1u << kWarps) - 1) return Step::kRetry;
    execute_first(*warp.block, group);
  }
  warp.wgmma_commits.erase(warp.wgmma_commits.begin(),
                           warp.wgmma_commits.end() - static_cast<ptrdiff_t>(keep));
  return Step::kNext;
}

Step fence(Warp& warp, const Op&) { return warp.mask == warp.live ? Step::kNext : Step::kPark; }

/// .m64nNkK: N a multiple of 8 up to 256.
int take_shape(Form& form, int k_size) {
  for (int columns = 8; columns <= kMostColumns; columns += 8)
    if (form.take("m64n" + std::to_string(columns) + "k" + std::to_string(k_size))) return columns;
  form.fail("the shape must be m64nNk" + std::to_string(k_size) + " with N of 8, 16 ... 256");
}

void decode_multiply(Form& form) {
  const Type sum = form.type(), a = form.type(), b = form.type();
  const bool is_integer = sum == Type::kS32;
  const int bytes = std::max(1, ptx::bytes_of(a));
  const int columns = take_shape(form, 32 / bytes);
  if (is_integer) form.take("satfinite");
  const size_t sums = static_cast<size_t>(sum == Type::kF16 ? columns / 4 : columns / 2);
  std::vector<Slot> registers;
  for (const ptx::Operand& part : form.parts(0)) registers.push_back(form.out(part, 4));
  if (registers.size() != sums) form.fail("the sums have " + std::to_string(sums) + " registers");
  if (form.operand(1).kind == ptx::Operand::Kind::kVector) {
    form.op.kind |= kRegistersA;
    if (form.parts(1).size() != 4) form.fail("a has 4 registers");
    for (const ptx::Operand& part : form.parts(1)) registers.push_back(form.in(part, 4));
  } else {
    form.op.a = form.in(1, 8);
  }
  form.list(registers);
  form.op.b = form.in(2, 8);
  form.op.c = form.predicate_in(3);
  size_t next = 4;
  if (!is_integer) {
    for (const uint8_t flag : {kNegatedA, kNegatedB}) {
      const int64_t scale = form.constant(next++);
      if (scale != 1 && scale != -1) form.fail("scales are 1 and -1");
      if (scale < 0) form.op.kind |= flag;
    }
    if (bytes == 2) {
      if ((form.op.kind & kRegistersA) == 0 && form.constant(next++) != 0)
        form.op.kind |= kTransposedA;
      if (form.constant(next++) != 0) form.op.kind |= kTransposedB;
    }
  }
  form.op.immediate = columns;
  form.op.bytes = static_cast<uint8_t>(32 / bytes);
  form.op.target = static_cast<int>(a) | static_cast<int>(b) << 8 | static_cast<int>(sum) << 16;
  form.emit(choose(a, b, sum) != nullptr ? issue : Run{nullptr}, next);
}

void decode(Form& form) {
  const int what = form.take_one({"fence", "commit_group", "wait_group", "mma_async"});
  if (!form.take("sync") || !form.take("aligned")) form.fail("the form is .sync.aligned");
  if (what == 0) return form.emit(fence, 0);
  if (what == 1) return form.emit(commit, 0);
  if (what == 3) return decode_multiply(form);
  form.op.immediate = form.constant(0);
  if (form.op.immediate < 0 || form.op.immediate > 7) form.fail("0 to 7 groups may be left");
  form.emit(wait, 1);
}

}  // namespace

const Row kWgmmaRows[] = {{"wgmma", decode}, {}};

}  // namespace tw::vgpu
