#include "lib/coll/gemm_call.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/error.h"
#include "lib/comm/call_text.h"

namespace tw {
namespace {

constexpr size_t kMostSize = INT32_MAX;
constexpr size_t kMostElements = size_t{1} << 40;  // of a matrix, gaps included
constexpr size_t kPackedAlignment = 64;
constexpr int kMostGemmBlocks = 64;

/// What an op uses of tw_gemm_args_t beyond what all use.
struct Form {
  const char* function;
  bool product;  // k, type, a_transposed, b ...
  bool rows, cols;
  bool bias;  // and activation
  bool swiglu;
  bool residual;
  bool norm;
  bool gathered;
};
constexpr Form kForms[] = {
    {"tw_all_gather_gemm", true, true, false, true, true, true, false, true},
    {"tw_gemm_reduce_scatter", true, true, false, true, false, true, false, false},
    {"tw_gemm_all_reduce", true, false, false, true, false, true, true, false},
    {"tw_gemm_all_to_all", true, true, true, true, false, false, false, false},
    {"tw_all_reduce_residual_rms_norm", false, false, false, false, false, true, true, false},
    {"tw_gemm", true, false, false, true, true, true, true, false},
};

constexpr const char* kTypesText = "TW_FP16 (6), TW_BF16 (7), TW_FP32 (8)";

bool is_matrix_type(int type) { return type == TW_BF16 || type == TW_FP16 || type == TW_FP32; }

/// Memory that a call reads or writes: `rows` rows of `row_bytes`, `stride` bytes apart.
struct Region {
  const char* name;
  uintptr_t begin;
  size_t rows, row_bytes, stride;
  bool written;

  bool empty() const { return rows == 0 || row_bytes == 0; }
  uintptr_t end() const { return begin + (rows - 1) * stride + row_bytes; }
  bool same_place(const Region& other) const {
    return begin == other.begin && (stride == other.stride || rows == 1);
  }
  /// Rows that lie between each other's, as columns of one wide matrix do, have nothing in common.
  bool overlaps(const Region& other) const {
    if (empty() || other.empty() || end() <= other.begin || other.end() <= begin) return false;
    if (stride != other.stride || stride == 0) return true;
    const size_t shift = (other.begin % stride + stride - begin % stride) % stride;
    return shift < row_bytes || shift + other.row_bytes > stride;
  }
};

class Checker {
 public:
  Checker(const char* function, bool with_data) : function_(function), with_data_(with_data) {}

  [[noreturn]] void refuse(const char* field, size_t value, const char* valid) const {
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s = %zu; valid: %s", function_, field, value, valid);
  }
  [[noreturn]] void refuse(const char* field, int value, const char* valid) const {
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s = %d; valid: %s", function_, field, value, valid);
  }

  void size(const char* field, size_t value) const {
    if (value > kMostSize)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s = %zu; valid: 0 to %zu", function_, field, value,
           kMostSize);
  }
  void type(const char* field, int value) const {
    if (!is_matrix_type(value)) refuse(field, value, kTypesText);
  }
  void flag(const char* field, int value) const {
    if (value != 0 && value != 1) refuse(field, value, "0 or 1");
  }

  void unused(const char* field, const void* pointer) const {
    if (pointer != nullptr)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s = %p; valid: NULL, the call does not use it",
           function_, field, pointer);
  }
  void unused(const char* field, size_t value) const {
    if (value != 0) refuse(field, value, "0, the call does not use it");
  }
  void unused(const char* field, int value) const {
    if (value != 0) refuse(field, value, "0, the call does not use it");
  }

