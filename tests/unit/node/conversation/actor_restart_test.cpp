// Goal: an actor that dies, whatever the way and the moment, is replaced and nobody notices; one
// that dies too often fails its conversation, and even then nothing is lost, waits or is left.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "node/conversation/conversation_process.hpp"
#include "node/conversation/remote_calls.hpp"
#include "tests/support/one_node.hpp"
#include "tests/support/outcomes.hpp"
#include "tests/support/toy.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;
using namespace test;
using Phase = ConversationPhase;
using Health = ParticipantHealth;

/// The text of a request that is being decided, "" for every other input.
std::string text_of(const Input& input) {
  const auto* send = std::get_if<input::SendRequested>(&input);
  return send == nullptr ? "" : std::string{send->payload.view()};
}

class ActorRestartTest : public OneNode {
 protected:
  /// Looks at an input that is about to be decided (or to be caught up with), and may throw.
  using Hook = std::function<void(const Input&)>;

  ActorRestartTest() {
    scheduler.set_service_factory(
        [this](const signal::SpawnRequest&) -> Result<std::unique_ptr<Process>> {
          ++made;
          return std::make_unique<Toy>(&handled);
        });
    publish({own_node({kToy})});
  }
  ~ActorRestartTest() override {
    hook = nullptr;  // what it refers to is gone
    if (cell && !cell->snapshot().ended) close();
    run_for(20s);
    EXPECT_EQ(ended, opened);
    EXPECT_EQ(scheduler.counts().processes, bystanders);
    EXPECT_EQ(scheduler.counts().timers, 0U);
  }

  void open(Hook the_hook = {}) {
    open(ConversationConfig{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}},
         std::move(the_hook));
  }
  void open(ConversationConfig config, Hook the_hook = {}) {
    ConversationContext state{scheduler.new_conversation_id(),
                              std::make_shared<const ConversationConfig>(std::move(config))};
    cell = std::make_shared<ConversationCell>(snapshot_of(state));
    hook = std::move(the_hook);
    record = std::make_shared<ConversationRecord>(ConversationRecord{
        .state = std::move(state),
        .cell = cell,
        .decide = [this](ConversationContext s, const Input& input, TimePoint when) {
          // Decides first: a state that was handed over and is then thrown away must be no loss.
          Step decided = step(std::move(s), input, when);
          if (hook) hook(input);
          return decided;
        }});
    ++opened;
    pid = scheduler.spawn(std::make_unique<ConversationProcess>(record, directory, TimelineSink{},
                                                                [this] { ++ended; }));
    run();
  }

  void kill_actor() { scheduler.exit(cell->actor().value(), ExitReason::kill()); }

  template <class C>
  void post(C call) {
    scheduler.send_local(*pid, std::make_unique<CallMessage>(std::move(call)));
  }
  std::pair<WaiterId, Ticket> waiter(const Told& told, Question question) {
    return {cell->new_waiter_id(),
            Ticket{std::make_shared<Waiter>(into(told)), cell, std::move(question)}};
  }
  Told start_ask(const std::string& text) {
    const Told told = nothing();
    call::Send send{new_id(), Payload{text}, {}, std::nullopt, std::nullopt};
    send.reply.emplace(waiter(told, question::Send{}));
    post(std::move(send));
    return told;
  }
  Told start_close() {
    const Told told = nothing();
    call::Close close;
    close.waiter.emplace(waiter(told, question::Close{}));
    post(std::move(close));
    return told;
  }
  std::string ask(const std::string& text) {
    const Told told = start_ask(text);
    run();
    return *told;
  }
  std::string close() {
    const Told told = start_close();
    run();
    return *told;
  }
  MessageId send(const std::string& text, ReplyMode mode = ReplyMode::kCorrelated) {
    const MessageId id = new_id();
    post(call::Send{id, Payload{text}, {.reply = mode}, std::nullopt, std::nullopt});
    run();
    return id;
  }
  Told start_receive(std::optional<MessageId> request = {}) {
    const Told told = nothing();
    auto [id, ticket] = waiter(told, question::Receive{request});
    post(call::Receive{id, std::move(ticket), request});
    return told;
  }
  std::string receive(std::optional<MessageId> request = {}) {
    const Told told = start_receive(request);
    run();
    return *told;
  }
  MessageId new_id() { return {1, ++messages}; }

  [[nodiscard]] ConversationState snapshot() const { return cell->snapshot(); }
  [[nodiscard]] std::uint64_t restarts() const { return snapshot().counters.actor_restarts; }
  [[nodiscard]] std::optional<Pid> participant() const { return snapshot().participants[0].pid; }

  std::vector<std::string> handled;  // by participants, in order
  int made = 0, opened = 0, ended = 0;
  std::size_t bystanders = 0;
  std::uint64_t messages = 0;
  Hook hook;
  std::shared_ptr<ConversationCell> cell;
  std::shared_ptr<ConversationRecord> record;
  std::optional<Pid> pid;
};

