// The signals of one node keep contracts 1 to 6: links, monitors, exits, as in Erlang.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "tests/unit/node/scheduler/troupe.hpp"

namespace liminal {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class SignalsTest : public ::testing::Test {
 protected:
  void link(std::size_t from, std::size_t to) {
    troupe.act(from, [=, this](Context& c) { c.link(troupe.pid(from, to)); });
  }
  void unlink(std::size_t from, std::size_t to) {
    troupe.act(from, [=, this](Context& c) { c.unlink(troupe.pid(from, to)); });
  }
  void monitor(std::size_t from, std::size_t to) {
    troupe.act(from, [=, this](Context& c) { static_cast<void>(c.monitor(troupe.pid(from, to))); });
  }
  void end(std::size_t who, ExitReason reason) {
    troupe.act(who, [=](Context& c) { c.exit(reason); });
  }
  void send_exit(std::size_t from, std::size_t to, ExitReason reason) {
    troupe.act(from, [=, this](Context& c) { c.exit(troupe.pid(from, to), reason); });
  }
  void say(std::size_t from, std::size_t to, std::string text) {
    troupe.act(from,
               [=, this](Context& c) { c.send(troupe.pid(from, to), test::envelope(c, text)); });
  }

  test::Troupe troupe;
};

// --- order ---------------------------------------------------------------------------------------

TEST_F(SignalsTest, SignalsOfOnePairArriveInTheOrderSent) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn_trapping();
  troupe.act(a, [&](Context& c) {
    c.send(troupe.pid(b), test::envelope(c, "one"));
    c.exit(troupe.pid(b), ExitReason::shutdown());
    c.send(troupe.pid(b), test::envelope(c, "two"));
    c.link(troupe.pid(b));
    c.exit(ExitReason::error("end"));
    c.send(troupe.pid(b), test::envelope(c, "three"));
  });
  EXPECT_THAT(troupe.seen(b), ElementsAre("got 0 one", "exited 0 shutdown", "got 0 two",
                                          "got 0 three", "exited 0 error end"));
}

TEST_F(SignalsTest, AKillDoesNotQueueBehindUnreadMessages) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  troupe.run();
  for (int i = 0; i < 5; ++i) {
    troupe.post(a, [&](Context& c) { c.send(troupe.pid(b), test::envelope(c, "unread")); });
  }
  troupe.act(a, [&](Context& c) { c.exit(troupe.pid(b), ExitReason::kill()); });
  EXPECT_FALSE(troupe.alive(b));
  EXPECT_THAT(troupe.seen(b), IsEmpty());
  EXPECT_EQ(troupe.dropped(), 5U);
}

// --- links ---------------------------------------------------------------------------------------

TEST_F(SignalsTest, AnAbnormalExitKillsWhoIsLinkedAndSoOn) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  const auto c = troupe.spawn_trapping();
  const auto bystander = troupe.spawn();
  link(a, b);
  link(c, b);
  end(a, ExitReason::error("boom"));
  EXPECT_FALSE(troupe.alive(a));
  EXPECT_FALSE(troupe.alive(b));
  EXPECT_TRUE(troupe.alive(bystander));
  EXPECT_THAT(troupe.seen(c), ElementsAre("exited 1 error boom"));
}

TEST_F(SignalsTest, ALinkWorksBothWays) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn();
  link(a, b);
  end(b, ExitReason::shutdown());
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited 1 shutdown"));

  const auto c = troupe.spawn();
  link(a, c);
  end(a, ExitReason::error("the maker"));
  EXPECT_FALSE(troupe.alive(c));
}

TEST_F(SignalsTest, NormalKillsNobodyThatDoesNotTrap) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  const auto trapping = troupe.spawn_trapping();
  link(a, b);
  link(a, trapping);
  end(a, ExitReason::normal());
  EXPECT_TRUE(troupe.alive(b));
  EXPECT_THAT(troupe.seen(trapping), ElementsAre("exited 0 normal"));
}

TEST_F(SignalsTest, ALinkToTheGoneAnswersNoproc) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn();
  const auto c = troupe.spawn();
  end(b, ExitReason::normal());
  link(a, b);
  link(c, b);
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited 1 noproc"));
  EXPECT_FALSE(troupe.alive(c));
}

