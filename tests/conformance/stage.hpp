// One broker and some nodes on virtual time, services whose doings a test scripts, a ledger of what
// they did, and callers: the stage on which each promise is played twice.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/conversation/conversation_supervisor.hpp"
#include "node/participant/effects_ledger.hpp"
#include "node/participant/service_registry.hpp"
#include "tests/sim/world.hpp"

namespace liminal::conformance {

using namespace std::chrono_literals;

enum class Where { kOneNode, kThreeNodes };

/// What a request comes to, or its undoing.
struct Doing {
  enum class End {
    kReply,          // with `text`
    kDone,           // without a reply
    kThrow,          // an exception that says `text`
    kExit,           // the participant's, with `reason`; the request stays unanswered
    kReplyAndLeave,  // then the participant ends by itself, normally
    kNever,
  };
  End end = End::kDone;
  std::string text = {};
  ExitReason reason = ExitReason::normal();
  Duration takes = {};    // longer than nothing: services that wait only
  bool stubborn = false;  // cannot be told to end

  [[nodiscard]] Doing in(Duration duration) && {
    takes = duration;
    return std::move(*this);
  }
};
[[nodiscard]] Doing reply(std::string text);
[[nodiscard]] Doing done();
[[nodiscard]] Doing throwing(std::string text);
[[nodiscard]] Doing exiting(ExitReason reason);
[[nodiscard]] Doing reply_and_leave(std::string text);
[[nodiscard]] Doing never();

struct Service {
  std::function<Doing(const Request&, const NodeName&)> process = [](const Request& request,
                                                                     const NodeName&) {
    return reply(std::string{request.payload.view()});
  };
  std::function<Doing(const Compensation&, const NodeName&)> undo =
      [](const Compensation&, const NodeName&) { return done(); };
  bool compensates = false;
  /// Not a behaviour in C++ but a participant of its own kind, which needs no thread to wait.
  bool waits = false;
  bool ignores_shutdown = false;  // with `waits`
  bool fails_to_start = false;
};

/// A call on a conversation, and what it was told. "(waiting)" until then; "(given up)".
struct Call {
  std::optional<Outcome> outcome = {};
  int told = 0;
  TimePoint at = {};
  bool given_up = false;
  ConversationHandle::Pending pending = {};

  /// The reply, or the error's name.
  [[nodiscard]] std::string said() const;
  [[nodiscard]] std::string detail() const {
    return outcome && !*outcome ? outcome->error().detail : "";
  }
};
using CallPtr = std::shared_ptr<Call>;
[[nodiscard]] inline std::string said(const CallPtr& call) { return call->said(); }

/// A conversation as a test holds it.
class Talk {
 public:
  Talk(class Stage& stage, ConversationHandle at_conversation, ConversationHandle at_caller)
      : stage_(stage), here_(std::move(at_conversation)), handle_(std::move(at_caller)) {}

  struct Sent {
    MessageId id;
    CallPtr taken;
  };
  Sent send(const std::string& text, SendOptions options = {});
  /// REQUIRES: of a send() with a reply of its own, else none.
  CallPtr receive(std::optional<MessageId> request = {});
  CallPtr ask(const std::string& text, SendOptions options = {});
  /// As a caller whose own time is up.
  void give_up(const CallPtr& call);
  CallPtr close();
  void cancel(const std::string& by);
  /// Lets go of all handles.
  void drop();
  /// As its node knows it.
  [[nodiscard]] ConversationState state() const { return here_->query_state(); }
  [[nodiscard]] ConversationPhase phase() const { return state().phase; }
  [[nodiscard]] ParticipantStatus participant(const std::string& role) const;
  [[nodiscard]] bool is_held() const { return handle_.has_value(); }
  /// The caller's.
  [[nodiscard]] ConversationHandle& handle() { return *handle_; }
  /// Of the conversation's node.
  [[nodiscard]] ConversationHandle& here() { return *here_; }
  /// "reserve undone", "ship failed in doubt": the records of its compensations, in order.
  [[nodiscard]] std::vector<std::string> compensations() const;

 private:
  CallPtr make_call(ConversationHandle::Completion& completion) const;
  Stage& stage_;
  std::optional<ConversationHandle> here_, handle_;
};

/// Each test runs with everything on one node, and with conversation, participants and caller on
/// different ones: c, p1 to p3, u. When it is over everything is closed, and no node may hold
/// anything any more.
class Stage : public ::testing::TestWithParam<Where> {
 public:
  [[nodiscard]] sim::World& world() { return world_; }
  /// After acting on a handle.
  void poke_caller();

