// A peer whose frames are not what a session says: each is told as a violation and changes nothing,
// or is one that a session could have said.
#include <algorithm>
#include <chrono>
#include <deque>
#include <limits>
#include <memory>
#include <optional>

#include "common/session/session.hpp"
#include "common/wire/codec.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

Session::Settings settings(Random& random) {
  Session::Settings settings;
  settings.credit_window_bytes = 100'000 + random.below(300'000);
  settings.reassembly_bytes_max = 200'000 + random.below(300'000);
  settings.payload_bytes_max = 200 * 1024;
  return settings;
}

Signal random_signal(std::uint64_t number, Random& random) {
  const Pid from = pid_a(1 + random.below(3)), to = pid_b(9);
  if (random.below(4) == 0) return signal::Link{from, to, LinkId{number}};
  if (random.below(16) == 0) return signal::Cancel{from, to, MessageId{1, number - 1}};
  const bool undoes = random.below(8) == 0;
  const std::size_t bytes =
      random.below(8) == 0 ? random.below((undoes ? 400 : 200) * 1024 + 1) : random.below(1000);
  if (undoes) {
    return signal::Send{from, to,
                        Envelope{.kind = EnvelopeKind::kCompensate,
                                 .id = {1, number},
                                 .conversation = {1, 1},
                                 .payload = Payload{std::string(bytes, 'u')},
                                 .reply_at = random.below(bytes + 1)}};
  }
  return signal::Send{from, to,
                      Envelope{.kind = EnvelopeKind::kRequest,
                               .id = {1, number},
                               .conversation = {1, 1},
                               .payload = Payload{std::string(bytes, 'x')}}};
}

std::uint64_t odd_number(std::uint64_t near, Random& random) {
  switch (random.below(5)) {
    case 0:
      return 0;
    case 1:
      return std::numeric_limits<std::uint64_t>::max() - random.below(3);
    case 2:
      return near + random.below(5);
    case 3:
      return near - std::min(near, random.below(5));
    default:
      return random.next();
  }
}

/// One field that is not as it should be, or items that should not be there.
SessionFrame changed_once(SessionFrame frame, Random& random) {
  switch (random.below(9)) {
    case 0:
      frame.next_expected = odd_number(frame.next_expected, random);
      break;
    case 1:
      frame.first_sequence = odd_number(frame.first_sequence, random);
      break;
    case 2:
      frame.credit_limit = odd_number(frame.credit_limit, random);
      break;
    case 3:
      frame.session = SessionNumber{static_cast<std::uint32_t>(random.below(3))};
      break;
    case 4:
      frame.resend = !frame.resend;
      break;
    case 5:  // more than there is credit for, or of no transfer, at any place
    case 6: {
      const auto all = items();
      const auto at =
          frame.items.begin() + static_cast<std::ptrdiff_t>(random.below(frame.items.size() + 1));
      frame.items.insert(at, all[random.below(all.size())].item);
      break;
    }
    case 8:  // of a kind that may not be so large, or with a reply beyond its end
      for (Item& item : frame.items) {
        auto* begin = std::get_if<item::Begin>(&item);
        if (begin == nullptr) continue;
        Envelope& envelope = begin->send.envelope;
        if (random.below(2) == 0) {
          envelope.kind = EnvelopeKind::kRequest;
          envelope.reply_at.reset();
        } else {
          envelope.kind = EnvelopeKind::kCompensate;
          envelope.reply_at = odd_number(400 * 1024, random);
        }
      }
      break;
    case 7: {
      for (std::uint64_t n = random.below(12); n-- > 0;) {
        frame.items.push_back(Signal{
            signal::Send{pid_a(1), pid_b(9),
                         Envelope{.kind = EnvelopeKind::kRequest,
                                  .id = {1, 1},
                                  .conversation = {1, 1},
                                  .payload = Payload{std::string(random.below(70 * 1024), 'y')}}}});
      }
      break;
    }
  }
  return frame;
}

/// Something that the peer might have made of its frame.
SessionFrame changed(SessionFrame frame, Random& random) {
  for (std::uint64_t n = 1 + random.below(3); n-- > 0;) frame = changed_once(frame, random);
  return frame;
}

std::vector<std::string> encoded(const std::vector<SessionFrame>& frames, TimePoint now) {
  std::vector<std::string> all;
  for (const SessionFrame& frame : frames) all.push_back(wire::encode(frame, now));
  return all;
}

/// Two sessions that read the same; one of them is sent, in between, what no session says. As long
/// as that one refuses it, nobody can tell the two from each other.
class Exploration {
 public:
  explicit Exploration(std::uint64_t seed)
      : random_(seed),
        sender_(SessionNumber{1}, settings_),
        disturbed_(SessionNumber{1}, settings_),
        undisturbed_(SessionNumber{1}, settings_) {}

