// The parser and the decoder: whole modules of ours, and what they say of texts that are wrong.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "lib/vgpu/isa/decode.h"
#include "lib/vgpu/ptx/error.h"

namespace tw::vgpu {
namespace {

constexpr const char* kHead = ".version 9.0\n.target sm_90a\n.address_size 64\n";

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// What decoding all entries of `text` throws; "" when nothing.
std::string error_of(const std::string& text) {
  try {
    const std::shared_ptr<const ptx::Module> module = ptx::parse(text);
    for (const ptx::Function& function : module->functions)
      if (function.is_entry && function.has_body) decode(module, function.name);
  } catch (const ptx::Error& error) {
    return error.what();
  }
  return "";
}

std::string body_error(const std::string& body) {
  return error_of(kHead + (".entry x(.param .u64 p)\n{\n.reg .b16 %h<4>; .reg .b32 %r<4>; "
                           ".reg .b64 %d<4>; .reg .pred %p<4>;\n" +
                           body + "\n}\n"));
}

TEST(Ptx, EveryFixtureDecodes) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("tests/fixtures/vgpu")) {
    EXPECT_EQ(error_of(read(entry.path())), "") << entry.path();
    ++count;
  }
  EXPECT_GE(count, 4);
}

/// All of our own kernels, where nvcc has built them.
TEST(Ptx, EveryKernelDecodes) {
  if (!std::filesystem::exists("build/gpu"))
    GTEST_SKIP() << "GPU targets are not built: nvcc not found";
  for (const auto& entry : std::filesystem::recursive_directory_iterator("build/gpu")) {
    if (entry.path().extension() != ".ptx") continue;
    EXPECT_EQ(error_of(read(entry.path())), "") << entry.path();
  }
}

TEST(Ptx, LinesAreNamedWithTheirText) {
  struct Row {
    const char* body;
    const char* says;
  };
  const Row rows[] = {
      {"frob.b32 %r0, %r1;",
       "PTX line 7: the instruction 'frob' is not supported: frob.b32 %r0, %r1"},
      {"add.s32.wide %r0, %r1, %r2;", "the modifier .wide is not supported here"},
      {"add.s32 %r0, %r1;", "operand 3 is missing"},
      {"add.s32 %r0, %r1, %r2, %r3;", "4 operands where the form has 3"},
      {"add.s32 %r0, %r1, %d2;", "'%d2' has 8 bytes, the instruction takes 4"},
      {"add.s32 %r0, %r1, %r9;", "the operand '%r9' is not known here"},
      {"add.s32 %r0, %r1, [%r2];", "an operand must be a register or a constant"},
      {"mov.pred %p0, %r1;", "a predicate must stand here"},
      {"@%r0 ret;", "the guard '%r0' is no predicate"},
      {"bra NOWHERE;", "a label of this function must stand here"},
      {"ld.global.v4.u32 {%r0, %r1}, [%d0];", "2 registers where there are 4 elements"},
      {"ld.param.u64 %d0, [p+8];", "beyond the parameter's 8 bytes"},
      {"call other;", "the module has no function 'other' with a body"},
      {"cp.async.ca.shared.global [%r0], [%d0], 12;",
       "12 bytes: valid are 16 and, with .ca, 4 and 8"},
      {"tcgen05.fence::before_thread_sync;", "the instruction 'tcgen05' is not supported"},
      {"A: ret; A: ret;", "the label 'A' stands twice"},
      {".reg .b32 %r<2>;", "'%r' is declared twice"},
      {"add.s32 %r0, %r1, 0q;", "'0q' is no number of at most 64 bits"},
      {"/* no end", "a comment that begins here has no */"},
  };
  for (const Row& row : rows)
    EXPECT_NE(body_error(row.body).find(row.says), std::string::npos)
        << row.body << " gave: " << body_error(row.body);
}

TEST(Ptx, RecursionIsRefused) {
  const std::string text = std::string(kHead) +
                           ".func f() { call g; ret; }\n.func g() { call f; ret; }\n"
                           ".entry x() { call f; ret; }\n";
  // A call needs a declaration before it, as nvcc writes it.
  EXPECT_NE(error_of(text).find("calls itself: recursion is not supported"), std::string::npos)
      << error_of(text);
}

TEST(Ptx, ScopesHideNames) {
  EXPECT_EQ(body_error("{ .reg .b32 t; mov.u32 t, 1; L: add.u32 %r0, t, 1; bra L; }\n"
                       "{ .reg .b64 t; mov.u64 t, 1; L: add.u64 %d0, t, 1; bra L; }\nret;"),
            "");
}

TEST(Ptx, AnyCutIsAnErrorOrAModule) {
  const std::string text = read("tests/fixtures/vgpu/wgmma_gemm.ptx");
  ASSERT_GT(text.size(), 1000u);
  for (size_t length = 0; length < text.size(); length += 97) error_of(text.substr(0, length));
  // A character lost anywhere is no crash either.
  for (size_t at = 0; at < text.size(); at += 61) {
    std::string cut = text;
    cut.erase(at, 1);
    error_of(cut);
  }
}

}  // namespace
}  // namespace tw::vgpu
