// Connections between the ranks of one comm that live in different processes of one machine. They
// carry file descriptors, and their hang-up tells that a rank's process died.
//
// Abstract unix sockets: no name in the file system. Only the same user (SO_PEERCRED) who knows the
// comm's key gets in.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "lib/base/deadline.h"
#include "lib/base/fd.h"
#include "lib/base/socket.h"

namespace tw::net {

/// 256 bits that only the ranks of a comm know.
using MeshKey = std::array<unsigned char, 32>;

class Mesh {
 public:
  /// Listens under a random name, which peers need.
  Mesh();

  const std::string& name() const { return name_; }

  /// Connects to every rank of `names` (by rank; empty: no connection, as for the own rank and
  /// those of this process). Every rank calls it. Throws UNREACHABLE naming both ranks,
  /// PEER_LOST, TIMEOUT.
  void connect(int rank, const std::vector<std::string>& names, const MeshKey& key,
               const Deadline& deadline);

  /// -1 when there is no connection.
  int socket(int peer) const { return sockets_[static_cast<size_t>(peer)].get(); }

  /// Passes a descriptor. The peer receives descriptors in the order of sending.
  void send_fd(int peer, const Fd& fd) const;
  Fd receive_fd(int peer, const Deadline& deadline) const;

 private:
  void connect_to(int rank, int peer, const std::string& name, const MeshKey& key,
                  const Deadline& deadline);
  void accept_one(int rank, const MeshKey& key, const std::vector<std::string>& names);
  /// Ranks above `rank` that have not connected.
  std::vector<int> missing(int rank, const std::vector<std::string>& names) const;
  void check_alive(int rank, const std::vector<std::string>& names) const;

  std::string name_;
  Socket listener_;
  std::vector<Socket> sockets_;
};

}  // namespace tw::net
