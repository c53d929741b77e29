// Finds the instances that a conversation owns: asks one node after the other until one brings it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "node/conversation/linked_participants.hpp"
#include "node/conversation/placement.hpp"
#include "node/remote/directory.hpp"
#include "node/scheduler/scheduler.hpp"

namespace liminal {

/// The searches of one conversation that are under way, at most one for each role. Placement says
/// where to ask next; this asks, waits for the answer and for nodes that may come, and gives up
/// when the time is over.
///
/// A search ends in exactly one report, input::ParticipantReady or input::ParticipantUnavailable,
/// which is returned by the call that ended it, unless end_all() came first. An instance is among
/// the linked participants before its report is returned. One that was asked for in vain (its
/// search was abandoned, its time was over, it cannot undo what it was wanted for) ends with
/// `shutdown`.
///
/// Bounds: for each role a search, with one timer and one spawn that is not answered.
/// Thread affinity: that of the conversation's process, which owns it; the contexts are that
/// process's.
class PlacementSearches {
 public:
  /// Makes the participants of a conversation that has them on its own node, whatever services
  /// there are. Called in a turn.
  using MakeHere = std::function<Result<Scheduler::Instance>()>;
  using Report = std::optional<Input>;

  /// `make_here` may be empty. Where it is not, nothing is searched: begin() reports at once.
  PlacementSearches(ConversationId conversation, std::shared_ptr<const ConversationConfig> config,
                    const Directory& directory, LinkedParticipants& linked, MakeHere make_here);

  /// REQUIRES: the role is owned, and no search for it is under way.
  [[nodiscard]] Report begin(Context& context, effect::Place place);
  /// Nothing if it has reported.
  [[nodiscard]] Report abandon(Context& context, RoleIndex role);
  /// Nothing of a timer or spawn that is not of a search.
  [[nodiscard]] Report on_timer(Context& context, TimerId timer);
  [[nodiscard]] Report on_spawned(Context& context, message::Spawned spawned);

  /// Ends all of them without a report.
  void end_all(Context& context);

 private:
  struct Search {
    Placement placement;
    bool to_compensate;
    std::optional<SpawnId> spawn = {};
    std::optional<TimerId> timer = {};  // of the spawn, else until it asks again
  };
  using Searches = std::map<RoleIndex, Search>;

  [[nodiscard]] const OwnedInstance& wanted(RoleIndex role) const;
  [[nodiscard]] Report make_here(Context& context, RoleIndex role);
  [[nodiscard]] Report go_on(Context& context, Searches::iterator search);
  [[nodiscard]] Report found(RoleIndex role, const Pid& instance, bool compensates,
                             std::string why_there);
  [[nodiscard]] Report give_up(Context& context, Searches::iterator search, Error error);
  static void stop(Context& context, Search& search);

  const ConversationId conversation_;
  const std::shared_ptr<const ConversationConfig> config_;
  const Directory& directory_;
  LinkedParticipants& linked_;
  const MakeHere make_here_;
  Searches searches_;
};

}  // namespace liminal
