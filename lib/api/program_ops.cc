// The ops of programs: tilewire/program.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "lib/api/program.h"
#include "lib/coll/gemm_call.h"
#include "lib/comm/call_text.h"

namespace tw::api {
namespace {

constexpr size_t kMostCols = INT32_MAX;
constexpr size_t kMostArgs = 4096;
constexpr uint32_t kMostOwnOps = 64;
constexpr uint32_t kMostAccesses = 1 << 16;

DeclaredOp op_of(DeclaredKind kind, const char* name, const char* function) {
  DeclaredOp op{};
  copy_name(name, declared_name(kind), function, op.terms.name);
  op.terms.kind = kind;
  op.terms.a = op.terms.b = op.terms.c = op.terms.y = kNoTensor;
  return op;
}

/// Refuses a tensor that is not rows x cols.
void check_like(const DeclaredTensor& tensor, const DeclaredTensor& rows, size_t cols,
                const char* function, const char* name) {
  const TensorTerms &t = tensor.terms, &like = rows.terms;
  if (t.rows != like.rows || t.moves != like.moves || t.cols != cols)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: %s, tensor \"%s\", has %u%s rows of %llu; valid: %u%s of %zu", function, name, t.name,
         t.rows, t.moves != 0 ? " moving" : "", static_cast<unsigned long long>(t.cols), like.rows,
         like.moves != 0 ? " moving" : "", cols);
}

void check_type(const DeclaredTensor& tensor, tw_type_t type, const char* function,
                const char* name) {
  if (tensor.terms.type != type)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s, tensor \"%s\", is of %s; valid: %s", function, name,
         tensor.terms.name, type_name(static_cast<int>(tensor.terms.type)),
         type_name(static_cast<int>(type)));
}

void check_differ(int a, int b, const char* function, const char* name, const char* other) {
  if (a == b)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %d; valid: another tensor than %s", function, name, a,
         other);
}

void check_eps(float eps, const char* function, const char* name) {
  if (!(eps >= 0) || !std::isfinite(eps))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %g; valid: a finite number, 0 or more", function,
         name, static_cast<double>(eps));
}

void check_aligned(const void* pointer, tw_type_t type, const char* function, const char* name) {
  if (reinterpret_cast<uintptr_t>(pointer) % packed_element(type) != 0)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %p; valid: aligned to %zu bytes", function, name,
         pointer, packed_element(type));
}

/// What products have in common.
DeclaredOp checked_product(DeclaredKind kind, const tw_program_gemm_t& args,
                           const UserProgram& program, const char* function) {
  DeclaredOp op = op_of(kind, args.name, function);
  const DeclaredTensor& a = tensor_of(program, args.a, function, "args.a");
  const DeclaredTensor& c = tensor_of(program, args.c, function, "args.c");
  check_differ(args.c, args.a, function, "args.c", "args.a");
  check_like(c, a, c.terms.cols, function, "args.c");
  const int most = kind == DeclaredKind::kGemm ? TW_SWIGLU : TW_SILU;
  require_range(static_cast<int>(args.activation), TW_ACTIVATION_NONE, most, function,
                "args.activation");
  const size_t n = args.activation == TW_SWIGLU ? 2 * c.terms.cols : c.terms.cols;
  if (kind == DeclaredKind::kGemm || a.terms.cols != 0) {
    require(args.b_packed, function, "args.b_packed");
    check_packed(function, args.b_packed, a.terms.cols, n, a.terms.type);
  }
  check_aligned(args.bias, c.terms.type, function, "args.bias");
  if (args.residual != TW_NO_TENSOR) {
    const DeclaredTensor& residual = tensor_of(program, args.residual, function, "args.residual");
    check_like(residual, c, c.terms.cols, function, "args.residual");
    check_type(residual, c.terms.type, function, "args.residual");
    check_differ(args.residual, args.a, function, "args.residual", "args.a");
  }
  op.terms.a = args.a;
  op.terms.b = args.residual;
  op.terms.c = args.c;
  op.terms.activation = static_cast<Activation>(args.activation);
  op.terms.options = args.bias != nullptr ? 1 : 0;
  op.weights = args.b_packed;
  op.bias = args.bias;
  return op;
}

