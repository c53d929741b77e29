// The process that is an instance of a service: takes requests in order, answers each one.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>

#include "node/participant/behaviour.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// Queues requests, begins one when the one before is answered, and answers whoever sent it: kReply
/// if a reply was wanted and there is one, kDone if not, kExpired if its deadline had come when its
/// turn did. How a request is carried out is the derived class's: in the turn, on the pool, or in a
/// child of the operating system.
///
/// It does not trap exits: it ends with the conversation it is linked to. What is no request is
/// ignored and counted.
///
/// Bound: with more than `requests_max` requests waiting it exits with an error; conversations keep
/// far fewer in flight.
class ParticipantProcess : public Process {
 public:
  void handle(Context& context, Message message) final;

 protected:
  ParticipantProcess(ParticipantSlot slot, std::size_t requests_max);

  /// Carries `request` out: ends in one finish() or crash(), before it returns or from on_local().
  virtual void begin(Context& context, const Request& request) = 0;
  /// False if it means nothing to this participant.
  virtual bool on_local(Context& context, LocalMessage& message) = 0;

  /// Answers the current request; the next one begins after this handler returns to handle().
  void finish(Context& context, std::optional<Payload> reply);
  /// Ends this participant with error(text).
  void crash(Context& context, std::string text);

  [[nodiscard]] ParticipantLedger& ledger() const { return slot_.ledger(); }

 private:
  struct Waiting {
    Pid from;
    bool wants_reply;
    Request request;
  };

  void take(Context& context, const Pid& from, Envelope envelope);
  void begin_next(Context& context);
  void answer(Context& context, const Waiting& asked, EnvelopeKind kind, Payload payload);
  void ignore() { ++ledger().ignored_messages; }

  ParticipantSlot slot_;
  std::size_t requests_max_;
  std::deque<Waiting> waiting_;
  std::optional<Waiting> current_;
  bool crashed_ = false;  // exit() was called: nothing more is begun in this turn
};

}  // namespace liminal
