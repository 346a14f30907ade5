// The small ops of a Llama program around its products: embeddings, positions and the KV cache, the
// rows whose logits are wanted. Choosing tokens: sample.h.
#pragma once

#include "kernels/llama/sample.h"
#include "tilewire/kernels/llama.h"
#include "tilewire/tile/program.h"

namespace TW_NS {

struct EmbedOp {
  using Args = LlamaEmbed;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + LiveRows{&args.step->embed_rows}.of(at[0], at[1]);
    program.come();
    const Row row = program.row(args.cols);
    for (size_t i = at[0]; i < end; ++i) {
      program.tile_block().load(row, args.table.at(token(args, i), 0).data, args.table.type);
      program.meet(at[2]);
      program.tile_block().store_all(
          program.count(at[2]),
          [&](int r) {
            return program.at_rank(program.receiver(at[2], r), args.x).at(i, args.first_col).data;
          },
          nullptr, row, args.x.type);
    }
  }

 private:
  /// What is no token, or names no slot, is taken for token 0.
  TW_FN static size_t token(const Args& args, size_t i) {
    const StepView& step = *args.step;
    int32_t token = step.tokens[i];
    if (token < 0) {
      const auto slot = static_cast<uint32_t>(-1 - token);
      token = slot < step.slot_count ? step.sampled_slots[slot] : 0;
    }
    return token >= 0 && static_cast<uint32_t>(token) < args.vocab ? static_cast<size_t>(token) : 0;
  }
};

struct PlaceOp {
  using Args = LlamaPlace;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + args.live.of(at[0], at[1]);
    program.come();
    for (size_t i = at[0]; i < end; ++i) {
      for (size_t h = 0; h < args.heads.queries; ++h) {
        const Row row = turned(program, args, i, h, args.q_norm);
        store(program, row, head(args, i, h), args.qkv.type);
      }
      if (has_place(args, i)) append(program, args, i);
    }
  }

 private:
  TW_FN static char* head(const Args& args, size_t i, size_t h) {
    return args.qkv.at(i, h * args.heads.head_size).data;
  }
  TW_FN static bool has_place(const Args& args, size_t i) {
    const int64_t slot = args.step->slots[i];
    return slot >= 0 && static_cast<uint64_t>(slot) / args.kv.page_size < args.kv.pages;
  }

  /// Head h of row i, normed and rotated.
  template <class Block>
  TW_FN static Row turned(ProgramBlock<Block>& program, const Args& args, size_t i, size_t h,
                          const float* norm) {
    Block& block = program.tile_block();
    const size_t size = args.heads.head_size;
    const Row row = program.row(size);
    block.load(row, head(args, i, h), args.qkv.type);
    if (norm != nullptr) {
      const float mean = block.sum_of_squares(row) / static_cast<float>(size);
      block.scale(row, inverse_sqrt(mean + args.eps));
      block.multiply(row, norm, TW_FP32);
    }
    const auto given = static_cast<uint32_t>(args.step->positions[i]);
    const size_t angles = (given < args.positions ? given : 0) * (size / 2);
    block.rotate(row, args.cosines + angles, args.sines + angles);
    return row;
  }

  template <class Block>
  TW_FN static void append(ProgramBlock<Block>& program, const Args& args, size_t i) {
    const KvLayout& kv = args.kv;
    const auto slot = static_cast<uint64_t>(args.step->slots[i]);
    const Matrix k{args.k, 1, kv.type}, v{args.v, 1, kv.type};
    const size_t first_k = args.heads.queries, first_v = first_k + args.heads.kvs;
    for (size_t h = 0; h < args.heads.kvs; ++h) {
      const size_t place =
          slot / kv.page_size * kv.page + h * kv.head + slot % kv.page_size * kv.token;
      Row row = turned(program, args, i, first_k + h, args.k_norm);
      store(program, row, k.at(place, 0).data, kv.type);
      program.tile_block().load(row, head(args, i, first_v + h), args.qkv.type);
      store(program, row, v.at(place, 0).data, kv.type);
    }
  }

  template <class Block>
  TW_FN static void store(ProgramBlock<Block>& program, const Row& row, char* to, tw_type_t type) {
    program.tile_block().store_all(
        1, [&](int) { return to; }, nullptr, row, type);
  }
};

struct GatherOp {
  using Args = LlamaGather;
  static constexpr bool kConsumerOnly = true;
  template <class Block>
  TW_FN static void run(ProgramBlock<Block>& program, const Args& args, const uint32_t* at) {
    const size_t end = at[0] + LiveRows{&args.step->logit_rows}.of(at[0], at[1]);
    program.come();
    const Row row = program.row(args.n);
    for (size_t i = at[0]; i < end; ++i) {
      program.tile_block().load(row, args.y.at(logit_row(*args.step, i), 0).data, args.y.type);
      program.tile_block().store_all(
          1, [&](int) { return args.g.at(i, 0).data; }, nullptr, row, args.g.type);
    }
  }
};

}  // namespace TW_NS
