#include "lib/model/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "lib/base/error.h"
#include "lib/model/name_text.h"

namespace tw {
namespace {

// Beyond what any model has; below what a hostile file could make us allocate.
constexpr uint64_t kMaxKeys = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 20;
constexpr uint64_t kMaxTexts = 1 << 24;  // in all arrays together
constexpr uint64_t kMaxAlignment = 1 << 16;
constexpr uint64_t kMaxElements = uint64_t{1} << 60;

// Bytes and name of each GgufType; 0: not of fixed size.
struct TypeRow {
  const char* name;
  size_t bytes;
};
constexpr TypeRow kTypes[] = {
    {"uint8", 1},  {"int8", 1},    {"uint16", 2},  {"int16", 2}, {"uint32", 4},
    {"int32", 4},  {"float32", 4}, {"bool", 1},    {"text", 0},  {"array", 0},
    {"uint64", 8}, {"int64", 8},   {"float64", 8},
};

size_t bytes_of(GgufType type) { return kTypes[static_cast<size_t>(type)].bytes; }

std::string describe(const GgufValue& value) {
  const std::string name = kTypes[static_cast<size_t>(value.type)].name;
  return value.array ? "an array of " + std::to_string(value.count) + " " + name : name;
}

template <class T>
T element(const GgufValue& value, size_t i) {
  T result;
  std::memcpy(&result, value.raw.data() + i * sizeof result, sizeof result);
  return result;
}

bool is_number(GgufType type) { return type != GgufType::kBool && bytes_of(type) != 0; }

// Element i, a number, as `take(number)` of its own type.
template <class Take>
auto visit(const GgufValue& value, size_t i, Take take) {
  switch (value.type) {
    case GgufType::kUint8:
      return take(element<uint8_t>(value, i));
    case GgufType::kInt8:
      return take(element<int8_t>(value, i));
    case GgufType::kUint16:
      return take(element<uint16_t>(value, i));
    case GgufType::kInt16:
      return take(element<int16_t>(value, i));
    case GgufType::kUint32:
      return take(element<uint32_t>(value, i));
    case GgufType::kInt32:
      return take(element<int32_t>(value, i));
    case GgufType::kFloat32:
      return take(element<float>(value, i));
    case GgufType::kUint64:
      return take(element<uint64_t>(value, i));
    case GgufType::kInt64:
      return take(element<int64_t>(value, i));
    case GgufType::kFloat64:
      return take(element<double>(value, i));
    default:
      break;
  }
  fail(TW_ERROR_INTERNAL, "not a number: type %u", static_cast<unsigned>(value.type));
}

template <class T>
int64_t to_int64(T number) {
  // Where the type is int8_t these are numbers, not characters.
  if constexpr (std::is_same_v<T, int8_t>) return int64_t{number};
  return static_cast<int64_t>(number);
}

// True and the value when element i is an integer of 64 bits.
bool to_integer(const GgufValue& value, size_t i, int64_t* result) {
  if (!is_number(value.type)) return false;
  return visit(value, i, [result](auto number) {
    using Number = decltype(number);
    if constexpr (std::is_integral_v<Number>) {
      *result = to_int64(number);
      return std::in_range<int64_t>(number);
    } else {
      return false;
    }
  });
}

}  // namespace

// ---- Reading ------------------------------------------------------------------------------------

class GgufReader {
 public:
  GgufReader(Gguf* gguf, std::string_view bytes) : gguf_(*gguf), bytes_(bytes) {}

  void read() {
    read_header();
    for (uint64_t i = 0; i < keys_; ++i) read_key(i);
    for (uint64_t i = 0; i < tensors_; ++i) read_tensor(i);
    place_tensors();
  }

 private:
  [[noreturn]] void refuse(const std::string& what,
                           tw_status_t status = TW_ERROR_INVALID_ARGUMENT) {
    fail(status, "%s: %s%s%s", gguf_.path_.c_str(), where_.c_str(), where_.empty() ? "" : ": ",
         what.c_str());
  }

  std::string_view take(uint64_t size, const char* what) {
    if (size > bytes_.size() - at_)
      refuse(text("%s of %llu bytes at offset %zu reaches beyond the file's end (%zu bytes)", what,
                  static_cast<unsigned long long>(size), at_, bytes_.size()));
    const std::string_view piece = bytes_.substr(at_, size);
    at_ += size;
    return piece;
  }

  template <class T>
  T number(const char* what) {
    T result;
    std::memcpy(&result, take(sizeof result, what).data(), sizeof result);
    return result;
  }

  std::string_view string(const char* what) { return take(number<uint64_t>(what), what); }