TEST_F(ActorRestartTest, AnActorThatIsKilledIsReplacedAndOnlyItsPidChanges) {
  open();
  const MessageId kept = send("kept");
  const Told waits = start_ask("silent");
  run();
  const auto actor = cell->actor(), toy = participant();
  kill_actor();
  run();
  EXPECT_NE(cell->actor(), actor);
  EXPECT_EQ(participant(), toy);
  EXPECT_EQ(snapshot().phase, Phase::kActive);
  EXPECT_EQ(restarts(), 1U);
  EXPECT_EQ(scheduler.counts().processes, 3U) << "conversation, actor, participant";
  EXPECT_EQ(*waits, "");
  EXPECT_EQ(ask("speak"), "ok speak");
  EXPECT_EQ(*waits, "ok speak") << "who waited before is answered after";
  EXPECT_EQ(receive(kept), "ok kept");
  EXPECT_EQ(made, 1);
  EXPECT_EQ(close(), "ok ");
  EXPECT_EQ(snapshot().phase, Phase::kClosed);
  EXPECT_TRUE(snapshot().crashes.empty()) << "nobody who takes part has crashed";
}

TEST_F(ActorRestartTest, EveryEndOfAnActorIsACrashButNormalEndsNone) {
  open();
  EXPECT_EQ(ask("x"), "ok x");
  scheduler.exit(cell->actor().value(), ExitReason::normal());
  run();
  EXPECT_EQ(restarts(), 0U);
  scheduler.exit(cell->actor().value(), ExitReason::shutdown());
  run();
  scheduler.exit(cell->actor().value(), ExitReason::error("why not"));
  run();
  EXPECT_EQ(restarts(), 2U);
  EXPECT_EQ(ask("y"), "ok y");
}

TEST_F(ActorRestartTest, WhatItDidNotDecideTheNextOneDecides) {
  open();
  std::vector<Told> told;
  for (int i = 0; i < 4; ++i) told.push_back(start_ask("q" + std::to_string(i)));
  kill_actor();
  run();
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(*told[i], "ok q" + std::to_string(i));
  EXPECT_EQ(handled, (std::vector<std::string>{"q0", "q1", "q2", "q3"}));
  EXPECT_EQ(restarts(), 1U);
}

TEST_F(ActorRestartTest, ADecisionThatThrowsIsMadeAgainByTheNextActor) {
  int inputs = 0;
  open([&inputs](const Input&) {
    if (++inputs <= 3) throw std::runtime_error("hook " + std::to_string(inputs));
  });
  const Told first = start_ask("one");
  const Told second = start_ask("two");
  run();
  EXPECT_EQ(*first, "ok one");
  EXPECT_EQ(*second, "ok two");
  EXPECT_EQ(restarts(), 3U);
  EXPECT_EQ(made, 1);
  EXPECT_EQ(handled, (std::vector<std::string>{"one", "two"})) << "each request goes out once";
  EXPECT_EQ(snapshot().counters.sent, 2U);
  EXPECT_EQ(close(), "ok ");
  EXPECT_EQ(snapshot().phase, Phase::kClosed);
  EXPECT_EQ(ended, 1);
}

