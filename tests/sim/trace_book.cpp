#include "tests/sim/trace_book.hpp"

#include <algorithm>
#include <cstdio>
#include <set>

namespace liminal::sim {
namespace {

constexpr std::size_t kIdLength = 32;  // hex digits of a conversation's id

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

/// Conversations' ids in a text.
std::vector<std::string> ids_in(const std::string& text) {
  std::vector<std::string> ids;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t end = begin;
    while (end < text.size() && is_hex(text[end])) ++end;
    if (end - begin == kIdLength) ids.push_back(text.substr(begin, kIdLength));
    begin = end + 1;
  }
  return ids;
}

}  // namespace

std::string trace_line(TimePoint now, const std::string& what) {
  char time[32];
  std::snprintf(time, sizeof time, "%12.3f ms  ", to_ms(now - TimePoint{}));
  return time + what;
}

std::vector<std::string> shortened(const std::vector<std::string>& lines,
                                   const std::vector<std::string>& violations,
                                   std::size_t told_max) {
  std::set<std::string> accused;
  for (const std::string& violation : violations) {
    for (auto& id : ids_in(violation)) accused.insert(std::move(id));
  }
  const auto concerns = [&](const std::vector<std::string>& ids) {
    return std::any_of(ids.begin(), ids.end(),
                       [&](const std::string& id) { return accused.contains(id); });
  };
  // from the end: the last ones of the accused, and everything that belongs to no conversation
  std::vector<std::string> kept;
  std::size_t told = 0, left_out = 0;
  const auto count_gap = [&] {
    if (left_out > 0) kept.push_back("    ... " + std::to_string(left_out) + " lines");
    left_out = 0;
  };
  for (auto line = lines.rbegin(); line != lines.rend(); ++line) {
    const auto ids = ids_in(*line);
    if (!ids.empty() && (!concerns(ids) || told == told_max)) {
      ++left_out;
      continue;
    }
    if (!ids.empty()) ++told;
    count_gap();
    kept.push_back(*line);
  }
  count_gap();
  std::reverse(kept.begin(), kept.end());
  return kept;
}

}  // namespace liminal::sim
