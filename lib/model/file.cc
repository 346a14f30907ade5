#include "lib/model/file.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/model/name_text.h"
#include "lib/model/names.h"

namespace tw {
namespace {

constexpr uint64_t kProgressBytes = 1 << 20;

/// Where a GGUF of architecture "llama" keeps row `row` of Hugging Face's q_proj or k_proj: there
/// the two halves of a head lie interleaved, because llama.cpp turns neighbours.
uint64_t interleaved_row(uint64_t row, uint64_t head_size) {
  const uint64_t half = head_size / 2;
  const uint64_t in_head = row % head_size;
  return row - in_head + 2 * (in_head % half) + in_head / half;
}

/// Columns [first, first + count) of a row that begins at `from`.
template <class T>
void expand_part(QuantType type, const char* from, uint64_t first, uint64_t count, T* out) {
  const QuantFormat& format = quant_format(type);
  while (count > 0) {
    const char* const block = from + first / format.block * format.bytes;
    const uint64_t skip = first % format.block;
    uint64_t taken = count / format.block * format.block;
    if (skip == 0 && taken > 0) {
      expand(type, block, taken / format.block, out);
    } else {
      T values[kMaxQuantBlock];
      expand(type, block, 1, values);
      taken = std::min(count, format.block - skip);
      std::copy_n(values + skip, taken, out);
    }
    first += taken;
    count -= taken;
    out += taken;
  }
}

}  // namespace

const Weight* ModelFile::find(std::string_view name) const {
  const auto found = weights_.find(name);
  return found == weights_.end() ? nullptr : &found->second;
}

const Weight& ModelFile::weight(std::string_view name) const {
  const Weight* const found = find(name);
  if (found == nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: weight %s is missing", path_.c_str(),
         name_text(name).c_str());
  return *found;
}

const Weight& ModelFile::weight(std::string_view name, const WeightRange& range) const {
  const Weight& found = weight(name);
  const auto within = [](uint64_t first, uint64_t count, uint64_t all) {
    return first <= all && count <= all - first;
  };
  if (!within(range.first_row, range.rows, found.rows) ||
      !within(range.first_col, range.cols, found.cols))
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: weight %s: %llu rows from %llu, %llu columns from %llu; it has %llu rows, %llu "
         "columns",
         path_.c_str(), name_text(name).c_str(), static_cast<unsigned long long>(range.rows),
         static_cast<unsigned long long>(range.first_row),
         static_cast<unsigned long long>(range.cols),
         static_cast<unsigned long long>(range.first_col),
         static_cast<unsigned long long>(found.rows), static_cast<unsigned long long>(found.cols));
  return found;
}

// ---- Reading ------------------------------------------------------------------------------------

template <class T>
void ModelFile::read_block(std::string_view name, const WeightRange& range, T* out,
                           uint64_t stride) const {
  const Weight& from = weight(name, range);
  const QuantFormat& format = quant_format(from.type);
  const uint64_t row_bytes = from.cols / format.block * format.bytes;
  if (from.head_size != 0 && from.rows == 1 && range.rows == 1) {
    // The bias of an interleaved projection: its columns are the projection's rows.
    std::vector<T> values(from.cols);
    expand_part(from.type, from.data.data(), 0, from.cols, values.data());
    for (uint64_t c = 0; c < range.cols; ++c)
      out[c] = values[interleaved_row(range.first_col + c, from.head_size)];
    count(row_bytes);
    return;
  }
  uint64_t uncounted = 0;
  const uint64_t part_bytes = bytes_of_row(from, range);
  for (uint64_t r = 0; r < range.rows; ++r) {
    uint64_t row = range.first_row + r;
    if (from.head_size != 0) row = interleaved_row(row, from.head_size);
    expand_part(from.type, from.data.data() + row * row_bytes, range.first_col, range.cols,
                out + r * stride);
    uncounted += part_bytes;
    if (uncounted >= kProgressBytes) count(std::exchange(uncounted, 0));
  }
  count(uncounted);
}

void ModelFile::read(std::string_view name, const WeightRange& range, uint16_t* out,
                     uint64_t stride) const {
  read_block(name, range, out, stride);
}

void ModelFile::read(std::string_view name, const WeightRange& range, float* out,
                     uint64_t stride) const {
  read_block(name, range, out, stride);
}

void ModelFile::read_rows(std::string_view name, uint64_t first_row, uint64_t rows,
                          uint16_t* out) const {
  const uint64_t cols = weight(name).cols;
  read_block(name, {first_row, rows, 0, cols}, out, cols);
}

void ModelFile::read_rows(std::string_view name, uint64_t first_row, uint64_t rows,
                          float* out) const {
  const uint64_t cols = weight(name).cols;
  read_block(name, {first_row, rows, 0, cols}, out, cols);
}

// ---- Progress -----------------------------------------------------------------------------------

uint64_t ModelFile::bytes_of_row(const Weight& weight, const WeightRange& range) {
  const QuantFormat& format = quant_format(weight.type);
  if (range.cols == 0) return 0;
  const uint64_t first = range.first_col / format.block;
  const uint64_t last = (range.first_col + range.cols - 1) / format.block;
  return (last - first + 1) * format.bytes;
}

uint64_t ModelFile::bytes_of(std::string_view name, const WeightRange& range) const {
  const Weight& from = weight(name, range);
  if (from.head_size != 0 && from.rows == 1) return range.rows * from.data.size();
  return range.rows * bytes_of_row(from, range);
}

void ModelFile::set_progress(Progress call, uint64_t all) {
  progress_ = std::move(call);
  all_ = all;
  done_ = 0;
}

void ModelFile::count(uint64_t bytes) const {
  if (progress_ && bytes > 0) progress_(done_ += bytes, all_);
}

}  // namespace tw
