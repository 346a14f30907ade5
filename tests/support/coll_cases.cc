#include "tests/runner/coll_cases.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tests/runner/ranks.h"

namespace tw::test {
namespace {

constexpr size_t kGuard = 256;  // poisoned bytes on both sides of a received buffer
constexpr char kPoison = static_cast<char>(0xA5);
#define TW_NAME(value, name) #name,
constexpr const char* kCallNames[] = {TW_COLL_MAP(TW_NAME)};
#undef TW_NAME
constexpr const char* kTypeNames[] = {"int8", "uint8", "int32", "uint32", "int64", "uint64",
                                      "fp16", "bf16",  "fp32",  "fp64",   "e4m3",  "e5m2"};
constexpr const char* kMemoryNames[] = {"private", "window", "mixed", "split"};
constexpr const char* kOpNames[] = {"sum", "prod", "min", "max", "avg"};

/// Elements that `from` sends to `to` in uneven forms: some zero, some large.
size_t uneven_count(size_t count, int from, int to) {
  const size_t h = static_cast<size_t>(from) * 7 + static_cast<size_t>(to) * 3;
  return h % 4 == 3 ? 0 : count / 2 + h % (count + 1);
}

/// Displacements of parts: packed, or from the last rank down with a hole after each.
std::vector<size_t> displacements(const std::vector<size_t>& counts, bool gaps) {
  std::vector<size_t> displs(counts.size());
  size_t at = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const size_t r = gaps ? counts.size() - 1 - i : i;
    displs[r] = at;
    at += counts[r] + (gaps ? 3 : 0);
  }
  return displs;
}

size_t extent(const std::vector<size_t>& counts, const std::vector<size_t>& displs) {
  size_t end = 0;
  for (size_t r = 0; r < counts.size(); ++r) end = std::max(end, displs[r] + counts[r]);
  return end;
}

}  // namespace

std::string CollCase::name(int ranks) const {
  std::string s = std::string(kCallNames[call]) + " n=" + std::to_string(ranks) +
                  " count=" + std::to_string(count) + " " + kTypeNames[type];
  if (reduces(call)) s += std::string(" ") + (scaled ? "scaled" : kOpNames[op]);
  if (has_root(call)) s += " root=" + std::to_string(root);
  s += std::string(" ") + kMemoryNames[static_cast<int>(memory)];
  if (in_place) s += in_place_parity < 0 ? " in place" : " in place on some ranks";
  if (misalign != 0) s += " +" + std::to_string(misalign);
  if (gaps) s += " gaps";
  return s;
}

Shape::Shape(const CollCase& c, int rank, int ranks)
    : call_(c.call), rank_(rank), ranks_(ranks), root_(c.root), count_(c.count) {
  const size_t n = static_cast<size_t>(ranks), own = static_cast<size_t>(rank) * c.count;
  const bool at_root = rank == c.root;
  send_count = recv_count = c.count;
  switch (c.call) {
    case kAllReduce:
      break;
    case kReduce:
      if (!at_root) recv_count = 0;
      break;
    case kBroadcast:
      if (!at_root) send_count = 0;
      break;
    case kAllGather:
      recv_count = n * c.count;
      in_place_at = own;
      break;
    case kGather:
      recv_count = at_root ? n * c.count : 0;
      in_place_at = own;
      break;
    case kReduceScatter:
      send_count = n * c.count;
      in_place_at = own;
      break;
    case kScatter:
      send_count = at_root ? n * c.count : 0;
      in_place_at = own;
      break;
    case kAllToAll:
      send_count = recv_count = n * c.count;
      break;
    case kBarrier:
      send_count = recv_count = 0;
      break;
    case kAllGatherV:
      for (int r = 0; r < ranks; ++r) recv_counts.push_back(uneven_count(c.count, r, 0));
      recv_displs = displacements(recv_counts, c.gaps);
      send_count = recv_counts[rank];
      recv_count = extent(recv_counts, recv_displs);
      in_place_at = recv_displs[rank];
      break;
    case kReduceScatterV:
      for (int r = 0; r < ranks; ++r) send_counts.push_back(uneven_count(c.count, r, 0));
      send_displs = displacements(send_counts, false);
      recv_count = send_counts[rank];
      send_count = extent(send_counts, send_displs);
      in_place_at = send_displs[rank];
      break;
    default:
      for (int r = 0; r < ranks; ++r) {
        send_counts.push_back(uneven_count(c.count, rank, r));
        recv_counts.push_back(uneven_count(c.count, r, rank));
        std::vector<size_t> theirs;
        for (int to = 0; to < ranks; ++to) theirs.push_back(uneven_count(c.count, r, to));
        all_displs_.push_back(displacements(theirs, c.gaps));
      }
      send_displs = displacements(send_counts, c.gaps);
      recv_displs = displacements(recv_counts, c.gaps);
      send_count = extent(send_counts, send_displs);
      recv_count = extent(recv_counts, recv_displs);
  }
}

