#include "tests/support/text_lines.h"

#include <array>
#include <string_view>

#include "lib/text/utf8.h"

namespace tw {
namespace {

/// SplitMix64: the standard library's distributions differ between machines.
class Draw {
 public:
  explicit Draw(uint64_t seed) : state_(seed) {}
  uint32_t below(size_t bound) {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return static_cast<uint32_t>((z ^ z >> 31) % bound);
  }
  template <size_t N>
  std::string of(const std::string_view (&list)[N]) {
    return std::string(list[below(N)]);
  }

 private:
  uint64_t state_;
};

void put(std::string& text, uint32_t point) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (point >> shift & 0x3F)); };
  if (point < 0x80) {
    text += static_cast<char>(point);
  } else if (point < 0x800) {
    text += static_cast<char>(0xC0 | point >> 6);
    tail(0);
  } else if (point < 0x10000) {
    text += static_cast<char>(0xE0 | point >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0 | point >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

struct Range {
  uint32_t first;
  uint32_t last;
};

std::string points(Draw& draw, Range range, int most) {
  std::string text;
  for (int left = 1 + static_cast<int>(draw.below(most)); left > 0; --left)
    put(text, range.first + draw.below(range.last - range.first + 1));
  return text;
}

constexpr std::string_view kWords[] = {
    "the",     "of",       "and",       "Hello",     "world",  "model",   "language",  "I",
    "running", "Paris",    "don",       "we",        "they",   "SHOUTED", "camelCase", "tokenizer",
    "naïve",   "café",     "Straße",    "coöperate", "e.g.",   "U.S.A.",  "mother",    "ice-cream",
    "however", "quick",    "brown",     "fox",       "jumps",  "over",    "lazy",      "dog",
    "once",    "upon",     "a",         "time",      "there",  "was",     "little",    "girl",
    "entropy", "gradient", "attention", "softmax",   "kernel", "GPU",     "LLaMA",     "Qwen2"};

constexpr std::string_view kCode[] = {"int main(void) {\n  return 0;\n}\n",
                                      "for (int i = 0; i < n; ++i)",
                                      "def f(x):\n    return x**2",
                                      "#include <vector>",
                                      "std::vector<std::string>&&",
                                      "x = [1, 2, 3];",
                                      "if (a != b && c >= d)",
                                      "\t\tprintf(\"%d\\n\", x);",
                                      "// a comment",
                                      "/* ... */",
                                      "SELECT * FROM t WHERE id = 'x';",
                                      "https://example.org/a?b=c&d=%20e#f",
                                      "foo_bar->baz[0].qux",
                                      "0xDEADBEEF",
                                      "1e-5f",
                                      "a+b-c*d/e",
                                      "{\"key\": [null, true, -1.5]}",
                                      "<div class=\"a\">text</div>",
                                      "$HOME/.bashrc",
                                      "@property",
                                      "C:\\Users\\x",
                                      "...",
                                      "---",
                                      "====",
                                      "!!!",
                                      "?!",
                                      "(((",
                                      "```python\n",
                                      "~/x",
                                      "a::b"};

constexpr std::string_view kContractions[] = {
    "'s",  "'t", "'re", "'ve", "'m",  "'ll",   "'d",    "'S",   "'T",      "'RE",
    "'Ve", "'M", "'lL", "'D",  "'x",  "'",     "''",    "’s",   "’t",      "'ſ",
    "'r",  "'l", "'v",  " 's", "'sa", "'REad", "don't", "I'LL", "y'all've"};

constexpr std::string_view kSpaces[] = {" ",
                                        "  ",
                                        "   ",
                                        "        ",
                                        "\t",
                                        "\t\t",
                                        " \t ",
                                        "\n",
                                        "\n\n",
                                        "\r\n",
                                        "\r",
                                        "\n \n",
                                        "  \n  ",
                                        "\v",
                                        "\f",
                                        "\xC2\xA0",
                                        "\xC2\xA0\xC2\xA0 ",
                                        "\xE3\x80\x80",
                                        "\xE2\x80\x83 ",
                                        "\xC2\x85",
                                        "\xE1\xA0\x8E",
                                        "\xE2\x80\x8B",
                                        "\xE2\x80\xA8",
                                        "\xE2\x80\xA9\n",
                                        "\xE1\x9A\x80",
                                        "\n\t\t\t",
                                        " \r\n "};

constexpr std::string_view kControls[] = {{"\0", 1},      "\x01",
                                          "\x02",         "\x06",
                                          "\x07",         "\b",
                                          "\x0E",         "\x13",
                                          "\x1B[31m",     "\x1C",
                                          "\x1D",         "\x1F",
                                          "\x7F",         "\xC2\x80",
                                          "\xC2\x9F",     "\xC2\xAD",
                                          "\xEF\xBB\xBF", "\xEF\xBF\xBD",
                                          "\xE2\x80\x8E", "\xE2\x81\xA0",
                                          "\xEE\x80\x80", "\xF3\xA0\x81\xA1",
                                          "\xEF\xBF\xBF"};

constexpr std::string_view kSpecials[] = {"<|im_start|>",
                                          "<|im_end|>",
                                          "<|endoftext|>",
                                          "<|im_start|>user\n",
                                          "<|im_end|>\n",
                                          "<repo_name>",
                                          "<reponame>",
                                          "<file_sep>",
                                          "<gh_stars>",
                                          "<jupyter_code>",
                                          "<empty_output>",
                                          "<|im_start",
                                          "im_end|>",
                                          "<|IM_START|>",
                                          "<|im_<|im_end|>",
                                          "< |im_end|>",
                                          "<<|endoftext|>>",
                                          "<s>",
                                          "</s>",
                                          "<unk>",
                                          "[INST]",
                                          "<|eot_id|>",
                                          "<extra>",
                                          "<extra><s>",
                                          "<0x0A>",
                                          "<|",
                                          "|>",
                                          "<|im_start|><|im_start|>"};

constexpr std::string_view kEmoji[] = {"😀",
                                       "👍🏽",
                                       "👨‍👩‍👧‍👦",
                                       "🏳️‍🌈",
                                       "🇩🇪",
                                       "🇫🇷🇯🇵",
                                       "1️⃣",
                                       "❤️",
                                       "❤",
                                       "🧑🏿‍🚀",
                                       "☃️",
                                       "⚡",
                                       "🤷🏻‍♀️",
                                       "©",
                                       "™",
                                       "‼️",
                                       "🐱‍👤",
                                       "▁",
                                       "▁▁"};

constexpr std::string_view kNumbers[] = {"٣٤٥", "１２３", "²³",    "½",         "Ⅷ",       "①②",
                                         "四",  "१२३",    "𝟙𝟚",    "1,234.56",  "3.14159", "1st",
                                         "2nd", "v1.2.3", "12:30", "2024-01-31"};

constexpr std::string_view kInvalid[] = {"\x80",         "\xBF\xBF", "\xFF",         "\xFE",
                                         "\xC3",         "\xE2\x82", "\xF0\x9F\x98", "\xE2",
                                         "\xC3\xC3\xA9", "\xF0",     "\xA0\xA1",     "ab\xE9t\xE9"};

constexpr Range kScripts[] = {
    {0xC0, 0xFF},       {0x100, 0x17F},     {0x391, 0x3A1},     {0x3B1, 0x3C9},
    {0x410, 0x44F},     {0x5D0, 0x5EA},     {0x620, 0x64A},     {0x905, 0x939},
    {0x93E, 0x94D},     {0xB95, 0xB95},     {0xE01, 0xE30},     {0xE31, 0xE3A},
    {0x10D0, 0x10F0},   {0x1200, 0x1240},   {0x1100, 0x1112},   {0x3041, 0x3096},
    {0x30A1, 0x30FA},   {0x4E00, 0x9FA5},   {0xAC00, 0xD7A3},   {0xFF21, 0xFF5A},
    {0x1D400, 0x1D454}, {0x20000, 0x2A6D6}, {0x12000, 0x12399}, {0x1F600, 0x1F64F},
    {0x2190, 0x21FF},   {0x2200, 0x22FF},   {0x2500, 0x257F},   {0x16A0, 0x16EA}};

std::string word(Draw& draw) {
  if (draw.below(3) != 0) return draw.of(kWords);
  std::string made = points(draw, {'a', 'z'}, 9);
  if (draw.below(4) == 0) made[0] = static_cast<char>(made[0] - 'a' + 'A');
  return made;
}

std::string piece(Draw& draw) {
  switch (draw.below(20)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return word(draw);
    case 5:
    case 6:
      return draw.of(kCode);
    case 7:
      return points(draw, {'0', '9'}, 8);
    case 8:
      return draw.of(kNumbers);
    case 9:
    case 10:
      return points(draw, kScripts[draw.below(std::size(kScripts))], 8);
    case 11:
      return draw.of(kEmoji);
    case 12:
      return word(draw) + points(draw, {0x300, 0x36F}, 3) + (draw.below(2) != 0 ? "x" : "");
    case 13:
      return word(draw) + draw.of(kContractions);
    case 14:
      return draw.of(kContractions);
    case 15:
    case 16:
      return draw.of(kSpaces);
    case 17:
      return draw.of(kControls);
    case 18:
      return draw.of(kSpecials);
    default:
      return points(draw, {'!', '~'}, 6);
  }
}

std::string line_of(Draw& draw) {
  std::string line;
  const bool invalid = draw.below(20) == 0;
  for (int left = static_cast<int>(draw.below(draw.below(200) == 0 ? 80 : 12)); left >= 0; --left) {
    line += invalid && draw.below(3) == 0 ? draw.of(kInvalid) : piece(draw);
    const uint32_t gap = draw.below(10);
    if (gap < 5) line += ' ';
    if (gap == 5) line += draw.of(kSpaces);
  }
  return line;
}

}  // namespace

std::vector<std::string> text_lines() {
  Draw draw(20250101);
  std::vector<std::string> lines;
  for (int i = 0; i < kTextLines; ++i) lines.push_back(line_of(draw));
  return lines;
}

std::string with_replacements(const std::string& line) {
  std::string result;
  for (size_t at = 0; at < line.size();) {
    const size_t size = utf8::character_size(std::string_view(line).substr(at));
    result += size == 0 ? "\xEF\xBF\xBD" : line.substr(at, size);
    at += size == 0 ? 1 : size;
  }
  return result;
}

void IdsHash::add_word(uint32_t word) {
  for (int shift = 0; shift < 32; shift += 8) {
    value_ ^= word >> shift & 0xFF;
    value_ *= 0x100000001B3u;
  }
}

void IdsHash::add(std::span<const int32_t> ids) {
  for (const int32_t id : ids) add_word(static_cast<uint32_t>(id));
  add_word(UINT32_MAX);  // the end of a line
}

}  // namespace tw