// Whatever is being decided when it throws, on both copies of the state in turn.
TEST_F(ActorRestartTest, NoInputIsLostOrDoubledWhereverADecisionThrows) {
  bool reached = true;
  for (int bad = 1; reached; ++bad) {
    SCOPED_TRACE(bad);
    handled.clear();
    made = 0;
    int calls = 0;
    open([&calls, bad](const Input&) {
      if (++calls == bad) throw std::runtime_error("hook");
    });
    const MessageId inbox = send("inbox", ReplyMode::kInbox);
    const Told one = start_ask("one"), two = start_ask("two"), next = start_receive();
    run();
    EXPECT_EQ(*one, "ok one");
    EXPECT_EQ(*two, "ok two");
    EXPECT_EQ(*next, "ok inbox");
    EXPECT_EQ(receive(inbox).substr(0, 7), "NoReply");
    EXPECT_EQ(close(), "ok ");
    EXPECT_EQ(snapshot().phase, Phase::kClosed);
    EXPECT_EQ(handled, (std::vector<std::string>{"inbox", "one", "two"}));
    EXPECT_EQ(made, 1);
    reached = calls >= bad;
    // the very last call catches up when the end is decided: nobody is there to replace it
    EXPECT_EQ(restarts(), calls > bad ? 1U : 0U);
    EXPECT_TRUE(reached || bad > 20) << "it was tried";
    EXPECT_EQ(snapshot().counters.sent, 3U);
    EXPECT_EQ(snapshot().counters.completed, 3U);
    EXPECT_EQ(snapshot().counters.received, 3U);
  }
}

