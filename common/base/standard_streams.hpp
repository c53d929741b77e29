// The first thing a program does: sees that its standard streams are there.
#pragma once

#include <fcntl.h>

namespace liminal {

/// Opens /dev/null, for reading, for each of stdin, stdout and stderr that is closed, so that no
/// socket gets its number and is then read or written as that stream: stdin is then empty, and
/// writing is an error as before. Call first in main().
inline void open_standard_streams() {
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", O_RDONLY);  // takes the lowest number
  }
}

}  // namespace liminal
