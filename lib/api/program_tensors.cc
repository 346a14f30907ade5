// The tensors of programs: tilewire/program.h.
#include <cstring>
#include <utility>

#include "lib/api/program.h"

namespace tw::api {
namespace {

constexpr size_t kMostCols = INT32_MAX;
constexpr size_t kMostRows = INT32_MAX;
constexpr size_t kMostElements = size_t{1} << 40;

constexpr const char* kTypes = "TW_FP16 (6), TW_BF16 (7), TW_FP32 (8)";

bool is_type(int type) { return type == TW_BF16 || type == TW_FP16 || type == TW_FP32; }

constexpr const char* kAddTensor = "tw_program_add_tensor";

void check_size(const char* field, size_t value, size_t most) {
  if (value > most)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.%s = %zu; valid: 0 to %zu", kAddTensor, field,
         value, most);
}

void check_shape(const tw_tensor_t& t, size_t rows) {
  if (!is_type(t.type))
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.type = %d; valid: %s", kAddTensor,
         static_cast<int>(t.type), kTypes);
  check_size("rows", t.rows, kMostRows);
  check_size("cols", t.cols, std::min(kMostCols, kMostElements / rows));
  if (t.stride != 0 && t.stride < t.cols)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.stride = %zu; valid: 0, or %zu and more",
         kAddTensor, t.stride, t.cols);
  check_size("stride", t.stride, kMostElements / rows);
  check_size("offset", t.offset, kMostElements);
  if (t.window != nullptr && t.data != nullptr)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: tensor.window = %p and tensor.data = %p; valid: one of them, or none", kAddTensor,
         static_cast<void*>(t.window), t.data);
  if (t.window == nullptr && t.offset != 0)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.offset = %zu; valid: 0 without a window",
         kAddTensor, t.offset);
  if (t.window == nullptr && t.data == nullptr && t.stride != 0)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.stride = %zu; valid: 0 in the program's own memory",
         kAddTensor, t.stride);
}

void place_in_window(const tw_tensor_t& given, UserProgram& program, DeclaredTensor* tensor) {
  const auto pinned = pin(given.window);
  const Window& window = *pinned;
  Comm& comm = program.comm();
  if (&window.comm() != &comm)
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: tensor.window = %p is of comm \"%s\"; valid: of the program's comm, \"%s\"",
         kAddTensor, static_cast<void*>(given.window), window.comm().options().name.c_str(),
         comm.options().name.c_str());
  for (int r = 0; r < comm.size(); ++r) window.check_range(r, given.offset, tensor->bytes());
  for (int r = 0; r < comm.size(); ++r)
    tensor->at[static_cast<size_t>(r)] = window.data(r) + given.offset;
  tensor->terms.place = TensorPlace::kWindow;
  tensor->terms.stride = tensor->stride;
  tensor->terms.location = comm.locate(window.data(comm.rank()) + given.offset, tensor->bytes());
}

/// Rows that lie between each other's, as columns of one wide matrix do, have nothing in common.
bool overlap(const DeclaredTensor& a, const DeclaredTensor& b, size_t self) {
  const auto begin = [self](const DeclaredTensor& t) {
    return reinterpret_cast<uintptr_t>(t.at[self]);
  };
  if (a.bytes() == 0 || b.bytes() == 0 || begin(a) == 0 || begin(b) == 0) return false;
  if (begin(a) + a.bytes() <= begin(b) || begin(b) + b.bytes() <= begin(a)) return false;
  const auto pitch = [](const DeclaredTensor& t) {
    return t.stride * packed_element(t.terms.type);
  };
  if (pitch(a) != pitch(b)) return true;
  const size_t stride = pitch(a);
  const size_t shift = (begin(b) % stride + stride - begin(a) % stride) % stride;
  return shift < a.terms.cols * packed_element(a.terms.type) ||
         shift + b.terms.cols * packed_element(b.terms.type) > stride;
}

void check_overlaps(const UserProgram& program, const DeclaredTensor& tensor) {
  const auto self = static_cast<size_t>(program.comm().rank());
  for (const DeclaredTensor& other : program.declaration().tensors)
    if (overlap(tensor, other, self))
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: tensor \"%s\" at %p overlaps tensor \"%s\" at %p; valid: disjoint tensors",
           kAddTensor, tensor.terms.name, static_cast<void*>(tensor.at[self]), other.terms.name,
           static_cast<void*>(other.at[self]));
}

