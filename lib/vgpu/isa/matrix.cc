// Matrices of a warp: ldmatrix, stmatrix, mma.sync. Sums are in fp32 (or s32) in the order of k,
// each product added by a fused multiply-add; the chip's own order differs, and is not documented.
#include <cstring>

#include "lib/vgpu/isa/address.h"
#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/isa/elements.h"
#include "lib/vgpu/isa/floats.h"
#include "lib/vgpu/isa/lanes.h"
#include "lib/vgpu/sim/observer.h"

namespace tw::vgpu {
namespace {

// ---- ldmatrix, stmatrix: 8x8 of 16 bits, a row's address from each lane ---------------------

/// op.kind: 1 transposes.
template <bool kLoads>
Step move_matrices(Warp& warp, const Op& op) {
  if (warp.mask != warp.live || warp.active != kAllLanes) return Step::kPark;
  Addresses addresses;
  // Lanes beyond 8 for each matrix give addresses that do not count.
  const uint32_t rows = op.count == 4 ? kAllLanes : (uint32_t{1} << (8 * op.count)) - 1;
  warp.active = rows;
  resolve(warp, op, op.a, 16, 16, !kLoads, &addresses);
  if (warp.block->observer != nullptr)
    warp.block->observer->access(warp, op, addresses.lane, 16,
                                 kLoads ? AccessKind::kLoad : AccessKind::kStore);
  warp.active = kAllLanes;
  for (int i = 0; i < op.count; ++i) {
    auto* registers = warp.at<uint16_t>(warp.lists[op.list + static_cast<uint32_t>(i)]);
    for (int lane = 0; lane < kLanes; ++lane)
      for (int half = 0; half < 2; ++half) {
        const int major = lane >> 2, minor = (lane & 3) * 2 + half;
        const int row = op.kind == 1 ? minor : major;
        const int column = op.kind == 1 ? major : minor;
        auto* element = reinterpret_cast<uint16_t*>(addresses.lane[i * 8 + row]) + column;
        if (kLoads)
          registers[lane * 2 + half] = *element;
        else
          *element = registers[lane * 2 + half];
      }
  }
  if (!kLoads) warp.block->machine->note_progress();
  return Step::kNext;
}

void decode_move(Form& form) {
  const bool loads = form.mnemonic() == "ldmatrix";
  if (!form.take("sync") || !form.take("aligned") || !form.take("m8n8"))
    form.fail("the form is .sync.aligned.m8n8");
  constexpr int kCounts[] = {1, 2, 4};
  const int count = kCounts[form.take_one({"x1", "x2", "x4"})];
  form.op.kind = form.take("trans") ? 1 : 0;
  form.op.space = take_space(form, Space::kGeneric);
  if (form.type() != Type::kB16) form.fail("the elements are .b16");
  std::vector<Slot> registers;
  for (const ptx::Operand& part : form.parts(loads ? 0 : 1))
    registers.push_back(loads ? form.out(part, 4) : form.in(part, 4));
  if (static_cast<int>(registers.size()) != count) form.fail("a register for each matrix");
  form.list(registers);
  form.address(loads ? 1 : 0);
  form.emit(loads ? move_matrices<true> : move_matrices<false>, 2);
}

// ---- mma.sync.m16n8kK -----------------------------------------------------------------------

constexpr int kRows = 16, kColumns = 8, kMostK = 32;

/// The list: d, a, b, c. A register holds kPer neighbours of k; registers of a alternate between
/// the upper and the lower eight rows, then go on in k.
template <class A, class B, class Sum, bool kHalfSums>
Step multiply(Warp& warp, const Op& op) {
  if (warp.mask != warp.live || warp.active != kAllLanes) return Step::kPark;
  constexpr int kPer = 4 / sizeof(typename A::Bits);
  const int k_size = op.immediate == 0 ? kPer * 8 : static_cast<int>(op.immediate);
  const int a_registers = k_size / (kPer * 4) * 2, b_registers = a_registers / 2;
  constexpr int kSums = kHalfSums ? 2 : 4;
  const Slot* d = warp.lists + op.list;
  const Slot* a = d + kSums;
  const Slot* b = a + a_registers;
  const Slot* c = b + b_registers;
  alignas(64) Sum left[kRows][kMostK], right[kMostK][kColumns], sums[kRows][kColumns];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane >> 2, within = lane & 3;
    for (int i = 0; i < a_registers; ++i)
      for (int j = 0; j < kPer; ++j)
        left[group + 8 * (i & 1)][within * kPer + (i >> 1) * 4 * kPer + j] =
            A::value(warp.at<typename A::Bits>(a[i])[lane * kPer + j]);
    for (int i = 0; i < b_registers; ++i)
      for (int j = 0; j < kPer; ++j)
        right[within * kPer + i * 4 * kPer + j][group] =
            B::value(warp.at<typename B::Bits>(b[i])[lane * kPer + j]);
    for (int i = 0; i < 4; ++i)
      sums[group + 8 * (i >> 1)][within * 2 + (i & 1)] =
          kHalfSums ? static_cast<Sum>(from_half(warp.at<uint16_t>(c[i >> 1])[lane * 2 + (i & 1)]))
                    : warp.at<Sum>(c[i])[lane];
  }
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < k_size; ++k)
      for (int column = 0; column < kColumns; ++column) {
        Sum& sum = sums[row][column];
        if constexpr (std::is_floating_point_v<Sum>)
          sum = __builtin_fmaf(left[row][k], right[k][column], sum);
        else
          sum += left[row][k] * right[k][column];
      }
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      const Sum sum = sums[(lane >> 2) + 8 * (i >> 1)][(lane & 3) * 2 + (i & 1)];
      if constexpr (kHalfSums)
        warp.at<uint16_t>(d[i >> 1])[lane * 2 + (i & 1)] = to_half(sum);
      else
        warp.at<Sum>(d[i])[lane] = sum;
    }
  return Step::kNext;
}

