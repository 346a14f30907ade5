// GGUF files: what is read, and what is refused, with the key or tensor named.
#include "lib/model/gguf.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/fuzz/gguf_input.h"
#include "tests/support/model_files.h"

namespace tw {
namespace {

constexpr uint64_t kHuge = uint64_t{1} << 60;
const auto kF32 = static_cast<uint32_t>(QuantType::kF32);

std::string refusal(const std::string& bytes, tw_status_t expected = TW_ERROR_INVALID_ARGUMENT) {
  tw_status_t status = TW_OK;
  std::string said = thrown([&] { const Gguf gguf(bytes, "FILE"); }, &status);
  EXPECT_EQ(status, expected) << said;
  EXPECT_TRUE(said.empty() || said.starts_with("FILE: ")) << said;
  return said;
}

std::string array(GgufType type, uint64_t count, const std::string& elements) {
  return raw(static_cast<uint32_t>(type)) + raw(count) + elements;
}

// ---- Reading ------------------------------------------------------------------------------------

TEST(Gguf, EveryTypeOfValue) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBytes file(version);
    file.key("u8", GgufType::kUint8, raw(uint8_t{200}))
        .key("i8", GgufType::kInt8, raw(int8_t{-100}))
        .key("u16", GgufType::kUint16, raw(uint16_t{60000}))
        .key("i16", GgufType::kInt16, raw(int16_t{-30000}))
        .key("u32", GgufType::kUint32, raw(uint32_t{4000000000}))
        .key("i32", GgufType::kInt32, raw(int32_t{-2000000000}))
        .key("u64", GgufType::kUint64, raw(uint64_t{1} << 62))
        .key("i64", GgufType::kInt64, raw(int64_t{-1} << 62))
        .key("f32", GgufType::kFloat32, raw(1.5F))
        .key("f64", GgufType::kFloat64, raw(-2.25))
        .key("bool", GgufType::kBool, raw(uint8_t{1}))
        .text("text", "h\xc3\xa9llo")
        .texts("texts", {"a", "", "bc"})
        .key("ints", GgufType::kArray,
             array(GgufType::kInt16, 2, raw(int16_t{-3}) + raw(int16_t{4})))
        .key("none", GgufType::kArray, array(GgufType::kFloat32, 0, ""));
    const std::string bytes = file.bytes(0);
    const Gguf gguf(bytes, "FILE");
    EXPECT_EQ(gguf.integer("u8"), 200);
    EXPECT_EQ(gguf.integer("i8"), -100);
    EXPECT_EQ(gguf.integer("u16"), 60000);
    EXPECT_EQ(gguf.integer("i16"), -30000);
    EXPECT_EQ(gguf.integer("u32"), 4000000000);
    EXPECT_EQ(gguf.integer("i32"), -2000000000);
    EXPECT_EQ(gguf.integer("u64"), int64_t{1} << 62);
    EXPECT_EQ(gguf.integer("i64"), int64_t{-1} << 62);
    EXPECT_EQ(gguf.number("f32"), 1.5);
    EXPECT_EQ(gguf.number("f64"), -2.25);
    EXPECT_EQ(gguf.number("u8"), 200);
    EXPECT_EQ(gguf.flag("bool"), true);
    EXPECT_EQ(gguf.text("text"), "h\xc3\xa9llo");
    const auto texts = gguf.texts("texts");
    EXPECT_EQ((std::vector<std::string_view>(texts.begin(), texts.end())),
              (std::vector<std::string_view>{"a", "", "bc"}));
    EXPECT_EQ(gguf.integers("ints"), (std::vector<int64_t>{-3, 4}));
    EXPECT_EQ(gguf.numbers("ints"), (std::vector<float>{-3, 4}));
    EXPECT_TRUE(gguf.numbers("none").empty());
    EXPECT_EQ(gguf.find("none")->count, 0u);
    EXPECT_EQ(gguf.find("nothing"), nullptr);
    EXPECT_FALSE(gguf.integer("nothing").has_value());
    EXPECT_TRUE(gguf.texts("nothing").empty());
  }
}

TEST(Gguf, AnotherKindOfValueIsNamedWithItsKey) {
  GgufBytes file;
  file.text("name", "x").number("count", 3).real("scale", 1.5F).texts("list", {"a", "b"});
  file.key("large", GgufType::kUint64, raw(~uint64_t{0})).key("yes", GgufType::kBool, raw('\1'));
  const std::string bytes = file.bytes(0);
  const Gguf gguf(bytes, "FILE");
  EXPECT_EQ(thrown([&] { (void)gguf.integer("name"); }),
            "FILE: key \"name\" is text; expected an integer below 2^63");
  EXPECT_EQ(thrown([&] { (void)gguf.text("list"); }),
            "FILE: key \"list\" is an array of 2 text; expected text");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.integer("scale"); }), "\"scale\" is float32");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.integer("large"); }), "\"large\" is uint64");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.integer("yes"); }), "\"yes\" is bool");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.number("yes"); }), "expected a number");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.flag("count"); }), "expected a bool");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.texts("count"); }), "expected an array of texts");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.integers("list"); }), "expected an array of integers");
  EXPECT_PRED2(says, thrown([&] { (void)gguf.numbers("count"); }), "expected an array of numbers");
}

