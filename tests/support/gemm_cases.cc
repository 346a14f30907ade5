#include "tests/runner/gemm_cases.h"

#include "tilewire/tile/grid.h"

namespace tw::test {
namespace {

constexpr const char* kOpNames[] = {"gemm",
                                    "all_gather_gemm",
                                    "gemm_reduce_scatter",
                                    "gemm_all_reduce",
                                    "gemm_all_to_all",
                                    "all_reduce_residual_rms_norm",
                                    "row_epilogue"};
constexpr const char* kActivations[] = {"", " gelu", " gelu_tanh", " silu", " swiglu"};
constexpr const char* kShards[] = {"", " uneven", " all at the last"};
constexpr const char* kPlacings[] = {" private", " window", " mixed"};
constexpr tw_type_t kTypes[] = {TW_BF16, TW_FP16, TW_FP32};

const char* type_name(tw_type_t type) {
  return type == TW_BF16 ? "bf16" : type == TW_FP16 ? "fp16" : "fp32";
}

/// Half a unit in the last place, relative.
double half_unit(tw_type_t type) {
  return type == TW_BF16 ? 0x1p-8 : type == TW_FP16 ? 0x1p-11 : 0x1p-24;
}

/// What the op cannot do is left out.
GemmCase allowed(GemmCase c) {
  const GemmOp op = c.op;
  if (op == GemmOp::kGemmAllToAll) c.residual = false;
  if (!is_local(op) && op != GemmOp::kGemmAllReduce) c.norm = op == GemmOp::kAllReduceNorm;
  if (op != GemmOp::kGemm && op != GemmOp::kAllGatherGemm && c.activation == Activation::kSwiGlu)
    c.activation = Activation::kSilu;
  if (op == GemmOp::kAllReduceNorm) {
    c.bias = false;
    c.activation = Activation::kNone;
    c.type = c.out;
  }
  if (takes_addend(op)) {
    c.a_transposed = c.b_transposed = c.b_packed = false;
  }
  c.hidden = c.hidden && c.norm;
  c.gathered = c.gathered && op == GemmOp::kAllGatherGemm;
  if (c.b_packed) c.b_transposed = false;
  if (c.partial != TW_FP32) c.partial = c.out;
  c.tolerance = tolerance_of(c);
  return c;
}

/// Turns through everything that a case can have, each thing at its own pace.
GemmCase varied(GemmOp op, int turn) {
  constexpr Activation kActivation[] = {
      Activation::kNone,   Activation::kGelu, Activation::kNone,    Activation::kSilu,
      Activation::kSwiGlu, Activation::kNone, Activation::kGeluTanh};
  GemmCase c;
  c.op = op;
  c.type = kTypes[turn % 3];
  c.out = kTypes[turn / 3 % 3];
  c.partial = turn % 4 == 1 ? TW_FP32 : c.out;
  c.a_transposed = turn % 5 == 3;
  c.b_transposed = turn % 2 == 1;
  c.b_packed = turn % 4 == 2;
  c.strided = turn % 7 % 2 == 1;
  c.bias = turn % 3 == 1;
  c.residual = turn % 5 % 2 == 1;
  c.norm = turn % 4 == 3;
  c.hidden = turn % 8 == 3;
  c.gathered = turn % 2 == 0;
  c.activation = kActivation[turn % 7];
  c.shards = static_cast<Shards>(turn % 5 % 3);
  c.placing = static_cast<Placing>(turn / 2 % 3);
  c.random = turn % 3 == 2;
  return c;
}

/// Exact, without an epilogue. Layouts 0 .. 3: plain, B packed, B transposed, A transposed.
GemmCase laid_out(GemmOp op, tw_type_t type, tw_type_t out, int layout) {
  GemmCase c;
  c.op = op;
  c.type = type;
  c.out = out;
  c.partial = layout == 0 ? TW_FP32 : out;
  c.b_packed = layout == 1;
  c.b_transposed = layout == 2;
  c.a_transposed = layout == 3;
  c.placing = static_cast<Placing>(layout % 3);
  return c;
}

void add(std::vector<GemmCase>* cases, GemmCase c, size_t m, size_t n, size_t k) {
  c.m = m;
  c.n = n;
  c.k = k;
  cases->push_back(allowed(c));
}

}  // namespace

const char* name_of(GemmOp op) { return kOpNames[static_cast<int>(op)]; }

std::string GemmCase::name(int ranks) const {
  std::string s = std::string(name_of(op)) + " n=" + std::to_string(ranks) + " " +
                  std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k) + " " +
                  type_name(type) + " to " + type_name(out) + " by " + type_name(partial);
  if (a_transposed) s += " A^T";
  s += b_packed ? " packed" : b_transposed ? " B^T" : "";
  if (strided) s += " strided";
  if (bias) s += " bias";
  s += kActivations[static_cast<int>(activation)];
  if (residual) s += " residual";
  if (norm) s += hidden ? " norm hidden" : " norm";
  if (gathered) s += " gathered";
  s += kShards[static_cast<int>(shards)];
  s += kPlacings[static_cast<int>(placing)];
  return s + (random ? " random" : "");
}