void check_unused(const tw_program_gemm_t& args, const char* function) {
  if (args.partial_type != static_cast<tw_type_t>(0))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.partial_type = %d; valid: 0, the call does not use it", function,
         static_cast<int>(args.partial_type));
  if (args.norm_weight != nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.norm_weight = %p; valid: NULL, the call does not use it", function,
         args.norm_weight);
  if (args.normed != TW_NO_TENSOR)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.normed = %d; valid: TW_NO_TENSOR, the call does not use it", function,
         args.normed);
}

void check_norm(const tw_program_gemm_t& args, const UserProgram& program, const char* function,
                DeclaredOp* op) {
  if ((args.norm_weight != nullptr) != (args.normed != TW_NO_TENSOR))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: args.norm_weight = %p, args.normed = %d; valid: both, or neither", function,
         args.norm_weight, args.normed);
  if (args.norm_weight == nullptr) return;
  const DeclaredTensor& c = tensor_of(program, args.c, function, "args.c");
  const DeclaredTensor& normed = tensor_of(program, args.normed, function, "args.normed");
  check_like(normed, c, c.terms.cols, function, "args.normed");
  check_differ(args.normed, args.c, function, "args.normed", "args.c");
  check_differ(args.normed, args.a, function, "args.normed", "args.a");
  check_differ(args.normed, args.residual, function, "args.normed", "args.residual");
  check_eps(args.norm_eps, function, "args.norm_eps");
  check_aligned(args.norm_weight, c.terms.type, function, "args.norm_weight");
  op->terms.y = args.normed;
  op->terms.options |= 2;
  op->terms.eps = args.norm_eps;
  op->norm_weight = args.norm_weight;
}

tw_program_gemm_t versioned_gemm(const tw_program_gemm_t* args, const char* function) {
  require(args, function, "args");
  return versioned(args, tw_program_gemm_t TW_PROGRAM_GEMM_INIT, "tw_program_gemm_t");
}

/// y of two tensors of its shape.
void add_of_two(tw_program_t handle, DeclaredKind kind, const char* function, const char* names[2],
                int x, int other, int y) {
  const ProgramInUse p(handle);
  require_open(*p, function);
  const DeclaredTensor& first = tensor_of(*p, x, function, names[0]);
  const size_t cols = first.terms.cols;
  check_like(tensor_of(*p, other, function, names[1]), first, cols, function, names[1]);
  check_like(tensor_of(*p, y, function, "y"), first, cols, function, "y");
  DeclaredOp op = op_of(kind, nullptr, function);
  op.terms.a = x;
  op.terms.b = other;
  op.terms.c = y;
  p->declaration().ops.push_back(std::move(op));
}

constexpr const char* kAddInstruction = "tw_program_add_instruction";

DeclaredAccess checked_access(const tw_program_access_t& access, size_t i,
                              const UserProgram& program) {
  const std::string name = text("accesses[%zu]", i);
  const auto field = [&](const char* of) { return name + "." + of; };
  const DeclaredTensor& tensor =
      tensor_of(program, access.tensor, kAddInstruction, field("tensor").c_str());
  const Comm& comm = program.comm();
  require_range(access.rank, 0, comm.size() - 1, kAddInstruction, field("rank").c_str());
  require_range(access.writes, 0, 1, kAddInstruction, field("writes").c_str());
  const TensorTerms& t = tensor.terms;
  if (access.rank != comm.rank() && t.place == TensorPlace::kLocal)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: %s.rank = %d: tensor \"%s\" is in memory of that rank's own; valid: %d, this rank",
         kAddInstruction, name.c_str(), access.rank, t.name, comm.rank());
  if (access.row > t.rows || access.rows > t.rows - access.row)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: %s has rows %u + %u of tensor \"%s\"; valid: within its %u rows", kAddInstruction,
         name.c_str(), access.row, access.rows, t.name, t.rows);
  const bool own = access.rank == comm.rank();  // another rank's columns are found out by build
  if (access.col > kMostCols || access.cols > kMostCols ||
      (own && access.col + access.cols > t.cols))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: %s has columns %zu + %zu of tensor \"%s\"; valid: within its %llu columns",
         kAddInstruction, name.c_str(), access.col, access.cols, t.name,
         static_cast<unsigned long long>(t.cols));
  return {access.tensor, access.rank, static_cast<uint32_t>(access.writes), access.row, access.rows,
          access.col,    access.cols};
}

