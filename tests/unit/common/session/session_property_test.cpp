// Two sessions over a channel that loses, doubles and delays, by seed: everything arrives exactly
// once and in order, within bounds of credit, and when the faults end, all comes to rest.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/base/random.hpp"
#include "common/session/session.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

using namespace std::chrono_literals;

constexpr TimePoint kStart{1000s};
constexpr TimePoint kFaultsEnd = kStart + 3s;
constexpr TimePoint kLimit = kFaultsEnd + 30s;
constexpr std::uint64_t kSenders = 4;

class Exploration {
 public:
  explicit Exploration(std::uint64_t seed) : random_(seed) {
    loss_percent_ = random_.below(4) == 0 ? 0 : random_.below(25);
    double_percent_ = random_.below(10);
    settings_.credit_window_bytes = 200'000 + random_.below(600'000);
    settings_.reassembly_bytes_max = 300'000 + random_.below(600'000);
    settings_.payload_bytes_max = 300 * 1024;
    settings_.unacknowledged_items_max = random_.below(3) == 0 ? 1 + random_.below(20) : 65536;
    for (End& end : ends_) end.session.emplace(SessionNumber{1}, settings_);
    for (int i = 0; i < 40; ++i) actions_.emplace(kStart + up_to(3s), random_.below(20));
  }

  void run() {
    for (int turn = 0; turn < 20'000; ++turn) {
      const auto next = next_event();
      if (!next) return check_rest();
      ASSERT_LE(*next, kLimit) << "it does not come to rest";
      now_ = std::max(now_, *next);
      while (!actions_.empty() && actions_.begin()->first <= now_) act();
      for (std::size_t i = 0; i < 2; ++i) {
        deliver(i);
        collect(i);
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
    FAIL() << "too many turns";
  }

 private:
  struct InFlight {
    TimePoint at;
    SessionFrame frame;
  };
  struct Expected {
    std::deque<Signal> signals;
  };
  struct Held {
    TimePoint until;
    Signal signal;
  };
  struct End {
    std::optional<Session> session;
    std::deque<InFlight> incoming;               // first in, first out
    std::deque<InFlight> late;                   // of an older connection
    std::map<std::uint64_t, Expected> expected;  // by sender, at the other end
    std::deque<Held> held;                       // received, not returned
    std::size_t held_bytes = 0;
    std::uint64_t sequences_seen = 0;  // of what it sent
    std::uint64_t credit_used = 0;
    std::uint64_t credit_limit_told = 0;  // by it
  };

  bool chance(std::uint64_t percent) { return random_.below(100) < percent; }
  Duration up_to(Duration max) {
    return Duration{
        static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(max.count()) + 1))};
  }
  [[nodiscard]] bool faulty() const { return now_ < kFaultsEnd; }

  std::optional<TimePoint> next_event() {
    std::optional<TimePoint> next;
    const auto consider = [&next](std::optional<TimePoint> at) {
      if (at && (!next || *at < *next)) next = at;
    };
    if (!actions_.empty()) consider(actions_.begin()->first);
    for (End& end : ends_) {
      if (!end.incoming.empty()) consider(end.incoming.front().at);
      if (!end.late.empty()) consider(end.late.front().at);
      for (const Held& held : end.held) consider(held.until);
      consider(end.session->next_deadline());
    }
    return next;
  }

  void act() {
    const std::uint64_t what = actions_.begin()->second;
    actions_.erase(actions_.begin());
    if (what == 0) return reconnect();
    const std::size_t from = random_.below(2);
    const std::uint64_t burst = 1 + random_.below(4);
    for (std::uint64_t i = 0; i < burst; ++i) send(from);
  }

  void send(std::size_t from) {
    const std::uint64_t sender = random_.below(kSenders);
    const Pid source{NodeName{from == 0 ? "a" : "b"}, Incarnation{from + 1}, Serial{sender}};
    const Pid target{NodeName{from == 0 ? "b" : "a"}, Incarnation{2 - from}, Serial{9}};
    ++last_id_;
    Signal signal = signal::Link{source, target, LinkId{last_id_}};
    if (!chance(25)) {
      const std::size_t bytes = chance(70) ? random_.below(2'000) : random_.below(300 * 1024 + 1);
      signal = signal::Send{source, target,
                            Envelope{.kind = EnvelopeKind::kRequest,
                                     .id = {0, last_id_},
                                     .conversation = {0, 1},
                                     .payload = Payload{std::string(bytes, char(last_id_ % 251))}}};
    }
    ends_[1 - from].expected[sender].signals.push_back(signal);
    ends_[from].session->send(std::move(signal));
  }

  // Everything under way is lost, or comes late: one or both of the ends notice.
  void reconnect() {
    for (End& end : ends_) {
      for (InFlight& in_flight : end.incoming)
        if (chance(30)) end.late.push_back({now_ + up_to(500ms), std::move(in_flight.frame)});
      std::sort(end.late.begin(), end.late.end(),
                [](const InFlight& a, const InFlight& b) { return a.at < b.at; });
      end.incoming.clear();
    }
    const std::uint64_t who = 1 + random_.below(3);
    if (who & 1) ends_[0].session->reconnected();
    if (who & 2) ends_[1].session->reconnected();
  }

  void deliver(std::size_t to) {
    End& end = ends_[to];
    for (auto* queue : {&end.late, &end.incoming}) {
      while (!queue->empty() && queue->front().at <= now_) {
        SessionFrame frame = std::move(queue->front().frame);
        queue->pop_front();
        auto received = end.session->receive(std::move(frame), now_);
        ASSERT_TRUE(received) << received.error().detail;
        for (Signal& signal : received->signals) take(end, std::move(signal));
        if (::testing::Test::HasFatalFailure()) return;
      }
    }
    for (auto held = end.held.begin(); held != end.held.end();) {
      if (held->until > now_) {
        ++held;
        continue;
      }
      end.held_bytes -= held_cost(held->signal);
      end.session->returned(held->signal);
      held = end.held.erase(held);
    }
  }

  void take(End& end, Signal signal) {
    auto& expected = end.expected[from_of(signal).serial.value()].signals;
    ASSERT_FALSE(expected.empty()) << "something came twice";
    ASSERT_TRUE(signal == expected.front()) << "another was next";
    expected.pop_front();
    end.held_bytes += held_cost(signal);
    ASSERT_LE(end.held_bytes, settings_.credit_window_bytes);
    end.held.push_back({chance(60) ? now_ : now_ + up_to(200ms), std::move(signal)});
  }

  static std::size_t held_cost(const Signal& signal) {
    const auto* send = std::get_if<signal::Send>(&signal);
    if (send == nullptr || send->envelope.payload.size() > wire::kChunkBytesMax) return 0;
    return wire::credit_bytes(Item{signal});
  }

  void collect(std::size_t from) {
    End& end = ends_[from];
    End& other = ends_[1 - from];
    const auto due = end.session->next_deadline();
    const auto frames = end.session->collect(now_, 1 + random_.below(4));
    // whoever sleeps has nothing to say
    const bool awake = due && *due <= now_;
    ASSERT_TRUE(awake || frames.empty());
    for (const SessionFrame& frame : frames) send_frame(end, other, frame);
  }

  void send_frame(End& end, End& other, const SessionFrame& frame) {
    ++frames_;
    std::uint64_t sequence = frame.first_sequence;
    std::size_t bytes = 0;
    ASSERT_LE(sequence, end.sequences_seen + 1) << "a gap that the sender made";
    ASSERT_LE(frame.items.size(), wire::kFrameItemsMax);
    for (const Item& item : frame.items) {
      ASSERT_LT(bytes, wire::kFrameFillBytes);
      bytes += wire::credit_bytes(item);
      if (sequence++ <= end.sequences_seen) continue;
      ++end.sequences_seen;
      end.credit_used += wire::credit_bytes(item);
    }
    ASSERT_LE(end.credit_used,
              std::max<std::uint64_t>(other.credit_limit_told, settings_.credit_window_bytes));
    ASSERT_LE(frame.credit_limit, other.credit_used + settings_.credit_window_bytes);
    end.credit_limit_told = std::max(end.credit_limit_told, frame.credit_limit);

    if (faulty() && chance(loss_percent_)) return;
    const TimePoint earliest = other.incoming.empty() ? now_ : other.incoming.back().at;
    const TimePoint at = std::max(earliest, now_ + up_to(chance(5) ? 400ms : 20ms));
    other.incoming.push_back({at, frame});
    if (faulty() && chance(double_percent_)) other.incoming.push_back({at, frame});
  }

  void check_rest() {
    for (End& end : ends_) {
      ASSERT_TRUE(end.session->settled());
      ASSERT_EQ(end.session->waiting_bytes(), 0U);
      ASSERT_TRUE(end.held.empty());
      for (const auto& [sender, expected] : end.expected)
        ASSERT_TRUE(expected.signals.empty()) << "lost, of sender " << sender;
    }
    ASSERT_LE(frames_, 4000u);
  }

  Random random_;
  Session::Settings settings_;
  std::uint64_t loss_percent_ = 0;
  std::uint64_t double_percent_ = 0;
  std::array<End, 2> ends_;
  std::multimap<TimePoint, std::uint64_t> actions_;
  TimePoint now_ = kStart;
  std::uint64_t last_id_ = 0;
  std::uint64_t frames_ = 0;
};

