#include "node/node_log.hpp"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace liminal {

void set_up_node_log(const NodeName& name, const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt(name.value()));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l node '%n': %v");
  spdlog::set_level(spdlog::level::from_str(level));
}

void silence_node_log() { spdlog::set_level(spdlog::level::off); }

}  // namespace liminal