 protected:
  using Phase = ConversationPhase;

  Stage();
  void TearDown() override;

  [[nodiscard]] bool across() const { return GetParam() == Where::kThreeNodes; }

  // --- the cast: before start() ---

  /// On these nodes, if there are several.
  void offer(const std::string& name, Service service,
             const std::vector<std::string>& hosts = {"p1"});
  void start();

  // --- nodes, by name; on one node every name is that one ---

  void start_node(const std::string& name);
  /// The node of that name that runs, or ran last.
  [[nodiscard]] sim::World::Node& node(const std::string& name);
  /// SIGKILL for the node.
  void kill_node(const std::string& name);
  void pause_node(const std::string& name) { world_.pause(index_.at(name)); }
  void resume_node(const std::string& name) { world_.resume(index_.at(name)); }
  /// An instance of a service that is nobody's, as a conversation sees it.
  Pid attach(const std::string& service, const std::string& host);

  // --- what goes wrong ---

  /// The participant ends, wherever it is, as if told by somebody else.
  void exit(const Pid& participant, ExitReason reason);
  /// It dies: with its node, if it is not the conversation's.
  void lose(const Talk& talk, const std::string& role);
  void crash_actor(Talk& talk);

  // --- conversations ---

  /// These two alone know where callers are.
  [[nodiscard]] std::string caller_node() const { return "u"; }
  [[nodiscard]] ConversationHandle caller_handle(const ConversationHandle& at_conversation);
  Talk& open(ConversationConfig config);
  /// With its caller beside it: for when no node reaches another.
  Talk& open_here(ConversationConfig config);
  [[nodiscard]] ConversationConfig config(CrashPolicy policy,
                                          const std::vector<std::string>& roles);
  Talk& open(CrashPolicy policy, const std::vector<std::string>& roles) {
    return open(config(policy, roles));
  }

  // --- time ---

  void run_for(Duration duration) { world_.run_for(duration); }
  /// Runs until it holds; false, and a failure, if it does not within a virtual minute.
  bool run_until(const std::function<bool()>& holds);
  bool run_until_told(const CallPtr& call) {
    return run_until([&] { return call->told > 0; });
  }
  bool run_until_ended(const Talk& talk) {
    return run_until([&] { return talk.state().ended; });
  }

  // --- what was done ---

  /// "process reserve", "undo reserve", "interrupt ship", in order; of one service, if it is named.
  [[nodiscard]] std::vector<std::string> deeds(const std::string& service = {}) const;
  [[nodiscard]] const std::vector<EffectsLedger::Entry>& ledger() const { return ledger_; }
  [[nodiscard]] int made(const std::string& service) const { return made_.at(service); }
  [[nodiscard]] std::size_t live_participants() const;
  /// Nobody holds anything: no participant, conversation, process, timer, or tie to another node.
  void expect_rest();

 private:
  friend class ScriptedBehaviour;
  friend class WaitingParticipant;
  struct Offered {
    Service service;
    std::vector<std::string> hosts;
  };
  struct Host {
    std::shared_ptr<ServiceRegistry> registry;
    std::shared_ptr<ParticipantLedger> waiting;  // of the participants that wait
  };

  [[nodiscard]] Host make_host(sim::World::Node& node, const std::vector<std::string>& services);
  [[nodiscard]] Result<Scheduler::Instance> make(const Host& host, const NodeName& node,
                                                 const signal::SpawnRequest& request);
  void note(std::string action, const std::string& service, const NodeName& node,
            const MessageId& request, std::uint32_t attempt, std::string text);

  std::map<std::string, Offered> offered_;
  std::vector<EffectsLedger::Entry> ledger_;
  std::map<std::string, int> made_;
  std::map<std::string, std::size_t> index_;
  std::vector<Host> hosts_;  // by index
  std::vector<Pid> attached_;
  sim::World world_;  // its processes use what is above
  std::vector<std::unique_ptr<Talk>> talks_;
};

/// What has a meaning only where a node can die without its conversation.
class AcrossNodes : public Stage {};

inline std::string name_of_where(const ::testing::TestParamInfo<Where>& where) {
  return where.param == Where::kOneNode ? "OneNode" : "ThreeNodes";
}

}  // namespace liminal::conformance
