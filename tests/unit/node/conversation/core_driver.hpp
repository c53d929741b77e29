// Drives a conversation's state machine by hand, for tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/text.hpp"
#include "node/conversation/conversation_core.hpp"

namespace liminal {

inline const ConversationId kId{1, 2};
inline const TimePoint kNow{std::chrono::seconds{100}};

inline MessageId message(std::uint64_t n) { return {5, n}; }

/// Keeps a state, and what came out of the last step: its effects, and apart from them what it told
/// the timeline.
class CoreDriver : public ::testing::Test {
 protected:
  explicit CoreDriver(ConversationConfig config)
      : state{kId, std::make_shared<const ConversationConfig>(std::move(config))} {}

  const std::vector<Effect>& when(Input input) {
    Step result = step(std::move(state), input, now);
    state = std::move(result.next);
    effects.clear();
    notes.clear();
    for (Effect& effect : result.effects) {
      if (auto* note = std::get_if<effect::Note>(&effect)) {
        notes.push_back(std::move(note->record));
      } else {
        effects.push_back(std::move(effect));
      }
    }
    return effects;
  }

  void send(std::uint64_t n, ReplyMode mode = ReplyMode::kCorrelated, std::string role = {},
            std::optional<WaiterId> accepted = {}) {
    when(input::SendRequested{message(n),
                              Payload{"q" + std::to_string(n)},
                              {.role = std::move(role), .reply = mode},
                              accepted,
                              std::nullopt});
  }
  void ready(const Pid& pid, RoleIndex role = 0, bool compensates = false) {
    when(input::ParticipantReady{role, pid, compensates, "any"});
  }
  void answer(std::uint64_t n, Pid from, EnvelopeKind kind = EnvelopeKind::kReply) {
    when(input::Answered{std::move(from), envelope(n, kind)});
  }
  static Envelope envelope(std::uint64_t n, EnvelopeKind kind) {
    return {.kind = kind,
            .id = message(1000 + n),
            .conversation = kId,
            .parent = message(n),
            .payload = Payload{"r" + std::to_string(n)}};
  }
  void receive(std::uint64_t waiter, std::optional<std::uint64_t> n = {}) {
    when(input::ReceiveRequested{WaiterId{waiter}, n ? std::optional{message(*n)} : std::nullopt});
  }
  void exit(const Pid& pid, ExitReason reason = ExitReason::error("exit status 3")) {
    when(input::ParticipantsExited{{{pid, std::move(reason)}}});
  }

  template <class E>
  std::vector<E> all() const {
    std::vector<E> found;
    for (const Effect& effect : effects) {
      if (const auto* e = std::get_if<E>(&effect)) found.push_back(*e);
    }
    return found;
  }
  /// "reply r1", "ParticipantCrashed: upper on ..."; "" if the waiter was not completed.
  std::string told(std::uint64_t waiter) const {
    std::string text;
    for (const auto& complete : all<effect::Complete>()) {
      if (complete.waiter != WaiterId{waiter}) continue;
      EXPECT_EQ(text, "") << "completed twice";
      text = complete.outcome ? "reply " + std::string{complete.outcome->view()}
                              : std::string{name_of(complete.outcome.error().code)} + ": " +
                                    complete.outcome.error().detail;
    }
    return text;
  }
  /// What was told to the timeline: "sent", "crashed", ...
  std::vector<std::string> noted() const {
    std::vector<std::string> events;
    std::transform(notes.begin(), notes.end(), std::back_inserter(events),
                   [](const TimelineRecord& note) { return std::string{name_of(note.event)}; });
    return events;
  }
  std::string failure() const {
    return state.failure ? std::string{name_of(state.failure->code)} + ": " + state.failure->detail
                         : std::string{};
  }

  TimePoint now = kNow;
  ConversationContext state;
  std::vector<Effect> effects;
  std::vector<TimelineRecord> notes;
};

}  // namespace liminal
