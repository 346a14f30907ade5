// How a rectangle of bytes goes through stages of shared memory (copy_all): every role makes the
// same plan.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tilewire/tile/impl/gpu/copy.h"
#include "tilewire/tile/impl/gpu/operand.h"

namespace TW_NS {

struct CopyPiece {
  size_t row, col;  // col: bytes
  uint32_t rows, bytes;
};

struct CopyPlan {
  bool wanted;  // there is a place to copy to
  bool staged;  // by bulk copies into stages; else the storer's threads copy
  size_t rows, bytes, from_stride, to_stride;
  uint32_t rows_at_once, bytes_at_once;
  uint32_t across, pieces;  // pieces in a row, and altogether

  TW_FN CopyPiece piece(uint32_t i) const {
    const size_t row = static_cast<size_t>(i / across) * rows_at_once;
    const size_t col = static_cast<size_t>(i % across) * bytes_at_once;
    const size_t rows_left = rows - row, left = bytes - col;
    return {row, col, rows_left < rows_at_once ? static_cast<uint32_t>(rows_left) : rows_at_once,
            left < bytes_at_once ? static_cast<uint32_t>(left) : bytes_at_once};
  }
};

template <class To>
TW_FN CopyPlan plan_copy(int n, To to, const char* everywhere, size_t to_stride, const char* from,
                         size_t from_stride, size_t rows, size_t bytes) {
  CopyPlan p{};
  for (int i = 0; i < n; ++i) p.wanted = p.wanted || to(i) != nullptr;
  p.wanted = (p.wanted || everywhere != nullptr) && rows != 0 && bytes != 0;
  const bool one_run = rows == 1 || (from_stride == bytes && to_stride == bytes);
  p.rows = one_run ? 1 : rows;
  p.bytes = one_run ? rows * bytes : bytes;
  p.from_stride = one_run ? 0 : from_stride;
  p.to_stride = one_run ? 0 : to_stride;
  p.staged = p.wanted && aligned(from, 16) && p.from_stride % 16 == 0 && p.bytes % 16 == 0;
  if (!p.staged) return p;
  p.bytes_at_once = p.bytes < kStageBytes ? static_cast<uint32_t>(p.bytes) : kStageBytes;
  const uint32_t fit = kStageBytes / p.bytes_at_once;
  p.rows_at_once = p.rows < fit ? static_cast<uint32_t>(p.rows) : fit;
  p.across = static_cast<uint32_t>(divide_up(p.bytes, p.bytes_at_once));
  p.pieces = static_cast<uint32_t>(divide_up(p.rows, p.rows_at_once)) * p.across;
  return p;
}

}  // namespace TW_NS
