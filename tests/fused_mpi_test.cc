// GEMM, the fused ops and programs with a process a rank, under mpirun with any number of ranks.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <gtest/gtest.h>
#include <mpi.h>

#include <cstdlib>
#include <vector>

#include "tests/runner/gemm_runner.h"
#include "tests/support/program_block.h"
#include "tilewire/mpi.h"

namespace tw::test {
namespace {

class FusedMpi : public testing::TestWithParam<GemmOp> {};

TEST_P(FusedMpi, Cases) {
  const std::vector<GemmCase> cases = few_gemm_cases(GetParam());
  for (const char* path : {"one_shot", "via_owner"}) {
    setenv("TW_FUSED", "always", 1);
    setenv("TW_FUSED_PATH", path, 1);
    tw_comm_t comm = nullptr;
    ASSERT_EQ(tw_comm_create_mpi(MPI_COMM_WORLD, nullptr, &comm), TW_OK) << tw_last_error();
    int size = 0;
    tw_comm_size(comm, &size);
    run_gemm_cases(cases, work_out(cases, size), comm, path);
    EXPECT_EQ(tw_comm_destroy(comm), TW_OK) << tw_last_error();
  }
}

TEST(ProgramMpi, HasTheBitsOfTheCalls) {
  tw_comm_t comm = nullptr;
  ASSERT_EQ(tw_comm_create_mpi(MPI_COMM_WORLD, nullptr, &comm), TW_OK) << tw_last_error();
  for (const BlockCase& c : {BlockCase{5, 33, 40, TW_BF16, TW_BF16, Places::kWindow},
                             BlockCase{70, 40, 50, TW_FP32, TW_BF16, Places::kProgram}}) {
    ProgramBlockRank part(comm, c);
    for (const uint32_t rows : {c.rows, uint32_t{2}}) {
      part.fill(rows);
      ASSERT_EQ(tw_program_launch(part.program(), rows, nullptr), TW_OK) << tw_last_error();
      EXPECT_EQ(part.other_bits(rows), "") << name_of(c) << ", " << rows << " rows";
    }
  }
  EXPECT_EQ(tw_comm_destroy(comm), TW_OK) << tw_last_error();
}

INSTANTIATE_TEST_SUITE_P(Ops, FusedMpi, testing::ValuesIn(kGemmOps),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace tw::test

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  MPI_Finalize();
  return result;
}
