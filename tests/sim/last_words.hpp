// What a run says when it dies of a broken contract, a sanitizer's report or an endless loop: the
// command that replays it.
#pragma once

#include <string>

namespace liminal::sim {

/// Has SIGABRT, SIGSEGV, SIGBUS, SIGFPE and a sanitizer's death write the last words to stderr,
/// before the process ends as it would have; and ends it by SIGABRT when, while there are such
/// words, still_running() was not called for `stuck_after` seconds, or up to twice as many.
///
/// For the whole process, since signals are: call once, from the thread that runs the storms.
void speak_at_death(int stuck_after = 60);

/// From now on. Longer ones than 1,000 bytes are cut off.
void set_last_words(const std::string& words);

/// Something was finished: nothing that takes for ever is going on.
void still_running() noexcept;

}  // namespace liminal::sim
