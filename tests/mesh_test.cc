// The sockets between processes: who gets in. Ranks are threads here, each with a mesh of its own.
#include "lib/net/mesh.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/socket.h"
#include "lib/device/shared_memory.h"

namespace tw::net {
namespace {

constexpr MeshKey kKey = {1, 2, 3};
constexpr MeshKey kOtherKey = {1, 2, 4};

/// Status of Mesh::connect.
tw_status_t connect(Mesh& mesh, int rank, const std::vector<std::string>& names, const MeshKey& key,
                    int timeout_ms) {
  try {
    mesh.connect(rank, names, key, Deadline(timeout_ms));
    return TW_OK;
  } catch (const Error& error) {
    return error.status();
  }
}

/// Connects to a mesh's abstract socket and says `bytes`.
void call_on(const std::string& name, const std::string& bytes) {
  const Socket socket = Socket::open(AF_UNIX, SOCK_STREAM);
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  ASSERT_EQ(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  if (!bytes.empty()) {
    EXPECT_EQ(send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
}

TEST(Mesh, RanksWithTheKeyMeetThoughStrangersCall) {
  Mesh low, high;
  const std::vector<std::string> from_low = {"", high.name()}, from_high = {low.name(), ""};
  call_on(low.name(), "");
  call_on(low.name(), std::string(4096, 'x'));
  call_on(low.name(), std::string(300, '\0'));
  tw_status_t second = TW_ERROR_INTERNAL;
  std::thread other([&] { second = connect(high, 1, from_high, kKey, 5000); });
  EXPECT_EQ(connect(low, 0, from_low, kKey, 5000), TW_OK);
  other.join();
  EXPECT_EQ(second, TW_OK);
  // Descriptors pass, in order.
  const Fd file = create_memfd("mesh_test");
  grow_memfd(file, 4096);
  high.send_fd(0, file);
  EXPECT_EQ(lseek(low.receive_fd(1, Deadline(1000)).get(), 0, SEEK_END), 4096);
}

TEST(Mesh, ARankWithAnotherKeyIsDropped) {
  Mesh low, high;
  const std::vector<std::string> from_low = {"", high.name()}, from_high = {low.name(), ""};
  std::thread other([&] { connect(high, 1, from_high, kOtherKey, 300); });
  const tw_status_t status = connect(low, 0, from_low, kKey, 300);
  other.join();
  EXPECT_TRUE(status == TW_ERROR_TIMEOUT || status == TW_ERROR_PEER_LOST) << status;
}

TEST(Mesh, AnotherUserIsDroppedThoughItKnowsTheKey) {
  if (geteuid() != 0) return;  // only root can become another user
  Mesh low;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    if (setgid(65534) != 0 || setuid(65534) != 0) _exit(9);
    Mesh high;
    const std::string name = high.name();
    if (write(ends[1], name.data(), name.size()) < 0) _exit(8);
    _exit(connect(high, 1, {low.name(), ""}, kKey, 500) == TW_OK ? 1 : 0);
  }
  char name[64] = {};
  ASSERT_GT(read(ends[0], name, sizeof name - 1), 0);
  EXPECT_NE(connect(low, 0, {"", name}, kKey, 400), TW_OK);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace tw::net