Shape::Source Shape::uneven_source(size_t index) const {
  if (call_ == kReduceScatterV) return {-1, send_displs[rank_] + index};
  for (int r = 0; r < ranks_; ++r)
    if (index >= recv_displs[r] && index - recv_displs[r] < recv_counts[r])
      return {r, index - recv_displs[r] + (call_ == kAllToAllV ? all_displs_[r][rank_] : 0)};
  return {-2, 0};
}

Shape::Source Shape::source(size_t index) const {
  const size_t own = static_cast<size_t>(rank_) * count_;
  switch (call_) {
    case kAllReduce:
    case kReduce:
      return {-1, index};
    case kBroadcast:
      return {root_, index};
    case kAllGather:
    case kGather:
      return {static_cast<int>(index / count_), index % count_};
    case kReduceScatter:
      return {-1, own + index};
    case kAllToAll:
      return {static_cast<int>(index / count_), own + index % count_};
    case kScatter:
      return {root_, own + index};
    default:
      return uneven_source(index);
  }
}

void scale_factor(tw_type_t type, int rank, void* out) {
  if (is_float(type))
    write_element(type, {rank % 2 == 0 ? 0.75 : -1.25, 0}, out);
  else
    write_element(type, {0, static_cast<uint64_t>(rank % 3 + 1)}, out);
}

CaseRunner::CaseRunner(tw_comm_t comm, size_t bytes) : comm_(comm), bytes_(bytes + 2 * kGuard) {
  EXPECT_EQ(tw_comm_rank(comm, &rank_), TW_OK);
  EXPECT_EQ(tw_comm_size(comm, &ranks_), TW_OK);
  EXPECT_EQ(tw_window_create(comm, 2 * bytes_, &window_), TW_OK) << tw_last_error();
  void* memory = nullptr;
  EXPECT_EQ(tw_window_ptr(window_, rank_, &memory), TW_OK) << tw_last_error();
  window_arena_.at = window_arena_.host = static_cast<char*>(memory);
  private_arena_.own.resize(2 * bytes_);
  private_arena_.at = private_arena_.host = private_arena_.own.data();
  tw_device_t device = TW_DEVICE_INIT;
  EXPECT_EQ(tw_comm_device(comm, &device), TW_OK) << tw_last_error();
  if (device.kind != TW_DEVICE_GPU) return;
  gpu_ = std::make_unique<Gpu>(device.ordinal);
  window_arena_.own.resize(2 * bytes_);
  window_arena_.host = window_arena_.own.data();
  private_arena_.at = static_cast<char*>(gpu_->allocate(2 * bytes_));
}

CaseRunner::~CaseRunner() {
  if (gpu_ != nullptr) gpu_->free(private_arena_.at);
  EXPECT_EQ(tw_window_destroy(window_), TW_OK) << tw_last_error();
}

/// What `fill` wrote.
void CaseRunner::to_device() {
  if (gpu_ == nullptr) return;
  for (const Buffer& b : {send_, recv_})
    gpu_->write(b.at - kGuard, b.host - kGuard, b.bytes + 2 * kGuard);
}

/// What the call left.
void CaseRunner::to_host() {
  if (gpu_ == nullptr) return;
  gpu_->synchronize(stream_);
  for (const Buffer& b : {send_, recv_})
    gpu_->read(b.host - kGuard, b.at - kGuard, b.bytes + 2 * kGuard);
}

