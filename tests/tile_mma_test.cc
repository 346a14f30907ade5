// The multiply step of every CPU target that this machine runs, and of cpu_amx over emulated tiles,
// through the `gemm` kernel's entry: exact sums over ragged shapes, and the rule that an element's
// bits depend on nothing but target, N and K. What vector functions give, against double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "lib/device/device.h"
#include "lib/device/kernels.h"
#include "lib/device/pack.h"
#include "tests/support/amx_emulated.h"
#include "tests/support/amx_emulation.h"
#include "tests/support/reference.h"
#include "tilewire/kernels/gemm.h"
#include "tilewire/tile/impl/cpu/tile_left.h"
#include "tilewire/tile/impl/cpu/tile_lines.h"

namespace tw::test {
namespace {

struct TargetEntry {
  std::string name;
  CpuEntry gemm;
};

std::vector<TargetEntry> targets() {
  std::vector<TargetEntry> all{{"cpu_amx_emulated", cpu_amx_emulated::gemm_entry}};
  for (int i = 0; i < kCpuTargets; ++i) {
    const auto target = static_cast<CpuTarget>(i);
    if (cpu_runs(target)) all.push_back({cpu_target_name(target), kernels::gemm.cpu[i]});
  }
  return all;
}

float value_at(tw_type_t type, const void* data, size_t i) {
  if (type != TW_FP32) {
    uint16_t code;
    std::memcpy(&code, static_cast<const char*>(data) + 2 * i, sizeof code);
    return decode(type, code);
  }
  float value;
  std::memcpy(&value, static_cast<const char*>(data) + 4 * i, sizeof value);
  return value;
}
void put_value(tw_type_t type, void* data, size_t i, float value) {
  if (type != TW_FP32) {
    const auto code = static_cast<uint16_t>(encode(type, value));
    std::memcpy(static_cast<char*>(data) + 2 * i, &code, sizeof code);
  } else {
    std::memcpy(static_cast<char*>(data) + 4 * i, &value, sizeof value);
  }
}

enum class Data { kExact /* whole numbers / 8 */, kRandom };

/// A matrix with `gap` more elements a row than it has columns, poisoned around them.
struct Stored {
  size_t rows, cols, stride;
  tw_type_t type;
  std::vector<char> bytes;

  Stored(size_t r, size_t c, tw_type_t t, size_t gap)
      : rows(r), cols(c), stride(c + gap), type(t), bytes((r * stride + 1) * 4, '\xff') {}
  void fill(Data data, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::uniform_int_distribution<int> whole(-8, 8);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < rows; ++i)
      for (size_t j = 0; j < cols; ++j)
        put_value(type, bytes.data(), i * stride + j,
                  data == Data::kExact ? static_cast<float>(whole(random)) / 8 : normal(random));
  }
  float at(size_t i, size_t j) const { return value_at(type, bytes.data(), i * stride + j); }
};

struct Problem {
  size_t m, n, k;
  tw_type_t type = TW_BF16, out = TW_FP32;
  MatrixLayout a = MatrixLayout::kRows, b = MatrixLayout::kPacked;
  bool paired = false;
  size_t gap = 0;
};

/// How it is carried out: no bit may depend on it.
struct Way {
  uint32_t tile_rows = 64, tile_cols = 64;
  Raster raster = Raster::kRowsOuter;
  int blocks = 1;
  bool keeps_a = true;
};

class Inputs {
 public:
  Inputs(const Problem& p, Data data)
      : p_(p),
        n_(p.paired ? 2 * p.n : p.n),
        a_(a_cols() ? p.k : p.m, a_cols() ? p.m : p.k, p.type, p.gap),
        b_(p.b == MatrixLayout::kCols ? n_ : p.k, p.b == MatrixLayout::kCols ? p.k : n_, p.type,
           p.gap) {
    a_.fill(data, 1);
    b_.fill(data, 2);
    if (p.b != MatrixLayout::kPacked) return;
    packed_.resize(packed_bytes(PackedFor::kCpu, p.k, n_, p.type), '\x7f');
    pack_weights(operand(b_, p.k, n_, MatrixLayout::kRows), packed_.data());
  }

  float a(size_t i, size_t k) const { return a_cols() ? a_.at(k, i) : a_.at(i, k); }
  float b(size_t k, size_t j) const {
    return p_.b == MatrixLayout::kCols ? b_.at(j, k) : b_.at(k, j);
  }