DeclaredOp& own_op_of(UserProgram& program, int op, const char* function) {
  std::vector<DeclaredOp>& ops = program.declaration().ops;
  if (op < 0 || static_cast<size_t>(op) >= ops.size() ||
      ops[static_cast<size_t>(op)].terms.kind != DeclaredKind::kOwn)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: op = %d; valid: what tw_program_add_op gave", function,
         op);
  return ops[static_cast<size_t>(op)];
}

}  // namespace

}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_program_gemm(tw_program_t program, const tw_program_gemm_t* args) {
  constexpr const char* kName = "tw_program_gemm";
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kName);
    const tw_program_gemm_t given = versioned_gemm(args, kName);
    check_unused(given, kName);
    p->declaration().ops.push_back(checked_product(DeclaredKind::kGemm, given, *p, kName));
  });
}

tw_status_t tw_program_gemm_all_reduce(tw_program_t program, const tw_program_gemm_t* args) {
  constexpr const char* kName = "tw_program_gemm_all_reduce";
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kName);
    const tw_program_gemm_t given = versioned_gemm(args, kName);
    DeclaredOp op = checked_product(DeclaredKind::kGemmAllReduce, given, *p, kName);
    const tw_type_t type = tensor_of(*p, given.c, kName, "args.c").terms.type;
    const int partial = given.partial_type;
    if (partial != 0 && partial != type && partial != TW_FP32)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: args.partial_type = %d; valid: 0 (C's type), C's type itself or TW_FP32 (8)", kName,
           partial);
    op.terms.partial_type = partial != 0 ? given.partial_type : type;
    check_norm(given, *p, kName, &op);
    p->declaration().ops.push_back(std::move(op));
  });
}

tw_status_t tw_program_rms_norm(tw_program_t program, int x, const void* weight, float eps, int y) {
  constexpr const char* kName = "tw_program_rms_norm";
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kName);
    const DeclaredTensor& from = tensor_of(*p, x, kName, "x");
    check_like(tensor_of(*p, y, kName, "y"), from, from.terms.cols, kName, "y");
    require(weight, kName, "weight");
    check_aligned(weight, from.terms.type, kName, "weight");
    check_eps(eps, kName, "eps");
    DeclaredOp op = op_of(DeclaredKind::kRmsNorm, nullptr, kName);
    op.terms.a = x;
    op.terms.y = y;
    op.terms.options = 2;
    op.terms.eps = eps;
    op.norm_weight = weight;
    p->declaration().ops.push_back(std::move(op));
  });
}

tw_status_t tw_program_swiglu(tw_program_t program, int gate, int up, int y) {
  return guard([&] {
    const char* names[2] = {"gate", "up"};
    add_of_two(program, DeclaredKind::kSwiGlu, "tw_program_swiglu", names, gate, up, y);
  });
}

tw_status_t tw_program_add(tw_program_t program, int x, int addend, int y) {
  return guard([&] {
    const char* names[2] = {"x", "addend"};
    add_of_two(program, DeclaredKind::kAdd, "tw_program_add", names, x, addend, y);
  });
}