void CaseRunner::sent(int rank, size_t index, void* element) const {
  const uint64_t seed = (seed_ * 64 + static_cast<uint64_t>(rank)) * 1000003 + index;
  make_element(case_.type, reduces(case_.call) ? case_.op : TW_SUM, seed, element);
}

Number CaseRunner::input(int rank, size_t index) const {
  unsigned char element[8];
  sent(rank, index, element);
  if (!case_.scaled) return read_element(case_.type, element);
  unsigned char factor[8];
  scale_factor(case_.type, rank, factor);
  const Number product = combine(case_.type, TW_PROD, read_element(case_.type, element),
                                 read_element(case_.type, factor));
  write_element(case_.type, product, element);
  return read_element(case_.type, element);
}

bool CaseRunner::in_place() const {
  return case_.in_place && (case_.in_place_parity < 0 || rank_ % 2 == case_.in_place_parity);
}

void CaseRunner::place(const CollCase& c, size_t offset) {
  const Shape& shape = shape_[0];
  const size_t element = type_bytes(c.type);
  const bool odd = rank_ % 2 == 1;
  const auto buffer = [&](bool window, size_t at, size_t elements) {
    const Arena& arena = window ? window_arena_ : private_arena_;
    at += kGuard + offset + c.misalign;
    return Buffer{arena.at + at, arena.host + at, elements * element};
  };
  const bool send_window = c.memory == Memory::kWindow || (c.memory == Memory::kMixed && !odd) ||
                           (c.memory == Memory::kSplit && !odd);
  const bool recv_window = c.memory == Memory::kWindow || (c.memory == Memory::kMixed && !odd) ||
                           (c.memory == Memory::kSplit && odd);
  send_ = buffer(send_window, 0, shape.send_count);
  recv_ = buffer(recv_window, bytes_, shape.recv_count);
  ASSERT_LE(offset + send_.bytes + c.misalign + 2 * kGuard, bytes_);
  ASSERT_LE(offset + recv_.bytes + c.misalign + 2 * kGuard, bytes_);
  if (!in_place()) return;
  const size_t shift = shape.in_place_at * element;
  Buffer& moved = recv_.bytes >= send_.bytes ? send_ : recv_;
  const Buffer& into = recv_.bytes >= send_.bytes ? recv_ : send_;
  moved.at = into.at + shift;
  moved.host = into.host + shift;
}

void CaseRunner::fill(uint64_t seed) {
  seed_ = seed;
  std::memset(recv_.host - kGuard, kPoison, recv_.bytes + 2 * kGuard);
  if (inputs_ != nullptr && inputs_->count(seed) != 0) {
    const std::vector<char>& sent = inputs_->at(seed);
    ASSERT_EQ(sent.size(), send_.bytes);
    std::copy(sent.begin(), sent.end(), send_.host);
    return;
  }
  const size_t element = type_bytes(case_.type);
  for (size_t i = 0; i < shape_[0].send_count; ++i) sent(rank_, i, send_.host + i * element);
  if (inputs_ != nullptr)
    inputs_->emplace(seed, std::vector<char>(send_.host, send_.host + send_.bytes));
}