  /// Rows first .. first + m - 1 of the result, [m][n] without gaps.
  std::vector<char> run(CpuEntry gemm, const Way& way, size_t first, size_t m) const {
    const size_t element = p_.out == TW_FP32 ? 4 : 2;
    std::vector<char> c(m * p_.n * element + 1, '\x5a');
    GemmArgs args{};
    TileCounters counters{};
    uint64_t epoch = 0;
    std::vector<char> part(4096 * 2);
    char* parts[1] = {part.data()};
    const size_t bytes = way.keeps_a ? tile_scratch(way.tile_rows, p_.k) : kTileScratch;
    const std::unique_ptr<char, void (*)(void*)> scratch(
        static_cast<char*>(std::aligned_alloc(4096, bytes * static_cast<size_t>(way.blocks))),
        std::free);
    args.tiles.comm.size = 1;
    args.tiles.layout = tile_layout(1, 16, 0);
    args.tiles.parts = parts;
    args.tiles.epoch = &epoch;
    args.tiles.counters = &counters;
    args.tiles.scratch = scratch.get();
    args.tiles.scratch_bytes = bytes;
    args.tiles.record.call = kNoCall;
    args.grid = tile_grid(whole(m, way.tile_rows), whole(p_.n, way.tile_cols), way.raster,
                          p_.paired ? p_.n : 0);
    args.a = operand(a_, p_.m, p_.k, p_.a);
    args.a.rows = m;
    args.a.data = a_.bytes.data() + first * (a_cols() ? 1 : a_.stride) * packed_element(p_.type);
    args.b = operand(b_, p_.k, n_, p_.b);
    args.c = {c.data(), p_.n, p_.out};
    if (p_.paired) args.epilogue.activation = Activation::kSwiGlu;
    for (int i = 0; i < way.blocks; ++i) gemm(&args, i, way.blocks);
    EXPECT_EQ(epoch, 1u);
    EXPECT_EQ(c.back(), '\x5a');
    c.pop_back();
    return c;
  }

 private:
  bool a_cols() const { return p_.a == MatrixLayout::kCols; }
  Operand operand(const Stored& s, size_t rows, size_t cols, MatrixLayout layout) const {
    const void* data = layout == MatrixLayout::kPacked ? packed_.data() : s.bytes.data();
    return {data, s.stride, rows, cols, s.type, layout, nullptr};
  }

