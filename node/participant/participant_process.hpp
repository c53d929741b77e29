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

/// Queues requests, begins one when the one before is done, and answers whoever sent it: kReply if
/// a reply was wanted and there is one, kDone if not, kExpired if its deadline came before either.
/// How a request is carried out is the derived class's: in the turn, on the pool, or in a child of
/// the operating system.
///
/// One that expired before its turn is not started. One that expires while it is carried out is
/// answered at its deadline; what runs for it is told to end, by those that can, and its late reply
/// is dropped and counted. Nothing else is begun until it is over: one at a time means one. The
/// next request's deadline counts meanwhile too.
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

  /// Whether a request is carried out, or what expired still runs.
  [[nodiscard]] bool is_busy() const { return begun_ || overdue_; }
  /// Whether what runs is for a request that has expired.
  [[nodiscard]] bool is_overdue() const { return overdue_; }

  [[nodiscard]] ParticipantLedger& ledger() const { return slot_.ledger(); }

 private:
  struct Waiting {
    Pid from;
    bool wants_reply;
    Request request;
  };

  void take(Context& context, const Pid& from, Envelope envelope);
  void begin_next(Context& context);
  void expire(Context& context);
  [[nodiscard]] Waiting take_current(Context& context);
  void answer(Context& context, const Waiting& asked, EnvelopeKind kind, Payload payload);
  void ignore() { ++ledger().ignored_messages; }

  ParticipantSlot slot_;
  std::size_t requests_max_;
  std::deque<Waiting> waiting_;
  std::optional<Waiting> current_;         // the next one to be answered
  std::optional<TimerId> deadline_timer_;  // of the current one
  bool begun_ = false;                     // the current one is carried out
  bool overdue_ = false;  // what ran for an expired one does; the current one waits
  bool crashed_ = false;  // exit() was called, for whatever reason: nothing more is begun
};

}  // namespace liminal
