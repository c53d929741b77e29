// Keeps those who are nobody here from making the broker talk without end.
#pragma once

#include <cstddef>
#include <map>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"

namespace liminal::broker {

/// One reply per connection and period. Remembers a connection for one period only, and at most
/// `connections_max` of them: beyond that nobody new is answered until a period has passed.
class ReplyLimiter {
 public:
  ReplyLimiter(Duration period, std::size_t connections_max)
      : period_(period), connections_max_(connections_max) {}

  [[nodiscard]] bool may_reply(ConnectionId connection, TimePoint now) {
    const auto found = replied_.find(connection);
    if (found != replied_.end() && now - found->second < period_) return false;
    if (found == replied_.end() && replied_.size() >= connections_max_) {
      expire(now);
      if (replied_.size() >= connections_max_) return false;
    }
    replied_.insert_or_assign(connection, now);
    return true;
  }

  void forget(ConnectionId connection) { replied_.erase(connection); }

  void expire(TimePoint now) {
    std::erase_if(replied_, [&](const auto& entry) { return now - entry.second >= period_; });
  }

  [[nodiscard]] std::size_t remembered() const { return replied_.size(); }

 private:
  Duration period_;
  std::size_t connections_max_;
  std::map<ConnectionId, TimePoint> replied_;
};

}  // namespace liminal::broker
