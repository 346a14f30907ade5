// tilewire/mpi.h: comms of MPI communicators. Run under mpirun with any number of ranks.
#define OMPI_SKIP_MPICXX 1
#define MPICH_SKIP_MPICXX 1
#include <gtest/gtest.h>
#include <mpi.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "tilewire/mpi.h"

namespace {

// Makes a comm of `mpi` and checks that it has the same ranks.
void expect_same_ranks(MPI_Comm mpi) {
  int n = 0, rank = 0, comm_n = -1, comm_rank = -1;
  MPI_Comm_size(mpi, &n);
  MPI_Comm_rank(mpi, &rank);
  tw_comm_t comm;
  ASSERT_EQ(tw_comm_create_mpi(mpi, nullptr, &comm), TW_OK) << tw_last_error();
  EXPECT_EQ(tw_comm_size(comm, &comm_n), TW_OK);
  EXPECT_EQ(tw_comm_rank(comm, &comm_rank), TW_OK);
  EXPECT_EQ(comm_n, n);
  EXPECT_EQ(comm_rank, rank);
  EXPECT_EQ(tw_comm_destroy(comm), TW_OK) << tw_last_error();
}

TEST(BootMpi, World) { expect_same_ranks(MPI_COMM_WORLD); }

TEST(BootMpi, EachAlone) { expect_same_ranks(MPI_COMM_SELF); }

TEST(BootMpi, PartsAndOtherOrders) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  for (const int parts : {1, 2}) {
    MPI_Comm part;
    MPI_Comm_split(MPI_COMM_WORLD, rank % parts, -rank, &part);
    expect_same_ranks(part);
    MPI_Comm_free(&part);
  }
}

TEST(BootMpi, CommsThatAreNone) {
  tw_comm_t comm;
  EXPECT_EQ(tw_comm_create_mpi(MPI_COMM_NULL, nullptr, &comm), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("MPI_COMM_NULL"), std::string::npos);
}

int root_threads() {
  int count = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name;
    std::getline(std::ifstream(task.path() / "comm"), name);
    count += name == "tw-root";
  }
  return count;
}

TEST(BootMpi, RefusedBeforeItJoinsNobodyListensOn) {
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  config.workers = -7;
  tw_comm_t comm;
  EXPECT_EQ(tw_comm_create_mpi(MPI_COMM_SELF, &config, &comm), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("-7"), std::string::npos) << tw_last_error();
  int threads = 1;  // slept first: a thread that has just begun has no name yet
  for (int i = 0; i < 500 && threads != 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    threads = root_threads();
  }
  EXPECT_EQ(threads, 0);
}

TEST(BootMpi, NobodyWaitsForARankZeroThatWasRefused) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  tw_comm_config_t config = TW_COMM_CONFIG_INIT;
  if (rank == 0) config.workers = -7;
  tw_comm_t comm;
  const auto begin = std::chrono::steady_clock::now();
  const tw_status_t status = tw_comm_create_mpi(MPI_COMM_WORLD, &config, &comm);
  if (rank == 0)
    EXPECT_EQ(status, TW_ERROR_INVALID_ARGUMENT) << tw_last_error();
  else  // it had arrived before rank 0 was refused, or came after
    EXPECT_TRUE(status == TW_ERROR_ABORTED || status == TW_ERROR_PEER_LOST) << tw_last_error();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

// Nobody waits for an id that rank 0 could not make.
TEST(BootMpi, FailureOfRankZeroReachesAll) {
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == 0) setenv("TW_BOOT_INTERFACE", "nonesuch7", 1);
  tw_comm_t comm;
  EXPECT_EQ(tw_comm_create_mpi(MPI_COMM_WORLD, nullptr, &comm), TW_ERROR_INVALID_ARGUMENT);
  EXPECT_NE(std::string(tw_last_error()).find("nonesuch7"), std::string::npos) << tw_last_error();
  unsetenv("TW_BOOT_INTERFACE");
  expect_same_ranks(MPI_COMM_WORLD);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  MPI_Finalize();
  return result;
}