  const Problem p_;
  const size_t n_;
  Stored a_, b_;
  std::vector<char> packed_;
};

std::string text_of(const Problem& p) {
  return std::to_string(p.m) + "x" + std::to_string(p.n) + "x" + std::to_string(p.k) + " " +
         name_of(p.type) + " to " + name_of(p.out) + ", layouts " +
         std::to_string(static_cast<int>(p.a)) + " " + std::to_string(static_cast<int>(p.b)) +
         (p.paired ? ", paired" : "");
}

class EveryTarget : public testing::TestWithParam<TargetEntry> {};

void expect_exact(const TargetEntry& target, const Problem& p, const Way& way) {
  const Inputs inputs(p, Data::kExact);
  const std::vector<char> got = inputs.run(target.gemm, way, 0, p.m);
  std::vector<int64_t> column(p.k), row(p.m * p.k);  // eighths
  for (size_t i = 0; i < row.size(); ++i)
    row[i] = static_cast<int64_t>(inputs.a(i / p.k, i % p.k) * 8);
  for (size_t j = 0; j < p.n; ++j) {
    for (size_t k = 0; k < p.k; ++k) column[k] = static_cast<int64_t>(inputs.b(k, j) * 8);
    for (size_t i = 0; i < p.m; ++i) {
      int64_t sum = 0;  // of 64ths
      for (size_t k = 0; k < p.k; ++k) sum += row[i * p.k + k] * column[k];
      char want[4] = {};
      put_value(p.out, want, 0, static_cast<float>(sum) / 64);
      const float is = value_at(p.out, got.data(), i * p.n + j);
      ASSERT_EQ(is, value_at(p.out, want, 0)) << text_of(p) << " at " << i << ", " << j;
    }
  }
}

TEST_P(EveryTarget, SumsAreExact) {
  constexpr size_t kSizes[][3] = {{0, 5, 7},    {1, 1, 1},     {3, 31, 33},   {17, 97, 64},
                                  {63, 1, 511}, {129, 65, 31}, {40, 33, 700}, {2, 257, 0},
                                  {7, 300, 13}, {33, 64, 513}};
  constexpr tw_type_t kTypes[] = {TW_BF16, TW_FP16, TW_FP32};
  constexpr MatrixLayout kRows = MatrixLayout::kRows, kCols = MatrixLayout::kCols;
  int turn = 0;
  for (const auto& [m, n, k] : kSizes)
    for (const tw_type_t type : kTypes)
      for (const MatrixLayout b : {MatrixLayout::kPacked, kRows, kCols}) {
        ++turn;
        const Problem p{m,
                        n,
                        k,
                        type,
                        kTypes[turn % 3],
                        turn % 2 != 0 ? kCols : kRows,
                        b,
                        false,
                        static_cast<size_t>(turn % 4)};
        const Way way{turn % 5 == 0 ? 512u : 48u, turn % 2 == 0 ? 256u : 32u,
                      turn % 3 == 0 ? Raster::kColsOuter : Raster::kRowsOuter, 1 + turn % 3,
                      turn % 7 != 0};
        expect_exact(GetParam(), p, way);
        if (HasFatalFailure()) return;
      }
}

TEST_P(EveryTarget, ManyRowsAreExact) {
  expect_exact(GetParam(), {530, 70, 80}, {512, 256});
  expect_exact(GetParam(), {290, 40, 520, TW_BF16, TW_BF16}, {256, 32});
}

/// A row of the result gives the same bits alone and in a batch, whatever the tiles and the layout.
TEST_P(EveryTarget, BitsDependOnTargetNAndKOnly) {
  for (const tw_type_t type : {TW_BF16, TW_FP16, TW_FP32})
    for (const bool paired : {false, true}) {
      Problem p{150, 45, 1100, type, TW_FP32, MatrixLayout::kRows, MatrixLayout::kPacked, paired};
      const Inputs packed(p, Data::kRandom);
      p.b = MatrixLayout::kRows;
      const Inputs plain(p, Data::kRandom);
      const std::vector<char> all = packed.run(GetParam().gemm, {}, 0, p.m);
      const auto same = [&](const Inputs& inputs, const Way& way, size_t first, size_t m) {
        const size_t row = p.n * 4;
        const std::vector<char> part = inputs.run(GetParam().gemm, way, first, m);
        EXPECT_EQ(std::memcmp(part.data(), all.data() + first * row, m * row), 0)
            << text_of(p) << ", rows " << first << " to " << first + m;
      };
      for (const size_t first : {0u, 15u, 16u, 99u, 149u}) same(packed, {}, first, 1);
      same(packed, {512, 256}, 0, p.m);
      same(packed, {16, 32, Raster::kColsOuter, 2, false}, 0, p.m);
      same(plain, {}, 0, p.m);
      same(plain, {96, 64, Raster::kColsOuter}, 3, 17);
      same(plain, {}, 77, 1);
    }
}

TEST_P(EveryTarget, SumsOfRandomNumbersAreNear) {
  const Problem p{20, 37, 2000};
  const Inputs inputs(p, Data::kRandom);
  const std::vector<char> got = inputs.run(GetParam().gemm, {}, 0, p.m);
  for (size_t i = 0; i < p.m; ++i)
    for (size_t j = 0; j < p.n; ++j) {
      double sum = 0;
      for (size_t k = 0; k < p.k; ++k)
        sum += static_cast<double>(inputs.a(i, k)) * static_cast<double>(inputs.b(k, j));
      EXPECT_NEAR(value_at(TW_FP32, got.data(), i * p.n + j), sum, 2e-4);
    }
}

INSTANTIATE_TEST_SUITE_P(Tile, EveryTarget, testing::ValuesIn(targets()),
                         [](const auto& info) { return info.param.name; });

// What a block keeps of its last rows is only taken for the same rows of the same matrix.
TEST(LeftRows, AreKeptForTheSameOperandOnly) {
  constexpr size_t kStride = 96, kRows = 8;
  std::vector<float> first(kStride * kRows), second(first.size());
  for (size_t i = 0; i < first.size(); ++i) {
    first[i] = static_cast<float>(i);
    second[i] = -static_cast<float>(i);
  }
  std::vector<char> memory(kTileScratch + (size_t{1} << 20));
  void* at = memory.data();
  size_t space = memory.size();
  char* const scratch = static_cast<char*>(std::align(64, space - 64, at, space));
  TW_NS::LeftRows left(scratch, space);
  const Operand a{first.data(), kStride, kRows, 40, TW_FP32, MatrixLayout::kRows, nullptr};
  const auto expect_rows = [&](const Operand& of, size_t row, size_t rows) {
    const float* const got = left.step<float>(of, row, rows, 0, of.cols);
    for (size_t i = 0; i < rows; ++i)
      for (size_t k = 0; k < divide_up(of.cols, kPackedK) * kPackedK; ++k) {
        const bool kept_rows = of.layout == MatrixLayout::kRows;
        const size_t from = kept_rows ? (row + i) * of.stride + k : k * of.stride + row + i;
        ASSERT_EQ(got[i * kCpuTile.k + k],
                  k < of.cols ? static_cast<const float*>(of.data)[from] : 0.F)
            << "row " << row + i << ", k " << k << " of " << of.cols;
      }
  };
  expect_rows(a, 0, 4);
  for (const auto& change : std::vector<std::function<void(Operand*)>>{
           [](Operand* o) { o->cols = 70; }, [&](Operand* o) { o->data = second.data(); },
           [](Operand* o) { o->stride = 80; }, [](Operand* o) { o->layout = MatrixLayout::kCols; },
           [](Operand* o) { o->cols = 33; }}) {
    Operand other = a;
    change(&other);
    if (other.layout == MatrixLayout::kCols) other.cols = 6;  // six lines of kStride
    expect_rows(other, 0, 4);
    expect_rows(a, 0, 4);
  }
  expect_rows(a, 1, 4);
  expect_rows(a, 1, 6);
}

TEST(Emulation, GivesTheBitsOfTheTiles) {
  if (!cpu_runs(CpuTarget::kAmx)) GTEST_SKIP() << "this CPU has no AMX";
  const Problem p{70, 65, 1000};
  const Inputs inputs(p, Data::kRandom);
  EXPECT_EQ(inputs.run(cpu_amx_emulated::gemm_entry, {}, 0, p.m),
            inputs.run(kernels::gemm.cpu[static_cast<int>(CpuTarget::kAmx)], {}, 0, p.m));
}

#if defined(__x86_64__)
TEST(Emulation, HasTheSameBitsWithoutFma) {
  if (amx::add_products_here() != amx::add_products_fma) GTEST_SKIP() << "this CPU has no FMA";
  std::mt19937_64 random(3);
  float line[amx::kLanes], plain[amx::kLanes], fma[amx::kLanes];
  int flushed = 0;
  for (int i = 0; i < 20000; ++i) {
    // Any exponents, so that sums are denormal, infinite and not numbers as well.
    const auto any = [&] {
      const auto bits = static_cast<uint32_t>(random());
      float x;
      std::memcpy(&x, &bits, sizeof x);
      return x;
    };
    const float x = any();
    for (int j = 0; j < amx::kLanes; ++j) {
      line[j] = any();
      plain[j] = fma[j] = any() * 1e-30f;
    }
    amx::add_products(plain, x, line);
    amx::add_products_fma(fma, x, line);
    for (int j = 0; j < amx::kLanes; ++j) {
      const bool same = plain[j] == fma[j] && std::signbit(plain[j]) == std::signbit(fma[j]);
      ASSERT_TRUE(same || (std::isnan(plain[j]) && std::isnan(fma[j])))
          << plain[j] << " and " << fma[j];
      flushed += plain[j] == 0;
    }
  }
  EXPECT_GT(flushed, 100);
}
#endif

// ---- Functions on lines ----

double reference(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    default:
      return x / (1 + std::exp(-x));
  }
}