tw_status_t tw_program_copy(tw_program_t program, const tw_program_copy_t* args) {
  constexpr const char* kName = "tw_program_copy";
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kName);
    require(args, kName, "args");
    const tw_program_copy_t given =
        versioned(args, tw_program_copy_t TW_PROGRAM_COPY_INIT, "tw_program_copy_t");
    const DeclaredTensor& x = tensor_of(*p, given.x, kName, "args.x");
    const DeclaredTensor& y = tensor_of(*p, given.y, kName, "args.y");
    check_differ(given.y, given.x, kName, "args.y", "args.x");
    const Comm& comm = p->comm();
    require_range(given.to_rank, TW_ALL_RANKS, comm.size() - 1, kName, "args.to_rank");
    if (y.terms.place == TensorPlace::kLocal && comm.size() > 1 && given.to_rank != comm.rank())
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: args.y, tensor \"%s\", is in memory of each rank's own and args.to_rank = %d; "
           "valid: %d, this rank",
           kName, y.terms.name, given.to_rank, comm.rank());
    if (given.to_row > y.terms.rows || x.terms.rows > y.terms.rows - given.to_row)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: args.to_row = %u with %u rows of \"%s\"; valid: within the %u rows of \"%s\"",
           kName, given.to_row, x.terms.rows, x.terms.name, y.terms.rows, y.terms.name);
    if (given.to_col > kMostCols)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.to_col = %zu; valid: 0 to %zu", kName, given.to_col,
           kMostCols);
    DeclaredOp op = op_of(DeclaredKind::kCopy, given.name, kName);
    op.terms.a = given.x;
    op.terms.c = given.y;
    op.terms.to_rank = given.to_rank;
    op.terms.to_row = given.to_row;
    op.terms.to_col = given.to_col;
    p->declaration().ops.push_back(std::move(op));
  });
}

tw_status_t tw_program_add_op(tw_program_t program, const tw_program_op_t* args, int* op) {
  constexpr const char* kName = "tw_program_add_op";
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kName);
    require(args, kName, "args");
    require(op, kName, "op");
    const tw_program_op_t given =
        versioned(args, tw_program_op_t TW_PROGRAM_OP_INIT, "tw_program_op_t");
    if (!p.handle().own_ops)
      fail(TW_ERROR_INVALID_STATE,
           "%s: the library's kernel has no ops of the user's own; valid with config.kernel at "
           "tw_program_create",
           kName);
    require_range(given.own_op, 0, kMostOwnOps - 1, kName, "args.own_op");
    if (given.args_bytes > kMostArgs)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: args.args_bytes = %zu; valid: 0 to %zu", kName,
           given.args_bytes, kMostArgs);
    if (given.args_bytes != 0) require(given.args, kName, "args.args");
    DeclaredOp added = op_of(DeclaredKind::kOwn, given.name, kName);
    added.terms.own_op = given.own_op;
    added.terms.args_bytes = given.args_bytes;
    added.args.resize(given.args_bytes);
    if (given.args_bytes != 0) std::memcpy(added.args.data(), given.args, given.args_bytes);
    p->declaration().ops.push_back(std::move(added));
    *op = static_cast<int>(p->declaration().ops.size()) - 1;
  });
}

tw_status_t tw_program_add_instruction(tw_program_t program, int op, const uint32_t at[4],
                                       const tw_program_access_t* accesses, size_t count) {
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kAddInstruction);
    own_op_of(*p, op, kAddInstruction);
    require(at, kAddInstruction, "at");
    require_range(static_cast<int64_t>(std::min<size_t>(count, kMostAccesses + size_t{1})), 0,
                  kMostAccesses, kAddInstruction, "count");
    if (count != 0) require(accesses, kAddInstruction, "accesses");
    std::vector<DeclaredAccess> checked;
    for (size_t i = 0; i < count; ++i) checked.push_back(checked_access(accesses[i], i, *p));
    Declaration& d = p->declaration();
    d.instructions.push_back({op,
                              {at[0], at[1], at[2], at[3]},
                              static_cast<uint32_t>(d.accesses.size()),
                              static_cast<uint32_t>(count)});
    d.accesses.insert(d.accesses.end(), checked.begin(), checked.end());
  });
}

tw_status_t tw_program_set_args(tw_program_t program, int op, const void* args) {
  return guard([&] {
    const ProgramInUse p(program);
    if (own_op_of(*p, op, "tw_program_set_args").terms.args_bytes != 0)
      require(args, "tw_program_set_args", "args");
    p->comm().device().drain();
    p->set_args(op, args);
  });
}
