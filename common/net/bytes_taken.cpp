// Apart from zmq_access.cpp: the kernel's own header, newer than the C library's, goes with no
// other.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>

#include "common/net/zmq_access.hpp"

namespace liminal::net {

std::optional<std::uint64_t> bytes_taken(int fd) noexcept {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  constexpr std::size_t kEnd = offsetof(tcp_info, tcpi_bytes_acked) + sizeof info.tcpi_bytes_acked;
  if (size < kEnd) return std::nullopt;  // an old kernel
  // Nobody speaks before the greeting was acknowledged: this kernel does not count.
  if (info.tcpi_bytes_acked == 0) return std::nullopt;
  return info.tcpi_bytes_acked;
}

}  // namespace liminal::net
