#include "tests/fuzz/common/session/changed_frames.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/wire/codec.hpp"
#include "tests/fuzz/any_item.hpp"
#include "tests/support/expect.hpp"
#include "tests/support/hostile_bytes.hpp"
#include "tests/unit/common/wire/frames.hpp"

namespace liminal::test {
namespace {

Session::Settings settings(Choices& choices) {
  Session::Settings settings;
  settings.credit_window_bytes = 100'000 + choices.below(300'000);
  settings.reassembly_bytes_max = 200'000 + choices.below(300'000);
  settings.payload_bytes_max = 200 * 1024;
  return settings;
}

Signal any_signal(std::uint64_t number, Choices& choices) {
  const Pid from = pid_a(1 + choices.below(3)), to = pid_b(9);
  if (choices.below(4) == 0) return signal::Link{from, to, LinkId{number}};
  if (choices.below(16) == 0) return signal::Cancel{from, to, MessageId{1, number - 1}};
  const bool undoes = choices.below(8) == 0;
  const std::size_t bytes =
      choices.below(8) == 0 ? choices.below((undoes ? 400 : 200) * 1024 + 1) : choices.below(1000);
  if (undoes) {
    return signal::Send{from, to,
                        Envelope{.kind = EnvelopeKind::kCompensate,
                                 .id = {1, number},
                                 .conversation = {1, 1},
                                 .payload = Payload{std::string(bytes, 'u')},
                                 .reply_at = choices.below(bytes + 1)}};
  }
  return signal::Send{from, to,
                      Envelope{.kind = EnvelopeKind::kRequest,
                               .id = {1, number},
                               .conversation = {1, 1},
                               .payload = Payload{std::string(bytes, 'x')}}};
}

std::uint64_t odd_number(std::uint64_t near, Choices& choices) {
  switch (choices.below(5)) {
    case 0:
      return 0;
    case 1:
      return std::numeric_limits<std::uint64_t>::max() - choices.below(3);
    case 2:
      return near + choices.below(5);
    case 3:
      return near - std::min(near, choices.below(5));
    default:
      return choices.next();
  }
}

/// One field that is not as it should be, or items that should not be there.
SessionFrame changed_once(SessionFrame frame, Choices& choices) {
  switch (choices.below(9)) {
    case 0:
      frame.next_expected = odd_number(frame.next_expected, choices);
      break;
    case 1:
      frame.first_sequence = odd_number(frame.first_sequence, choices);
      break;
    case 2:
      frame.credit_limit = odd_number(frame.credit_limit, choices);
      break;
    case 3:
      frame.session = SessionNumber{static_cast<std::uint32_t>(choices.below(3))};
      break;
    case 4:
      frame.resend = !frame.resend;
      break;
    case 5:  // more than there is credit for, or of no transfer, at any place
    case 6: {
      const auto at =
          frame.items.begin() + static_cast<std::ptrdiff_t>(choices.below(frame.items.size() + 1));
      frame.items.insert(at, any_item(choices));
      break;
    }
    case 8:  // of a kind that may not be so large, or with a reply beyond its end
      for (Item& item : frame.items) {
        auto* begin = std::get_if<item::Begin>(&item);
        if (begin == nullptr) continue;
        Envelope& envelope = begin->send.envelope;
        if (choices.below(2) == 0) {
          envelope.kind = EnvelopeKind::kRequest;
          envelope.reply_at.reset();
        } else {
          envelope.kind = EnvelopeKind::kCompensate;
          envelope.reply_at = odd_number(400 * 1024, choices);
        }
      }
      break;
    case 7: {
      for (std::uint64_t n = choices.below(12); n-- > 0;) {
        frame.items.push_back(Signal{signal::Send{
            pid_a(1), pid_b(9),
            Envelope{.kind = EnvelopeKind::kRequest,
                     .id = {1, 1},
                     .conversation = {1, 1},
                     .payload = Payload{std::string(choices.below(70 * 1024), 'y')}}}});
      }
      break;
    }
  }
  return frame;
}

/// Something that the peer might have made of its frame.
SessionFrame changed(SessionFrame frame, Choices& choices) {
  for (std::uint64_t n = 1 + choices.below(3); n-- > 0;) frame = changed_once(frame, choices);
  return frame;
}

std::vector<std::string> encoded(const std::vector<SessionFrame>& frames, TimePoint now) {
  std::vector<std::string> all;
  for (const SessionFrame& frame : frames) all.push_back(wire::encode(frame, now));
  return all;
}

}  // namespace

ChangedFrames::ChangedFrames(Choices choices)
    : choices_(choices),
      settings_(settings(choices_)),
      sender_(SessionNumber{1}, settings_),
      disturbed_(SessionNumber{1}, settings_),
      undisturbed_(SessionNumber{1}, settings_) {}