tw_status_t CaseRunner::call(tw_stream_t stream) {
  const CollCase& c = case_;
  const Shape& s = shape_[0];
  const tw_op_t op = c.scaled ? scaled_ : c.op;
  const void* send = send_.bytes != 0 ? send_.at : nullptr;
  void* recv = recv_.bytes != 0 ? recv_.at : nullptr;
  const auto displs = [&](const std::vector<size_t>& d) { return c.gaps ? d.data() : nullptr; };
  switch (c.call) {
    case kAllReduce:
      return tw_all_reduce(send, recv, c.count, c.type, op, comm_, stream);
    case kReduce:
      return tw_reduce(send, recv, c.count, c.type, op, c.root, comm_, stream);
    case kBroadcast:
      return tw_broadcast(send, recv, c.count, c.type, c.root, comm_, stream);
    case kAllGather:
      return tw_all_gather(send, recv, c.count, c.type, comm_, stream);
    case kReduceScatter:
      return tw_reduce_scatter(send, recv, c.count, c.type, op, comm_, stream);
    case kAllToAll:
      return tw_all_to_all(send, recv, c.count, c.type, comm_, stream);
    case kGather:
      return tw_gather(send, recv, c.count, c.type, c.root, comm_, stream);
    case kScatter:
      return tw_scatter(send, recv, c.count, c.type, c.root, comm_, stream);
    case kAllGatherV:
      return tw_all_gather_v(send, recv, s.recv_counts.data(), displs(s.recv_displs), c.type, comm_,
                             stream);
    case kReduceScatterV:
      return tw_reduce_scatter_v(send, recv, s.send_counts.data(), c.type, op, comm_, stream);
    case kAllToAllV:
      return tw_all_to_all_v(send, s.send_counts.data(), displs(s.send_displs), recv,
                             s.recv_counts.data(), displs(s.recv_displs), c.type, comm_, stream);
    default:
      return tw_barrier(comm_, stream);
  }
}

bool CaseRunner::start(const CollCase& c, uint64_t seed, tw_stream_t stream, size_t arena_offset) {
  case_ = c;
  shape_.clear();
  shape_.emplace_back(c, rank_, ranks_);
  place(c, arena_offset);
  fill(seed);
  to_device();
  stream_ = stream;
  if (c.scaled) {
    unsigned char factor[8];
    scale_factor(c.type, rank_, factor);
    EXPECT_EQ(tw_op_create_scaled_sum(factor, c.type, comm_, &scaled_), TW_OK) << tw_last_error();
  }
  const tw_status_t status = call(stream);
  if (c.scaled) {
    EXPECT_EQ(tw_op_destroy(scaled_, comm_), TW_OK) << tw_last_error();
  }
  if (status != TW_OK)
    ADD_FAILURE() << c.name(ranks_) << " rank " << rank_ << ": " << tw_status_name(status) << ": "
                  << tw_last_error();
  return status == TW_OK;
}

bool CaseRunner::check_element(size_t index) {
  const size_t element = type_bytes(case_.type);
  const Shape::Source source = shape_[0].source(index);
  unsigned char want[8];
  if (source.from == -2) {
    std::memset(want, kPoison, sizeof want);
  } else if (source.from >= 0) {
    sent(source.from, source.at, want);
  } else {
    values_.clear();
    for (int r = 0; r < ranks_; ++r) values_.push_back(input(r, source.at));
    reduce_element(case_.type, case_.op, values_, want);
  }
  const char* got = recv_.host + index * element;
  if (std::memcmp(got, want, element) == 0) return true;
  const double w = read_element(case_.type, want).real, g = read_element(case_.type, got).real;
  if (case_.tolerance > 0 && std::fabs(w - g) <= case_.tolerance * std::fabs(w)) return true;
  std::string bytes;
  for (size_t i = 0; i < element; ++i) {
    char hex[16];
    std::snprintf(hex, sizeof hex, "%02x/%02x ", static_cast<unsigned char>(got[i]), want[i]);
    bytes += hex;
  }
  ADD_FAILURE() << case_.name(ranks_) << " rank " << rank_ << ": element " << index << " is " << g
                << ", want " << w << " (bytes got/want " << bytes << ")";
  return false;
}

bool CaseRunner::check_received() {
  for (size_t i = 0; i < shape_[0].recv_count; ++i)
    if (!check_element(i)) return false;
  return true;
}

bool CaseRunner::check_surroundings() {
  // In place, the received buffer may lie inside the sent one: only its outside is guarded.
  const bool inside = in_place() && send_.bytes > recv_.bytes;
  const char* begin = inside ? send_.host : recv_.host;
  const size_t bytes = inside ? send_.bytes : recv_.bytes;
  if (!inside)
    for (size_t i = 0; i < kGuard; ++i)
      if (begin[-1 - static_cast<ptrdiff_t>(i)] != kPoison || begin[bytes + i] != kPoison) {
        ADD_FAILURE() << case_.name(ranks_) << " rank " << rank_ << ": wrote outside recv";
        return false;
      }
  if (in_place()) return true;
  const size_t element = type_bytes(case_.type);
  bool same = true;
  for (size_t i = 0; same && i < shape_[0].send_count; ++i) {
    unsigned char want[8];
    sent(rank_, i, want);
    same = std::memcmp(send_.host + i * element, want, element) == 0;
    if (!same)
      ADD_FAILURE() << case_.name(ranks_) << " rank " << rank_ << ": input element " << i
                    << " was overwritten";
  }
  return same;
}