TEST(Gguf, TensorsLieWhereTheFileSays) {
  GgufBytes file;
  file.number("general.alignment", 64);
  file.tensor("b", {4, 2}, kF32, 64).tensor("a", {32}, static_cast<uint32_t>(QuantType::kQ8_0), 0);
  std::string bytes = file.bytes(0);
  bytes.resize((bytes.size() + 63) / 64 * 64);
  const size_t begin = bytes.size();
  bytes.resize(begin + 96, 'x');
  const Gguf gguf(bytes, "FILE");
  ASSERT_EQ(gguf.tensors().size(), 2u);
  const GgufTensor& b = *gguf.find_tensor("b");
  EXPECT_EQ(b.dims, 2);
  EXPECT_EQ(b.row(), 4u);
  EXPECT_EQ(b.rows(), 2u);
  EXPECT_EQ(b.data.data(), bytes.data() + begin + 64);
  EXPECT_EQ(b.data.size(), 32u);
  EXPECT_EQ(gguf.find_tensor("a")->data.size(), 34u);
  EXPECT_EQ(gguf.find_tensor("c"), nullptr);
}

// ---- Refusing -----------------------------------------------------------------------------------

TEST(Gguf, WhatIsNoGgufIsRefused) {
  const std::string bytes = GgufBytes().text("k", "v").bytes(0);
  EXPECT_PRED2(says, refusal(""), "does not begin with \"GGUF\"");
  EXPECT_PRED2(says, refusal("GGML" + bytes.substr(4)), "\"GGML\"");
  EXPECT_PRED2(says, refusal("\x7f\x01\xff\n"), "\"\\x7f\\x01\\xff\\x0a\"");
  for (const uint32_t version : {0u, 1u, 4u})
    EXPECT_PRED2(says, refusal(GgufBytes(version).bytes(0), TW_ERROR_UNSUPPORTED),
                 "supported: 2 and 3");
  EXPECT_PRED2(says, refusal(GgufBytes(0x03000000).bytes(0), TW_ERROR_UNSUPPORTED), "big-endian");
}

