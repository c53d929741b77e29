#include "node/dead_letter_log.hpp"

#include <spdlog/spdlog.h>

#include <string>

#include "common/base/text.hpp"

namespace liminal {
namespace {

constexpr Duration kBetweenLines = std::chrono::seconds{10};

}  // namespace

void DeadLetterLog::look(const DeadLetters& letters, TimePoint now) {
  if (told_at_ && now < *told_at_ + kBetweenLines) return;
  const DeadLetters::Counts counts = letters.counts();
  if (counts == told_) return;

  std::string what;
  for (std::size_t cause = 0; cause < kDeadLetterCauses; ++cause) {
    if (counts[cause] == told_[cause]) continue;
    if (!what.empty()) what += ", ";
    what += std::to_string(counts[cause] - told_[cause]) + " " +
            std::string{liminal::name_of(static_cast<DeadLetterCause>(cause))};
  }
  std::string newest;
  if (const auto kept = letters.newest(); !kept.empty()) {
    const DeadLetter& last = kept.back();
    newest = "; the newest: " + std::string{name_of(last.kind)} + " of conversation " +
             to_string(last.conversation) + " from " + to_string(last.from) + " to " +
             to_string(last.to) + ", " + std::to_string(last.payload_bytes) + " bytes";
  }
  spdlog::warn("not delivered: {}{}", what, newest);
  told_ = counts;
  told_at_ = now;
}

}  // namespace liminal
