// Conformance: each form of the instructions whose lanes are independent runs in a kernel of its
// own and is compared, lane by lane, with a reference (tests/vgpu/*_cases.cc).
#include <algorithm>
#include <random>

#include "tests/vgpu/cases.h"
#include "tests/vgpu/gpu_test.h"

namespace tw::test {
namespace {

// Three whole warps, and one of which some lanes do not run: vectors and single lanes.
constexpr unsigned kThreads = 116;

const char* register_class(const Operand& operand) {
  if (operand.kind == Kind::kPredicate) return "p";
  return operand.bytes == 2 ? "h" : operand.bytes == 4 ? "r" : "d";
}

void replace_all(std::string* text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text->find(from, at)) != std::string::npos; at += to.size())
    text->replace(at, from.size(), to);
}

/// out[i] = instruction(in[i]...), all in 8 bytes each. Odd lanes of the last warp do not run it.
std::string kernel_text(const Case& one, int number) {
  const char names[] = {'a', 'b', 'c', 'e'};
  std::string text = ".visible .entry case" + std::to_string(number) + "(.param .u64 out";
  for (size_t i = 0; i < one.sources.size(); ++i)
    text += std::string(", .param .u64 in") + names[i];
  text +=
      ")\n{\n.reg .pred %p<8>; .reg .b16 %h<8>; .reg .b32 %r<8>; .reg .b64 %d<8>, %at, %x, %i;\n"
      ".reg .pred %q, %skip; .reg .b32 %t, %o;\n"
      "mov.u32 %t, %tid.x; cvt.u64.u32 %i, %t; shl.b64 %i, %i, 3;\n";
  std::string instruction = one.text;
  for (size_t i = 0; i < one.sources.size(); ++i) {
    const Operand& source = one.sources[i];
    const std::string name = std::string("%") + register_class(source) + std::to_string(i + 1);
    text += std::string("ld.param.u64 %at, [in") + names[i] + "]; add.s64 %at, %at, %i;\n";
    if (source.kind == Kind::kPredicate)
      text += "ld.global.u32 %r0, [%at]; and.b32 %r0, %r0, 1; setp.ne.u32 " + name + ", %r0, 0;\n";
    else
      text += "ld.global.b" + std::to_string(8 * source.bytes) + " " + name + ", [%at];\n";
    replace_all(&instruction, std::string("$") + names[i], name);
  }
  const std::string result = std::string("%") + register_class(one.result) + "7";
  replace_all(&instruction, "$d", result);
  text +=
      "and.b32 %o, %t, 1; setp.ne.u32 %skip, %o, 0; setp.ge.and.u32 %skip, %t, 96, %skip;\n"
      "@%skip bra DONE;\n" +
      instruction + "\n";
  text += "mov.u64 %x, 0;\n";
  if (one.result.kind == Kind::kPredicate)
    text += "selp.u64 %x, 1, 0, " + result + ";\n";
  else if (one.result.bytes == 8)
    text += "mov.b64 %x, " + result + ";\n";
  else
    text += "cvt.u64.u" + std::to_string(8 * one.result.bytes) + " %x, " + result + ";\n";
  return text +
         "ld.param.u64 %at, [out]; add.s64 %at, %at, %i; st.global.u64 [%at], %x;\nDONE: ret;\n}\n";
}

/// Corners of the type first, in all pairs where that fits; then random bits, some of them small.
uint64_t pick(const Operand& operand, unsigned thread, size_t source, std::mt19937_64& random) {
  static const float kFloats[] = {0.0f,  -0.0f,    1.0f,      -1.5f, 1e-40f, -3e-39f,
                                  3e38f, INFINITY, -INFINITY, NAN,   0.3f,   65504.0f};
  static const uint64_t kIntegers[] = {0,
                                       1,
                                       ~uint64_t{0},
                                       0x7fffffffffffffff,
                                       0x8000000000000000,
                                       0x80000000,
                                       0x7fffffff,
                                       0xffff8000,
                                       32,
                                       31,
                                       255,
                                       64};
  const size_t corner = source == 0   ? thread % 12
                        : source == 1 ? thread / 12
                                      : (thread * 5 + source) % 12;
  const bool is_corner = thread < 72 && corner < 12;
  const uint64_t bits = random();
  if (operand.kind == Kind::kFloat) {
    if (is_corner && operand.bytes == 4) return to_bits(kFloats[corner]);
    if (is_corner) return to_bits(static_cast<double>(kFloats[corner]));
    const double value = std::ldexp(static_cast<double>(static_cast<int64_t>(bits)),
                                    static_cast<int>(random() % 90) - 100);
    return operand.bytes == 4 ? to_bits(static_cast<float>(value)) : to_bits(value);
  }
  if (operand.kind != Kind::kInteger) return bits;
  if (is_corner) return kIntegers[corner];
  return random() % 3 == 0 ? bits % 80 : bits;
}

