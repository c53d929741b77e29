// What a new broker does not know yet of the nodes that another one had.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "common/base/ids.hpp"
#include "common/base/time.hpp"
#include "common/wire/control.hpp"

namespace liminal::broker {

/// While it runs, nodes resume with the incarnations they have, and what they report of others is
/// *expected*: neither living nor gone until it resumes or recovery ends.
///
/// It begins with the broker, and anew, once, when the first incarnation of an earlier epoch comes,
/// though it was over by then: until that one came nobody may have reached this broker. Where none
/// ever comes it is as short as if it had not been needed.
///
/// An expected incarnation stays so until forget(), also when recovery is over: it may have come
/// back in person and not be announced yet.
///
/// Bounds: `expected_max` incarnations; `reports_max` of one reporter, so that one that lies does
/// not crowd the others out, and `reporters_max` reporters; `names_max` names that were seen, kept
/// while it runs or may yet begin anew: beyond it the oldest is forgotten. Thread-safety: none.
class Recovery {
 public:
  /// Length zero: it is over before it began.
  struct Limits {
    std::size_t expected_max;
    std::size_t reports_max;
    std::size_t reporters_max;
    std::size_t names_max;
  };
  Recovery(Duration length, Limits limits, TimePoint now);

  /// When it ends; nullopt: it is over.
  [[nodiscard]] std::optional<TimePoint> ends() const { return ends_; }
  [[nodiscard]] bool is_running() const { return ends_.has_value(); }
  /// The broker itself was away for so long.
  void extend(Duration by);
  /// All nodes had been silent, and one is heard: those who are expected get their time anew, at
  /// most three times.
  void start_anew(TimePoint now);
  void end();

  /// Whether an incarnation of an earlier epoch may be taken back now, its name apart.
  [[nodiscard]] bool takes_back() const { return is_running() || may_begin(); }
  /// One is. True if recovery was over, and runs again on its account.
  bool took_back(TimePoint now);

  /// A node of that name has joined or resumed: every other incarnation of it is down.
  void name_was_seen(const NodeName& name);
  [[nodiscard]] bool saw_name(const NodeName& name) const { return names_.contains(name); }

  /// Counts a report of that node that changes something; false if it has said too much, or too
  /// many have.
  [[nodiscard]] bool may_report(Incarnation reporter);
  /// False if there are too many.
  [[nodiscard]] bool expect(const control::Peer& peer);
  [[nodiscard]] const control::Peer* find(Incarnation incarnation) const;
  [[nodiscard]] bool is_expected(const NodeName& name) const;
  /// In order of incarnation.
  [[nodiscard]] std::vector<control::Peer> expected() const;
  bool forget(Incarnation incarnation);

 private:
  [[nodiscard]] bool may_begin() const { return length_ > Duration::zero() && !took_back_; }

  Duration length_;
  std::optional<TimePoint> ends_;
  bool took_back_ = false;
  int starts_anew_ = 0;
  Limits limits_;
  std::map<Incarnation, control::Peer> expected_;
  std::map<NodeName, std::size_t> expected_names_;  // how many incarnations of each
  std::set<NodeName> names_;
  std::deque<NodeName> names_in_order_;         // of being seen, oldest first
  std::map<Incarnation, std::size_t> reports_;  // by reporter
};

/// As the others see it until it resumes.
[[nodiscard]] Member expected_member(const control::Peer& peer);

}  // namespace liminal::broker