TEST_F(SignalsTest, LinkingTwiceIsOneLink) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn();
  link(a, b);
  link(a, b);
  link(b, a);
  end(b, ExitReason::error("once"));
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited 1 error once"));
}

TEST_F(SignalsTest, TwoLinksMadeAtOnceAreOneAndOneUnlinkEndsIt) {
  for (const bool unlinks : {false, true}) {
    test::Troupe both;
    const auto a = both.spawn_trapping();
    const auto b = both.spawn_trapping();
    both.run();
    both.post(a, [&](Context& c) { c.link(both.pid(b)); });
    both.post(b, [&](Context& c) { c.link(both.pid(a)); });
    both.run();
    if (unlinks) both.act(a, [&](Context& c) { c.unlink(both.pid(b)); });
    both.act(b, [&](Context& c) { c.exit(ExitReason::error("once")); });
    if (unlinks) {
      EXPECT_THAT(both.seen(a), IsEmpty());
    } else {
      EXPECT_THAT(both.seen(a), ElementsAre("exited 1 error once"));
    }
  }
}

TEST_F(SignalsTest, AfterAnUnlinkNothingOfTheLinkArrives) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn();
  link(a, b);
  // b's exit is on its way, or even in the mailbox, when a unlinks.
  troupe.post(b, [](Context& c) { c.exit(ExitReason::error("late")); });
  troupe.post(a, [&](Context& c) { c.unlink(troupe.pid(b)); });
  troupe.run();
  EXPECT_THAT(troupe.seen(a), IsEmpty());
}

TEST_F(SignalsTest, AnUnlinkCancelsAnExitThatWaitsInTheMailbox) {
  test::Troupe slow(1, 1);  // one message a turn
  const auto a = slow.spawn_trapping();
  const auto b = slow.spawn();
  slow.act(a, [&](Context& c) { c.link(slow.pid(b)); });
  slow.post(b, [](Context& c) { c.exit(ExitReason::error("late")); });
  for (int i = 0; i < 3; ++i) slow.post(a, [](Context&) {});
  slow.post(a, [&](Context& c) {
    EXPECT_FALSE(slow.alive(b));
    c.unlink(slow.pid(b));
  });
  slow.run();
  EXPECT_THAT(slow.seen(a), IsEmpty());
}

TEST_F(SignalsTest, ALinkMadeAnewAfterAnUnlinkIsAnotherActivation) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn();
  link(a, b);
  troupe.act(a, [&](Context& c) {
    c.unlink(troupe.pid(b));
    c.link(troupe.pid(b));
  });
  end(b, ExitReason::error("second"));
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited 1 error second"));
}

TEST_F(SignalsTest, UnlinkingWhoIsNotLinkedIsFine) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  unlink(a, b);
  unlink(a, a);
  EXPECT_TRUE(troupe.alive(a));
}

TEST_F(SignalsTest, ALinkToOneselfIsNone) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn();
  link(a, a);
  monitor(b, a);
  end(a, ExitReason::error("alone"));
  EXPECT_THAT(troupe.seen(a), IsEmpty());
  EXPECT_THAT(troupe.seen(b), ElementsAre("down 1 0 error alone"));
}

// --- exit(pid, reason) ---------------------------------------------------------------------------

struct ExitCase {
  const char* name;
  ExitReason sent;
  bool by_link;  // else by exit(pid, reason)
  bool to_self;
  bool traps;
  const char* seen_by_target;   // null: nothing
  const char* seen_by_witness;  // null: the target lives
};

class ExitTable : public ::testing::TestWithParam<ExitCase> {};