  /// The stride of a matrix whose stored rows have `cols` elements; 0 = no gap.
  size_t stride(const char* field, size_t value, size_t rows, size_t cols) const {
    const size_t elements = value == 0 ? cols : value;
    if (elements < cols)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s = %zu; valid: 0 or at least %zu, a row",
           function_, field, value, cols);
    if (rows != 0 && elements > kMostElements / rows)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s: %zu rows of %zu elements; valid: up to %zu",
           function_, field, rows, elements, kMostElements);
    return elements;
  }

  /// Notes memory of the call; it must be there when it has bytes.
  void memory(const char* field, const void* at, size_t rows, size_t cols, size_t stride,
              size_t element, bool written) {
    Region region{field,  reinterpret_cast<uintptr_t>(at), rows, cols * element, stride * element,
                  written};
    if (region.empty() || !with_data_) return;
    if (at == nullptr)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s is NULL; valid: %zu x %zu elements of memory",
           function_, field, rows, cols);
    if (region.end() < region.begin)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s = %p with %zu rows runs past the address space",
           function_, field, at, rows);
    regions_[n_regions_++] = region;
  }

  /// What is written must overlap nothing else, but for pairs that `may_share` when they are the
  /// very same place.
  template <class MayShare>
  void check_overlaps(MayShare may_share) const {
    for (size_t i = 0; i < n_regions_; ++i)
      for (size_t j = 0; j < n_regions_; ++j) {
        const Region &out = regions_[i], &other = regions_[j];
        if (!out.written || i == j || !out.overlaps(other)) continue;
        const bool share = may_share(out.name, other.name);
        if (share && out.same_place(other)) continue;
        fail(TW_ERROR_INVALID_ARGUMENT,
             "%s: args.%s = %p and args.%s = %p overlap; valid: disjoint%s", function_, out.name,
             reinterpret_cast<void*>(out.begin), other.name, reinterpret_cast<void*>(other.begin),
             share ? ", or the same address and stride" : " only");
      }
  }

  const char* function() const { return function_; }
  bool with_data() const { return with_data_; }

 private:
  const char* const function_;
  const bool with_data_;
  std::array<Region, 8> regions_;  // a, b, c, bias, residual, hidden, norm_weight, gathered
  size_t n_regions_ = 0;
};

bool is(const char* a, const char* b) { return std::strcmp(a, b) == 0; }

/// Parts by rank: the caller's, which must sum up to `whole`, or nearly equal ones.
RankSizes sizes_of(const Checker& check, const char* field, const size_t* sizes, size_t whole,
                   int ranks) {
  if (sizes == nullptr) return nearly_equal(whole, ranks);
  RankSizes result{};
  size_t sum = 0;
  for (int r = 0; r < ranks; ++r) {
    if (sizes[r] > whole - sum)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: args.%s[%d] = %zu after %zu of the ranks before; valid: %zu in all",
           check.function(), field, r, sizes[r], sum, whole);
    result[static_cast<size_t>(r)] = sizes[r];
    sum += sizes[r];
  }
  if (sum != whole)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.%s of %d ranks sum up to %zu; valid: %zu in all",
         check.function(), field, ranks, sum, whole);
  return result;
}

void check_enums(const Checker& check, const Form& form, const tw_gemm_args_t& a) {
  check.size("m", a.m);
  check.size("n", a.n);
  if (form.product) {
    check.size("k", a.k);
    check.type("type", a.type);
  } else {
    check.unused("k", a.k);
  }
  check.type("out_type", a.out_type);
  if (a.activation < TW_ACTIVATION_NONE || a.activation > TW_SWIGLU)
    check.refuse("activation", a.activation, "0 (TW_ACTIVATION_NONE) to 4 (TW_SWIGLU)");
  if (a.activation == TW_SWIGLU && !form.swiglu)
    check.refuse("activation", a.activation,
                 form.bias ? "0 (TW_ACTIVATION_NONE) to 3 (TW_SILU): ranks exchange finished "
                             "columns or sums"
                           : "0, the call does not use it");
  if (a.activation != TW_ACTIVATION_NONE && !form.bias)
    check.refuse("activation", a.activation, "0, the call does not use it");
  if (a.max_blocks < 0 || a.max_blocks > kMostGemmBlocks)
    check.refuse("max_blocks", a.max_blocks, "0 (the comm's) to 64");
}

void check_unused(const Checker& check, const Form& form, const tw_gemm_args_t& a) {
  if (!form.product) {
    check.unused("a_transposed", a.a_transposed);
    check.unused("b", a.b);
    check.unused("b_stride", a.b_stride);
    check.unused("b_transposed", a.b_transposed);
    check.unused("b_packed", a.b_packed);
  }
  if (!form.bias) check.unused("bias", a.bias);
  if (!form.residual) check.unused("residual", a.residual);
  if (!form.norm) {
    check.unused("norm_weight", a.norm_weight);
    check.unused("hidden", a.hidden);
  }
  if (!form.rows) check.unused("rows", a.rows);
  if (!form.cols) check.unused("cols", a.cols);
  if (!form.gathered) check.unused("gathered", a.gathered);
}