// On failure the seed is printed; it decides everything.
TEST(SessionPropertyTest, ExactlyOnceInOrderAndThenAtRestWhateverTheChannelDoes) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Exploration{seed}.run();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

// A driver for a profiler as well: nothing in it may cost more with more that is under way.
TEST(SessionPropertyTest, ManySmallEnvelopesPass) {
  Session a{SessionNumber{1}, {}};
  Session b{SessionNumber{1}, {}};
  TimePoint now = kStart;
  const Payload payload{std::string(100, 'x')};
  const std::uint64_t total = 20'000;
  std::uint64_t sent = 0;
  std::uint64_t arrived = 0;
  for (int turn = 0; turn < 100'000 && !(arrived == total && a.settled()); ++turn) {
    now += 100us;
    for (int i = 0; i < 500 && sent < total; ++i, ++sent) {
      a.send(signal::Send{Pid{NodeName{"node-a"}, Incarnation{1}, Serial{1 + sent % 100}},
                          Pid{NodeName{"node-b"}, Incarnation{2}, Serial{1}},
                          Envelope{.kind = EnvelopeKind::kRequest,
                                   .id = {0, sent},
                                   .conversation = {0, 1},
                                   .payload = payload}});
    }
    for (SessionFrame& frame : a.collect(now, 8)) {
      const auto received = b.receive(std::move(frame), now);
      ASSERT_TRUE(received);
      arrived += received->signals.size();
      for (const Signal& signal : received->signals) b.returned(signal);
    }
    for (SessionFrame& frame : b.collect(now, 8)) ASSERT_TRUE(a.receive(std::move(frame), now));
  }
  EXPECT_EQ(arrived, total);
  EXPECT_TRUE(a.settled());
  EXPECT_EQ(a.waiting_bytes(), 0U);
}

}  // namespace
}  // namespace liminal
