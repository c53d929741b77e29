// The process that is an instance of a service: takes requests in order, answers each one.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/backoff.hpp"
#include "node/participant/behaviour.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// Takes one request at a time out of its mailbox, when the one before is done, and answers whoever
/// sent it: kReply if a reply was wanted and there is one, kDone if not, kExpired if its deadline
/// came before either. How a request is carried out is the derived class's: in the turn, on the
/// pool, or in a child of the operating system.
///
/// One that expired before its turn is not started. One that expires while it is carried out is
/// answered at its deadline; what runs for it is told to end, by those that can, and its late reply
/// is dropped and counted. Nothing else is begun until it is over: one at a time means one. The
/// next request's deadline counts meanwhile too.
///
/// One that comes from another node is begun only while this node holds its lease; until then it
/// waits, and its deadline counts.
///
/// It does not trap exits: it ends with the conversation it is linked to. What is no request is
/// ignored and counted.
///
/// Bound: requests wait in the mailbox, whose bound is theirs; whoever sends more is told to send
/// them again. An answer that finds no room on its way out of this node is kept and sent again, and
/// no request is begun meanwhile; one that is refused for good ends this participant with an error,
/// since nobody would learn of it otherwise.
class ParticipantProcess : public Process {
 public:
  void handle(Context& context, Message message) final;

 protected:
  explicit ParticipantProcess(ParticipantSlot slot) : slot_(std::move(slot)) {}

  /// Carries `request` out: ends in one finish(), crash() or leave(), before it returns or from
  /// on_local().
  virtual void begin(Context& context, const Request& request) = 0;
  /// The request that is carried out has expired, and was answered so: nobody waits for it. Ends
  /// what runs for it, where that is possible; it is over when finish() says so, as always.
  virtual void interrupt(Context&) {}
  /// False if it means nothing to this participant.
  virtual bool on_local(Context& context, LocalMessage& message) = 0;

  /// Answers the request that is carried out, unless it has expired; the next one begins after this
  /// handler returns to handle().
  void finish(Context& context, std::optional<Payload> reply);
  /// Ends this participant with error(text).
  void crash(Context& context, std::string text);
  /// Ends this participant with `normal`: nobody has died.
  void leave(Context& context);

  /// Whether a request is carried out or waits for that, or what expired still runs.
  [[nodiscard]] bool is_busy() const { return current_ || overdue_; }
  /// Whether what runs is for a request that has expired.
  [[nodiscard]] bool is_overdue() const { return overdue_; }

  [[nodiscard]] ParticipantLedger& ledger() const { return slot_.ledger(); }

 private:
  struct Asked {
    Pid from;
    bool wants_reply;
    Request request;
  };
  struct Answer {
    Pid to;
    Envelope envelope;
  };

  void take(const Pid& from, Envelope envelope);
  void begin_next(Context& context);
  [[nodiscard]] bool may_begin(Context& context);
  void expire(Context& context);
  [[nodiscard]] bool on_timer(Context& context, TimerId timer);
  [[nodiscard]] Asked take_current(Context& context);
  void answer(Context& context, const Asked& asked, EnvelopeKind kind, Payload payload);
  void take_back(Context& context, message::Refused refused);
  void answer_again(Context& context);
  void ignore() { ++ledger().ignored_messages; }

  ParticipantSlot slot_;
  std::optional<Asked> current_;           // out of the mailbox, the next one to be answered
  std::optional<TimerId> deadline_timer_;  // of the current one
  std::optional<TimerId> lease_timer_;     // then it is tried again
  bool begun_ = false;                     // the current one is carried out
  bool overdue_ = false;  // what ran for an expired one does; the current one waits
  bool crashed_ = false;  // exit() was called, for whatever reason: nothing more is begun

  std::vector<Answer> unanswered_;  // answers that found no room, in order
  // Runs while they wait, and once more after they were sent again: what is not back by then went.
  std::optional<TimerId> again_;
  Backoff again_after_;
};

}  // namespace liminal
