// Opening a model: which files it has, and their weights under one kind of name.
#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "lib/base/error.h"
#include "lib/model/file.h"
#include "lib/model/gguf.h"
#include "lib/model/mapped_file.h"
#include "lib/model/name_text.h"
#include "lib/model/names.h"
#include "lib/model/safetensors.h"

namespace tw {
namespace {

namespace fs = std::filesystem;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kSingle[] = "model.safetensors";
constexpr int64_t kMaxParts = 1 << 12;

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

std::string folder_of(const std::string& path) {
  const std::string folder = fs::path(path).parent_path().string();
  return folder.empty() ? "." : folder;
}

/// What a split file's name is without "-00001-of-00003.gguf", and the digits of "00003"; "" when
/// it is not so named.
std::string split_stem(const std::string& path, std::string* count) {
  constexpr std::string_view kForm = "-00001-of-00003.gguf";
  if (path.size() <= kForm.size()) return "";
  const std::string end = path.substr(path.size() - kForm.size());
  for (size_t i = 0; i < kForm.size(); ++i)
    if (kForm[i] >= '0' && kForm[i] <= '9' ? end[i] < '0' || end[i] > '9' : end[i] != kForm[i])
      return "";
  *count = end.substr(10, 5);
  return path.substr(0, path.size() - kForm.size());
}

/// The file to open of a folder.
std::string choose(const std::string& folder) {
  for (const char* name : {kIndex, kSingle})
    if (std::string path = folder + "/" + name; exists(path)) return path;
  std::set<std::string> models;  // a split one once
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    std::string path = entry.path().string();
    if (!path.ends_with(".gguf")) continue;
    std::string count;
    const std::string stem = split_stem(path, &count);
    if (!stem.empty()) path = stem;
    path += stem.empty() ? "" : "-00001-of-" + count + ".gguf";
    models.insert(path);
  }
  if (models.size() == 1) return *models.begin();
  fail(TW_ERROR_INVALID_ARGUMENT,
       "%s: has neither %s nor %s and %zu models of .gguf files; name one of them", folder.c_str(),
       kIndex, kSingle, models.size());
}

/// The shards of an index, or the one file `path`.
std::vector<std::string> shards_of(const std::string& path) {
  std::string index = path;
  const std::string folder = folder_of(path);
  // A shard stands for its model.
  if (path.ends_with(".safetensors")) index = folder + "/" + kIndex;
  if (path.ends_with(".safetensors") && !exists(index)) return {path};
  const MappedFile file(index);
  std::vector<std::string> names = index_files(file.bytes(), index);
  if (path.ends_with(".safetensors") &&
      std::find(names.begin(), names.end(), fs::path(path).filename().string()) == names.end())
    return {path};
  for (std::string& name : names) name.insert(0, folder + "/");
  return names;
}

/// What is stored but says nothing that the description does not.
bool is_passed_over(const std::string& name, const ModelDesc& desc) {
  return name.ends_with(".rotary_emb.inv_freq") ||
         (name == "lm_head.weight" && desc.tied_embeddings);
}

/// The text of an optional file of a folder.
MappedFile open_optional(const std::string& path) {
  return exists(path) ? MappedFile(path) : MappedFile();
}

}  // namespace

ModelFile::ModelFile(const std::string& path) {
  std::error_code error;
  path_ = fs::is_directory(path, error) ? choose(path) : path;
  if (path_.ends_with(".gguf"))
    open_gguf();
  else if (path_.ends_with(".safetensors") || path_.ends_with(".index.json"))
    open_safetensors();
  else if (!fs::exists(path_, error))
    fail(
        TW_ERROR_INVALID_ARGUMENT,
        "%s: there is no such file or folder; valid: .gguf, .safetensors, .index.json, or a folder "
        "with one",
        path_.c_str());
  else
    fail(TW_ERROR_INVALID_ARGUMENT,
         "%s: not a model's name; valid: .gguf, .safetensors, .index.json, or a folder with one",
         path_.c_str());
  check_weights();
}

ModelFile::~ModelFile() = default;

void ModelFile::add(std::string name, const Weight& weight, const std::string& path) {
  bytes_ += weight.data.size();
  if (const auto [place, added] = weights_.emplace(std::move(name), weight); !added)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: weight %s stands there twice, or in another file too",
         path.c_str(), name_text(place->first).c_str());
}

// ---- GGUF ---------------------------------------------------------------------------------------

void ModelFile::open_parts() {
  std::string digits;
  const std::string stem = split_stem(path_, &digits);
  if (stem.empty()) {
    ggufs_.push_back(std::make_unique<Gguf>(path_));
    if (const int64_t count = ggufs_[0]->integer("split.count").value_or(1); count > 1)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: key \"split.count\" is %lld, but the name is not NAME-00001-of-0000N.gguf",
           path_.c_str(), static_cast<long long>(count));
    return;
  }
  const int64_t count = std::stoll(digits);
  if (count < 1 || count > kMaxParts)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: a model of %lld files; valid: 1 to %lld", path_.c_str(),
         static_cast<long long>(count), static_cast<long long>(kMaxParts));
  for (int64_t i = 0; i < count; ++i) {
    const std::string part = stem + text("-%05lld-of-%05lld.gguf", static_cast<long long>(i) + 1,
                                         static_cast<long long>(count));
    ggufs_.push_back(std::make_unique<Gguf>(part));
    const Gguf& gguf = *ggufs_.back();
    if (gguf.integer("split.no").value_or(-1) != i ||
        gguf.integer("split.count").value_or(-1) != count)
      fail(TW_ERROR_INVALID_ARGUMENT,
           "%s: keys \"split.no\" and \"split.count\" do not say what its name says", part.c_str());
  }
}

