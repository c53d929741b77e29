// What handles send to a conversation's process, or to the proxy of one that is elsewhere.
#pragma once

#include <concepts>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "node/conversation/conversation_cell.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

namespace call {

/// Has one of the two waiters.
struct Send {
  MessageId id;
  Payload payload;
  SendOptions options;
  std::optional<std::pair<WaiterId, Ticket>> accepted;
  std::optional<std::pair<WaiterId, Ticket>> reply;
};
struct Receive {
  WaiterId waiter;
  Ticket ticket;
  std::optional<MessageId> request;
};
struct Abandon {
  WaiterId waiter;
  std::optional<Forgotten> forget;  // an ask's or a send's request
};
struct Close {
  std::optional<std::pair<WaiterId, Ticket>> waiter;
};
/// It shall end by its policy.
struct Cancel {
  std::string by;
};
/// Its node ends.
struct Shutdown {};
/// The last handle of one origin is gone: of the opening, or of one HandlesBack.
struct HandlesGone {};
/// There are handles again, made from a reference.
struct HandlesBack {};
/// Who keeps the timeline may know nothing of it: it says again what it is and where it stands.
struct Retell {};

}  // namespace call

using Call = std::variant<call::Send, call::Receive, call::Abandon, call::Close, call::Cancel,
                          call::Shutdown, call::HandlesGone, call::HandlesBack, call::Retell>;

class CallMessage final : public LocalMessage {
 public:
  template <class C>
  requires std::constructible_from<Call, C>
  explicit CallMessage(C the_call) : call(std::move(the_call)) {}
  Call call;
};

}  // namespace liminal
