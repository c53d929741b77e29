// The process that stands for a conversation of another node.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "common/base/backoff.hpp"
#include "node/conversation/conversation_calls.hpp"
#include "node/conversation/conversation_ref.hpp"
#include "node/conversation/remote_calls.hpp"
#include "node/conversation/remote_state.hpp"
#include "node/remote/directory.hpp"

namespace liminal {

/// Takes the CallMessages that a ConversationProcess takes, has the conversation carry them out,
/// and publishes the states that it tells.
///
/// Each call is kept until it was answered: what was deferred is sent again, in order. A reply that
/// comes when its caller has given up goes back, and a request whose acceptance does is withdrawn.
/// What was deferred and is given up is not sent again. When the way to the conversation is lost,
/// every caller is told that the outcome is unknown. When its node stops, the conversation is told
/// of every outcome that reached its caller, so that nothing of that is withdrawn. It ends, and
/// leaves nothing, when the conversation is over or lost, or when its last handle is gone and
/// nothing that was called is unanswered.
///
/// Bounds: kCallsMax calls, with those whose outcome is still to be acknowledged, and as many that
/// give one up. What the other end says wrongly ends the attachment, and nothing else.
class ConversationProxy final : public Process {
 public:
  /// `ended` is called once, at its end.
  ConversationProxy(ConversationRef ref, std::shared_ptr<ConversationCell> cell,
                    const Directory& directory, std::function<void()> ended);
  ~ConversationProxy() override;

  static constexpr std::size_t kCallsMax = 65536;

  void on_start(Context& context) override;
  void handle(Context& context, Message message) override;

 private:
  /// A call under way.
  struct Sent {
    Envelope envelope;
    std::optional<std::pair<WaiterId, Ticket>> waiter = {};
    bool gets_reply = false;           // rather than nothing
    bool forget = false;               // a request: given up, nobody will ask for its reply
    bool abandoned = false;            // it was given up
    std::optional<MessageId> of = {};  // Abandon only: the call that was given up
  };
  using Number = std::uint64_t;  // in the order of the calls

  void on_message(Context& context, message::Received received);
  void on_message(Context&, message::Exited) {}  // it is linked to nobody
  void on_message(Context& context, message::Down down);
  void on_message(Context& context, message::Refused refused);
  void on_message(Context& context, message::TimerFired fired);
  void on_message(Context&, message::Spawned) {}
  void on_message(Context&, message::Cancelled) {}  // it is asked for nothing
  void on_message(Context& context, LocalMessagePtr local);

  void on_call(Context& context, call::Send send);
  void on_call(Context& context, call::Receive receive);
  void on_call(Context& context, call::Abandon abandon);
  void on_call(Context& context, call::Close close);
  void on_call(Context& context, call::Cancel cancel);
  void on_call(Context& context, call::Shutdown);
  void on_call(Context& context, call::HandlesGone);
  void on_call(Context&, call::HandlesBack) {}
  void on_call(Context&, call::Retell) {}  // its own node tells of it

  [[nodiscard]] bool admit(std::optional<std::pair<WaiterId, Ticket>>& waiter);
  void call(Context& context, const RemoteCall& what, Sent sent);
  [[nodiscard]] Sent fresh(Context& context) const;
  void transmit(Context& context, Number number, const Sent& sent);
  void repeat(Context& context, std::size_t count);
  void watch(Context& context);
  void give_up(Context& context, const MessageId& call, bool forget);

  [[nodiscard]] Result<void> on_outcome(Context& context, const MessageId& call,
                                        remote_outcome::Taken taken, const Payload& state);
  [[nodiscard]] Result<void> on_outcome(Context& context, const MessageId& call,
                                        remote_outcome::Reply, const Payload& reply);
  [[nodiscard]] Result<void> on_outcome(Context& context, const MessageId& call,
                                        const remote_outcome::Failed& failed, const Payload& state);
  [[nodiscard]] Result<void> on_outcome(Context& context, const MessageId& call,
                                        remote_outcome::State, const Payload& state);
  [[nodiscard]] Result<void> take_outcome(Context& context, Envelope envelope);
  /// A reply, or what stands for one.
  [[nodiscard]] Result<void> hand_on(Context& context, const MessageId& call, Outcome outcome);
  void refused(Context& context, const Error& error);
  [[nodiscard]] Result<void> publish(Context& context, const Payload& state);
  void settle(Context& context, const MessageId& call, Outcome outcome);
  void erase(const MessageId& call);
  [[nodiscard]] std::size_t under_way() const { return calls_.size() + received_.size(); }
  [[nodiscard]] remote_call::Received take_received();
  void acknowledge(Context& context);
  void acknowledge_all(Context& context);
  void drop_deferred(Context& context, Number number);
  void lose(Context& context, std::string why, bool over);
  void end_if_done(Context& context);

  const ConversationRef ref_;
  const std::shared_ptr<ConversationCell> cell_;
  const Directory& directory_;
  const std::function<void()> ended_;

  std::map<Number, Sent> calls_;
  std::map<MessageId, Number> numbers_;
  std::map<WaiterId, Number> waiters_;
  Number next_ = 0;
  std::set<Number> deferred_;  // to be sent again
  std::optional<TimerId> repeat_timer_;
  Backoff repeat_after_;

  ClockDifference clocks_;
  std::optional<MessageId> watch_;   // the one call that is not waited for
  std::vector<MessageId> received_;  // replies and acceptances, to be acknowledged
  std::optional<MessageId> acknowledging_;
  std::vector<std::string> roles_;  // as first told: they never change
  bool handles_gone_ = false, detached_ = false, over_ = false;
};

}  // namespace liminal
