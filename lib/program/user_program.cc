#include "lib/program/user_program.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/config.h"
#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/base/round.h"

namespace tw {
namespace {

constexpr size_t kScratchUnit = 4096;

}  // namespace

UserProgram::UserProgram(Comm& comm, uint32_t rows, const UserProgramKernel& kernel)
    : comm_(comm),
      kernel_(kernel),
      trace_path_(config::string("TW_PROGRAM_TRACE")),
      tracing_(!trace_path_.empty()) {
  mine_.rows = rows;
}

UserProgram::~UserProgram() {
  comm_.device().drain();
  if (trace_path_.empty() || !traced_ || comm_.ended()) return;
  try {
    write_trace(trace_path_);
  } catch (...) {
    TW_LOGF(TW_LOG_ERROR, "%s", current_error().what());
  }
}

void UserProgram::build(StorePolicy store) {
  const std::vector<Terms> all = agree(comm_, mine_, !trace_path_.empty());
  const DeclaredLayout layout(all);
  int workers = 1;
  for (const Terms& terms : all) workers = std::max(workers, terms.blocks);
  const ProgramRanks ranks{comm_.rank(), comm_.size(), workers};
  comm_.control().agree(ControlKind::kProgramBuild, [&] {
    ProgramBuilder builder(ranks.ranks, workers);
    write_declared({mine_, all, layout, ranks, {}, &live_}, &builder, &op_numbers_);
    built_ = builder.build(ranks.rank);
    program_ = builder.program();
  });

  LaunchNeeds needs;
  needs.call = kProgramLaunch;
  needs.data = layout.bytes;
  uint32_t rows = 1;
  for (const DeclaredTensor& tensor : mine_.tensors) rows = std::max(rows, tensor.terms.rows);
  needs.scratch =
      round_up(tile_scratch(std::min<size_t>(rows, kCpuTile.rows), longest_k(mine_)), kScratchUnit);
  needs.row = round_up(std::max(longest_row(mine_), kernel_.row), 16);
  needs.op_scratch = round_up(kernel_.op_scratch, kScratchUnit);
  needs.store = store;
  launcher_ = std::make_unique<ProgramLauncher>(comm_, kernel_.entry, needs,
                                                std::vector<const ProgramImage*>{&built_.image},
                                                ControlKind::kProgramBuild);

  // The same ops once more, now that it is known where things are.
  std::vector<char*> data(static_cast<size_t>(ranks.ranks));
  for (int r = 0; r < ranks.ranks; ++r) data[static_cast<size_t>(r)] = launcher_->data(r);
  ProgramBuilder placed(ranks.ranks, workers);
  write_declared({mine_, all, layout, ranks, data, &live_}, &placed, &op_numbers_);
  built_.arguments = placed.arguments();
  for (size_t t = 0; t < mine_.tensors.size(); ++t) {
    DeclaredTensor& tensor = mine_.tensors[t];
    if (tensor.terms.place != TensorPlace::kProgram) continue;
    tensor.stride = layout.strides[t];
    for (size_t r = 0; r < data.size(); ++r) tensor.at[r] = data[r] + layout.tensors[t];
  }
}

char* UserProgram::address(int tensor, int rank) const {
  return mine_.tensors[static_cast<size_t>(tensor)].at[static_cast<size_t>(rank)];
}

void UserProgram::set_args(int op, const void* args) {
  DeclaredOp& declared = mine_.ops[static_cast<size_t>(op)];
  if (!declared.args.empty()) std::memcpy(declared.args.data(), args, declared.args.size());
  if (!built() || declared.args.empty()) return;
  const auto number = static_cast<size_t>(op_numbers_[static_cast<size_t>(op)]);
  std::memcpy(built_.arguments.data() + built_.ops[number].offset, args, declared.args.size());
}

void UserProgram::run(const ProgramCall& call) {
  comm_.check();  // what was queued before may have ended it
  live_ = call.record.size[0];
  launcher_->launch(built_, built_.image, call, nullptr, tracing_);
  traced_ |= tracing_;
}

void UserProgram::write_trace(const std::string& path) {
  comm_.device().drain();
  launcher_->write_trace(path, traced_ ? &built_ : nullptr, ControlKind::kProgramTrace,
                         "tw_program_write_trace: no launch was traced; valid after a launch with "
                         "tracing on");
}

}  // namespace tw
