#include "lib/model/step_note.h"

#include <algorithm>
#include <bit>

#include "lib/base/error.h"

namespace tw {
namespace {

constexpr const char* kNumbers[] = {"rows",        "sequences",  "logit_rows",
                                    "first_layer", "last_layer", "logits_to",
                                    "hidden_in",   "hidden_out", "log_probability"};

class Digest {
 public:
  void add(uint64_t word) {
    hash_ = (hash_ ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    hash_ ^= hash_ >> 29;
  }
  uint64_t value() const { return hash_ | 1; }

 private:
  uint64_t hash_ = UINT64_C(0x243F6A8885A308D3);
};

template <class T>
uint64_t digest_of(const T* values, size_t n) {
  if (values == nullptr) return 0;
  Digest digest;
  for (size_t i = 0; i < n; ++i) digest.add(static_cast<uint64_t>(values[i]));
  return digest.value();
}

uint64_t digest_of(const RowSampling* rows, size_t n) {
  if (rows == nullptr) return 0;
  Digest digest;
  for (size_t i = 0; i < n; ++i) {
    digest.add(std::bit_cast<uint32_t>(rows[i].temperature));
    digest.add(std::bit_cast<uint32_t>(rows[i].top_p));
    digest.add(static_cast<uint64_t>(rows[i].top_k));
    digest.add(static_cast<uint64_t>(rows[i].slot));
    digest.add(rows[i].seed);
  }
  return digest.value();
}

}  // namespace

uint64_t StepNote::digest() const {
  Digest digest;
#define TW_STEP_NOTE_ADD(name) digest.add(name);
  TW_STEP_NOTE_MAP(TW_STEP_NOTE_ADD)
#undef TW_STEP_NOTE_ADD
  return digest.value();
}

StepNote note_of(const Step& s, const ModelDesc& desc) {
  StepNote n;
  n.rows = s.rows;
  n.sequences = s.sequences;
  n.logit_rows = s.logit_rows;
  n.first_layer = s.first_layer;
  n.last_layer = std::min(s.last_layer, static_cast<uint32_t>(desc.layers));
  n.logits_to = static_cast<uint64_t>(s.logits_to);
  n.hidden_in = s.hidden_in != nullptr;
  n.hidden_out = s.hidden_out != nullptr;
  n.log_probability = s.log_probability != nullptr;
  if (s.hidden_in == nullptr) n.tokens = digest_of(s.tokens, s.rows);
  n.positions = digest_of(s.positions, s.rows);
  n.slots = digest_of(s.slots, s.rows);
  n.query_begin = digest_of(s.query_begin, s.sequences + size_t{1});
  n.page_begin = digest_of(s.page_begin, s.sequences + size_t{1});
  n.pages = digest_of(s.pages, s.page_begin[s.sequences]);
  n.logit_row = digest_of(s.logit_row, s.logit_rows);
  n.sampling = digest_of(s.sampling, s.logit_rows);
  const size_t words = (static_cast<size_t>(desc.vocab) + 31) / 32;
  n.allowed = digest_of(s.allowed, s.logit_rows * words);
  return n;
}

std::string difference(const StepNote& note, const StepNote& other) {
  std::string words;
  const auto add = [&](const char* name, uint64_t value, uint64_t theirs) {
    if (value == theirs) return;
    if (!words.empty()) words += ", ";
    const bool number = std::find_if(std::begin(kNumbers), std::end(kNumbers), [&](const char* n) {
                          return std::string(n) == name;
                        }) != std::end(kNumbers);
    if (number)
      words += text("%s %llu", name, static_cast<unsigned long long>(value));
    else if (value == 0)
      words += text("no %s", name);
    else
      words += text("%s #%08x", name, static_cast<unsigned>(value >> 32));
  };
#define TW_STEP_NOTE_DIFFERS(name) add(#name, note.name, other.name);
  TW_STEP_NOTE_MAP(TW_STEP_NOTE_DIFFERS)
#undef TW_STEP_NOTE_DIFFERS
  return words;
}

}  // namespace tw