double tolerance_of(const GemmCase& c) {
  if (c.exact() && !c.norm) return 0;
  // fp32 sums of up to some hundred products of order 1 / sqrt(k), and functions of them.
  double tolerance = 4e-6 + 2 * half_unit(c.out);
  // A partial sum just beside the middle of two numbers may be rounded to the other one.
  if (sums_ranks(c.op) && c.random) tolerance += 8 * half_unit(c.partial);
  // x is of order 1 and is rounded before it is divided by its root mean square.
  if (c.norm) tolerance += 4 * half_unit(c.out);
  return tolerance;
}

std::vector<GemmCase> gemm_cases(GemmOp op) {
  constexpr size_t kM[] = {0, 1, 3, 17, 63, 64, 129};
  constexpr size_t kN[] = {1, 31, 64, 97, 130, 193};
  constexpr size_t kK[] = {1, 7, 64, 127, 257, 300};
  std::vector<GemmCase> cases;
  int turn = 0;
  for (const size_t m : kM)
    for (int i = 0; i < 9; ++i, ++turn)
      add(&cases, varied(op, turn), m, kN[turn % 6], kK[turn / 2 % 6]);
  add(&cases, varied(op, 10), 512, 97, 31);
  add(&cases, varied(op, 23), 512, 130, 64);
  // Every type to every type, plain, packed and transposed, exact.
  for (const tw_type_t type : kTypes)
    for (const tw_type_t out : kTypes)
      for (int layout = 0; layout < 4; ++layout)
        add(&cases, laid_out(op, type, out, layout), 37, 83, 131);
  // K of several multiply steps, and rows that leave in several parts.
  for (const tw_type_t type : kTypes)
    for (int layout = 0; layout < 4 && !takes_addend(op); ++layout)
      add(&cases, laid_out(op, type, TW_FP32, layout), 19, 70, 2 * kCpuTile.k + 70);
  add(&cases, varied(op, 3), 5, 600, 20);
  add(&cases, varied(op, 7), 5, 600, 20);
  add(&cases, varied(op, 6), 0, 0, 16);
  add(&cases, varied(op, 7), 5, 0, 16);
  if (!takes_addend(op)) add(&cases, varied(op, 12), 33, 70, 0);
  return cases;
}

std::vector<GemmCase> few_gemm_cases(GemmOp op) {
  std::vector<GemmCase> cases;
  constexpr size_t kM[] = {1, 19, 40, 0, 33, 7, 50, 16};
  constexpr size_t kN[] = {40, 130, 65, 64, 70, 1, 131, 97};
  constexpr size_t kK[] = {16, 33, 20, 16, 1, 24, kCpuTile.k + 88, kCpuTile.k + 8};
  for (int i = 0; i < 8; ++i) add(&cases, varied(op, 5 * i + 3), kM[i], kN[i], kK[i]);
  return cases;
}

std::vector<GemmCase> boxed_gemm_cases(GemmOp op) {
  std::vector<GemmCase> cases;
  GemmCase c = laid_out(op, TW_BF16, TW_BF16, 2);
  add(&cases, c, 141, 200, 136);
  c.activation = Activation::kSwiGlu;
  c.gathered = true;
  add(&cases, c, 37, 90, 72);
  add(&cases, laid_out(op, TW_FP32, TW_FP32, 2), 70, 130, 52);
  return cases;
}

std::vector<GemmCase> gemm_cases_here(GemmOp op) {
#if defined(TW_SANITIZE_THREAD) || defined(TW_SANITIZE_ADDRESS)
  return few_gemm_cases(op);
#else
  return gemm_cases(op);
#endif
}

}  // namespace tw::test