TEST(Lines, ActivationsAreAccurateAndTailsHaveTheSameBits) {
  for (const Activation activation :
       {Activation::kGelu, Activation::kGeluTanh, Activation::kSilu}) {
    std::vector<float> in;
    for (int i = -3244; i < 3244; ++i) in.push_back(static_cast<float>(i) * 0.0037f);
    std::vector<float> out = in;
    cpu_portable::activate_line(out.data(), activation, out.size());
    for (size_t i = 0; i < in.size(); ++i) {
      const double want = reference(activation, static_cast<double>(in[i]));
      const double slack = in[i] > -4 ? 2e-6 * std::fabs(want) : 1e-9;
      ASSERT_NEAR(out[i], want, slack + 1e-7) << static_cast<int>(activation) << " " << in[i];
      float alone = in[i];
      if (i % 16 != 0) continue;
      cpu_portable::activate_line(&alone, activation, 1);
      ASSERT_EQ(alone, out[i]);
    }
  }
}

TEST(Lines, ActivationsKeepWhatIsNotFinite) {
  float line[] = {INFINITY, NAN, -1000.0f, 1000.0f, 0.0f};
  cpu_portable::activate_line(line, Activation::kSilu, 5);
  EXPECT_EQ(line[0], INFINITY);
  EXPECT_TRUE(std::isnan(line[1]));
  EXPECT_EQ(line[2], 0.0f);
  EXPECT_EQ(line[3], 1000.0f);
  EXPECT_EQ(line[4], 0.0f);
}

TEST(Lines, SumsAndMaxima) {
  for (const size_t n : {1u, 3u, 4u, 16u, 17u, 63u, 200u, 1001u}) {
    std::mt19937_64 random(n);
    std::normal_distribution<float> normal;
    std::vector<float> line(n);
    double sum = 0, squares = 0;
    float most = -INFINITY;
    for (float& x : line) {
      x = normal(random);
      sum += static_cast<double>(x);
      squares += static_cast<double>(x) * static_cast<double>(x);
      most = std::max(most, x);
    }
    EXPECT_NEAR(cpu_portable::sum_line(line.data(), n, [](auto x) { return x; }), sum, 1e-4);
    EXPECT_NEAR(cpu_portable::sum_line(line.data(), n, [](auto x) { return x * x; }), squares,
                1e-3);
    EXPECT_EQ(cpu_portable::most_of_line(line.data(), n), most);
  }
}

}  // namespace
}  // namespace tw::test