// It made the decision, and died before it could say so: what was decided is carried out, and not
// decided twice.
TEST_F(ActorRestartTest, ADecisionWhoseActorDiedBeforeItSaidSoIsCarriedOut) {
  open();
  EXPECT_EQ(ask("x"), "ok x");
  bool once = false;
  hook = [this, &once](const Input& input) {
    if (text_of(input) != "y" || std::exchange(once, true)) return;
    decide(*record, record->decided + 1, input, now);
    throw std::runtime_error("out of memory, say");
  };
  EXPECT_EQ(ask("y"), "ok y");
  EXPECT_EQ(restarts(), 1U);
  EXPECT_EQ(handled, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(snapshot().counters.sent, 2U);
}

TEST_F(ActorRestartTest, AsManyCrashesAsTheIntensityAllowsAreSurvived) {
  open();
  EXPECT_EQ(ask("x"), "ok x");
  for (int i = 0; i < 5; ++i) {
    kill_actor();
    run();
  }
  EXPECT_EQ(ask("y"), "ok y");
  EXPECT_EQ(restarts(), 5U);
  run_for(10s + 1ns);
  for (int i = 0; i < 5; ++i) {
    kill_actor();
    run();
  }
  EXPECT_EQ(ask("z"), "ok z") << "the period has passed";
  EXPECT_EQ(restarts(), 10U);
  EXPECT_EQ(made, 1);
}

TEST_F(ActorRestartTest, OneCrashMoreFailsTheConversationAndEndsEverything) {
  open();
  const MessageId kept = send("kept"), silent = send("silent");
  const Told asks = start_ask("silent"), receives = start_receive(silent), next = start_receive();
  run();
  for (int i = 0; i < 5; ++i) {
    kill_actor();
    run();
  }
  run_for(10s);
  EXPECT_EQ(*asks, "");
  kill_actor();
  run();
  // those of ten seconds ago count, exactly
  const std::string why = "ConversationFailed: actor crashed: killed, beyond 5 restarts within 10s";
  EXPECT_EQ(*asks, why);
  EXPECT_EQ(*receives, why);
  EXPECT_EQ(*next, why);
  EXPECT_EQ(snapshot().phase, Phase::kFailed);
  EXPECT_EQ(restarts(), 5U);
  EXPECT_EQ(cell->actor(), std::nullopt);
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(scheduler.counts().timers, 0U);
  EXPECT_EQ(snapshot().participants[0].reason, ExitReason::shutdown()) << "it was let end";
  EXPECT_EQ(receive(kept), "ok kept") << "what was answered before can still be received";
  EXPECT_EQ(ask("x"),
            "ConversationFailed: conversation failed: actor crashed: killed, beyond 5 restarts "
            "within 10s");
}

TEST_F(ActorRestartTest, WithoutRestartsTheFirstCrashIsTheEnd) {
  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
  config.actor_restarts_max = 0;
  open(config);
  const Told asked = start_ask("x");
  kill_actor();
  run();
  EXPECT_EQ(*asked,
            "ConversationFailed: conversation failed: actor crashed: killed, beyond 0 restarts "
            "within 10s");
  EXPECT_EQ(made, 0);
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

TEST_F(ActorRestartTest, AnInputThatNobodyCanDecideFailsTheConversationInOrder) {
  int tries = 0;
  open([&tries](const Input& input) {
    if (text_of(input) != "poison") return;
    ++tries;
    throw std::runtime_error("poisoned");
  });
  EXPECT_EQ(ask("stubborn"), "ok stubborn");
  const MessageId kept = send("kept");
  const Told waits = start_ask("silent"), poison = start_ask("poison"), behind = start_ask("late");
  run();
  EXPECT_EQ(tries, 7) << "six actors, and once without one";
  const std::string why =
      "ConversationFailed: actor crashed: poisoned, beyond 5 restarts within 10s";
  EXPECT_EQ(*waits, why);
  EXPECT_EQ(behind->substr(0, 39), "ConversationFailed: conversation failed");
  EXPECT_EQ(snapshot().phase, Phase::kFailed);
  EXPECT_EQ(snapshot().counters.undecided, 1U);
  run_for(2s - 1ns);
  EXPECT_EQ(scheduler.counts().processes, 2U) << "the participant has its time to end";
  run_for(1ns);
  EXPECT_EQ(scheduler.counts().processes, 0U);
  EXPECT_EQ(poison->substr(0, 39), "ConversationFailed: conversation failed");
  EXPECT_EQ(receive(kept), "ok kept");
}

TEST_F(ActorRestartTest, WhenNothingCanBeDecidedAnyMoreItEndsByForce) {
  bool broken = false;
  open([&broken](const Input&) {
    if (broken) throw std::runtime_error("broken");
  });
  EXPECT_EQ(ask("stubborn"), "ok stubborn");
  const MessageId kept = send("kept");
  const Told waits = start_ask("silent");
  run();
  broken = true;
  const Told asked = start_ask("x");
  run();
  const std::string why = "actor crashed: broken, beyond 5 restarts within 10s";
  EXPECT_EQ(*waits, "ConversationFailed: " + why);
  EXPECT_EQ(*asked, "ConversationFailed: conversation failed: " + why);
  EXPECT_EQ(snapshot().phase, Phase::kFailed);
  EXPECT_EQ(scheduler.counts().processes, 0U) << "at once, and not after close_timeout";
  EXPECT_EQ(ended, 1);
  EXPECT_EQ(receive(kept), "ok kept");
}

TEST_F(ActorRestartTest, AnEndByForceGivesUpTheSearchForAParticipant) {
  publish({{NodeName{"b"}, Incarnation{5}, MemberState::kJoined, false, {kToy}, {}}});
  bool broken = false;
  open([&broken](const Input&) {
    if (broken) throw std::runtime_error("broken");
  });
  start_ask("x");
  run();
  ASSERT_EQ(forwarded.size(), 1U);
  const auto request = std::get<signal::SpawnRequest>(forwarded[0]);
  broken = true;
  start_ask("y");
  run();
  EXPECT_EQ(scheduler.counts().processes, 0U);
  const Pid instance{NodeName{"b"}, Incarnation{5}, Serial{77}};
  const LinkId link{instance > request.from ? 3U : 2U};
  scheduler.deliver(signal::SpawnReply{instance, request.from, request.spawn, link});
  run();
  ASSERT_EQ(forwarded.size(), 2U);
  EXPECT_EQ(std::get<signal::Exit>(forwarded[1]).to, instance) << "one that comes too late ends";
}

// A handle elsewhere keeps the process beyond the end: the instance finds somebody alive, who does
// not want it.
TEST_F(ActorRestartTest, AnEndByForceGivesUpTheSearchAlsoWhereItsProcessStays) {
  publish({{NodeName{"b"}, Incarnation{5}, MemberState::kJoined, false, {kToy}, {}}});
  bool broken = false;
  open([&broken](const Input&) {
    if (broken) throw std::runtime_error("broken");
  });
  const Pid holder{NodeName{"far"}, Incarnation{6}, Serial{50}};
  Envelope watch{.kind = EnvelopeKind::kCall, .id = new_id(), .conversation = snapshot().id};
  put(watch, remote_call::Watch{});
  scheduler.deliver(signal::Send{holder, *pid, std::move(watch)});
  start_ask("x");
  run();
  std::optional<signal::SpawnRequest> request;
  for (const Signal& signal : forwarded) {
    if (const auto* spawn = std::get_if<signal::SpawnRequest>(&signal)) request = *spawn;
  }
  ASSERT_TRUE(request);
  broken = true;
  start_ask("y");
  run();
  ASSERT_TRUE(snapshot().ended);
  ASSERT_EQ(scheduler.counts().processes, 1U) << "the holder is still to be told";
  forwarded.clear();
  const Pid instance{NodeName{"b"}, Incarnation{5}, Serial{77}};
  const LinkId link{instance > request->from ? 3U : 2U};
  scheduler.deliver(signal::SpawnReply{instance, request->from, request->spawn, link});
  run();
  const bool told_to_end =
      std::any_of(forwarded.begin(), forwarded.end(), [&](const Signal& signal) {
        const auto* exit = std::get_if<signal::Exit>(&signal);
        return exit != nullptr && exit->to == instance;
      });
  EXPECT_TRUE(told_to_end);
}

TEST_F(ActorRestartTest, AnAttachedPidIsLetGoOfWhateverHappens) {
  /// Counts the exits that it sees of others.
  struct Bystander final : Process {
    explicit Bystander(int& the_exits) : exits(the_exits) {}
    void on_start(Context& context) override { context.trap_exits(true); }
    void handle(Context&, Message message) override {
      if (std::holds_alternative<message::Exited>(message)) ++exits;
    }
    int& exits;
  };
  int exits = 0;
  const Pid bystander = scheduler.spawn(std::make_unique<Bystander>(exits));
  bystanders = 1;
  for (const bool by_force : {false, true}) {
    bool broken = false;
    open({CrashPolicy::kFail, {ParticipantConfig::attached("helper", bystander)}},
         [&broken](const Input&) {
           if (broken) throw std::runtime_error("broken");
         });
    const Told asked = start_ask("x");
    run();
    broken = by_force;
    for (int i = 0; i < 6 && cell->actor(); ++i) {
      kill_actor();
      run();
    }
    EXPECT_EQ(asked->substr(0, 34), "ConversationFailed: actor crashed:");
    EXPECT_EQ(snapshot().phase, Phase::kFailed);
    EXPECT_EQ(scheduler.counts().processes, 1U);
  }
  EXPECT_EQ(exits, 0);
}

TEST_F(ActorRestartTest, CrashesDuringACloseDoNotHangIt) {
  for (const int crashes : {1, 5, 6, 20}) {
    SCOPED_TRACE(crashes);
    open();
    EXPECT_EQ(ask("stubborn"), "ok stubborn");
    const Told closed = start_close();
    run();
    EXPECT_EQ(snapshot().phase, Phase::kCompleting);
    for (int i = 0; i < crashes && cell->actor(); ++i) {
      kill_actor();
      run();
    }
    EXPECT_EQ(*closed, "");
    run_for(2s);
    EXPECT_EQ(*closed, "ok ");
    EXPECT_EQ(snapshot().phase, Phase::kClosed) << "a crash that races a close changes no phase";
    EXPECT_EQ(scheduler.counts().processes, 0U);
  }
}

TEST_F(ActorRestartTest, AnEndTimerThatNobodyCanDecideEndsItByForce) {
  open([](const Input& input) {
    if (std::holds_alternative<input::EndTimerFired>(input)) throw std::runtime_error("late");
  });
  EXPECT_EQ(ask("stubborn"), "ok stubborn");
  const Told closed = start_close();
  run_for(2s);
  EXPECT_EQ(*closed, "ok ");
  EXPECT_EQ(snapshot().phase, Phase::kClosed);
  EXPECT_EQ(scheduler.counts().processes, 0U);
}

// The reply was handed to a caller who is gone, and the actor dies for good before it is put back.
TEST_F(ActorRestartTest, AReplyOnItsWayBackIsThereBeforeTheConversationFails) {
  const Pid toy = scheduler.spawn(std::make_unique<Toy>(&handled));
  bystanders = 1;
  ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::attached("helper", toy)}};
  config.actor_restarts_max = 0;
  auto gone = std::make_shared<Waiter>([](const Outcome&) { ADD_FAILURE() << "it gave up"; });
  open(config, [this, gone](const Input& input) {
    if (!std::holds_alternative<input::Answered>(input)) return;
    static_cast<void>(gone->abandon());
    kill_actor();  // takes effect when this decision is made
  });
  post(call::Receive{cell->new_waiter_id(), Ticket{gone, cell, question::Receive{std::nullopt}},
                     std::nullopt});
  send("kept", ReplyMode::kInbox);
  EXPECT_EQ(snapshot().phase, Phase::kFailed);
  EXPECT_EQ(receive(), "ok kept");
}

