// A model made ready for steps within limits: programs for every size of step, and the memory that
// they work in. Everything is allocated when it is made; a step allocates nothing.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lib/device/buffer.h"
#include "lib/model/llama_program.h"
#include "lib/model/staged_step.h"
#include "lib/model/step_check.h"
#include "lib/program/launcher.h"

namespace tw {

/// How K and V that the library makes lie: a page has one head after the other.
KvLayout kv_layout(const ModelDesc& desc, const ModelShare& share, int rank, uint32_t page_size,
                   uint32_t pages);

class ModelRun {
 public:
  /// Collective: ranks with other limits, or another kind of CPU target, are a MISMATCH.
  ModelRun(Comm& comm, const ModelDesc& desc, const ModelShare& share, const ModelWeights& weights,
           const ModelLimits& limits);
  ~ModelRun();
  ModelRun(const ModelRun&) = delete;
  ModelRun& operator=(const ModelRun&) = delete;

  /// Throws INVALID_ARGUMENT naming a limit that is out of range.
  static void check(const ModelDesc& desc, const ModelLimits& limits);
  static ModelMemory memory(const Comm& comm, const ModelDesc& desc, const ModelShare& share,
                            const ModelLimits& limits);

  const ModelLimits& limits() const { return limits_; }
  void bind(const KvMemory& kv);
  bool bound() const { return !kv_.k.empty() && kv_.k[0] != nullptr; }

  /// Throws INVALID_ARGUMENT for a step that cannot be.
  void check(const Step& step, const char* function) {
    check_step(step, desc_, limits_, &slot_table_, function);
  }
  /// A checked step, copied; in the caller's thread. Waits when all places are in use.
  StagedStep& stage(const Step& step);
  /// Makes a launch of a staged step the comm's next call: ProgramLauncher::number.
  void number(StagedStep* staged, uint32_t part = 0) {
    staged->set_call(launcher_->number(staged->step().rows, staged->note().digest(), part));
  }
  /// In the device's order, once for each staged step that has a number: runs it, gives it back.
  void run(StagedStep& staged);
  /// The same by a launch for each op.
  void run_by_ops(StagedStep& staged);

  /// Later steps note their instructions' times. In the device's order.
  void set_tracing(bool on) { tracing_ = on; }
  /// Collective: rank 0 writes what the last traced step noted on all ranks. Throws INVALID_STATE
  /// when there was none, SYSTEM.
  void write_trace(const std::string& path);

 private:
  /// Memory of one rank alone, by size.
  struct Sizes;
  struct Sized {
    StepSize size;
    LlamaProgram program;
  };

  static int agree(Comm& comm, const ModelDesc& desc, const ModelLimits& limits);
  void make_angles();
  void allocate(const Sizes& sizes);
  void make_programs();
  void place_programs();
  LlamaContext context() const;
  const LlamaProgram& program_for(const Step& step) const;
  void begin(const StagedStep& staged);
  void launch(const BuiltProgram& program, const ProgramImage& image, const StagedStep& staged,
              bool traced);
  std::string mismatch(int peer) const;
  /// What `rank`'s step is.
  StepNote& note_at(int rank) const { return *reinterpret_cast<StepNote*>(launcher_->note(rank)); }
  void finish(StagedStep& staged);
  void give_logits(const Step& step) const;
  Matrix own(const SharedMatrix& m) const;

  Comm& comm_;
  const ModelDesc& desc_;
  const ModelShare& share_;
  const ModelWeights& weights_;
  const ModelLimits limits_;
  const int workers_;  // the most that a rank has
  const AttentionLimits attention_;
  const Activations activations_;
  KvMemory kv_;

  std::unique_ptr<ProgramLauncher> launcher_;
  Buffer plan_, partials_, angles_;

  StepView step_{};                   // what the kernels read
  std::vector<uint32_t> layer_rows_;  // [layers]
  std::vector<int32_t> sampled_slots_;
  std::vector<Sized> programs_;   // by rows
  const std::string trace_path_;  // TW_PROGRAM_TRACE
  bool tracing_ = false;
  const BuiltProgram* traced_ = nullptr;  // the last traced step's

  SlotTable slot_table_;
  static constexpr size_t kStaged = 8;  // steps that may be on their way
  std::array<std::unique_ptr<StagedStep>, kStaged> staged_;
  size_t next_staged_ = 0;
};

}  // namespace tw