  void run() {
    for (int turn = 0; turn < 60 && !accepted_; ++turn) {
      now_ += std::chrono::milliseconds{random_.below(200)};
      for (std::uint64_t n = random_.below(4); n-- > 0;) {
        sender_.send(random_signal(++numbers_, random_));
      }
      // They say something too, so that there is something to acknowledge and to give credit for.
      for (std::uint64_t n = random_.below(5); n-- > 0;) {
        const Signal back = answer_of(random_signal(++numbers_, random_));
        disturbed_.send(back);
        undisturbed_.send(back);
      }
      for (const SessionFrame& frame : sender_.collect(now_, 10)) {
        disturb(frame);
        if (accepted_) return;
        both_read(frame);
        if (::testing::Test::HasFatalFailure()) return;
      }
      answer();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }

  [[nodiscard]] int refused() const { return refused_; }
  [[nodiscard]] int unreadable() const { return unreadable_; }

 private:
  static Signal answer_of(Signal signal) {
    std::visit([](auto& s) { std::swap(s.from, s.to); }, signal);
    return signal;
  }

  void disturb(const SessionFrame& frame) {
    if (random_.below(2) == 0) return;
    std::string bytes;
    if (random_.below(2) == 0) {
      bytes = wire::encode(frame, now_);
      bytes = mutated(bytes, {bytes}, random_);
    } else {
      SessionFrame other = changed(frame, random_);
      disturb_with(std::move(other));
      return;
    }
    auto decoded = wire::decode_session_frame(bytes, now_);
    if (decoded) {
      disturb_with(*std::move(decoded));
    } else {
      ++unreadable_;
    }
  }
  void disturb_with(SessionFrame frame) {
    const auto received = disturbed_.receive(std::move(frame), now_);
    if (received) {
      accepted_ = true;  // a session could have said so: from here on they may differ
      return;
    }
    ASSERT_EQ(received.error().code, Errc::kMalformed);
    ++refused_;
  }

  void both_read(const SessionFrame& frame) {
    const auto one = disturbed_.receive(frame, now_), other = undisturbed_.receive(frame, now_);
    ASSERT_TRUE(one && other);
    ASSERT_EQ(one->signals, other->signals) << "something of a refused frame was applied";
    ASSERT_EQ(one->duplicate, other->duplicate);
    for (const Signal& signal : one->signals) {
      disturbed_.returned(signal);
      undisturbed_.returned(signal);
    }
  }

  void answer() {
    ASSERT_EQ(disturbed_.next_deadline(), undisturbed_.next_deadline());
    const auto one = disturbed_.collect(now_, 10), other = undisturbed_.collect(now_, 10);
    ASSERT_EQ(encoded(one, now_), encoded(other, now_));
    ASSERT_EQ(disturbed_.settled(), undisturbed_.settled());
    under_way_.insert(under_way_.end(), one.begin(), one.end());
    // not at once either, so that something is unacknowledged
    for (std::uint64_t n = random_.below(4); n-- > 0 && !under_way_.empty();) {
      const auto received = sender_.receive(under_way_.front(), now_);
      ASSERT_TRUE(received);
      under_way_.pop_front();
      // not at once, so that credit runs short now and then
      for (const Signal& signal : received->signals) held_.push_back(signal);
    }
    for (std::uint64_t n = random_.below(2 * held_.size() + 1); n-- > 0 && !held_.empty();) {
      sender_.returned(held_.front());
      held_.pop_front();
    }
  }

  Random random_;
  Session::Settings settings_ = settings(random_);
  Session sender_, disturbed_, undisturbed_;
  TimePoint now_{1000s};
  std::deque<SessionFrame> under_way_;  // from them to the sender
  std::deque<Signal> held_;
  std::uint64_t numbers_ = 0;
  bool accepted_ = false;
  int refused_ = 0, unreadable_ = 0;
};

TEST(SessionFuzz, ARefusedFrameChangesNothing) {
  int refused = 0, unreadable = 0;
  for_each_seed(3000, [&](std::uint64_t seed) {
    Exploration exploration{seed};
    exploration.run();
    refused += exploration.refused();
    unreadable += exploration.unreadable();
  });
  if (std::getenv("LIMINAL_FUZZ_SEEDS") == nullptr) {  // the walk goes where it should
    EXPECT_GT(refused, 300);
    EXPECT_GT(unreadable, 300);
  }
}

// Without regard to what a session makes of it: it never breaks.
TEST(SessionFuzz, NothingThatAPeerSaysBreaksIt) {
  for_each_seed(3000, [](std::uint64_t seed) {
    Random random{seed};
    Session session{SessionNumber{1}, settings(random)};
    TimePoint now{1000s};
    const auto all = items();
    SessionFrame frame{SessionNumber{1}, 1, 4'000'000, false, 1, {}};
    std::uint64_t sequence = 1;
    for (int turn = 0; turn < 100; ++turn) {
      now += std::chrono::milliseconds{random.below(500)};
      if (random.below(3) == 0) session.send(random_signal(sequence, random));
      frame.items.clear();
      for (std::uint64_t n = random.below(4); n-- > 0;) {
        frame.items.push_back(all[random.below(all.size())].item);
      }
      frame.first_sequence = sequence;
      SessionFrame said = random.below(3) == 0 ? changed(frame, random) : frame;
      const std::uint64_t behind = said.first_sequence + said.items.size();
      if (const auto received = session.receive(std::move(said), now)) {
        for (const Signal& signal : received->signals) session.returned(signal);
        if (behind > sequence && behind < sequence + 1000) sequence = behind;
      }
      if (random.below(20) == 0) session.reconnected();
      const auto frames = session.collect(now, 10);
      ASSERT_LE(frames.size(), 10u);
      for (const SessionFrame& each : frames) {
        ASSERT_LE(wire::encode(each, now).size(), wire::kPartBytesMax);
        if (random.below(2) == 0) frame.next_expected = each.first_sequence + each.items.size();
      }
    }
  });
}

}  // namespace
}  // namespace liminal::test
