// The handles that other nodes have of one conversation, as its process sees them.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/base/backoff.hpp"
#include "node/conversation/conversation_cell.hpp"
#include "node/conversation/remote_calls.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// Turns the calls of proxies into the inputs that local calls become, and sends each its outcome.
///
/// A holder is a proxy that attached; it is monitored, and with its end all that it waited for is
/// given up, while replies that were not sent to it stay. A reply that was sent is kept until the
/// holder says that its caller got it, or that it did not: then it comes back. If the holder ends
/// before it said either the reply is dropped, and counted: it may have reached its caller, and
/// shall not reach two.
///
/// A request that was taken is withdrawn if its caller gave up before it learned that: if the
/// holder says so, or ends before it said that the caller knows.
///
/// State goes to a holder when it asks, at most one at a time, and with each outcome that has room
/// for it: whoever is told of a crash finds it.
///
/// Once the conversation is over, calls are answered from its archive for as long as it has one and
/// a handle is held. Nobody else keeps it longer than policy_timeout after the end, or after the
/// last reply of the archive was sent: by then a connection is back or its node is down.
///
/// Bounds: holders_max; calls that wait, replies and acceptances that are not acknowledged and
/// outcomes that are not sent, together with `other_waiters`: waiters_max; no call is taken while
/// as many inputs are undecided. A holder that calls on and takes no outcomes is let go at twice
/// that, or 1024 where that is more. Nothing that a holder says is believed beyond its own calls,
/// and a request is nobody's but the call's for which it was taken, whoever names its id; what
/// cannot be read is refused and counted. Thread affinity: that of the conversation's process,
/// which owns it.
class RemoteHandles {
 public:
  RemoteHandles(std::shared_ptr<const ConversationConfig> config,
                std::shared_ptr<ConversationCell> cell, ConversationId id);

  using Inputs = std::vector<Input>;
  /// What the conversation has beside this.
  struct Load {
    std::size_t other_waiters = 0;
    std::size_t undecided = 0;  // inputs that came from here
  };

  /// Each of these appends what the conversation is to decide, in this order.
  void on_call(Context& context, const Pid& from, Envelope envelope, const Load& load,
               Inputs& inputs);
  void on_down(const message::Down& down, Inputs& inputs);
  /// False if it is about nothing of theirs.
  [[nodiscard]] bool on_refused(Context& context, message::Refused& refused);
  [[nodiscard]] bool on_timer(Context& context, TimerId timer);
  /// The call that sent this request gave it up: if its reply is on its way to a holder, that one
  /// may have it, and nobody after it. Cost: O(replies that are not acknowledged).
  void forgotten(const MessageId& request, WaiterId taken_for);

  /// False if no call of theirs waits under this id.
  [[nodiscard]] bool complete(Context& context, const effect::Complete& complete);
  /// Tells the newest state to those who wait for one. Call after what was decided was published,
  /// and before its effects are carried out.
  void tell_state(Context& context);
  /// The cell has the archive: from here on it answers, first those who still wait.
  void over(Context& context);

  [[nodiscard]] std::size_t waiting() const {
    return waiting_.size() + unacknowledged_.size() + accepted_.size() + untaken_;
  }
  /// Handles exist elsewhere.
  [[nodiscard]] bool held() const;
  /// REQUIRES: over() was called. Whether a holder is still to be told something, or may come for
  /// what is in the archive.
  [[nodiscard]] bool needed() const;

 private:
  using CallKey = std::pair<Pid, MessageId>;

  struct Holder {
    MonitorId monitor;
    std::optional<MessageId> watch = {};  // to be answered with the next state
    std::uint64_t told = 0;               // version of the newest state that it was told
    bool detached = false;                // its last handle is gone
    std::deque<Envelope> untaken = {};    // outcomes to be sent again, then those behind them
    std::size_t refused = 0;              // of untaken: those to be sent again
  };
  struct Waiting {
    CallKey call;
    Question question;
    std::optional<MessageId> forget;  // the request of an ask or a send
  };
  /// A reply under way.
  struct Unacknowledged {
    HandedOut handed_out;
    std::optional<MessageId> forget;
    Outcome reply;
    bool forgotten = false;  // if it comes back, nobody asks for it
  };

  void on(Context& context, const CallKey& key, Envelope&, remote_call::Watch, Inputs&);
  void on(Context& context, const CallKey& key, Envelope& envelope, remote_call::Send send,
          Inputs&);
  void on(Context& context, const CallKey& key, Envelope&, remote_call::Receive receive, Inputs&);
  void on(Context& context, const CallKey& key, Envelope&, remote_call::Abandon abandon, Inputs&);
  void on(Context& context, const CallKey& key, Envelope&, remote_call::Close, Inputs&);
  void on(Context& context, const CallKey& key, Envelope&, remote_call::Cancel cancel, Inputs&);
  void on(Context& context, const CallKey& key, Envelope&, remote_call::Received received, Inputs&);
  void on(Context& context, const CallKey& key, Envelope&, remote_call::Detach, Inputs&);

  [[nodiscard]] bool attach(Context& context, const CallKey& key);
  [[nodiscard]] std::optional<WaiterId> admit(Context& context, Waiting waiting);
  void be_patient(Context& context);
  void answer_from_archive(Context& context, const Waiting& waiting);
  void give_up(const CallKey& call, bool forget, Inputs& inputs);
  [[nodiscard]] bool takes_no_outcomes(const Pid& holder) const;
  void let_go(Context& context, const Pid& holder, Inputs& inputs);
  void forget(const Pid& holder, Inputs& inputs);
  void withdraw(const MessageId& request, WaiterId taken_for, Inputs& inputs);
  void put_back(Unacknowledged reply, Inputs& inputs);
  void tell(Context& context, const CallKey& call, const Outcome& outcome, bool is_reply);
  void settle(Context& context, const CallKey& call, RemoteOutcome outcome, Payload payload = {});
  void send(Context& context, const Pid& to, Holder& holder, Envelope envelope);
  void tell_state(Context& context, const Pid& to, Holder& holder);
  [[nodiscard]] std::optional<Payload> state_for(Context& context, Holder& holder) const;
  [[nodiscard]] Envelope outcome_of(Context& context, const MessageId& call,
                                    const RemoteOutcome& outcome, Payload payload) const;

  const std::shared_ptr<const ConversationConfig> config_;
  const std::shared_ptr<ConversationCell> cell_;
  const ConversationId id_;

  std::map<Pid, Holder> holders_;
  std::map<MonitorId, Pid> monitors_;
  std::map<WaiterId, Waiting> waiting_;
  std::map<CallKey, WaiterId> waiters_;
  std::map<CallKey, Unacknowledged> unacknowledged_;
  // sends that were taken, and whose callers may not know it; for which waiter
  std::map<CallKey, WaiterId> accepted_;
  std::size_t untaken_ = 0;  // outcomes, of all holders
  Load load_;
  std::optional<TimerId> repeat_timer_, patience_timer_;
  Backoff repeat_after_;
  bool over_ = false, out_of_patience_ = false;
};

}  // namespace liminal