uint64_t masked(uint64_t bits, const Operand& operand) {
  return operand.bytes == 8 ? bits : bits & ((uint64_t{1} << (8 * operand.bytes)) - 1);
}

bool is_small_nan(uint16_t bits, bool is_half) {
  return is_half ? (bits & 0x7fff) > 0x7c00 : (bits & 0x7fff) > 0x7f80;
}

bool agree(const Case& one, uint64_t got, uint64_t want) {
  if (got == want) return true;
  const auto small = [&](bool is_half) {
    const int parts = one.result.bytes / 2;
    for (int i = 0; i < parts; ++i) {
      const auto a = static_cast<uint16_t>(got >> (16 * i)),
                 b = static_cast<uint16_t>(want >> (16 * i));
      if (a != b && !(is_small_nan(a, is_half) && is_small_nan(b, is_half))) return false;
    }
    return true;
  };
  switch (one.result.kind) {
    case Kind::kHalf:
    case Kind::kHalfPair:
      return small(true);
    case Kind::kBfloat:
    case Kind::kBfloatPair:
      return small(false);
    case Kind::kFloat:
      break;
    default:
      return false;
  }
  const double a = one.result.bytes == 4 ? double{from_bits<float>(got)} : from_bits<double>(got);
  const double b = one.result.bytes == 4 ? double{from_bits<float>(want)} : from_bits<double>(want);
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return one.tolerance > 0 && std::fabs(a - b) <= one.tolerance * std::fabs(b);
}

class Conformance : public GpuTest {
 protected:
  void check(const std::vector<Case>& cases) {
    std::string text = ptx_head();
    for (size_t i = 0; i < cases.size(); ++i) text += kernel_text(cases[i], static_cast<int>(i));
    CUmodule module = nullptr;
    ASSERT_EQ(cu.cuModuleLoadData(&module, text.c_str()), CUDA_SUCCESS);
    std::mt19937_64 random(7);
    for (size_t i = 0; i < cases.size(); ++i)
      check_one(cases[i], module, static_cast<int>(i), random);
    TW_CU(cu.cuModuleUnload(module));
  }

 private:
  void check_one(const Case& one, CUmodule module, int number, std::mt19937_64& random) {
    constexpr uint64_t kUntouched = 0x5a5a5a5a5a5a5a5a;
    std::vector<std::vector<uint64_t>> sources(one.sources.size(), std::vector<uint64_t>(kThreads));
    std::vector<CUdeviceptr> addresses = {upload(std::vector<uint64_t>(kThreads, kUntouched))};
    for (size_t i = 0; i < sources.size(); ++i) {
      for (unsigned thread = 0; thread < kThreads; ++thread)
        sources[i][thread] = pick(one.sources[i], thread, i, random);
      addresses.push_back(upload(sources[i]));
    }
    std::vector<void*> arguments;
    for (CUdeviceptr& address : addresses) arguments.push_back(&address);
    launch(function(module, ("case" + std::to_string(number)).c_str()), 1, kThreads, arguments);
    const auto got = download<uint64_t>(addresses[0], kThreads);
    for (unsigned thread = 0; thread < kThreads; ++thread) {
      if (thread >= 96 && thread % 2 == 1) {
        ASSERT_EQ(got[thread], kUntouched) << one.text << " thread " << thread;
        continue;
      }
      uint64_t inputs[4] = {};
      for (size_t i = 0; i < sources.size(); ++i)
        inputs[i] = masked(sources[i][thread], one.sources[i]);
      const uint64_t want = masked(one.reference(one.function, inputs), one.result);
      ASSERT_TRUE(agree(one, got[thread], want))
          << one.text << " thread " << thread << std::hex << ": " << inputs[0] << ", " << inputs[1]
          << ", " << inputs[2] << ", " << inputs[3] << " gave " << got[thread] << ", want " << want;
    }
    for (const CUdeviceptr address : addresses) TW_CU(cu.cuMemFree(address));
  }
};

TEST_F(Conformance, Integers) { check(integer_cases()); }
TEST_F(Conformance, Bits) { check(bit_cases()); }
TEST_F(Conformance, Floats) { check(float_cases()); }
TEST_F(Conformance, SmallFloats) { check(small_float_cases()); }
TEST_F(Conformance, Comparisons) { check(compare_cases()); }
TEST_F(Conformance, Conversions) { check(convert_cases()); }

}  // namespace
}  // namespace tw::test