TEST_P(ExitTable, IsErlangs) {
  const ExitCase& test = GetParam();
  test::Troupe troupe;
  const auto sender = troupe.spawn();
  const auto target = test.to_self ? sender : troupe.spawn();
  const auto witness = troupe.spawn();
  troupe.act(target, [&](Context& c) { c.trap_exits(test.traps); });
  troupe.act(witness, [&](Context& c) { static_cast<void>(c.monitor(troupe.pid(target))); });
  troupe.act(sender, [&](Context& c) {
    if (test.by_link) {
      c.link(troupe.pid(target));
      c.exit(test.sent);
    } else {
      c.exit(troupe.pid(target), test.sent);
    }
  });
  if (test.seen_by_target) {
    EXPECT_THAT(troupe.seen(target), ElementsAre(test.seen_by_target));
  } else {
    EXPECT_THAT(troupe.seen(target), IsEmpty());
  }
  if (test.seen_by_witness) {
    EXPECT_FALSE(troupe.alive(target));
    EXPECT_THAT(troupe.seen(witness), ElementsAre(test.seen_by_witness));
  } else {
    EXPECT_TRUE(troupe.alive(target));
    EXPECT_THAT(troupe.seen(witness), IsEmpty());
  }
}

// clang-format off
INSTANTIATE_TEST_SUITE_P(Signals, ExitTable, ::testing::Values(
    //        name                  reason                  link   self   traps  target               witness
    ExitCase{"NormalIgnored",       ExitReason::normal(),   false, false, false, nullptr,             nullptr},
    ExitCase{"NormalTrapped",       ExitReason::normal(),   false, false, true,  "exited 0 normal",   nullptr},
    ExitCase{"ShutdownKills",       ExitReason::shutdown(), false, false, false, nullptr,             "down 1 1 shutdown"},
    ExitCase{"ShutdownTrapped",     ExitReason::shutdown(), false, false, true,  "exited 0 shutdown", nullptr},
    ExitCase{"KillKills",           ExitReason::kill(),     false, false, false, nullptr,             "down 1 1 killed"},
    ExitCase{"KillIsNotTrapped",    ExitReason::kill(),     false, false, true,  nullptr,             "down 1 1 killed"},
    ExitCase{"KilledIsTrapped",     ExitReason::killed(),   false, false, true,  "exited 0 killed",   nullptr},
    ExitCase{"NormalByLink",        ExitReason::normal(),   true,  false, false, nullptr,             nullptr},
    ExitCase{"NormalByLinkTrapped", ExitReason::normal(),   true,  false, true,  "exited 0 normal",   nullptr},
    ExitCase{"ErrorByLink",         ExitReason::error("x"), true,  false, false, nullptr,             "down 1 1 error x"},
    ExitCase{"KillByLink",          ExitReason::kill(),     true,  false, false, nullptr,             "down 1 1 kill"},
    ExitCase{"KillByLinkTrapped",   ExitReason::kill(),     true,  false, true,  "exited 0 kill",     nullptr},
    ExitCase{"NormalToSelf",        ExitReason::normal(),   false, true,  false, nullptr,             "down 1 0 normal"},
    ExitCase{"NormalToSelfTrapped", ExitReason::normal(),   false, true,  true,  "exited 0 normal",   nullptr},
    ExitCase{"ErrorToSelf",         ExitReason::error("x"), false, true,  false, nullptr,             "down 1 0 error x"},
    ExitCase{"ErrorToSelfTrapped",  ExitReason::error("x"), false, true,  true,  "exited 0 error x",  nullptr},
    ExitCase{"KillToSelf",          ExitReason::kill(),     false, true,  true,  nullptr,             "down 1 0 killed"}),
    [](const auto& test) { return std::string{test.param.name}; });
// clang-format on

TEST_F(SignalsTest, WhoIsLinkedToTheKilledSeesKilledAndMayTrapIt) {
  const auto a = troupe.spawn_trapping();
  const auto b = troupe.spawn_trapping();
  const auto c = troupe.spawn();
  link(a, b);
  link(c, b);
  send_exit(a, b, ExitReason::kill());
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited 1 killed"));
  EXPECT_FALSE(troupe.alive(c));
}

TEST_F(SignalsTest, AnExitSignalBreaksNoLink) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn_trapping();
  link(a, b);
  send_exit(a, b, ExitReason::error("only a signal"));
  end(a, ExitReason::error("the end"));
  EXPECT_THAT(troupe.seen(b),
              ElementsAre("exited 0 error only a signal", "exited 0 error the end"));
}

