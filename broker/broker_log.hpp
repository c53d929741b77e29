// What the broker says on stderr.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/effects.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"

namespace liminal::broker {

/// Configures the log of the process: to stderr, from `level` on ("debug", "info", "warning",
/// "error", "off"). Errors: kUsage.
[[nodiscard]] Result<void> set_up_log(std::string_view level);

/// Writes what happened. What a hostile peer can cause without end (bad frames, refusals) takes at
/// most kHostileLinesPerSecond lines; how many were left out is said with the next.
/// Thread affinity: the loop's thread.
class BrokerLog {
 public:
  static constexpr int kHostileLinesPerSecond = 10;

  void event(const Effect& effect, std::string_view peer, TimePoint now);
  void serves(Epoch epoch, const std::vector<std::string>& endpoints);
  void insecure(const std::vector<std::string>& endpoints);
  void was_late(Duration lag);
  /// A peer does not take its control frames: its connection was cut.
  void gave_up(ConnectionId connection);
  /// It asked and was not answered, for answers wait that it, or others that ask, did not read.
  void withheld(ConnectionId connection, TimePoint now);
  void socket_error(const Error& error, TimePoint now);
  void stops();

 private:
  [[nodiscard]] bool may_write(TimePoint now);

  std::optional<TimePoint> window_;
  int written_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace liminal::broker