// A file that is cut anywhere before its tensors' end is refused; nothing reads beyond the cut.
TEST(Gguf, TruncationAtEveryByteIsRefused) {
  GgufBytes file;
  file.text("text", "value").texts("texts", {"one", "two"}).number("number", 7);
  file.key("floats", GgufType::kArray, array(GgufType::kFloat32, 2, raw(1.F) + raw(2.F)));
  file.tensor("first", {8}, kF32, 0).tensor("second", {2, 2}, kF32, 32);
  const std::string bytes = file.bytes(48);
  EXPECT_EQ(refusal(bytes, TW_OK), "");
  for (size_t size = 0; size < bytes.size(); ++size) {
    // Exactly as large as it says, so that AddressSanitizer sees what is read behind it.
    const std::vector<char> cut(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    tw_status_t status = TW_OK;
    const std::string said =
        thrown([&] { const Gguf gguf(std::string_view(cut.data(), size), "FILE"); }, &status);
    EXPECT_EQ(status, TW_ERROR_INVALID_ARGUMENT) << size;
    EXPECT_FALSE(said.empty());
  }
}

TEST(Gguf, CountsAndLengthsBeyondTheFileAreRefused) {
  GgufBytes many_keys, many_tensors;
  many_keys.keys = kHuge;
  many_tensors.tensors = kHuge;
  EXPECT_PRED2(says, refusal(many_keys.bytes(64)), "1152921504606846976 keys");
  EXPECT_PRED2(says, refusal(many_tensors.bytes(64)), "1152921504606846976 tensors");
  for (const uint64_t length : {uint64_t{100}, kHuge, ~uint64_t{0}, ~uint64_t{0} - 8}) {
    EXPECT_PRED2(says, refusal(GgufBytes().key("k", GgufType::kText, raw(length)).bytes(0)),
                 "key \"k\"");
    GgufBytes name;
    name.keys = 1;
    EXPECT_PRED2(says,
                 refusal("GGUF" + raw(3) + raw(uint64_t{0}) + raw(uint64_t{1}) + raw(length) +
                         std::string(8, 'k')),
                 "key 1 of 1");
    for (const GgufType type : {GgufType::kText, GgufType::kUint8, GgufType::kFloat64})
      EXPECT_PRED2(
          says, refusal(GgufBytes().key("k", GgufType::kArray, array(type, length, "")).bytes(0)),
          "key \"k\"");
  }
}

TEST(Gguf, ValuesThatMeanNothingAreRefused) {
  EXPECT_PRED2(says, refusal(GgufBytes().key("k", static_cast<GgufType>(13), "").bytes(64)),
               "key \"k\": type 13");
  EXPECT_PRED2(says, refusal(GgufBytes().key("k", GgufType::kBool, raw('\2')).bytes(0)),
               "a bool of 2");
  EXPECT_PRED2(
      says,
      refusal(GgufBytes().key("k", GgufType::kArray, array(GgufType::kArray, 1, "")).bytes(64),
              TW_ERROR_UNSUPPORTED),
      "key \"k\": an array of arrays");
  EXPECT_PRED2(says, refusal(GgufBytes().number("twice", 1).text("twice", "x").bytes(0)),
               "key \"twice\": stands there twice");
  for (const uint32_t alignment : {0u, 3u, 1u << 17})
    EXPECT_PRED2(says, refusal(GgufBytes().number("general.alignment", alignment).bytes(0)),
                 "\"general.alignment\"");
  EXPECT_PRED2(says, refusal(GgufBytes().text("general.alignment", "32").bytes(0)),
               "\"general.alignment\"");
}

TEST(Gguf, TensorsThatDoNotFitAreRefused) {
  const auto one = [](const std::vector<uint64_t>& shape, uint32_t type, uint64_t offset,
                      tw_status_t status = TW_ERROR_INVALID_ARGUMENT) {
    std::string said = refusal(GgufBytes().tensor("T", shape, type, offset).bytes(64), status);
    EXPECT_NE(said.find("tensor \"T\": "), std::string::npos) << said;
    return said;
  };
  EXPECT_PRED2(says, one({8}, kF32, 16), "not a multiple of the alignment");
  EXPECT_PRED2(says, one({8}, kF32, 64), "beyond the file's end");
  EXPECT_PRED2(says, one({17}, kF32, 0), "beyond the file's end");
  EXPECT_PRED2(says, one({1}, kF32, ~uint64_t{31}), "beyond the file's end");
  EXPECT_PRED2(says, one({16}, kF32, ~uint64_t{31}), "beyond the file's end");
  EXPECT_PRED2(says, one({kHuge >> 1}, kF32, 0), "beyond the file's end");
  EXPECT_PRED2(says, one({uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0), "beyond 2^60 elements");
  EXPECT_PRED2(says, one({~uint64_t{0}, 2, 3, 4}, kF32, 0), "beyond 2^60 elements");
  EXPECT_PRED2(says, one({4, 0}, kF32, 0), "an empty shape [4, 0]");
  EXPECT_PRED2(says, one({}, kF32, 0), "0 dimensions");
  EXPECT_PRED2(says, one({1, 1, 1, 1, 1}, kF32, 0), "5 dimensions");
  EXPECT_PRED2(says, one({33}, static_cast<uint32_t>(QuantType::kQ4_0), 0),
               "Q4_0 needs multiples of 32");
  EXPECT_PRED2(says, one({256}, 10, 0, TW_ERROR_UNSUPPORTED), "type 10; supported: F32 F16 Q4_0");
  EXPECT_PRED2(says, one({8}, ~0u, 0, TW_ERROR_UNSUPPORTED), "type 4294967295");
  EXPECT_PRED2(says,
               refusal(GgufBytes().tensor("T", {1}, kF32, 0).tensor("T", {1}, kF32, 32).bytes(64)),
               "tensor \"T\": stands there twice");
  EXPECT_PRED2(says,
               refusal(GgufBytes().tensor("A", {1}, kF32, 32).tensor("B", {9}, kF32, 0).bytes(64)),
               "tensor \"A\": overlaps tensor \"B\"");
  EXPECT_PRED2(says,
               refusal(GgufBytes().tensor("A", {1}, kF32, 0).tensor("B", {1}, kF32, 0).bytes(64)),
               "overlaps");
}

TEST(Gguf, WhatIsNoFileIsRefused) {
  EXPECT_PRED2(says, thrown([] { const Gguf gguf("/nonexistent/x.gguf"); }), "/nonexistent/x.gguf");
  EXPECT_PRED2(says, thrown([] { const Gguf gguf("tests"); }), "not a regular file");
}

// As many as the largest vocabularies have.
TEST(Gguf, LargeVocabulariesAreRead) {
  std::vector<std::string> tokens(150000);
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = "token" + std::to_string(i);
  const std::string bytes = GgufBytes().texts("a", tokens).texts("b", tokens).bytes(0);
  const Gguf gguf(bytes, "FILE");
  EXPECT_EQ(gguf.texts("a").size(), 150000u);
  EXPECT_EQ(gguf.texts("b")[149999], "token149999");
}

TEST(Gguf, SeedsOfTheFuzzTargetAreAccepted) {
  EXPECT_EQ(refused_seeds("gguf", fuzz::run_gguf_input), "");
}

}  // namespace
}  // namespace tw
