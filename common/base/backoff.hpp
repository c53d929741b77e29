// How long to wait before something refused is tried again.
#pragma once

#include <algorithm>
#include <chrono>

#include "common/base/time.hpp"

namespace liminal {

/// 5 ms, doubled at each further try without success up to 500 ms.
class Backoff {
 public:
  static constexpr Duration kFirst = std::chrono::milliseconds{5};
  static constexpr Duration kMost = std::chrono::milliseconds{500};

  /// How long to wait now; the next wait is longer.
  [[nodiscard]] Duration next() {
    const Duration wait = wait_;
    wait_ = std::min(2 * wait_, kMost);
    return wait;
  }
  /// There was success.
  void reset() { wait_ = kFirst; }

 private:
  Duration wait_ = kFirst;
};

}  // namespace liminal