TEST_F(SignalsTest, ExitFromOutsideComesFromTheNode) {
  const auto a = troupe.spawn_trapping();
  troupe.run();
  troupe.node().exit(troupe.pid(a), ExitReason::shutdown());
  troupe.run();
  EXPECT_THAT(troupe.seen(a), ElementsAre("exited node shutdown"));
  troupe.node().exit(troupe.pid(a), ExitReason::kill());
  troupe.run();
  EXPECT_FALSE(troupe.alive(a));
}

TEST_F(SignalsTest, AnExitToOneselfTakesEffectBeforeTheCallReturns) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  monitor(b, a);
  troupe.act(a, [](Context& c) {
    c.exit(c.self(), ExitReason::error("first"));
    c.trap_exits(true);
    c.exit(ExitReason::normal());
  });
  EXPECT_THAT(troupe.seen(b), ElementsAre("down 1 0 error first"));
}

TEST_F(SignalsTest, OfSeveralOwnExitsTheLastCounts) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  monitor(b, a);
  troupe.act(a, [](Context& c) {
    c.exit(ExitReason::error("first"));
    c.exit(ExitReason::shutdown());
  });
  EXPECT_THAT(troupe.seen(b), ElementsAre("down 1 0 shutdown"));
}

TEST_F(SignalsTest, ProcessesThatExitHandleNothingMore) {
  const auto a = troupe.spawn();
  troupe.run();
  bool handled = false;
  troupe.post(a, [](Context& c) { c.exit(ExitReason::normal()); });
  troupe.post(a, [&](Context&) { handled = true; });
  troupe.run();
  EXPECT_FALSE(handled);
  EXPECT_EQ(troupe.dropped(), 1U);
}

TEST_F(SignalsTest, AProcessThatTrapsFromItsStartMissesNoExit) {
  const auto a = troupe.spawn();
  auto child = troupe.make(0, true);
  troupe.act(a, [&](Context& c) {
    static_cast<void>(c.spawn_link(std::move(child.second)));
    c.exit(ExitReason::error("at once"));
  });
  EXPECT_TRUE(troupe.alive(child.first));
  EXPECT_THAT(troupe.seen(child.first), ElementsAre("exited 0 error at once"));
}

// --- monitors ------------------------------------------------------------------------------------

TEST_F(SignalsTest, EachMonitorYieldsExactlyOneDown) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  monitor(a, b);
  monitor(a, b);
  end(b, ExitReason::error("boom"));
  EXPECT_THAT(troupe.seen(a), ElementsAre("down 1 1 error boom", "down 2 1 error boom"));
  EXPECT_TRUE(troupe.alive(a));
}

TEST_F(SignalsTest, AMonitorOfTheGoneAnswersNoproc) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  end(b, ExitReason::normal());
  monitor(a, b);
  EXPECT_THAT(troupe.seen(a), ElementsAre("down 1 1 noproc"));
}

TEST_F(SignalsTest, MonitoringOneselfYieldsNothing) {
  const auto a = troupe.spawn();
  monitor(a, a);
  troupe.act(a, [](Context& c) { c.demonitor(MonitorId{1}); });
  EXPECT_TRUE(troupe.alive(a));
  end(a, ExitReason::normal());
  EXPECT_THAT(troupe.seen(a), IsEmpty());
}

TEST_F(SignalsTest, AfterADemonitorNothingOfItArrives) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  monitor(a, b);
  monitor(a, b);
  // once before the end, once with the Down in the mailbox already
  troupe.act(a, [](Context& c) { c.demonitor(MonitorId{1}); });
  troupe.post(b, [](Context& c) { c.exit(ExitReason::error("late")); });
  troupe.run_node(0);
  EXPECT_THAT(troupe.seen(a), ElementsAre("down 2 1 error late"));

  test::Troupe slow(1, 1);
  const auto watcher = slow.spawn();
  const auto watched = slow.spawn();
  slow.act(watcher, [&](Context& c) { static_cast<void>(c.monitor(slow.pid(watched))); });
  slow.post(watched, [](Context& c) { c.exit(ExitReason::normal()); });
  for (int i = 0; i < 3; ++i) slow.post(watcher, [](Context&) {});
  slow.post(watcher, [](Context& c) { c.demonitor(MonitorId{1}); });
  slow.run();
  EXPECT_FALSE(slow.alive(watched));
  EXPECT_THAT(slow.seen(watcher), IsEmpty());
}

