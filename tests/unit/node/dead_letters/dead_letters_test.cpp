// What could not be delivered is counted, and the newest of it kept.
#include "node/dead_letters/dead_letters.hpp"

#include <gtest/gtest.h>

namespace liminal {
namespace {

const Pid kFrom{NodeName{"a"}, local_incarnation(), Serial{1}};
const Pid kTo{NodeName{"b"}, Incarnation{7}, Serial{2}};

DeadLetter letter(std::uint64_t number, DeadLetterCause cause = DeadLetterCause::kNoProcess) {
  Envelope envelope{EnvelopeKind::kReply, MessageId{1, number}, ConversationId{2, 3}};
  envelope.payload = Payload{"1234"};
  return DeadLetter::of(cause, kFrom, kTo, envelope, TimePoint{Duration{9}});
}

TEST(DeadLetters, SayWhatItWasAndWhyNobodyHasIt) {
  DeadLetters letters;
  letters.add(letter(5, DeadLetterCause::kExpired));
  ASSERT_EQ(letters.newest().size(), 1U);
  EXPECT_EQ(letters.newest()[0],
            (DeadLetter{DeadLetterCause::kExpired, kFrom, kTo, MessageId{1, 5},
                        ConversationId{2, 3}, EnvelopeKind::kReply, 4, TimePoint{Duration{9}}}));
}

TEST(DeadLetters, AreCountedByCauseBeyondWhatIsKept) {
  DeadLetters letters{2};
  for (std::uint64_t n = 1; n <= 3; ++n) letters.add(letter(n));
  letters.add_unseen(DeadLetterCause::kSessionLost, 10);
  EXPECT_EQ(letters.count(DeadLetterCause::kNoProcess), 3U);
  EXPECT_EQ(letters.count(DeadLetterCause::kSessionLost), 10U);
  EXPECT_EQ(letters.count(DeadLetterCause::kRejected), 0U);
  EXPECT_EQ(letters.total(), 13U);
  ASSERT_EQ(letters.newest().size(), 2U);
  EXPECT_EQ(letters.newest()[0].message, (MessageId{1, 2}));
  EXPECT_EQ(letters.newest()[1].message, (MessageId{1, 3}));
}

}  // namespace
}  // namespace liminal