tw_type_t partial_type_of(const Checker& check, GemmOp op, const tw_gemm_args_t& a) {
  const int type = a.partial_type;
  if (type == 0) return a.out_type;
  if (!adds(op)) check.refuse("partial_type", type, "0, the call does not use it");
  if (op == GemmOp::kAllReduceResidualRmsNorm) {
    if (type != a.out_type) check.refuse("partial_type", type, "0 (out_type) or out_type itself");
  } else if (type != a.out_type && type != TW_FP32) {
    check.refuse("partial_type", type, "0 (out_type), out_type itself or TW_FP32 (8)");
  }
  return a.partial_type;
}

Operand plain_weights(Checker& check, const tw_gemm_args_t& a, size_t cols) {
  check.flag("b_transposed", a.b_transposed);
  const bool turned = a.b_transposed != 0;
  const size_t rows = turned ? cols : a.k, width = turned ? a.k : cols;
  const size_t stride = check.stride("b_stride", a.b_stride, rows, width);
  check.memory("b", a.b, rows, width, stride, packed_element(a.type), false);
  return {a.b,    stride, a.k, cols, a.type, turned ? MatrixLayout::kCols : MatrixLayout::kRows,
          nullptr};
}

void check_packed_place(const char* function, const void* packed) {
  if (reinterpret_cast<uintptr_t>(packed) % kPackedAlignment == 0) return;
  fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.b_packed = %p; valid: an address aligned to %zu bytes",
       function, packed, kPackedAlignment);
}

// The header of what lies in a GPU's memory cannot be looked at: it may be about to be packed, on
// the stream of the call.
Operand packed_weights(Checker& check, const tw_gemm_args_t& a, size_t cols, PackedFor device) {
  if (a.b != nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.b = %p and args.b_packed = %p; valid: one of them, the other NULL",
         check.function(), a.b, a.b_packed);
  if (a.b_stride != 0) check.refuse("b_stride", a.b_stride, "0 with args.b_packed");
  if (a.b_transposed != 0) check.refuse("b_transposed", a.b_transposed, "0 with args.b_packed");
  if (check.with_data() && device == PackedFor::kCpu)
    check_packed(check.function(), a.b_packed, a.k, cols, a.type);
  else if (check.with_data())
    check_packed_place(check.function(), a.b_packed);
  const size_t bytes = packed_bytes(device, a.k, cols, a.type);
  check.memory("b_packed", a.b_packed, 1, bytes, bytes, 1, false);
  return {a.b_packed, 0, a.k, cols, a.type, MatrixLayout::kPacked, nullptr};
}

void check_operands(Checker& check, const Form& form, const tw_gemm_args_t& a, size_t a_rows,
                    PackedFor device, GemmCall& call) {
  if (!form.product) {
    const size_t stride = check.stride("a_stride", a.a_stride, a_rows, a.n);
    check.memory("a", a.a, a_rows, a.n, stride, call.out_element(), false);
    call.a = {a.a, stride, a_rows, a.n, a.out_type, MatrixLayout::kRows, nullptr};
    return;
  }
  check.flag("a_transposed", a.a_transposed);
  const bool turned = a.a_transposed != 0;
  const size_t rows = turned ? a.k : a_rows, width = turned ? a_rows : a.k;
  const size_t stride = check.stride("a_stride", a.a_stride, rows, width);
  check.memory("a", a.a, rows, width, stride, packed_element(a.type), false);
  call.a = {a.a,    stride, a_rows, a.k, a.type, turned ? MatrixLayout::kCols : MatrixLayout::kRows,
            nullptr};
  const size_t cols = call.paired() ? 2 * a.n : a.n;
  call.b = a.b_packed != nullptr ? packed_weights(check, a, cols, device)
                                 : plain_weights(check, a, cols);
}

