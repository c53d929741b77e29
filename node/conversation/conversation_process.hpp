// The process that is a conversation: owns its links, receives everything, carries out decisions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "node/conversation/actor_process.hpp"
#include "node/conversation/decision_queue.hpp"
#include "node/conversation/handles_here.hpp"
#include "node/conversation/linked_participants.hpp"
#include "node/conversation/placement_searches.hpp"
#include "node/conversation/remote_handles.hpp"
#include "node/conversation/restart_intensity.hpp"
#include "node/remote/directory.hpp"
#include "node/scheduler/scheduler.hpp"
#include "node/timeline/timeline_sink.hpp"

namespace liminal {

/// Turns what arrives into inputs, has the actor decide them one at a time, carries the effects out
/// in order.
///
/// When its actor dies, whatever the way, another takes its place at once: with the state of the
/// last decision, whose effects are carried out exactly once, and with the input that was being
/// decided. Participants, callers, timers and searches are this process's and notice nothing. When
/// it died too often it is not replaced: the conversation fails, and what is left to decide is
/// decided here.
///
/// Its pid stays for the conversation's life. When the conversation is over, all owned participants
/// and the actor have ended or were killed, calls are answered from the cell, and it exits normal:
/// at once, or when no handle on another node has a reply to fetch any more.
/// However it ends, nobody is left waiting for it.
///
/// Bounds: waiters_max calls; inputs that wait to be decided: for handles elsewhere waiters_max,
/// and what they took back; answers of each participant requests_max, since no more requests are
/// open, and kLateAnswersMax for those that were given up, whose places others have taken: beyond
/// it any answer is dropped, counted and a dead letter.
class ConversationProcess final : public Process {
 public:
  /// `timeline` may be empty: nobody keeps what happens. `ended` is called once, when it is over or
  /// was killed. `make_here` may be empty.
  ConversationProcess(std::shared_ptr<ConversationRecord> record, const Directory& directory,
                      TimelineSink timeline, std::function<void()> ended,
                      PlacementSearches::MakeHere make_here = {});
  ~ConversationProcess() override;

  void on_start(Context& context) override;
  void handle(Context& context, Message message) override;

 private:
  /// What a mailbox of the usual size holds: a participant answers what it has taken.
  static constexpr std::size_t kLateAnswersMax = 4096;

  void on_message(Context& context, message::Received received);
  void on_message(Context& context, message::Exited exited);
  void on_message(Context&, message::Down down);
  void on_message(Context& context, message::Refused refused);
  void on_message(Context& context, message::TimerFired fired);
  void on_message(Context& context, message::Spawned spawned);
  void on_message(Context&, message::Cancelled) {}  // it is asked for nothing
  void on_message(Context& context, LocalMessagePtr local);

  void start_actor(Context& context);
  [[nodiscard]] bool is_settled_unseen(const Input& input);
  void forget_on_its_way(const Input& input);
  void hear(RemoteHandles::Inputs inputs);
  void hear(PlacementSearches::Report report);
  void watch_over_handles(Context& context);
  void after_the_end(Context& context, Message message);
  void end_if_not_needed(Context& context);
  void on_actor_exit(Context& context, const ExitReason& reason);
  void decide_alone(Context& context);
  void enqueue(Input input);
  void pump(Context& context);
  void decided(Context& context);
  void carry_out_all(Context& context, std::vector<Effect> effects);

  void carry_out(Context& context, effect::Place& place);
  void carry_out(Context& context, effect::AbandonPlacement& abandon);
  void carry_out(Context& context, effect::Link& link);
  void carry_out(Context& context, effect::Unlink& unlink);
  void carry_out(Context& context, effect::Forward& forward);
  void carry_out(Context& context, effect::Cancel& cancel);
  void carry_out(Context& context, effect::Complete& complete);
  void carry_out(Context& context, effect::End& end);
  void carry_out(Context& context, effect::StartEndTimer& start);
  void carry_out(Context& context, effect::StartRepeatTimer& start);
  void carry_out(Context& context, effect::StartTimer& start);
  void carry_out(Context& context, effect::Withdraw& withdraw);
  void carry_out(Context& context, effect::GiveUp& give_up);
  void carry_out(Context& context, effect::Note& note);
  void carry_out(Context& context, effect::Finish& finish);

  void gone(Context& context, Pid participant, ExitReason reason);
  void enqueue(std::vector<LinkedParticipants::Exits> fallen);
  void watch_over_held_exits(Context& context);
  void put_back_replies();
  void tell_opened(Context& context);
  void retell(Context& context);

  std::shared_ptr<ConversationRecord> record_;
  const ConversationId id_;
  const std::shared_ptr<const ConversationConfig> config_;
  const std::shared_ptr<ConversationCell> cell_;
  const TimelineSink timeline_;  // may be empty: nobody keeps it
  std::function<void()> ended_;

  std::optional<Pid> actor_;  // none once it died too often
  RestartIntensity intensity_;
  std::optional<Error> too_many_crashes_;  // the diagnosis, from then on
  DecisionQueue inbox_;
  std::uint64_t order_ = 0;      // the number of the last decision asked for
  bool with_actor_ = false;      // the first of the inbox is being decided
  std::vector<Input> feedback_;  // of the effects being carried out: decided before all else
  // The cell's may be ahead of it: by a decision whose effects are not carried out.
  std::string told_phase_{name_of(ConversationPhase::kCreated)};
  bool over_ = false;
  bool orphaned_ = false;  // was told so

  HandlesHere here_;
  RemoteHandles elsewhere_;
  LinkedParticipants linked_;
  PlacementSearches searches_;  // puts whom it finds among the linked
  std::optional<TimerId> end_timer_, orphan_timer_, held_exits_timer_;
  std::map<TimerId, Input> timers_;  // what is to be decided when they fire
};

}  // namespace liminal
