#include "lib/program/launcher.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/round.h"
#include "lib/program/trace.h"

namespace tw {
namespace {

size_t lines(size_t bytes) { return round_up(bytes, 128); }

struct Running {
  const BuiltProgram& program;
  const ProgramImage& image;
  int rank;
};

/// ", for which instruction 7 (down, device 0) of layer 3 waits", where one does.
std::string waiting_text(const Running& running, int peer, uint64_t counter) {
  const auto& [program, image, rank] = running;
  for (size_t i = 0; i < image.list.size(); ++i) {
    const ProgramInstruction& instruction = image.list[i];
    for (uint32_t w = 0; w < instruction.waits; ++w) {
      const ProgramWait& wait = image.waits[instruction.first_wait + w];
      if (static_cast<int>(wait.sender) != peer || wait.counter != counter) continue;
      const uint32_t layer = program.ops[instruction.op].layer;
      return text(", for which instruction %u (%s, device %d)%s waits", image.numbers[i],
                  program.op_names[instruction.op].c_str(), rank,
                  layer == kNoLayer ? "" : text(" of layer %u", layer).c_str());
    }
  }
  return "";
}

}  // namespace

ProgramLauncher::ProgramLauncher(Comm& comm, CpuEntry entry, const LaunchNeeds& needs,
                                 const std::vector<const ProgramImage*>& images, ControlKind kind)
    : comm_(comm),
      entry_(entry),
      needs_(needs),
      number_(comm.calls().take_program()),
      blocks_(comm.max_blocks()),
      note_at_(lines(needs.data)),
      records_at_(note_at_ + lines(needs.note)) {
  size_t slots = 0, longest = 0, counters = 0;
  for (const ProgramImage* image : images) {
    slots = std::max(slots, image->slots);
    longest = std::max(longest, image->longest);
    counters = std::max(counters, image->counters.size());
  }
  comm.control().agree(kind, [&] { allocate(counters); });
  layout_ = tile_layout(comm.size(), slots, records_at_ + longest * sizeof(ProgramRecord));
  window_ = Window::create_workspace(comm, layout_.end);
}

void ProgramLauncher::allocate(size_t counters) {
  const auto blocks = static_cast<size_t>(blocks_);
  scratch_ = Buffer(blocks * needs_.scratch);
  rows_ = Buffer(blocks * needs_.row * sizeof(float));
  op_scratch_ = Buffer(blocks * needs_.op_scratch);
  counts_ = Buffer(counters * sizeof(uint64_t));
}

ProgramLauncher::~ProgramLauncher() {
  try {
    window_->close();
  } catch (...) {  // what ended the comm has been told
  }
}

ProgramCall ProgramLauncher::number(uint32_t rows, uint64_t digest, uint32_t part) {
  TileRecord record{needs_.call, TW_FP32, {rows, number_, part}, 0, 0};
  for (const uint32_t word : {static_cast<uint32_t>(needs_.call), rows, number_, part}) {
    digest = (digest ^ word) * UINT64_C(0x94D049BB133111EB);
    digest ^= digest >> 32;
  }
  const uint64_t number = comm_.calls().take(digest, &record);
  return {record, number};
}

tw_tile_view ProgramLauncher::view(const TileRecord& record) {
  tw_tile_view v{};
  v.comm = comm_.view();
  v.layout = layout_;
  v.parts = window_->table().data();
  v.epoch = v.comm.epoch;
  v.counters = &counters_;
  v.scratch = scratch_.data();
  v.scratch_bytes = needs_.scratch;
  v.store = needs_.store;
  v.record = record;
  return v;
}

void ProgramLauncher::launch(const BuiltProgram& program, const ProgramImage& image,
                             const ProgramCall& call, std::function<std::string(int peer)> mismatch,
                             bool traced) {
  ProgramArgs args = program.args(image);
  args.tiles = view(call.record);
  args.counts = reinterpret_cast<uint64_t*>(counts_.data());
  args.row = static_cast<uint32_t>(needs_.row);
  args.rows = reinterpret_cast<float*>(rows_.data());
  args.scratch = op_scratch_.data();
  args.scratch_bytes = needs_.op_scratch;
  args.trace = traced ? records(comm_.rank()) : nullptr;
  const int blocks =
      std::clamp(static_cast<int>(args.count), 1, std::min(blocks_, comm_.max_blocks()));
  const Running running{program, image, comm_.rank()};
  const LaunchWords words{std::move(mismatch), [&running](int peer, uint64_t counter) {
                            return waiting_text(running, peer, counter);
                          }};
  const Comm::Launching launching(comm_, &words);
  comm_.device().launch(entry_, &args, blocks);
  comm_.check_call(call.number);
}

void ProgramLauncher::write_trace(const std::string& path, const BuiltProgram* program,
                                  ControlKind kind, const char* why) {
  const uint64_t length = program != nullptr ? program->image.list.size() : 0;
  const auto lengths =
      comm_.control().all_gather(kind, {reinterpret_cast<const char*>(&length), sizeof length});
  if (program == nullptr) fail(TW_ERROR_INVALID_STATE, "%s", why);
  std::string error;
  if (comm_.rank() == 0) {
    TraceFile file(path, program->op_names, program->ops);
    for (int r = 0; r < comm_.size(); ++r) {
      uint64_t count;
      std::memcpy(&count, lengths[static_cast<size_t>(r)].data(), sizeof count);
      file.add(r, records(r), count);
    }
    error = file.close();
  }
  // Nobody's records change before they are written.
  const auto outcome = comm_.control().all_gather(kind, error);
  if (!outcome[0].empty()) fail(TW_ERROR_SYSTEM, "%s", outcome[0].c_str());
}

}  // namespace tw