  // Refuses a count of things, each of at least `least` bytes, that the rest of the file cannot
  // hold.
  void check_count(uint64_t count, uint64_t least, uint64_t most, const char* what) {
    const uint64_t room = (bytes_.size() - at_) / least;
    if (count > room || count > most)
      refuse(text("%llu %s; valid: 0 to %llu (%s)", static_cast<unsigned long long>(count), what,
                  static_cast<unsigned long long>(std::min(room, most)),
                  room < most ? "what the file has room for" : "a limit of this library"));
  }

  void read_header();
  void read_key(uint64_t index);
  void read_value(GgufValue* value);
  GgufType read_type();
  void read_tensor(uint64_t index);
  uint64_t bytes_of_tensor(const GgufTensor& tensor);
  void place_tensors();
  uint64_t alignment();

  struct Place {
    uint64_t offset;
    uint64_t bytes;
  };

  Gguf& gguf_;
  std::string_view bytes_;
  size_t at_ = 0;
  std::string where_;  // the key or tensor being read, for errors
  uint64_t keys_ = 0;
  uint64_t tensors_ = 0;
  uint64_t texts_ = 0;
  std::vector<Place> placed_;  // as tensors_
};

void GgufReader::read_header() {
  static_assert(std::endian::native == std::endian::little);
  if (bytes_.substr(0, 4) != "GGUF")
    refuse("does not begin with \"GGUF\" but " + name_text(bytes_.substr(0, 4)));
  at_ = 4;
  const auto version = number<uint32_t>("version");
  if (version == 0x02000000 || version == 0x03000000)
    refuse("a big-endian GGUF file; supported: little endian", TW_ERROR_UNSUPPORTED);
  if (version != 2 && version != 3)
    refuse(text("GGUF version %u; supported: 2 and 3", version), TW_ERROR_UNSUPPORTED);
  tensors_ = number<uint64_t>("number of tensors");
  keys_ = number<uint64_t>("number of keys");
  check_count(keys_, 8 + 4 + 1, kMaxKeys, "keys");
  check_count(tensors_, 8 + 4 + 8 + 4 + 8, kMaxTensors, "tensors");
}

void GgufReader::read_key(uint64_t index) {
  where_ = text("key %llu of %llu", static_cast<unsigned long long>(index) + 1,
                static_cast<unsigned long long>(keys_));
  const std::string_view key = string("its name");
  where_ = "key " + name_text(key);
  GgufValue value{};
  read_value(&value);
  if (!gguf_.values_.emplace(key, std::move(value)).second) refuse("stands there twice");
}

GgufType GgufReader::read_type() {
  const auto type = number<uint32_t>("its type");
  if (type >= std::size(kTypes)) refuse(text("type %u; valid: 0 to 12", type));
  return static_cast<GgufType>(type);
}

void GgufReader::read_value(GgufValue* value) {
  value->type = read_type();
  value->count = 1;
  if (value->type == GgufType::kArray) {
    value->array = true;
    value->type = read_type();
    if (value->type == GgufType::kArray)
      refuse("an array of arrays; supported: arrays of numbers, bools or texts",
             TW_ERROR_UNSUPPORTED);
    value->count = number<uint64_t>("its count");
  }
  if (value->type == GgufType::kText) {
    check_count(value->count, 8, kMaxTexts - texts_, "texts");
    texts_ += value->count;
    value->texts.reserve(value->count);
    for (uint64_t i = 0; i < value->count; ++i) value->texts.push_back(string("a text"));
    return;
  }
  const size_t bytes = bytes_of(value->type);
  check_count(value->count, bytes, ~uint64_t{0}, "elements");
  value->raw = take(value->count * bytes, "its value");
  if (value->type == GgufType::kBool)
    for (const char c : value->raw)
      if (c != 0 && c != 1) refuse(text("a bool of %d; valid: 0 and 1", c));
}

// ---- Tensors ------------------------------------------------------------------------------------

void GgufReader::read_tensor(uint64_t index) {
  where_ = text("tensor %llu of %llu", static_cast<unsigned long long>(index) + 1,
                static_cast<unsigned long long>(tensors_));
  GgufTensor tensor{};
  tensor.name = string("its name");
  where_ = "tensor " + name_text(tensor.name);
  const auto dims = number<uint32_t>("its number of dimensions");
  if (dims < 1 || dims > 4) refuse(text("%u dimensions; valid: 1 to 4", dims));
  tensor.dims = static_cast<int>(dims);
  for (uint32_t d = 0; d < 4; ++d) tensor.shape[d] = d < dims ? number<uint64_t>("its shape") : 1;
  const auto type = number<uint32_t>("its type");
  if (find_quant_format(type) == nullptr)
    refuse(text("type %u; supported: %s", type, supported_quant_types().c_str()),
           TW_ERROR_UNSUPPORTED);
  tensor.type = static_cast<QuantType>(type);
  const auto offset = number<uint64_t>("its offset");
  placed_.push_back({offset, bytes_of_tensor(tensor)});
  if (!gguf_.places_.emplace(tensor.name, gguf_.tensors_.size()).second)
    refuse("stands there twice");
  gguf_.tensors_.push_back(tensor);
}

uint64_t GgufReader::bytes_of_tensor(const GgufTensor& tensor) {
  const QuantFormat& format = quant_format(tensor.type);
  const std::string shape = shape_text(std::span(tensor.shape).first(tensor.dims));
  uint64_t elements = 1;
  for (const uint64_t dim : tensor.shape) {
    if (dim == 0) refuse("an empty shape " + shape);
    if (dim > kMaxElements / elements) refuse("a shape beyond 2^60 elements: " + shape);
    elements *= dim;
  }
  if (tensor.row() % format.block != 0)
    refuse(text("rows of %llu elements; %s needs multiples of %zu",
                static_cast<unsigned long long>(tensor.row()), format.name, format.block));
  return elements / format.block * format.bytes;  // at most 4 bytes an element: below 2^62
}

uint64_t GgufReader::alignment() {
  where_ = "key \"general.alignment\"";
  const int64_t alignment = gguf_.integer("general.alignment").value_or(32);
  if (alignment < 1 || alignment > static_cast<int64_t>(kMaxAlignment) ||
      !std::has_single_bit(static_cast<uint64_t>(alignment)))
    refuse(text("%lld; valid: powers of two up to %llu", static_cast<long long>(alignment),
                static_cast<unsigned long long>(kMaxAlignment)));
  return static_cast<uint64_t>(alignment);
}

void GgufReader::place_tensors() {
  const uint64_t align = alignment();
  const uint64_t begin = (at_ + align - 1) / align * align;
  const uint64_t room = bytes_.size() > begin ? bytes_.size() - begin : 0;
  std::vector<size_t> order(placed_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [this](size_t a, size_t b) { return placed_[a].offset < placed_[b].offset; });
  uint64_t end = 0;
  std::string_view before;
  for (const size_t i : order) {
    const auto [offset, bytes] = placed_[i];
    GgufTensor& tensor = gguf_.tensors_[i];
    where_ = "tensor " + name_text(tensor.name);
    if (offset % align != 0)
      refuse(text("offset %llu is not a multiple of the alignment %llu",
                  static_cast<unsigned long long>(offset), static_cast<unsigned long long>(align)));
    if (offset > room || bytes > room - offset)
      refuse(text("%llu bytes at offset %llu reach beyond the file's end (%llu bytes of tensors)",
                  static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(offset),
                  static_cast<unsigned long long>(room)));
    if (offset < end) refuse("overlaps tensor " + name_text(before));
    end = offset + bytes;
    before = tensor.name;
    tensor.data = bytes_.substr(begin + offset, bytes);
  }
}

// ---- Looking up ---------------------------------------------------------------------------------

Gguf::Gguf(const std::string& path) : file_(path), path_(path) {
  GgufReader(this, file_.bytes()).read();
}

Gguf::Gguf(std::string_view bytes, std::string name) : path_(std::move(name)) {
  GgufReader(this, bytes).read();
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &tensors_[found->second];
}

void Gguf::refuse(std::string_view key, const char* expected) const {
  fail(TW_ERROR_INVALID_ARGUMENT, "%s: key %s is %s; expected %s", path_.c_str(),
       name_text(key).c_str(), describe(*find(key)).c_str(), expected);
}

std::optional<std::string_view> Gguf::text(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  if (value->array || value->type != GgufType::kText) refuse(key, "text");
  return value->texts[0];
}

std::optional<int64_t> Gguf::integer(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  int64_t result = 0;
  if (value->array || !to_integer(*value, 0, &result)) refuse(key, "an integer below 2^63");
  return result;
}

std::optional<double> Gguf::number(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  if (value->array || !is_number(value->type)) refuse(key, "a number");
  return visit(*value, 0, [](auto number) { return static_cast<double>(number); });
}

std::optional<bool> Gguf::flag(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  if (value->array || value->type != GgufType::kBool) refuse(key, "a bool");
  return value->raw[0] != 0;
}

std::span<const std::string_view> Gguf::texts(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  if (!value->array || value->type != GgufType::kText) refuse(key, "an array of texts");
  return value->texts;
}

std::vector<int64_t> Gguf::integers(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  if (!value->array) refuse(key, "an array of integers");
  std::vector<int64_t> result(value->count);
  for (size_t i = 0; i < result.size(); ++i)
    if (!to_integer(*value, i, &result[i])) refuse(key, "an array of integers below 2^63");
  return result;
}

std::vector<float> Gguf::numbers(std::string_view key) const {
  const GgufValue* const value = find(key);
  if (value == nullptr) return {};
  if (!value->array || !is_number(value->type)) refuse(key, "an array of numbers");
  std::vector<float> result(value->count);
  for (size_t i = 0; i < result.size(); ++i)
    result[i] = visit(*value, i, [](auto number) { return static_cast<float>(number); });
  return result;
}

}  // namespace tw
