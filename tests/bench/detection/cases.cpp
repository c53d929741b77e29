#include "cases.hpp"

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace liminal::bench {
namespace {

// The defaults of liminal-broker, which the promises are stated in.
constexpr double kGraceMs = 500;
constexpr double kDownAfterMs = 3000;
constexpr double kSilenceMaxMs = kDownAfterMs * 1.1;

using Parts = std::vector<std::string>;

Trial judged(SteadyClock::time_point fault, const Seen& seen, const Parts& expected) {
  Trial trial{std::chrono::duration<double, std::milli>(seen.at - fault).count(), {}};
  for (const std::string& part : expected) {
    if (seen.what.find(part) == std::string::npos) trial.wrong = seen.what;
  }
  return trial;
}

/// A receiver waits for a request that the victim works on; then `fault` says when it struck.
Trial while_it_waits(Lane& lane, const std::function<SteadyClock::time_point()>& fault,
                     const Parts& expected) {
  lane.start_victim();
  lane.tell_receiver("ask " + lane.waiting());
  (void)lane.told();
  const auto at = fault();
  return judged(at, lane.seen(), expected);
}

Trial child_killed(Lane& lane) {
  if (!lane.has_victim()) lane.start_victim();  // nothing befalls the node
  lane.tell_receiver("ask " + lane.waiting());
  const auto child = static_cast<pid_t>(lane.told());
  const auto at = SteadyClock::now();
  ::kill(child, SIGKILL);
  return judged(at, lane.seen(), {"ParticipantCrashed", "SIGKILL"});
}

Trial node_killed(Lane& lane) {
  return while_it_waits(lane, [&] { return lane.victim().signal(SIGKILL); },
                        {"ParticipantCrashed", "connection closed"});
}

Trial node_stopped(Lane& lane) {
  return while_it_waits(lane, [&] { return lane.victim().signal(SIGSTOP); },
                        {"ParticipantCrashed", "heartbeats missed"});
}

/// A cut counts from before it is made, which takes some milliseconds.
Trial behind_a_cut(Lane& lane, const std::function<void(test::HostNetwork&)>& cut) {
  const auto fault = [&] {
    const auto before = SteadyClock::now();
    cut(lane.network());
    return before;
  };
  const Trial trial = while_it_waits(lane, fault, {"ParticipantCrashed", "heartbeats missed"});
  lane.network().heal();
  return trial;
}

Trial silent_cut(Lane& lane) {
  return behind_a_cut(lane, [](test::HostNetwork& network) { network.cut("far"); });
}

Trial one_way_cut_from_node(Lane& lane) {
  return behind_a_cut(lane, [](test::HostNetwork& network) { network.cut_one_way("far", "hub"); });
}

Trial one_way_cut_to_node(Lane& lane) {
  return behind_a_cut(lane, [](test::HostNetwork& network) { network.cut_one_way("hub", "far"); });
}

Trial scheduler_hung(Lane& lane) {
  lane.start_hanging_victim();
  lane.tell_receiver("ask " + lane.waiting());
  const std::chrono::nanoseconds hung_at{lane.told()};
  return judged(SteadyClock::time_point{hung_at}, lane.seen(),
                {"ParticipantCrashed", "heartbeats missed"});
}

/// Nothing but a pause: a request sent into it is answered by the participant that was there.
Trial broker_killed(Lane& lane) {
  lane.start_victim();
  lane.tell_receiver("open " + lane.echo());
  if (const Seen opened = lane.seen(); opened.what != "ok") {
    throw std::runtime_error{"no conversation: " + opened.what};
  }
  const auto at = SteadyClock::now();
  lane.kill_broker();
  lane.tell_receiver("again");
  lane.restart_broker();
  return judged(at, lane.seen(), {"ok"});
}

Trial broker_and_node_killed(Lane& lane) {
  const Trial trial = while_it_waits(lane,
                                     [&] {
                                       const auto at = lane.victim().signal(SIGKILL);
                                       lane.kill_broker();
                                       lane.restart_broker();
                                       return at;
                                     },
                                     {"ParticipantCrashed", "recovery"});
  return trial;
}

}  // namespace

const std::vector<Case>& all_cases() {
  static const std::vector<Case> cases{
      {"child-killed",
       "SIGKILL of the participant's child, to the receiver's error",
       200,
       1,
       {},
       {},
       child_killed},
      {"node-killed",
       "SIGKILL of the node, with the default grace of 500 ms",
       200,
       4,
       {},
       kGraceMs + 50,
       node_killed},
      {"node-killed-no-grace",
       "SIGKILL of the node, with --reconnect-grace 0s",
       200,
       1,
       {.broker_options = {"--reconnect-grace", "0s"}},
       20,
       node_killed},
      {"node-stopped",
       "SIGSTOP of the node, with the default down-after of 3 s",
       50,
       4,
       {},
       kSilenceMaxMs,
       node_stopped},
      {"silent-cut",
       "the node's host cut off, both ways",
       50,
       4,
       {.on_hosts = true},
       kSilenceMaxMs,
       silent_cut},
      {"one-way-cut-from-node",
       "what the node's host sends to the broker's is lost",
       50,
       4,
       {.on_hosts = true},
       kSilenceMaxMs,
       one_way_cut_from_node},
      {"one-way-cut-to-node",
       "what the broker's host sends to the node's is lost",
       50,
       4,
       {.on_hosts = true},
       kSilenceMaxMs,
       one_way_cut_to_node},
      {"scheduler-hung",
       "every worker of the node in a turn that never ends",
       50,
       4,
       {},
       kSilenceMaxMs,
       scheduler_hung},
      {"broker-killed",
       "SIGKILL of the broker, which is started again at once, to the reply to a request sent "
       "meanwhile: no exit signal, only a pause",
       50,
       1,
       {},
       {},
       broker_killed},
      {"broker-and-node-killed",
       "SIGKILL of the node and of the broker, which is started again at once: known when recovery "
       "ends, 6 s by default",
       50,
       8,
       {},
       {},
       broker_and_node_killed},
  };
  return cases;
}

std::vector<Trial> run_trials(const Case& one, int trials, int at_once) {
  std::mutex mutex;
  std::vector<Trial> made;           // GUARDED_BY mutex
  std::exception_ptr first_trouble;  // GUARDED_BY mutex
  std::atomic<int> left{trials};
  const auto work = [&] {
    try {
      Lane lane{one.lane};
      while (left.fetch_sub(1) > 0) {
        Trial trial = one.trial(lane);
        const std::lock_guard lock{mutex};
        made.push_back(std::move(trial));
      }
    } catch (...) {
      left = 0;
      const std::lock_guard lock{mutex};
      if (!first_trouble) first_trouble = std::current_exception();
    }
  };
  std::vector<std::thread> lanes;
  for (int i = 0; i < std::min(at_once, trials); ++i) lanes.emplace_back(work);
  for (std::thread& lane : lanes) lane.join();
  if (first_trouble) std::rethrow_exception(first_trouble);
  return made;
}

}  // namespace liminal::bench
