// Names a conversation to other nodes.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "common/base/ids.hpp"
#include "common/base/result.hpp"

namespace liminal {

/// What ConversationSupervisor::attach() makes a handle of, on whatever node. It holds nothing: the
/// conversation is not kept by it, and may be over.
struct ConversationRef {
  ConversationId id;
  Pid pid;  // never local: with the incarnation that its node had when this was made

  /// One line of printable ASCII, for payloads and files: "0123...@node-a/018f.../17".
  [[nodiscard]] std::string to_string() const;

  /// Reads what to_string() writes, its hex digits in capitals too, and nothing else. Errors:
  /// kUsage.
  [[nodiscard]] static Result<ConversationRef> parse(std::string_view text);

  friend bool operator==(const ConversationRef&, const ConversationRef&) = default;
};

/// Reads the 32 hex digits that to_string(id) writes, in capitals too, and nothing else.
[[nodiscard]] std::optional<ConversationId> parse_conversation_id(std::string_view text);

}  // namespace liminal