void ModelFile::open_gguf() {
  open_parts();
  const FindGgufTensor find = [this](std::string_view name) {
    const GgufTensor* found = nullptr;
    for (const auto& gguf : ggufs_)
      if (found == nullptr) found = gguf->find_tensor(name);
    return found;
  };
  desc_ = desc_of(*ggufs_[0], find);
  const bool interleaved = desc_.family == Family::kLlama;
  for (const auto& gguf : ggufs_)
    for (const GgufTensor& tensor : gguf->tensors()) {
      if (tensor.name == "rope_freqs.weight") continue;  // in the description
      std::string name = name_of_gguf(tensor.name);
      if (name.empty())
        fail(TW_ERROR_UNSUPPORTED, "%s: tensor %s is none of a %s model's", gguf->path().c_str(),
             name_text(tensor.name).c_str(), family_name(desc_.family));
      Weight weight{tensor.rows(), tensor.row(), tensor.type, tensor.data};
      const bool turned =
          name.find("q_proj") != std::string::npos || name.find("k_proj") != std::string::npos;
      if (interleaved && turned) weight.head_size = static_cast<uint64_t>(desc_.head_size);
      add(std::move(name), weight, gguf->path());
    }
}

// ---- safetensors --------------------------------------------------------------------------------

void ModelFile::open_safetensors() {
  folder_ = folder_of(path_);
  const std::string config = folder_ + "/config.json";
  desc_ = desc_of_config(MappedFile(config).bytes(), config);
  for (const std::string& file : shards_of(path_)) {
    safetensors_.push_back(std::make_unique<Safetensors>(file));
    for (const SafeTensor& tensor : safetensors_.back()->tensors()) {
      if (is_passed_over(tensor.name, desc_)) continue;
      if (tensor.shape.empty() || tensor.shape.size() > 2)
        fail(TW_ERROR_UNSUPPORTED, "%s: tensor %s has %zu dimensions; supported: 1 and 2",
             file.c_str(), name_text(tensor.name).c_str(), tensor.shape.size());
      const uint64_t rows = tensor.shape.size() == 1 ? 1 : tensor.shape[0];
      add(tensor.name, {rows, tensor.shape.back(), tensor.type, tensor.data}, file);
    }
  }
}

// ---- Both ---------------------------------------------------------------------------------------

void ModelFile::check_weights() const {
  const std::vector<ExpectedWeight> expected = expected_weights(desc_);
  std::set<std::string_view> known;
  for (const ExpectedWeight& one : expected) {
    const Weight& found = weight(one.name);
    if (found.rows != one.rows || found.cols != one.cols)
      fail(TW_ERROR_INVALID_ARGUMENT, "%s: weight %s is %llu x %llu; the model needs %llu x %llu",
           path_.c_str(), name_text(one.name).c_str(), static_cast<unsigned long long>(found.rows),
           static_cast<unsigned long long>(found.cols), static_cast<unsigned long long>(one.rows),
           static_cast<unsigned long long>(one.cols));
    known.insert(one.name);
  }
  for (const auto& [name, weight] : weights_)
    if (known.count(name) == 0)
      fail(TW_ERROR_UNSUPPORTED, "%s: weight %s is none of such a %s model's", path_.c_str(),
           name_text(name).c_str(), family_name(desc_.family));
}

Vocabulary ModelFile::vocabulary() const {
  Vocabulary vocabulary;
  std::string source = path_;
  if (!ggufs_.empty()) {
    vocabulary = vocabulary_of(*ggufs_[0]);
  } else {
    source = folder_ + "/tokenizer.json";
    const MappedFile tokenizer(source);
    const MappedFile tokenizer_config = open_optional(folder_ + "/tokenizer_config.json");
    const MappedFile config = open_optional(folder_ + "/config.json");
    const MappedFile chat_template = open_optional(folder_ + "/chat_template.jinja");
    vocabulary = vocabulary_of({folder_, tokenizer.bytes(), tokenizer_config.bytes(),
                                config.bytes(), chat_template.bytes()});
  }
  const auto rows = static_cast<size_t>(desc_.vocab);
  if (vocabulary.tokens.size() > rows)
    fail(TW_ERROR_INVALID_ARGUMENT, "%s: %zu tokens for an embedding of %zu rows", source.c_str(),
         vocabulary.tokens.size(), rows);
  // Embeddings are often padded to a rounder number of rows.
  for (size_t i = vocabulary.tokens.size(); i < rows; ++i)
    vocabulary.tokens.push_back(text("[PAD%zu]", i));
  vocabulary.types.resize(rows, TokenType::kUnused);
  if (!vocabulary.scores.empty()) vocabulary.scores.resize(rows, 0);
  return vocabulary;
}

}  // namespace tw