void check_results(Checker& check, const Form& form, const tw_gemm_args_t& a, GemmCall& call) {
  const size_t element = call.out_element(), rows = call.c_rows, cols = call.c_cols;
  const size_t c_stride = check.stride("c_stride", a.c_stride, rows, cols);
  check.memory("c", a.c, rows, cols, c_stride, element, true);
  call.c = {a.c, c_stride, a.out_type};
  if (a.bias != nullptr) {
    const size_t n = call.paired() ? 2 * a.n : a.n;
    check.memory("bias", a.bias, 1, n, n, element, false);
  }
  if (a.residual != nullptr) {
    const size_t stride = check.stride("residual_stride", a.residual_stride, rows, cols);
    check.memory("residual", a.residual, rows, cols, stride, element, false);
    call.epilogue.residual = {const_cast<void*>(a.residual), stride, a.out_type};
  }
  if (!form.norm) return;
  if (a.norm_weight == nullptr && (!form.product || a.hidden != nullptr))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.norm_weight is NULL; valid: %zu weights%s",
         check.function(), a.n, form.product ? ", since args.hidden is wanted" : "");
  if (a.norm_weight == nullptr) return;
  if (!(a.norm_eps >= 0) || !std::isfinite(a.norm_eps))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.norm_eps = %g; valid: a finite number, 0 or more",
         check.function(), static_cast<double>(a.norm_eps));
  check.memory("norm_weight", a.norm_weight, 1, a.n, a.n, element, false);
  call.norm_weight = a.norm_weight;
  call.norm_eps = a.norm_eps;
  if (a.hidden == nullptr) return;
  const size_t stride = check.stride("hidden_stride", a.hidden_stride, rows, cols);
  check.memory("hidden", a.hidden, rows, cols, stride, element, true);
  call.hidden = {a.hidden, stride, a.out_type};
}

void check_gathered(Checker& check, const tw_gemm_args_t& a, GemmCall& call) {
  if (a.gathered == nullptr) return;
  const bool turned = a.a_transposed != 0;
  const size_t rows = turned ? a.k : a.m, cols = turned ? a.m : a.k;
  call.gathered = a.gathered;
  call.gathered_stride = check.stride("gathered_stride", a.gathered_stride, rows, cols);
  check.memory("gathered", a.gathered, rows, cols, call.gathered_stride, packed_element(a.type),
               true);
}

constexpr uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * UINT64_C(0x9E3779B97F4A7C15);
  return h ^ (h >> 32);
}

}  // namespace

RankSizes nearly_equal(size_t size, int n) {
  RankSizes sizes{};
  const size_t parts = static_cast<size_t>(n);
  for (size_t r = 0; r < parts; ++r) sizes[r] = size / parts + (r < size % parts ? 1 : 0);
  return sizes;
}

GemmCall check_gemm(GemmOp op, const tw_gemm_args_t& a, const Place& place, bool with_data) {
  const Form& form = kForms[static_cast<int>(op)];
  Checker check(form.function, with_data);
  if (is_fused(op) && place.size > kMaxFusedRanks)
    fail(TW_ERROR_UNSUPPORTED, "%s: the comm has %d ranks; valid: 1 to %d", form.function,
         place.size, kMaxFusedRanks);
  check_enums(check, form, a);
  check_unused(check, form, a);

  GemmCall call{};
  call.op = op;
  call.m = a.m;
  call.n = a.n;
  call.k = a.k;
  call.type = form.product ? a.type : a.out_type;
  call.out_type = a.out_type;
  call.partial_type = partial_type_of(check, op, a);
  call.max_blocks = a.max_blocks;
  call.epilogue.bias = a.bias;
  call.epilogue.type = a.out_type;
  call.epilogue.activation = static_cast<Activation>(a.activation);
  if (form.rows) call.rows = sizes_of(check, "rows", a.rows, a.m, place.size);
  if (form.cols) call.cols = sizes_of(check, "cols", a.cols, a.n, place.size);
  const size_t self = static_cast<size_t>(place.rank);
  const bool own_a = op == GemmOp::kAllGatherGemm || op == GemmOp::kGemmAllToAll;
  call.c_rows = op == GemmOp::kGemmReduceScatter ? call.rows[self] : a.m;
  call.c_cols = form.cols ? call.cols[self] : a.n;
  // No m x n matrix need lie on one rank, but tiles of it are numbered.
  if (a.m != 0 && a.n > kMostElements / a.m)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.m = %zu, args.n = %zu; valid: up to %zu elements",
         form.function, a.m, a.n, kMostElements);
  check_operands(check, form, a, own_a ? call.rows[self] : a.m, packed_for(place), call);
  check_results(check, form, a, call);
  if (form.gathered) check_gathered(check, a, call);
  // An element of these is read before the same block writes the element, or row, in its place.
  const bool own_addend = op == GemmOp::kAllReduceResidualRmsNorm;
  check.check_overlaps([&](const char* out, const char* other) {
    return (is(out, "c") || is(out, "hidden")) &&
           (is(other, "residual") || (own_addend && is(other, "a")));
  });
  return call;
}