// --- crashes -------------------------------------------------------------------------------------

TEST_F(SignalsTest, AnExceptionIsAnExitWithErrorAndTakesDownNobodyButTheLinked) {
  const auto a = troupe.spawn();
  const auto linked = troupe.spawn();
  const auto other = troupe.spawn();
  const auto watcher = troupe.spawn();
  link(linked, a);
  monitor(watcher, a);
  troupe.act(a, [](Context&) { throw std::runtime_error("out of luck"); });
  EXPECT_FALSE(troupe.alive(a));
  EXPECT_FALSE(troupe.alive(linked));
  EXPECT_TRUE(troupe.alive(other));
  EXPECT_THAT(troupe.seen(watcher), ElementsAre("down 1 0 error out of luck"));
}

TEST_F(SignalsTest, WhateverIsThrownIsCaught) {
  const auto a = troupe.spawn();
  const auto watcher = troupe.spawn();
  monitor(watcher, a);
  troupe.act(a, [](Context&) { throw 42; });
  EXPECT_THAT(troupe.seen(watcher), ElementsAre("down 1 0 error unknown exception"));
}

TEST_F(SignalsTest, ATextTooLongForTheWireIsCutBetweenCharacters) {
  const auto a = troupe.spawn();
  const auto watcher = troupe.spawn();
  monitor(watcher, a);
  troupe.act(a, [](Context&) {
    std::string text(16 * 1024 - 1, 'x');
    throw std::runtime_error(text + "\xC3\xA4");  // its second byte is the first too many
  });
  ASSERT_EQ(troupe.seen(watcher).size(), 1U);
  EXPECT_EQ(troupe.seen(watcher)[0], "down 1 0 error " + std::string(16 * 1024 - 1, 'x'));
}

TEST_F(SignalsTest, WhatComesTooLateForTheDyingIsAnsweredAsForTheGone) {
  const auto dying = troupe.spawn();
  const auto linker = troupe.spawn_trapping();
  const auto watcher = troupe.spawn();
  troupe.run();
  troupe.post(dying, [&](Context& c) {
    // they act between its end and its being gone: all of it is in its queue when it ends
    c.exit(ExitReason::error("mine"));
  });
  troupe.post(linker, [&](Context& c) { c.link(troupe.pid(dying)); });
  troupe.post(watcher, [&](Context& c) { static_cast<void>(c.monitor(troupe.pid(dying))); });
  troupe.run();
  EXPECT_THAT(troupe.seen(linker), ElementsAre("exited 0 noproc"));
  EXPECT_THAT(troupe.seen(watcher), ElementsAre("down 1 0 noproc"));
}

TEST_F(SignalsTest, WhatStandsBehindTheFatalSignalIsAnsweredToo) {
  const auto killer = troupe.spawn_trapping();
  const auto target = troupe.spawn();
  troupe.run();
  // One batch of the target: the kill, then a link and a monitor.
  troupe.act(killer, [&](Context& c) {
    c.exit(troupe.pid(target), ExitReason::kill());
    c.link(troupe.pid(target));
    static_cast<void>(c.monitor(troupe.pid(target)));
    c.send(troupe.pid(target), test::envelope(c, "too late"));
  });
  EXPECT_THAT(troupe.seen(killer), ElementsAre("exited 1 noproc", "down 1 1 noproc"));
  EXPECT_EQ(troupe.dropped(), 1U);
}

TEST_F(SignalsTest, MessagesToTheGoneAreDroppedAndCounted) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  end(b, ExitReason::normal());
  say(a, b, "anybody?");
  EXPECT_FALSE(troupe.post(b, [](Context&) {}));
  EXPECT_EQ(troupe.dropped(), 2U);
  EXPECT_TRUE(troupe.alive(a));
}

TEST_F(SignalsTest, TheHandlerIsGoneBeforeAnybodyLearnsOfItsEnd) {
  const auto a = troupe.spawn();
  const auto b = troupe.spawn();
  monitor(b, a);
  bool was_alive = true;
  troupe.on_note = [&](std::size_t, const std::string&) { was_alive = troupe.alive(a); };
  end(a, ExitReason::normal());
  EXPECT_FALSE(was_alive);
}

}  // namespace
}  // namespace liminal
