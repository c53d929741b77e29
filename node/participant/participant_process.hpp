// The process that is an instance of a service: does and undoes requests in order, answers each
// one.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/backoff.hpp"
#include "node/participant/behaviour.hpp"
#include "node/participant/participant_ledger.hpp"
#include "node/participant/service_command.hpp"
#include "node/scheduler/process.hpp"

namespace liminal {

/// Takes one request or compensation at a time out of its mailbox, when the one before is done, and
/// answers whoever sent it: a request with kReply if a reply was wanted and there is one, else with
/// kDone; a compensation with kDone; either with kExpired if its deadline came before. How it is
/// carried out is the derived class's: in the turn, on the pool, or in a child of the operating
/// system.
///
/// One that expired before its turn is not started. One that expires while it is carried out is
/// answered at its deadline; what runs for it is told to end, by those that can, and its late reply
/// is a dead letter and counted. Nothing else is begun until it is over: one at a time means one.
/// The next one's deadline counts meanwhile too.
///
/// One that its sender cancels before it was begun is answered kCancelled. What runs for one that
/// is cancelled is told to end, and answered when it is over: as what it came to, where that was
/// sooner; else kExpired, which is no crash. One that was answered before is not answered again.
///
/// One that comes from another node is begun only while this node holds its lease; until then it
/// waits, and its deadline counts.
///
/// It does not trap exits: it ends with the conversation it is linked to. What asks for nothing is
/// ignored and counted.
///
/// Bound: requests wait in the mailbox, whose bound is theirs; whoever sends more is told to send
/// them again. An answer that finds no room on its way out of this node is kept and sent again, and
/// nothing is begun meanwhile; one that is refused for good ends this participant with an error,
/// since nobody would learn of it otherwise. Of a refusal that another node tells it heeds that of
/// whom it sent one of its latest answers to, by that answer's id; others are ignored and counted.
class ParticipantProcess : public Process {
 public:
  void handle(Context& context, Message message) final;

 protected:
  /// `undo`: undoes requests in the derived class's stead.
  explicit ParticipantProcess(ParticipantSlot slot, std::optional<ServiceCommand> undo = {});

  /// Carries `request` out: ends in one finish(), conclude(), never_began(), crash() or leave(),
  /// before it returns or from on_local() or on_own_timer().
  virtual void begin(Context& context, const Request& request) = 0;
  /// Undoes a request, likewise. Not called where a command does so.
  virtual void begin_undo(Context& context, const Compensation& compensation);
  /// Nobody waits for what is carried out: it has expired, or was cancelled. Ends what runs for it,
  /// where that is possible; it is over when finish() says so, as always. Called once for each.
  virtual void interrupt(Context&) {}
  /// A timer that the derived class started. False if it means nothing to it.
  virtual bool on_own_timer(Context&, TimerId) { return false; }
  /// False if it means nothing to this participant.
  virtual bool on_local(Context& context, LocalMessage& message) = 0;

  /// Answers what is carried out, unless it has expired; the next one begins after this handler
  /// returns to handle().
  void finish(Context& context, std::optional<Payload> reply);
  /// The same, for a command: one that failed is this participant's crash, unless it was told to
  /// end.
  void conclude(Context& context, CommandOutcome outcome);
  /// The same, where it was told to end before it had begun.
  void never_began(Context& context);
  /// Ends this participant with error(text).
  void crash(Context& context, std::string text);
  /// Ends this participant with `normal`, nobody has died, as soon as its answers are on their way
  /// and what is being undone is.
  void leave(Context& context);

  /// Whether a request is carried out or waits for that, or what expired still runs.
  [[nodiscard]] bool owes_work() const {
    return (overdue_ && !overdue_->undoes) || (current_ && !current_->debt.undoes);
  }

  [[nodiscard]] ParticipantLedger& ledger() const { return slot_.ledger(); }

 private:
  /// Whom to answer, and to what.
  struct Debt {
    Pid to;
    MessageId asked;
    bool undoes;
    bool wants_reply;
    ConversationId conversation;
    std::uint32_t attempt;
    std::string trace;
  };
  struct Asked {
    Debt debt;
    std::variant<Request, Compensation> work;

    [[nodiscard]] const std::optional<TimePoint>& deadline() const {
      return std::visit(
          [](const auto& kind) -> const auto& { return kind.deadline; }, work);
    }
  };
  struct Answer {
    Pid to;
    Envelope envelope;
  };

  struct Answered {
    Pid to;
    MessageId id;
  };

  void take(const Pid& from, Envelope envelope);
  void begin_next(Context& context);
  void begin_current(Context& context);
  [[nodiscard]] bool may_begin(Context& context);
  void expire(Context& context);
  void cancel(Context& context, message::Cancelled cancelled);
  void interrupt_current(Context& context);
  [[nodiscard]] bool on_timer(Context& context, TimerId timer);
  [[nodiscard]] bool on_local_message(Context& context, LocalMessage& message);
  [[nodiscard]] Debt end_current(Context& context);
  [[nodiscard]] static Debt debt_of(const Pid& from, const Envelope& envelope);
  [[nodiscard]] static Envelope answer_to(const Debt& debt, MessageId id, EnvelopeKind kind,
                                          Payload payload);
  void answer(Context& context, const Debt& debt, EnvelopeKind kind, Payload payload);
  void tell(Context& context, TimelineEvent event, const Debt& debt, std::string_view text);
  void take_back(Context& context, message::Refused refused);
  void answer_again(Context& context);
  void ignore() { ++ledger().ignored_messages; }

  ParticipantSlot slot_;
  std::optional<ServiceCommand> undo_;
  std::optional<Asked> current_;           // out of the mailbox, the next one to be answered
  std::optional<TimerId> deadline_timer_;  // of the current one
  std::optional<TimerId> lease_timer_;     // then it is tried again
  bool begun_ = false;                     // the current one is carried out
  bool interrupted_ = false;               // what is carried out was told to end
  std::optional<Debt>
      overdue_;           // what ran for this one, which expired, does; the current one waits
  std::size_t told_ = 0;  // to the timeline
  bool crashed_ = false;  // exit() was called, for whatever reason: nothing more is begun
  bool leaving_ = false;

  std::deque<Answered> answered_;   // the latest: the only ones that may still be refused
  std::vector<Answer> unanswered_;  // answers that found no room, in order
  // Runs while they wait, and once more after they were sent again: what is not back by then went.
  std::optional<TimerId> again_;
  Backoff again_after_;
};

}  // namespace liminal
