// A turn of a process that does not end.
#pragma once

#include <string>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"

namespace liminal {

struct LongTurn {
  Serial process;
  std::string service;  // empty: the process is no instance of one
  Duration lasted;      // so far
};

}  // namespace liminal