Run choose(Type a, Type b, Type sum) {
  const bool is_float = sum == Type::kF32;
  if (sum == Type::kF16)
    return a == Type::kF16 && b == a ? multiply<FromHalf, FromHalf, float, true> : Run{nullptr};
  if (a == Type::kF16 && b == a && is_float) return multiply<FromHalf, FromHalf, float, false>;
  if (a == Type::kBf16 && b == a && is_float) return multiply<FromBfloat, FromBfloat, float, false>;
  if (a == Type::kTf32 && b == a && is_float) return multiply<FromTf32, FromTf32, float, false>;
  if (is_float && a == Type::kE4m3)
    return b == Type::kE4m3   ? multiply<FromE4m3, FromE4m3, float, false>
           : b == Type::kE5m2 ? Run{multiply<FromE4m3, FromE5m2, float, false>}
                              : nullptr;
  if (is_float && a == Type::kE5m2)
    return b == Type::kE4m3   ? multiply<FromE5m2, FromE4m3, float, false>
           : b == Type::kE5m2 ? Run{multiply<FromE5m2, FromE5m2, float, false>}
                              : nullptr;
  if (sum != Type::kS32) return nullptr;
  if (a == Type::kS8)
    return b == Type::kS8   ? multiply<FromSigned, FromSigned, int32_t, false>
           : b == Type::kU8 ? Run{multiply<FromSigned, FromUnsigned, int32_t, false>}
                            : nullptr;
  if (a == Type::kU8)
    return b == Type::kS8   ? multiply<FromUnsigned, FromSigned, int32_t, false>
           : b == Type::kU8 ? Run{multiply<FromUnsigned, FromUnsigned, int32_t, false>}
                            : nullptr;
  return nullptr;
}

void decode_multiply(Form& form) {
  if (!form.take("sync") || !form.take("aligned")) form.fail("the form is .sync.aligned");
  constexpr int kSizes[] = {4, 8, 16, 32};
  const int k_size = kSizes[form.take_one({"m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32"})];
  if (!form.take("row") || !form.take("col")) form.fail("the operands are .row.col");
  form.take("satfinite");
  const Type d = form.type(), a = form.type(), b = form.type(), c = form.type();
  if (d != c) form.fail("sums and result have one type");
  const int per = 4 / std::max(1, ptx::bytes_of(a));
  const int a_registers = k_size / (per * 4) * 2;
  if (a_registers != 2 && a_registers != 4) form.fail("the size does not go with the type");
  const size_t sums = d == Type::kF16 ? 2 : 4;
  const size_t counts[] = {sums, static_cast<size_t>(a_registers),
                           static_cast<size_t>(a_registers / 2), sums};
  std::vector<Slot> registers;
  for (size_t i = 0; i < 4; ++i) {
    const auto& parts = form.parts(i);
    if (parts.size() != counts[i])
      form.fail("operand " + std::to_string(i + 1) + " has " + std::to_string(counts[i]) +
                " registers");
    for (const ptx::Operand& part : parts)
      registers.push_back(i == 0 ? form.out(part, 4) : form.in(part, 4));
  }
  form.list(registers);
  form.op.immediate = k_size;
  form.emit(choose(a, b, d), 4);
}

}  // namespace

const Row kMatrixRows[] = {
    {"ldmatrix", decode_move}, {"stmatrix", decode_move}, {"mma", decode_multiply}, {}};

}  // namespace tw::vgpu