Operand check_weights(const tw_gemm_args_t& a, const char* function, bool with_data) {
  Checker check(function, with_data);
  check.size("n", a.n);
  check.size("k", a.k);
  check.type("type", a.type);
  if (a.activation < TW_ACTIVATION_NONE || a.activation > TW_SWIGLU)
    check.refuse("activation", a.activation, "0 (TW_ACTIVATION_NONE) to 4 (TW_SWIGLU)");
  const size_t cols = a.activation == TW_SWIGLU ? 2 * a.n : a.n;
  if (a.k != 0 && cols > kMostElements / a.k)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.k = %zu, args.n = %zu; valid: up to %zu elements",
         function, a.k, a.n, kMostElements);
  if (!with_data) return {nullptr, 0, a.k, cols, a.type, MatrixLayout::kRows, nullptr};
  return plain_weights(check, a, cols);
}

void check_packed(const char* function, const void* packed, size_t k, size_t n, tw_type_t type) {
  check_packed_place(function, packed);
  PackedHeader header;
  std::memcpy(&header, packed, sizeof header);
  if (header.magic != kPackedMagic)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.b_packed = %p holds no packed weights; valid: what tw_pack_weights wrote",
         function, packed);
  if (header.version != kPackedVersion)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.b_packed is of version %u; valid: %u (pack with this library)", function,
         header.version, kPackedVersion);
  if (header.device != PackedFor::kCpu)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.b_packed was packed for device kind %u; valid: for CPUs (%u), as the comm's is",
         function, static_cast<unsigned>(header.device), static_cast<unsigned>(PackedFor::kCpu));
  if (header.type != static_cast<uint32_t>(type))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.b_packed has elements of %s; valid: args.type, %s",
         function, type_name(static_cast<int>(header.type)), type_name(type));
  if (header.k != k || header.n != n)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.b_packed is %llu x %llu; valid: %zu x %zu, as args.k and the columns of B",
         function, static_cast<unsigned long long>(header.k),
         static_cast<unsigned long long>(header.n), k, n);
}

// A rank without rows has no residual.
bool compared_residual(const GemmCall& call) {
  return call.op != GemmOp::kGemmReduceScatter && call.epilogue.residual.data != nullptr;
}

bool compared_transposed(const GemmCall& call) {
  return call.op == GemmOp::kAllGatherGemm && call.a.layout == MatrixLayout::kCols;
}

uint64_t gemm_digest(const GemmCall& call, const Place& place) {
  const bool equal_k = !adds(call.op);
  uint64_t options = 0;
  for (const bool option :
       {call.epilogue.bias != nullptr, compared_residual(call), call.norm_weight != nullptr,
        call.hidden.data != nullptr, compared_transposed(call)})
    options = options << 1 | static_cast<uint64_t>(option);
  uint64_t h =
      mix(0, static_cast<uint64_t>(coll_of(call.op)) | static_cast<uint64_t>(call.type) << 8 |
                 static_cast<uint64_t>(call.out_type) << 16 |
                 static_cast<uint64_t>(call.partial_type) << 24 |
                 static_cast<uint64_t>(call.epilogue.activation) << 32 | options << 40);
  h = mix(mix(mix(h, call.m), call.n), equal_k ? call.k : 0);
  h = mix(h, std::bit_cast<uint32_t>(call.norm_eps));
  for (size_t r = 0; r < static_cast<size_t>(place.size); ++r)
    h = mix(mix(h, call.rows[r]), call.cols[r]);
  return h;
}

}  // namespace tw
