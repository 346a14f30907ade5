// Fused calls by their parts: the product on this rank's device, the comm's own collective, and the
// epilogue of what came. The same bits as in one kernel: partial sums are rounded to partial_type,
// which is what the collective adds, in rank order, and rounds once.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "lib/coll/collectives.h"
#include "lib/coll/fused.h"
#include "lib/comm/records.h"

namespace tw {
namespace {

/// A matrix as it is stored: rows of elements, whichever way they are read.
struct Stored {
  const char* data;
  size_t rows, row_bytes, stride;  // bytes

  bool packed() const { return stride == row_bytes || rows <= 1; }
  size_t bytes() const { return rows * row_bytes; }
  void copy_to(Device& device, char* to) const {
    device.copy_rows(to, row_bytes, data, stride, rows, row_bytes);
  }
};

Stored stored(const Operand& a) {
  const bool turned = a.layout == MatrixLayout::kCols;
  const size_t element = packed_element(a.type);
  return {static_cast<const char*>(a.data), turned ? a.cols : a.rows,
          (turned ? a.rows : a.cols) * element, a.stride * element};
}

/// The product alone, in the type in which it travels.
GemmCall product_of(const GemmCall& call) {
  GemmCall product = call;
  product.op = GemmOp::kGemm;
  product.out_type = call.partial_type;
  product.epilogue = {};
  product.norm_weight = nullptr;
  product.hidden = {};
  product.gathered = nullptr;
  return product;
}

bool plain(const GemmCall& call) {
  return call.epilogue.empty() && call.norm_weight == nullptr &&
         call.partial_type == call.out_type && (call.c.stride == call.c_cols || call.c_rows <= 1);
}

std::vector<size_t> counts(const RankSizes& sizes, size_t each, int ranks) {
  std::vector<size_t> result(sizes.begin(), sizes.begin() + ranks);
  for (size_t& count : result) count *= each;
  return result;
}

}  // namespace

/// The collective of a call by its parts, numbered. Digests tell calls that differ in the rest.
Fused::Part Fused::collective(const Call& how, const GemmCall& call, uint64_t* number) {
  if (is_uneven(how.call)) comm_.device().check_stage(stream_, array_bytes(how.call, comm_.size()));
  const auto copy = std::make_shared<PreparedCall>(collectives_.prepare_copy(how));
  copy->args.history ^= digest_of(call);
  const FusedNote note = note_of(call, FusedWay::kParts);
  *number = collectives_.number(&copy->args);
  return [this, copy, note] {
    write_note(comm_, note);
    launch_call(comm_.device(), copy->launch, copy->args);
  };
}

/// All that the parts of a call need of this rank. `most`: as `own`, of any rank.
Fused::Local Fused::parts_memory(const GemmCall& product, const GemmCall& call,
                                 const Temporaries& own, const Temporaries& most) {
  const GemmLaunch launch = gemm_launch(product, place(), ReducePath::kOneShot, comm_.max_blocks());
  Next next{{}, {}, 0, need_alone(launch, comm_.max_blocks(), call.k), {}, false};
  next.own.row = call.n;
  next.own.temporaries = own;
  next.most = next.own;
  next.most.blocks = most_blocks_;
  next.most.temporaries = most;
  return memory_for(next).local;
}

GemmWork Fused::prepare_parts(const GemmCall& call) {
  switch (call.op) {
    case GemmOp::kAllGatherGemm:
      return gather_parts(call);
    case GemmOp::kGemmAllToAll:
      return all_to_all_parts(call);
    default:
      return reduction_parts(call);
  }
}

GemmWork Fused::reduction_parts(const GemmCall& call) {
  const bool scatters = call.op == GemmOp::kGemmReduceScatter;
  const bool brings_sums = call.op == GemmOp::kAllReduceResidualRmsNorm;
  const size_t element = packed_element(call.partial_type), size = call.m * call.n;
  const Stored addend = stored(call.a);
  const bool in_place = plain(call);
  GemmCall product = product_of(call);
  const size_t whole = size * element;
  const Local memory = parts_memory(
      product, call,
      {whole, brings_sums ? addend.bytes() : 0, scatters ? call.c_rows * call.n * element : 0},
      {whole, brings_sums ? whole : 0, scatters ? whole : 0});
  char* const sums = memory->temporary(kSums);
  char* const moved = memory->temporary(kMoved);
  void* const total = in_place ? call.c.data : scatters ? memory->temporary(kArrived) : sums;
  product.c = {sums, call.n, call.partial_type};
  Part first = [this, addend, moved] { addend.copy_to(comm_.device(), moved); };
  if (!brings_sums)
    first = local_part(gemm_launch(product, place(), ReducePath::kOneShot, comm_.max_blocks()),
                       call.max_blocks, memory);
  const bool moves = brings_sums && !addend.packed();
  const void* const send = !brings_sums ? sums : moves ? moved : addend.data;

  Call how{scatters ? kReduceScatterV : kAllReduce, send, total, size, call.partial_type};
  const std::vector<size_t> parts = counts(call.rows, call.n, comm_.size());
  if (scatters) how.count = 0, how.send_counts = parts.data();
  Part last;
  GemmCall finished = call;
  finished.epilogue.first_row = 0;
  if (!in_place)
    last = local_part(epilogue_launch(finished, {total, call.n, call.partial_type}),
                      call.max_blocks, memory);
  uint64_t number = 0;
  const Part exchange = collective(how, call, &number);
  return {[this, memory, first = std::move(first), runs_first = !brings_sums || moves, exchange,
           last = std::move(last)] {
            if (runs_first) first();
            exchange();
            if (last && !comm_.ended()) last();
          },
          number};
}

GemmWork Fused::gather_parts(const GemmCall& call) {
  const bool turned = call.a.layout == MatrixLayout::kCols;
  const size_t element = packed_element(call.type), all = call.m * call.k * element;
  const Stored own = stored(call.a);
  GemmCall product = call;
  product.op = GemmOp::kGemm;
  const Local memory =
      parts_memory(product, call, {turned ? all : 0, own.packed() ? 0 : own.bytes(), all},
                   {turned ? all : 0, all, all});
  char* const moved = memory->temporary(kMoved);
  char* const arrived = memory->temporary(kArrived);
  char* const whole = turned ? memory->temporary(kSums) : arrived;
  product.a = {whole, turned ? call.m : call.k, call.m, call.k, call.type, call.a.layout, nullptr};
  const Part last =
      local_part(gemm_launch(product, place(), ReducePath::kOneShot, comm_.max_blocks()),
                 call.max_blocks, memory);
  const std::vector<size_t> parts = counts(call.rows, call.k, comm_.size());
  Call how{kAllGatherV, own.packed() ? own.data : moved, arrived, 0, call.type};
  how.recv_counts = parts.data();
  uint64_t number = 0;
  const Part exchange = collective(how, call, &number);

  // Transposed shards come one after the other, each k rows of its own columns.
  const auto put_together = [=, this, sizes = call.rows, k = call.k, m = call.m,
                             ranks = comm_.size()] {
    Device& device = comm_.device();
    const char* from = arrived;
    size_t first = 0;
    for (int r = 0; r < ranks; ++r) {
      const size_t row = sizes[static_cast<size_t>(r)] * element;
      device.copy_rows(whole + first, m * element, from, row, k, row);
      first += row;
      from += k * row;
    }
  };
  const auto give = [=, this, to = call.gathered, stride = call.gathered_stride * element,
                     rows = turned ? call.k : call.m,
                     bytes = (turned ? call.m : call.k) * element] {
    if (to != nullptr) comm_.device().copy_rows(to, stride, whole, bytes, rows, bytes);
  };
  return {[=, this] {
            if (!own.packed()) own.copy_to(comm_.device(), moved);
            exchange();
            if (comm_.ended()) return;
            if (turned) put_together();
            last();
            give();
          },
          number};
}

GemmWork Fused::all_to_all_parts(const GemmCall& call) {
  const int ranks = comm_.size();
  const size_t element = call.out_element(), self = static_cast<size_t>(comm_.rank());
  const size_t own_rows = call.rows[self], own_cols = call.cols[self];
  const size_t sent = own_rows * call.n * element;
  const bool in_place = call.c.stride == own_cols || call.m <= 1;
  GemmCall product = call;
  product.op = GemmOp::kGemm;
  product.m = own_rows;
  const size_t most = call.m * call.n * element;
  const Local memory = parts_memory(
      product, call, {sent, sent, in_place ? 0 : call.m * own_cols * element}, {most, most, most});
  char* const sums = memory->temporary(kSums);
  char* const moved = memory->temporary(kMoved);
  char* const arrived = in_place ? static_cast<char*>(call.c.data) : memory->temporary(kArrived);
  product.c = {sums, call.n, call.out_type};
  const Part first =
      local_part(gemm_launch(product, place(), ReducePath::kOneShot, comm_.max_blocks()),
                 call.max_blocks, memory);
  const std::vector<size_t> send = counts(call.cols, own_rows, ranks);
  const std::vector<size_t> receive = counts(call.rows, own_cols, ranks);
  Call how{kAllToAllV, moved, arrived, 0, call.out_type};
  how.send_counts = send.data();
  how.recv_counts = receive.data();
  uint64_t number = 0;
  const Part exchange = collective(how, call, &number);
  const auto sort = [=, this, sizes = call.cols, stride = call.n * element] {
    Device& device = comm_.device();
    char* to = moved;
    size_t first_byte = 0;
    for (int r = 0; r < ranks; ++r) {
      const size_t row = sizes[static_cast<size_t>(r)] * element;
      device.copy_rows(to, row, sums + first_byte, stride, own_rows, row);
      first_byte += row;
      to += own_rows * row;
    }
  };
  return {[=, this, c = call.c, m = call.m] {
            first();
            sort();
            exchange();
            if (in_place || comm_.ended()) return;
            comm_.device().copy_rows(c.data, c.stride * element, arrived, own_cols * element, m,
                                     own_cols * element);
          },
          number};
}

}  // namespace tw
