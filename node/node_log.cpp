#include "node/node_log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "common/base/text.hpp"

namespace liminal {

void set_up_node_log(const NodeName& name, const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt(name.value()));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l node '%n': %v");
  spdlog::set_level(spdlog::level::from_str(level));
}

void log_long_turn(const LongTurn& turn, Duration turn_max) {
  const std::string what = turn.service.empty() ? "" : " of service '" + turn.service + "'";
  spdlog::warn(
      "a turn{} (process {}) has lasted {:.0f} ms, longer than turn-max ({}): a spare "
      "thread takes over the others' turns",
      what, turn.process.value(), to_ms(turn.lasted), to_string(turn_max));
}

void silence_node_log() { spdlog::set_level(spdlog::level::off); }

}  // namespace liminal