DeclaredTensor checked_tensor(const tw_tensor_t& given, UserProgram& program) {
  const uint32_t rows = given.rows != 0 ? given.rows : program.declaration().rows;
  check_shape(given, rows);
  const Comm& comm = program.comm();
  DeclaredTensor tensor{};
  copy_name(given.name, text("tensor %zu", program.declaration().tensors.size()).c_str(),
            kAddTensor, tensor.terms.name);
  tensor.terms.type = given.type;
  tensor.terms.rows = rows;
  tensor.terms.moves = given.rows == 0 ? 1 : 0;
  tensor.terms.cols = given.cols;
  tensor.stride = given.stride != 0 ? given.stride : given.cols;
  tensor.at.resize(static_cast<size_t>(comm.size()));
  const size_t element = packed_element(given.type);
  if (given.window != nullptr) {
    if (given.offset % element != 0)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.offset = %zu; valid: a multiple of %zu",
           kAddTensor, given.offset, element);
    place_in_window(given, program, &tensor);
  } else if (given.data != nullptr) {
    if (reinterpret_cast<uintptr_t>(given.data) % element != 0)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: tensor.data = %p; valid: aligned to %zu bytes",
           kAddTensor, given.data, element);
    tensor.terms.place = TensorPlace::kLocal;
    tensor.at[static_cast<size_t>(comm.rank())] = static_cast<char*>(given.data);
  }
  check_overlaps(program, tensor);
  return tensor;
}

}  // namespace

void copy_name(const char* name, const char* otherwise, const char* function, char* to) {
  const char* const from = name != nullptr ? name : otherwise;
  const size_t length = std::strlen(from);
  if (length > kMostName)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: the name \"%.40s...\" has %zu bytes; valid: up to %zu",
         function, from, length, kMostName);
  for (size_t i = 0; i < length; ++i)
    if (static_cast<unsigned char>(from[i]) < 32 || from[i] == '"' || from[i] == '\\')
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: byte %zu of a name is %d; valid: no control characters, no quotes, no backslashes",
           function, i, from[i]);
  std::memcpy(to, from, length + 1);
}

const DeclaredTensor& tensor_of(const UserProgram& program, int tensor, const char* function,
                                const char* name) {
  const std::vector<DeclaredTensor>& tensors = program.declaration().tensors;
  if (tensors.empty())
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %d; the program has no tensors", function, name,
         tensor);
  if (tensor < 0 || static_cast<size_t>(tensor) >= tensors.size())
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %s = %d; valid: a tensor, 0 to %d", function, name, tensor,
         static_cast<int>(tensors.size()) - 1);
  return tensors[static_cast<size_t>(tensor)];
}

}  // namespace tw::api

using namespace tw;       // NOLINT(google-build-using-namespace): entry points of this layer
using namespace tw::api;  // NOLINT(google-build-using-namespace): entry points of this layer

tw_status_t tw_program_add_tensor(tw_program_t program, const tw_tensor_t* tensor, int* number) {
  return guard([&] {
    const ProgramInUse p(program);
    require_open(*p, kAddTensor);
    require(tensor, kAddTensor, "tensor");
    require(number, kAddTensor, "number");
    const tw_tensor_t given = versioned(tensor, tw_tensor_t TW_TENSOR_INIT, "tw_tensor_t");
    DeclaredTensor checked = checked_tensor(given, *p);
    if (given.window != nullptr) p.handle().windows.push_back(given.window);
    p->declaration().tensors.push_back(std::move(checked));
    *number = static_cast<int>(p->declaration().tensors.size()) - 1;
  });
}

tw_status_t tw_program_tensor_ptr(tw_program_t program, int tensor, int rank, void** ptr,
                                  size_t* stride) {
  constexpr const char* kName = "tw_program_tensor_ptr";
  return guard([&] {
    const ProgramInUse p(program);
    const DeclaredTensor& found = tensor_of(*p, tensor, kName, "tensor");
    require_range(rank, 0, p->comm().size() - 1, kName, "rank");
    require(ptr, kName, "ptr");
    if (found.terms.place == TensorPlace::kProgram) require_built(*p, kName);
    *ptr = p->address(tensor, rank);
    if (stride != nullptr) *stride = found.stride;
  });
}
