// Chooses the node on which an instance of a service is made.
#pragma once

#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "common/base/random.hpp"
#include "node/remote/directory.hpp"

namespace liminal {

/// The search for one instance: each node that offers the service and is joined is tried at most
/// once, in random order; a suspect node gets no new work, but is worth waiting for, and so is a
/// broker.
///
/// No clock and no I/O: its owner acts on what next() says, and tells how it went.
class Placement {
 public:
  static constexpr Duration kRetryInterval = std::chrono::milliseconds{50};

  struct Try {
    Pid node;  // serial 0; the answer, if it is an error, is told to failed()
  };
  struct Wait {
    Duration before_next;
  };
  struct GiveUp {
    Error error;
  };
  using Next = std::variant<Try, Wait, GiveUp>;

  /// `timeout` bounds the waiting from `now` on.
  Placement(ServiceName service, TimePoint now, Duration timeout)
      : service_(std::move(service)), timeout_(timeout), give_up_at_(now + timeout) {}

  [[nodiscard]] Next next(const Directory::Snapshot& directory, Random& random, TimePoint now);

  /// The last Try brought no instance.
  void failed(Error error) { last_error_ = std::move(error); }

  /// What is told if the last Try was not answered by give_up_at().
  [[nodiscard]] Error unanswered() const;
  [[nodiscard]] TimePoint give_up_at() const { return give_up_at_; }

 private:
  [[nodiscard]] Error no_candidate(const Directory::Snapshot& directory, bool suspects) const;

  ServiceName service_;
  Duration timeout_;
  TimePoint give_up_at_;
  std::set<std::pair<NodeName, Incarnation>> tried_;
  std::optional<Error> last_error_;
};

}  // namespace liminal
