// Byte-level BPE: a word's bytes, joined by the list of merges, the first of the list first.
#include <bit>
#include <utility>

#include "lib/base/error.h"
#include "lib/text/byte_alphabet.h"
#include "lib/text/merge.h"
#include "lib/text/token_model.h"
#include "lib/text/words.h"

namespace tw {
namespace {

using Rank = uint32_t;

/// What two pieces become, by open addressing: a look-up for every pair of neighbours is what
/// encoding costs.
class PairTable {
 public:
  explicit PairTable(size_t pairs) : slots_(std::bit_ceil(2 * pairs + 2), Slot{kEmpty, {}}) {}

  /// The first of equal pairs stays.
  void insert(int32_t left, int32_t right, Merged<Rank> merged) {
    Slot& slot = slots_[place(key_of(left, right))];
    if (slot.key == kEmpty) slot = {key_of(left, right), merged};
  }

  std::optional<Merged<Rank>> find(int32_t left, int32_t right) const {
    const Slot& slot = slots_[place(key_of(left, right))];
    if (slot.key == kEmpty) return std::nullopt;
    return slot.merged;
  }

 private:
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key;
    Merged<Rank> merged;
  };

  static uint64_t key_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  /// Where `key` stands, or the empty slot where it would.
  size_t place(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    // Fibonacci hashing: the high bits of the product depend on all bits of the key.
    size_t at = (key * 0x9E3779B97F4A7C15u >> 20) & mask;
    while (slots_[at].key != kEmpty && slots_[at].key != key) at = (at + 1) & mask;
    return at;
  }

  std::vector<Slot> slots_;
};

class BytePairs : public TokenModel {
 public:
  explicit BytePairs(const Vocabulary& vocabulary);
  void encode(std::string_view text, std::vector<int32_t>& ids) const override;

 private:
  struct Scratch {
    std::vector<MergeSymbol> symbols;
    std::vector<MergeCandidate<Rank>> heap;
  };

  void encode_word(std::string_view word, Scratch& scratch, std::vector<int32_t>& ids) const;
  int32_t token_of(const std::string& bytes) const;
  void read_merges(const Vocabulary& vocabulary);

  WordPattern pattern_;
  std::unordered_map<std::string, int32_t> tokens_;  // by the bytes they stand for
  // A piece is what merges take and give; not every one is a token. The first 256 are the bytes.
  PairTable pairs_;
  std::vector<int32_t> token_of_piece_;  // -1: none
};

BytePairs::BytePairs(const Vocabulary& vocabulary)
    : pattern_(vocabulary.pre), pairs_(vocabulary.merges.size()) {
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    std::optional<std::string> bytes = bytes_of_letters(vocabulary.tokens[id]);
    // Of equal tokens the first is used; the others can only be decoded.
    if (bytes && !bytes->empty()) tokens_.try_emplace(std::move(*bytes), static_cast<int32_t>(id));
  }
  read_merges(vocabulary);
}

int32_t BytePairs::token_of(const std::string& bytes) const {
  const auto found = tokens_.find(bytes);
  return found == tokens_.end() ? -1 : found->second;
}

void BytePairs::read_merges(const Vocabulary& vocabulary) {
  std::unordered_map<std::string, int32_t> pieces;
  const auto piece_of = [&](const std::string& bytes) {
    const auto [found, is_new] = pieces.try_emplace(bytes, static_cast<int32_t>(pieces.size()));
    if (is_new) token_of_piece_.push_back(token_of(bytes));
    return found->second;
  };
  for (int byte = 0; byte < 256; ++byte) piece_of(std::string(1, static_cast<char>(byte)));
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string_view merge = vocabulary.merges[rank];
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size())
      fail(TW_ERROR_INVALID_ARGUMENT, "merge %zu \"%s\" is not two parts with a space between",
           rank, vocabulary.merges[rank].c_str());
    const auto left = bytes_of_letters(merge.substr(0, space));
    const auto right = bytes_of_letters(merge.substr(space + 1));
    if (!left || !right) continue;  // no text has such characters after the bytes were spelled out
    const int32_t a = piece_of(*left);
    const int32_t b = piece_of(*right);
    pairs_.insert(a, b, {static_cast<Rank>(rank), piece_of(*left + *right)});
  }
}

void BytePairs::encode(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<std::string_view> words;
  pattern_.split(text, words);
  Scratch scratch;
  WordCache met;
  for (const std::string_view word : words) {
    if (met.repeat(word, ids)) continue;
    const size_t begin = ids.size();
    encode_word(word, scratch, ids);
    met.keep(word, begin, ids);
  }
}

void BytePairs::encode_word(std::string_view word, Scratch& scratch,
                            std::vector<int32_t>& ids) const {
  if (pattern_.whole_words()) {
    const int32_t token = token_of(std::string(word));
    if (token >= 0) {
      ids.push_back(token);
      return;
    }
  }
  scratch.symbols.clear();
  const auto size = static_cast<int32_t>(word.size());
  for (int32_t i = 0; i < size; ++i)
    scratch.symbols.push_back({static_cast<uint32_t>(i), 1, static_cast<unsigned char>(word[i]),
                               i - 1, i + 1 < size ? i + 1 : -1});
  merge_symbols(scratch.symbols, scratch.heap,
                [&](const MergeSymbol& left, const MergeSymbol& right) {
                  return pairs_.find(left.id, right.id);
                });
  for (const MergeSymbol& symbol : scratch.symbols) {
    if (symbol.size == 0) continue;
    const int32_t token = token_of_piece_[symbol.id];
    if (token >= 0) {
      ids.push_back(token);
      continue;
    }
    // A merge that gave no token is taken back; a byte without one is left out.
    for (const char byte : word.substr(symbol.begin, symbol.size)) {
      const int32_t single = token_of_piece_[static_cast<unsigned char>(byte)];
      if (single >= 0) ids.push_back(single);
    }
  }
}

}  // namespace

std::unique_ptr<const TokenModel> make_byte_pairs(const Vocabulary& vocabulary) {
  return std::make_unique<const BytePairs>(vocabulary);
}

}  // namespace tw