bool CaseRunner::finish() {
  to_host();
  return check_received() && check_surroundings();
}

bool CaseRunner::run(const CollCase& c, uint64_t seed, tw_stream_t stream) {
  if (!start(c, seed, stream)) return false;
  if (gpu_ == nullptr && stream != nullptr && tw_stream_synchronize(stream) != TW_OK) {
    ADD_FAILURE() << c.name(ranks_) << " rank " << rank_ << ": " << tw_last_error();
    return false;
  }
  return finish();
}

std::vector<unsigned char> CaseRunner::received() const {
  return {recv_.host, recv_.host + recv_.bytes};
}

std::vector<CollCase> cases_of(CollOp call, int ranks) {
  std::vector<CollCase> cases;
  CollCase c;
  c.call = call;
  if (call == kBarrier) return {c, c, c};
  const bool may_be_in_place = call != kAllToAllV;
  for (tw_type_t type : kAllTypes)
    for (tw_op_t op : kAllOps) {
      if (!reduces(call) && op != TW_SUM) continue;
      for (size_t count : {1, 5, 130, 1000}) {
        c.type = type;
        c.op = op;
        c.count = count;
        c.root = static_cast<int>(count) % ranks;
        cases.push_back(c);
      }
    }
  if (reduces(call))
    for (tw_type_t type : kAllTypes)
      for (size_t count : {3, 700}) {
        c.type = type;
        c.op = TW_SUM;
        c.scaled = true;
        c.count = count;
        cases.push_back(c);
      }
  c.scaled = false;
  int turn = 0;
  for (Memory memory : {Memory::kPrivate, Memory::kWindow, Memory::kMixed, Memory::kSplit})
    for (bool in_place : {false, true})
      for (size_t count : kCounts) {
        if (in_place && (!may_be_in_place || memory == Memory::kSplit)) continue;
        constexpr tw_type_t kSome[] = {TW_FP32, TW_BF16, TW_INT8, TW_FP64, TW_FP16};
        c.memory = memory;
        c.in_place = in_place;
        c.count = count;
        c.type = kSome[turn % 5];
        c.op = kAllOps[turn % 4];
        c.root = turn % ranks;
        c.misalign = turn % 3 == 2 ? 1 : turn % 3 == 1 ? 4 : 0;
        c.gaps = (call == kAllGatherV || call == kAllToAllV) && turn % 2 == 0;
        cases.push_back(c);
        ++turn;
      }
  return cases;
}

std::vector<CollCase> few_cases_of(CollOp call, int ranks) {
  std::vector<CollCase> cases;
  int turn = 0;
  for (size_t count : {1, 17, 600, 3000}) {
    CollCase c;
    c.call = call;
    c.type = turn % 2 == 0 ? TW_FP32 : TW_BF16;
    c.count = count;
    c.root = (turn * 31) % ranks;
    c.memory = turn % 2 == 0 ? Memory::kMixed : Memory::kWindow;
    c.in_place = turn == 3 && call != kAllToAllV;
    cases.push_back(c);
    ++turn;
  }
  return cases;
}

void run_cases(int n, const std::vector<CollCase>& cases, size_t bytes) {
  const ThreadRanks ranks(n);
  ranks.run([&](int, tw_comm_t comm) {
    CaseRunner runner(comm, bytes);
    uint64_t seed = 1;
    for (const CollCase& c : cases)
      if (!runner.run(c, ++seed)) {
        tw_comm_abort(comm);  // the peers must not wait for this rank's next case
        return;
      }
  });
}

}  // namespace tw::test
