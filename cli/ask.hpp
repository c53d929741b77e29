// `liminal ask` and `liminal converse`: one conversation, its requests and their replies.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit_codes.hpp"
#include "cli/light_node.hpp"

namespace liminal::cli {

/// One request, one reply on stdout, byte for byte. Without `payload` stdin is the payload.
ExitCode ask(SignalWatch& signals, const ConversationOptions& options, const ServiceName& service,
             const std::optional<std::string>& payload);

/// A request per line of stdin, its reply as a line on stdout, in order; up to `window` in flight.
/// With several services each line names its own, and is sent when the one before was answered.
ExitCode converse(SignalWatch& signals, const ConversationOptions& options,
                  const std::vector<ServiceName>& services, std::size_t window);

}  // namespace liminal::cli
