// Whatever a listed peer, or the broker itself, sends to a node: the node does not break, delivers
// nothing that is not for it, and what an honest peer says arrives once and in order beside it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "common/session/session.hpp"
#include "common/wire/codec.hpp"
#include "node/remote/node_core.hpp"
#include "tests/fuzz/choices.hpp"

namespace liminal::test {

/// A joined node with an honest peer and one that lies, whose every move is a choice. Each way
/// takes at most 150 steps, fewer if the choices are over. Throws BrokenPromise.
class LyingPeers {
 public:
  explicit LyingPeers(Choices choices);

  /// The broker is honest; one of the two peers is not.
  void with_a_lying_peer();

  /// Nobody is honest: nothing breaks, nothing is said on a connection that does not stand, and
  /// when there is no broker for long nothing is left that was shared with anybody.
  void with_a_lying_broker();

  [[nodiscard]] const NodeCore::Counters& counters() const { return core_.counters(); }
  [[nodiscard]] std::uint64_t delivered_of_liar() const { return delivered_of_liar_; }

 private:
  struct Expected {
    Serial from;
    LinkId link;
  };

  template <class Frame>
  void tell(Frame frame) {
    tell_bytes(wire::encode(ControlFrame{std::move(frame)}));
  }
  /// What comes only comes over a connection that stands.
  void tell_bytes(const std::string& bytes);
  void tell_on_data(const std::string& bytes);
  void control_stands();
  void data_stands();
  void close_control();
  void close_data();
  [[nodiscard]] Pid own(std::uint64_t serial) const;

  void honest_signal();

  void own_signal(bool to_honest);
  /// Of our incarnation or another; now and then with settings that contradict each other.
  void any_welcome();
  /// To the liar, one of its incarnations: of any kind, large ones too.
  void own_anything();
  /// A list of members as the broker might tell of it: those who come, return, are awaited or end.
  void any_change();
  /// The broker echoes what it was sent, or what it was not.
  void any_beat();
  /// The connections end, and those of this broker or another stand.
  void reconnect();
  void close_all();
  /// Long enough for one of the limits of the cluster or of the node.
  void let_time_pass();
  void check_the_end();
  void own_records();

  void advance();

  void exchange();

  /// A frame of the liar: the broker says whose it is, what is in it is the liar's choice.
  void lie();

  /// The ends that a frame's items have: mostly its own, sometimes another's.
  void readdress(Item& item);

  /// encode() writes the two ends once.
  static bool can_be_written(const SessionFrame& frame);

  void carry_out(const NodeCore::Effects& effects);

  void on_delivered(const Signal& signal);

  void on_sent(const node_effect::SendFrame& sent);

  Choices choices_;
  TimePoint now_{std::chrono::seconds{1000}};
  bool control_stands_ = false, data_stands_ = false;
  bool data_wanted_ = false;  // and not open yet
  bool has_left_ = false;
  std::uint64_t newest_beat_ = 0, own_beats_ = 0;  // of the node; of the broker
  std::uint64_t version_ = 10;                     // of the newest list
  bool honest_only_ = true;                        // the broker
  std::deque<Expected> expected_;                  // of the honest peer
  std::deque<std::uint64_t> expected_at_peer_;
  NodeCore core_;
  Session peer_;
  std::uint64_t numbers_ = 0;
  std::uint64_t liar_sequence_ = 1;
  std::uint64_t delivered_of_liar_ = 0;
};

}  // namespace liminal::test
