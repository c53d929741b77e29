// The JSON that commands print; SURFACE's shapes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/timeline_view.hpp"
#include "common/base/payload.hpp"
#include "common/base/result.hpp"
#include "common/wire/control.hpp"
#include "node/conversation/conversation_types.hpp"

namespace liminal::cli {

/// One line: {"broker": {...}, "nodes": [...]}.
[[nodiscard]] std::string status_json(const std::string& endpoint,
                                      const control::StatusReply& status);

/// One line: what one request came to, and what is known of its conversation. A reply that is not
/// UTF-8 is written as "reply_base64".
[[nodiscard]] std::string outcome_json(const ConversationState& conversation,
                                       const Result<Payload>& outcome);

/// One line: {"conversation", ..., "records": [...]}.
[[nodiscard]] std::string timeline_json(const Timeline& timeline);
/// One line: {"conversations": [...], "forgotten"}.
[[nodiscard]] std::string conversations_json(
    const std::vector<control::ConversationSummary>& summaries, std::uint64_t forgotten);

/// RFC 4648, with padding.
[[nodiscard]] std::string base64(std::string_view bytes);

}  // namespace liminal::cli
