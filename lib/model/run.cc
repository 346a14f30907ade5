#include "lib/model/run.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/coll/collectives.h"
#include "lib/comm/control.h"
#include "lib/device/kernels.h"
#include "lib/model/rows.h"
#include "tilewire/tile/packed.h"

namespace tw {
namespace {

constexpr size_t kScratchUnit = 4096;

/// X(name, value): of what a step computes, what follows from the model's description.
#define TW_MODEL_SHAPE_MAP(X)                                         \
  X("layers", d.layers)                                               \
  X("hidden", d.hidden)                                               \
  X("heads", d.heads)                                                 \
  X("kv_heads", d.kv_heads)                                           \
  X("head_size", d.head_size)                                         \
  X("ffn", d.ffn)                                                     \
  X("vocab", d.vocab)                                                 \
  X("sliding_window", d.sliding_window)                               \
  X("tied_embeddings", d.tied_embeddings)                             \
  X("q_bias", d.q_bias)                                               \
  X("k_bias", d.k_bias)                                               \
  X("v_bias", d.v_bias)                                               \
  X("o_bias", d.o_bias)                                               \
  X("mlp_bias", d.mlp_bias)                                           \
  X("qk_norm", d.qk_norm)                                             \
  X("rms_norm_eps, as bits,", std::bit_cast<uint32_t>(d.rms_epsilon)) \
  X("rope_theta, as bits,", std::bit_cast<uint32_t>(d.rope_theta))    \
  X("RoPE's scaling, as a digest,", digest_of(d.rope_divisors))

/// All ones or none is the same scaling.
int64_t digest_of(const std::vector<float>& divisors) {
  uint64_t digest = 0;
  for (size_t i = 0; i < divisors.size(); ++i)
    digest += (i + 1) * (std::bit_cast<uint32_t>(divisors[i]) - std::bit_cast<uint32_t>(1.0F));
  return static_cast<int64_t>(digest);
}

#define TW_MODEL_SHAPE_NAME(name, value) name,
constexpr const char* kShapeNames[] = {TW_MODEL_SHAPE_MAP(TW_MODEL_SHAPE_NAME)};
#undef TW_MODEL_SHAPE_NAME
constexpr size_t kShape = std::size(kShapeNames);

/// What ranks say to each other before they build the same programs.
struct Terms {
  ModelLimits limits;
  int64_t shape[kShape];
  int32_t blocks;
  int32_t traced;
  CpuTarget target;
};

#define TW_MODEL_SHAPE_VALUE(name, value) value,
Terms terms_of(const Comm& comm, const ModelDesc& d, const ModelLimits& limits) {
  return {limits,
          {TW_MODEL_SHAPE_MAP(TW_MODEL_SHAPE_VALUE)},
          comm.max_blocks(),
          config::is_set("TW_PROGRAM_TRACE") ? 1 : 0,
          comm.device().target()};
}
#undef TW_MODEL_SHAPE_VALUE
#undef TW_MODEL_SHAPE_MAP

AttentionLimits attention_limits(const ModelLimits& limits, int workers) {
  return {limits.rows, limits.sequences, limits.context,
          static_cast<uint32_t>(workers == 1 ? 1 : 2 * workers), static_cast<uint32_t>(workers)};
}

/// The longest row that row ops hold.
size_t longest_row(const ModelDesc& desc) {
  return static_cast<size_t>(std::max(desc.hidden, desc.head_size));
}

size_t longest_k(const ModelDesc& desc, const ModelShare& share, int rank) {
  return std::max({static_cast<size_t>(desc.hidden), share.ffn_size(rank), share.q_size(rank)});
}

}  // namespace

KvLayout kv_layout(const ModelDesc& desc, const ModelShare& share, int rank, uint32_t page_size,
                   uint32_t pages) {
  const HeadShare& heads = share.heads[static_cast<size_t>(rank)];
  KvLayout l{};
  l.type = TW_BF16;
  l.page_size = page_size;
  l.pages = pages;
  l.heads = heads.kvs;
  l.head_size = heads.head_size;
  l.token = static_cast<size_t>(desc.head_size);
  l.head = l.token * page_size;
  l.page = l.head * heads.kvs;
  return l;
}

/// Bytes of what a block has, and of what there is once.
struct ModelRun::Sizes {
  Sizes(const Comm& comm, const ModelDesc& desc, const ModelShare& share, const ModelLimits& limits,
        int workers) {
    const int rank = comm.rank();
    const AttentionLimits attention = attention_limits(limits, workers);
    const HeadShare& heads = share.heads[static_cast<size_t>(rank)];
    const auto tile_rows = std::min<size_t>(limits.rows, kCpuTile.rows);
    scratch = divide_up(tile_scratch(tile_rows, longest_k(desc, share, rank)), kScratchUnit) *
              kScratchUnit;
    row = divide_up(longest_row(desc), 16) * 16;
    op_scratch = divide_up(sample_scratch_bytes(static_cast<size_t>(desc.vocab)), kScratchUnit) *
                 kScratchUnit;
    plan = AttentionPlan::bytes(attention, heads);
    partials = attention.partial_bytes(heads);
    angles = 2 * size_t{limits.context} * static_cast<size_t>(desc.head_size / 2) * sizeof(float);
    all = needs().local_bytes(comm.max_blocks()) + plan + partials + angles +
          SlotTable::bytes(limits.rows);
  }
  LaunchNeeds needs() const {
    LaunchNeeds n;
    n.note = sizeof(StepNote);
    n.scratch = scratch;
    n.row = row;
    n.op_scratch = op_scratch;
    return n;
  }
  size_t scratch, row, op_scratch;  // of a block; row: in floats
  size_t plan, partials, angles, all;
};

void ModelRun::check(const ModelDesc& desc, const ModelLimits& limits) {
  const auto in = [](const char* name, uint64_t value, uint64_t least, uint64_t most) {
    if (value < least || value > most)
      fail(TW_ERROR_INVALID_ARGUMENT, "limits.%s = %llu; valid: %llu to %llu", name,
           static_cast<unsigned long long>(value), static_cast<unsigned long long>(least),
           static_cast<unsigned long long>(most));
  };
  in("rows", limits.rows, 1, 1 << 16);
  in("sequences", limits.sequences, 1, limits.rows);
  in("logit_rows", limits.logit_rows, 0, limits.rows);
  in("context", limits.context, 1, static_cast<uint64_t>(desc.context));
  in("page_size", limits.page_size, 1, 256);
  in("pages", limits.pages, 1, 1u << 30);
  in("table_pages", limits.table_pages, 1, 1u << 30);
  in("slots", limits.slots, 0, 1u << 20);
}

ModelMemory ModelRun::memory(const Comm& comm, const ModelDesc& desc, const ModelShare& share,
                             const ModelLimits& limits) {
  const KvLayout kv = kv_layout(desc, share, comm.rank(), limits.page_size, limits.pages);
  ModelMemory m;
  m.weights = ModelWeights::bytes(desc, share, comm.rank());
  m.kv = 2 * static_cast<size_t>(desc.layers) * kv.page * kv.pages * packed_element(kv.type);
  m.activations = Activations(desc, share, comm.size(), limits.rows, limits.logit_rows).bytes;
  m.local = Sizes(comm, desc, share, limits, comm.max_blocks()).all;
  return m;
}

ModelRun::ModelRun(Comm& comm, const ModelDesc& desc, const ModelShare& share,
                   const ModelWeights& weights, const ModelLimits& limits)
    : comm_(comm),
      desc_(desc),
      share_(share),
      weights_(weights),
      limits_(limits),
      workers_(agree(comm, desc, limits)),
      attention_(attention_limits(limits, workers_)),
      activations_(desc, share, comm.size(), limits.rows, limits.logit_rows),
      layer_rows_(static_cast<size_t>(desc.layers)),
      sampled_slots_(limits.slots),
      trace_path_(config::string("TW_PROGRAM_TRACE")),
      tracing_(!trace_path_.empty()) {
  const Sizes sizes(comm, desc, share, limits, workers_);
  comm.control().agree(ControlKind::kModelPrepare, [&] {
    allocate(sizes);
    make_programs();
  });
  LaunchNeeds needs = sizes.needs();
  needs.call = kModelStep;
  needs.data = activations_.bytes;
  // As large as the message would be, whoever keeps what of it.
  const size_t sums = limits.rows * static_cast<size_t>(desc.hidden) * packed_element(TW_BF16);
  needs.store = comm.collectives().table().choose(kAllReduce, sums).store;
  std::vector<const ProgramImage*> images;
  for (const Sized& sized : programs_) {
    images.push_back(&sized.program.whole.image);
    for (const ProgramImage& part : sized.program.parts) images.push_back(&part);
  }
  launcher_ =
      std::make_unique<ProgramLauncher>(comm_, kernels::llama.entry(comm_.device().target()), needs,
                                        images, ControlKind::kModelPrepare);
  place_programs();
}

void ModelRun::allocate(const Sizes& sizes) {
  slot_table_ = SlotTable(limits_.rows);
  plan_ = Buffer(sizes.plan);
  partials_ = Buffer(sizes.partials);
  const auto layers = static_cast<size_t>(desc_.layers);
  kv_ = {std::vector<char*>(layers), std::vector<char*>(layers),
         kv_layout(desc_, share_, comm_.rank(), limits_.page_size, limits_.pages)};
  make_angles();
  for (auto& staged : staged_)
    staged = std::make_unique<StagedStep>(desc_, limits_, sampled_slots_.data());
}

ModelRun::~ModelRun() {
  comm_.device().drain();
  if (trace_path_.empty() || traced_ == nullptr || comm_.ended()) return;
  try {
    write_trace(trace_path_);
  } catch (...) {
    TW_LOGF(TW_LOG_ERROR, "%s", current_error().what());
  }
}

int ModelRun::agree(Comm& comm, const ModelDesc& desc, const ModelLimits& limits) {
  const Terms mine = terms_of(comm, desc, limits);
  const auto all = comm.control().all_gather(ControlKind::kModelPrepare,
                                             {reinterpret_cast<const char*>(&mine), sizeof mine});
  int workers = 1;
  for (size_t r = 0; r < all.size(); ++r) {
    Terms theirs;
    std::memcpy(&theirs, all[r].data(), sizeof theirs);
    workers = std::max(workers, theirs.blocks);
    const auto differ = [&](const char* what, int64_t a, int64_t b) {
      if (a != b)
        fail(TW_ERROR_MISMATCH,
             "tw_model_prepare: %s is %lld on rank %d and %lld on rank %zu; valid: equal", what,
             static_cast<long long>(a), comm.rank(), static_cast<long long>(b), r);
    };
    differ("limits.rows", mine.limits.rows, theirs.limits.rows);
    differ("limits.sequences", mine.limits.sequences, theirs.limits.sequences);
    differ("limits.logit_rows", mine.limits.logit_rows, theirs.limits.logit_rows);
    differ("limits.context", mine.limits.context, theirs.limits.context);
    differ("limits.page_size", mine.limits.page_size, theirs.limits.page_size);
    differ("limits.pages", mine.limits.pages, theirs.limits.pages);
    differ("limits.table_pages", mine.limits.table_pages, theirs.limits.table_pages);
    differ("limits.slots", mine.limits.slots, theirs.limits.slots);
    for (size_t i = 0; i < kShape; ++i)
      differ(text("the model's %s", kShapeNames[i]).c_str(), mine.shape[i], theirs.shape[i]);
    differ("whether TW_PROGRAM_TRACE is set", mine.traced, theirs.traced);
    differ("the CPU target", static_cast<int>(mine.target), static_cast<int>(theirs.target));
  }
  return workers;
}

/// cos and sin of every position's angles, in double: the same on every machine.
void ModelRun::make_angles() {
  const auto pairs = static_cast<size_t>(desc_.head_size / 2);
  const size_t count = size_t{limits_.context} * pairs;
  angles_ = Buffer(2 * count * sizeof(float));
  auto* const cosines = reinterpret_cast<float*>(angles_.data());
  for (size_t i = 0; i < pairs; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(desc_.head_size);
    double frequency = std::pow(static_cast<double>(desc_.rope_theta), exponent);
    if (!desc_.rope_divisors.empty()) frequency /= static_cast<double>(desc_.rope_divisors[i]);
    for (size_t p = 0; p < limits_.context; ++p) {
      const double angle = static_cast<double>(p) * frequency;
      cosines[p * pairs + i] = static_cast<float>(std::cos(angle));
      cosines[count + p * pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

LlamaContext ModelRun::context() const {
  const auto* const cosines = reinterpret_cast<const float*>(angles_.data());
  return {desc_,
          share_,
          weights_,
          activations_,
          comm_.rank(),
          comm_.size(),
          workers_,
          launcher_ == nullptr ? nullptr : launcher_->data(comm_.rank()),
          &step_,
          layer_rows_.data(),
          limits_.context,
          cosines,
          cosines + size_t{limits_.context} * static_cast<size_t>(desc_.head_size / 2),
          attention_,
          reinterpret_cast<AttentionPlan*>(plan_.data()),
          reinterpret_cast<float*>(partials_.data()),
          kv_};
}

/// How many signal slots they need says how large the tile set is; then they are told where it
/// lies: place_programs.
void ModelRun::make_programs() {
  for (const StepSize& size : step_sizes(limits_.rows, limits_.logit_rows))
    programs_.push_back({size, build_llama(context(), size)});
}

/// With the addresses of the tile set, and of K and V.
void ModelRun::place_programs() {
  for (Sized& sized : programs_)
    sized.program.whole.arguments = llama_arguments(context(), sized.size);
}

void ModelRun::bind(const KvMemory& kv) {
  comm_.device().drain();
  kv_ = kv;
  place_programs();
}

// ---- Steps ----

StagedStep& ModelRun::stage(const Step& step) {
  StagedStep& staged = *staged_[next_staged_];
  if (staged.taken()) comm_.device().drain();
  next_staged_ = (next_staged_ + 1) % kStaged;
  staged.take(step, desc_);
  return staged;
}

const LlamaProgram& ModelRun::program_for(const Step& step) const {
  const auto fits = [&](const Sized& sized) {
    return sized.size.rows >= step.rows && sized.size.logit_rows >= step.logit_rows;
  };
  return std::find_if(programs_.begin(), programs_.end(), fits)->program;
}

Matrix ModelRun::own(const SharedMatrix& m) const {
  return {launcher_->data(comm_.rank()) + m.offset, m.stride, m.type};
}

std::string ModelRun::mismatch(int peer) const {
  const StepNote &mine = note_at(comm_.rank()), &theirs = note_at(peer);
  if (mine.digest() == theirs.digest()) return "";
  return text(
      "tw_model_step: ranks' steps differ: rank %d has %s; rank %d has %s; valid: equal "
      "steps on all ranks",
      comm_.rank(), difference(mine, theirs).c_str(), peer, difference(theirs, mine).c_str());
}

void ModelRun::launch(const BuiltProgram& program, const ProgramImage& image,
                      const StagedStep& staged, bool traced) {
  note_at(comm_.rank()) = staged.note();
  launcher_->launch(
      program, image, staged.call(), [this](int peer) { return mismatch(peer); }, traced);
}

void ModelRun::begin(const StagedStep& staged) {
  step_ = staged.view();
  for (uint32_t l = 0; l < layer_rows_.size(); ++l)
    layer_rows_[l] = l >= step_.first_layer && l < step_.last_layer ? step_.rows : 0;
  const Step& step = staged.step();
  if (step.hidden_in == nullptr) return;
  copy_rows(
      {const_cast<void*>(step.hidden_in), static_cast<size_t>(desc_.hidden), step.hidden_type},
      own(activations_.x), step.rows, static_cast<size_t>(desc_.hidden));
}

void ModelRun::run(StagedStep& staged) {
  comm_.check();  // what was queued before may have ended it
  begin(staged);
  const LlamaProgram& program = program_for(staged.step());
  if (tracing_) traced_ = &program.whole;
  launch(program.whole, program.whole.image, staged, tracing_);
  finish(staged);
}

void ModelRun::run_by_ops(StagedStep& staged) {
  comm_.check();  // what was queued before may have ended it
  begin(staged);
  const LlamaProgram& program = program_for(staged.step());
  uint32_t part = 0;
  for (const ProgramImage& image : program.parts) {
    number(&staged, ++part);
    launch(program.whole, image, staged, false);
  }
  finish(staged);
}

void ModelRun::write_trace(const std::string& path) {
  comm_.device().drain();
  launcher_->write_trace(
      path, traced_, ControlKind::kModelTrace,
      "tw_model_write_trace: no step was traced; valid after a step with tracing "
      "on");
}

void ModelRun::finish(StagedStep& staged) {
  const Step& step = staged.step();
  const auto hidden = static_cast<size_t>(desc_.hidden);
  if (step.hidden_out != nullptr)
    copy_rows(own(activations_.hidden), {step.hidden_out, hidden, step.hidden_type}, step.rows,
              hidden);
  give_logits(step);
  staged.give_results();
}

void ModelRun::give_logits(const Step& step) const {
  const bool here = step.logits_to == LogitsTo::kAll || step.logits_to == LogitsTo::kOwnShard ||
                    (step.logits_to == LogitsTo::kOne && step.logits_rank == comm_.rank());
  if (!here || step.logits == nullptr) return;
  Matrix from = own(activations_.logits);
  size_t cols = from.stride;
  if (step.logits_to == LogitsTo::kOwnShard) {
    cols = share_.vocab_size(comm_.rank());
    from.data = from.at(0, share_.vocab[static_cast<size_t>(comm_.rank())]).data;
  }
  const size_t stride = step.logits_stride == 0 ? cols : step.logits_stride;
  copy_rows(from, {step.logits, stride, step.logits_type}, step.logit_rows, cols);
}

}  // namespace tw