void ChangedFrames::run() {
  for (int turn = 0; turn < 60 && !accepted_ && !choices_.over(); ++turn) {
    now_ += std::chrono::milliseconds{choices_.below(200)};
    for (std::uint64_t n = choices_.below(4); n-- > 0;) {
      sender_.send(any_signal(++numbers_, choices_));
    }
    // They say something too, so that there is something to acknowledge and to give credit for.
    for (std::uint64_t n = choices_.below(5); n-- > 0;) {
      const Signal back = answer_of(any_signal(++numbers_, choices_));
      disturbed_.send(back);
      undisturbed_.send(back);
    }
    for (const SessionFrame& frame : sender_.collect(now_, 10)) {
      disturb(frame);
      if (accepted_) return;
      both_read(frame);
    }
    answer();
  }
}

Signal ChangedFrames::answer_of(Signal signal) {
  std::visit([](auto& s) { std::swap(s.from, s.to); }, signal);
  return signal;
}

void ChangedFrames::disturb(const SessionFrame& frame) {
  if (choices_.below(2) == 0) return;
  std::string bytes;
  if (choices_.below(2) == 0) {
    bytes = wire::encode(frame, now_);
    bytes = mutated(bytes, {bytes}, choices_);
  } else {
    SessionFrame other = changed(frame, choices_);
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

void ChangedFrames::disturb_with(SessionFrame frame) {
  const auto received = disturbed_.receive(std::move(frame), now_);
  if (received) {
    accepted_ = true;  // a session could have said so: from here on they may differ
    return;
  }
  expect(received.error().code == Errc::kMalformed,
         "a refused frame has another error than kMalformed");
  ++refused_;
}

void ChangedFrames::both_read(const SessionFrame& frame) {
  const auto one = disturbed_.receive(frame, now_), other = undisturbed_.receive(frame, now_);
  expect(one && other, "an honest frame was refused");
  expect(one->signals == other->signals, "something of a refused frame was applied");
  expect(one->duplicate == other->duplicate,
         "a refused frame made an honest one a duplicate, or not one");
  for (const Signal& signal : one->signals) {
    disturbed_.returned(signal);
    undisturbed_.returned(signal);
  }
}

void ChangedFrames::answer() {
  expect(disturbed_.next_deadline() == undisturbed_.next_deadline(),
         "a refused frame changed a deadline");
  const auto one = disturbed_.collect(now_, 10), other = undisturbed_.collect(now_, 10);
  expect(encoded(one, now_) == encoded(other, now_), "a refused frame changed what is sent");
  expect(disturbed_.settled() == undisturbed_.settled(), "a refused frame changed what is settled");
  under_way_.insert(under_way_.end(), one.begin(), one.end());
  // not at once either, so that something is unacknowledged
  for (std::uint64_t n = choices_.below(4); n-- > 0 && !under_way_.empty();) {
    const auto received = sender_.receive(under_way_.front(), now_);
    expect(received.has_value(), "an honest session was told what it refuses");
    under_way_.pop_front();
    // not at once, so that credit runs short now and then
    for (const Signal& signal : received->signals) held_.push_back(signal);
  }
  for (std::uint64_t n = choices_.below(2 * held_.size() + 1); n-- > 0 && !held_.empty();) {
    sender_.returned(held_.front());
    held_.pop_front();
  }
}

void say_anything(Choices& choices) {
  Session session{SessionNumber{1}, settings(choices)};
  TimePoint now{std::chrono::seconds{1000}};
  SessionFrame frame{SessionNumber{1}, 1, 4'000'000, false, 1, {}};
  std::uint64_t sequence = 1;
  for (int turn = 0; turn < 100 && !choices.over(); ++turn) {
    now += std::chrono::milliseconds{choices.below(500)};
    if (choices.below(3) == 0) session.send(any_signal(sequence, choices));
    frame.items.clear();
    for (std::uint64_t n = choices.below(4); n-- > 0;) {
      frame.items.push_back(any_item(choices));
    }
    frame.first_sequence = sequence;
    SessionFrame said = choices.below(3) == 0 ? changed(frame, choices) : frame;
    const std::uint64_t behind = said.first_sequence + said.items.size();
    if (const auto received = session.receive(std::move(said), now)) {
      for (const Signal& signal : received->signals) session.returned(signal);
      if (behind > sequence && behind < sequence + 1000) sequence = behind;
    }
    if (choices.below(20) == 0) session.reconnected();
    const auto frames = session.collect(now, 10);
    expect(frames.size() <= 10u, "more frames than were asked for");
    for (const SessionFrame& each : frames) {
      expect(wire::encode(each, now).size() <= wire::kPartBytesMax,
             "a session made an oversized frame");
      if (choices.below(2) == 0) frame.next_expected = each.first_sequence + each.items.size();
    }
  }
}

}  // namespace liminal::test
