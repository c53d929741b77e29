// Conversations under crash policies, and what is known of them: the timeline that they told, what
// participants did, what their users saw.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/policy_judge.hpp"
#include "tests/sim/policy_workload.hpp"
#include "tests/sim/stage.hpp"
#include "tests/sim/tally.hpp"

namespace liminal::sim {

class PolicyScene {
 public:
  /// Calm: nothing fails but what the requests themselves bring about.
  PolicyScene(Stage stage, bool calm);

  /// As Scheduler::ServiceFactory, on that node.
  [[nodiscard]] Result<Scheduler::Instance> make(const signal::SpawnRequest& request,
                                                 std::size_t node,
                                                 const std::shared_ptr<ParticipantLedger>& ledger) {
    return make_policy_service(request, actors_, node, ledger);
  }

  /// On some host that runs.
  void start_talk();
  bool kill_some_actor();
  /// One that was placed lately.
  bool kill_some_participant();
  /// One of those that conversations attach to.
  bool kill_some_attached();
  /// They live on when their conversations are over. Pairs end with them.
  void end_attached();
  /// What a conversation of that node tells, of this scene or of another.
  void hear(std::size_t node, TimelineRecord record);
  /// Whether the broker shows all that was told; it takes a moment to arrive.
  [[nodiscard]] bool is_all_shown();
  void judge(Tally& tally);

 private:
  struct Talk {
    std::shared_ptr<PolicyTalk> record;
    ConversationConfig config;
  };
  /// A role that was passed on, until its successor is there.
  struct Reroute {
    std::shared_ptr<const Directory::Snapshot> directory;
    TimePoint at;
  };
  using Role = std::pair<ConversationId, std::string>;
  struct Attached {
    std::size_t node;
    Pid pid;  // local there
  };

  [[nodiscard]] PolicyPlan some_plan(std::size_t node);
  [[nodiscard]] ParticipantConfig some_attached(std::string role, std::size_t opener,
                                                std::set<Pid>& used);
  [[nodiscard]] Attached fresh_attached();
  [[nodiscard]] PlacementRule some_rule();
  [[nodiscard]] const Talk* talk_of(const ConversationId& id);
  [[nodiscard]] bool is_listed(std::size_t node, const Pid& pid) const;
  [[nodiscard]] bool is_said_again(const TimelineRecord& record) const;
  void watch(Deed& deed);
  void watch_death(Deed& deed, const Talk& talk);
  [[nodiscard]] bool disturbed_around(TimePoint when) const;
  [[nodiscard]] bool all_answer(std::size_t node) const;
  void placed(std::size_t node, const Talk& talk, const TimelineRecord& record);
  void judge_talk(const Talk& talk, const DeedLedger& deeds, Tally& tally);
  void judge_what_is_shown(const PolicyTalk& talk, Violations& violations, PolicyTally& tally);
  void judge_calm(const Talk& talk);

  Stage stage_;
  bool calm_;
  PolicyStage actors_;
  std::deque<Talk> talks_;
  std::map<ConversationId, const Talk*> known_;
  std::vector<const Talk*> unknown_;  // that have no id yet, or had none lately
  std::map<ConversationId, std::vector<TimelineRecord>> told_;
  std::vector<Attached> attached_;  // all that ever were
  struct Placed {
    std::size_t node;  // of the conversation
    Pid pid;
    ConversationId conversation;
  };
  std::vector<Placed> placed_;
  // Who found no connection, and not because its node's death was told: its node was gone before
  // it was linked, or lives, and it died of somebody else's.
  std::map<ConversationId, std::set<Pid>> alone_;
  std::map<Role, Reroute> rerouted_;
  std::map<Role, std::set<std::pair<NodeName, Incarnation>>> tried_;
};

}  // namespace liminal::sim