// Random calls, kills and exceptions, at random moments: every request has the outcome that it
// would have had, and goes out once.
TEST_F(ActorRestartTest, NothingIsLostOrDoubledUnderRandomCrashes) {
  std::uint64_t all_restarts = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Random random{seed};
    handled.clear();
    made = 0;
    ConversationConfig config{CrashPolicy::kFail, {ParticipantConfig::owned(kToy)}};
    config.actor_restarts_max = 1'000'000;
    open(config, [this, &random](const Input&) {
      const auto chance = random.below(40);
      if (chance < 2) throw std::runtime_error("hook");
      if (chance < 4) kill_actor();  // in the middle of a decision, before its next one
    });
    const auto sometimes = [&] {
      if (random.below(4) == 0 && cell->actor()) kill_actor();
      if (random.below(2) == 0) run();
    };
    std::vector<std::string> sent;
    std::vector<std::pair<std::string, Told>> asks;
    std::vector<Told> receivers;
    std::size_t inbox_sent = 0;
    std::set<Pid> participants;
    for (int i = 0; i < 40; ++i) {
      const std::string text = std::to_string(seed) + "/" + std::to_string(i);
      switch (random.below(4)) {
        case 0:
        case 1:
          sent.push_back(text);
          asks.emplace_back(text, start_ask(text));
          break;
        case 2: {
          sent.push_back(text);
          ++inbox_sent;
          post(call::Send{
              new_id(), Payload{text}, {.reply = ReplyMode::kInbox}, std::nullopt, std::nullopt});
          break;
        }
        default:
          receivers.push_back(start_receive());
          break;
      }
      sometimes();
      if (const auto participant_pid = participant()) participants.insert(*participant_pid);
    }
    run();
    EXPECT_EQ(handled, sent) << "each once, in order";
    for (const auto& [text, told] : asks) EXPECT_EQ(*told, "ok " + text);
    while (receivers.size() < inbox_sent) receivers.push_back(start_receive());
    run();
    std::set<std::string> got;
    for (const Told& told : receivers) {
      if (told->empty()) continue;
      EXPECT_TRUE(got.insert(*told).second) << *told << " was handed out twice";
    }
    EXPECT_EQ(got.size(), inbox_sent);
    EXPECT_LE(participants.size(), 1U);
    EXPECT_LE(made, 1);
    const Told closed = start_close();
    if (cell->actor()) kill_actor();
    run();
    EXPECT_EQ(*closed, "ok ");
    EXPECT_EQ(snapshot().phase, Phase::kClosed);
    EXPECT_EQ(scheduler.counts().processes, 0U);
    EXPECT_EQ(scheduler.counts().timers, 0U);
    all_restarts += restarts();
    if (::testing::Test::HasFailure()) break;
  }
  EXPECT_GT(all_restarts, 3000U) << "it was tried";
}

}  // namespace
}  // namespace liminal
