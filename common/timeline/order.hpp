// Puts what several nodes told of one conversation into one order, by cause and not by clocks.
#pragma once

#include <cstddef>
#include <vector>

#include "common/wire/timeline_frames.hpp"

namespace liminal {

/// The order in which to show `told`, as indices into it.
///
/// What one teller told keeps its order. Between tellers:
/// - a sending (kSent, kCompensating) of a message's attempt comes before its kBegun, that before
///   its kAnswered, and that before what the conversation's node made of the answer: kReplied and
///   kDone, kCompensated and kNotCompensated; kExpired and kCancelled only where the participant's
///   answer says that word, for else the conversation's node decided by itself;
/// - a record that names a cause comes behind the first sending of that message;
/// - what a process began comes before its exit (kLeft, kCrashed, kEnded), unless the exit is only
///   known from a lost connection, beyond which it may have begun more.
/// Where neither says anything, what was told earlier (the lower index) comes first.
///
/// Whatever was told, all of it comes out once: where a liar makes a circle, its earliest record is
/// taken as if nothing came before it.
///
/// REQUIRES: all records are of one conversation.
/// Cost: O(n log n).
[[nodiscard]] std::vector<std::size_t> order_by_cause(const std::vector<control::Told>& told);

}  // namespace liminal
