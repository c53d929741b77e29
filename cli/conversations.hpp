// `liminal timeline`, `conversations` and `cancel`: what the broker was told of conversations.
#pragma once

#include <cstddef>
#include <string>

#include "cli/exit_codes.hpp"
#include "common/base/ids.hpp"
#include "common/base/result.hpp"
#include "common/base/time.hpp"

namespace liminal::cli {

/// 32 hex digits, as every command prints them. Errors: kUsage, saying so.
[[nodiscard]] Result<ConversationId> conversation_argument(const std::string& text);

/// What happened in it, a line for each record, in order of cause. One that the broker was told
/// nothing of is kConversationFailed.
ExitCode timeline(const std::string& endpoint, Duration timeout, const ConversationId& conversation,
                  bool json);

/// Those that are open, and of those that ended the last `ended_max`.
ExitCode conversations(const std::string& endpoint, Duration timeout, std::size_t ended_max,
                       bool json);

/// Returns when its node has answered: kDone if it is being cancelled, kFailed if it had ended, is
/// unknown or its node is gone, kTimeout after `timeout`, kRejected while too many wait.
ExitCode cancel(const std::string& endpoint, Duration connect_timeout, Duration timeout,
                const ConversationId& conversation);

}  // namespace liminal::cli
