// Decides for a node what to say to its broker and its peers, and what their words mean to its
// processes.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "common/base/deferrals.hpp"
#include "common/base/ids.hpp"
#include "common/base/random.hpp"
#include "common/base/time.hpp"
#include "common/base/token_source.hpp"
#include "common/liveness/beat_book.hpp"
#include "common/session/session.hpp"
#include "common/wire/control.hpp"
#include "common/wire/data.hpp"
#include "node/dead_letters/dead_letter.hpp"
#include "node/remote/data_watch.hpp"
#include "node/remote/departed.hpp"
#include "node/remote/directory.hpp"
#include "node/remote/remote_ties.hpp"

namespace liminal {

/// What NodeCore wants done, in this order.
namespace node_effect {

/// Open a new control (data) connection; the one that stands, if any, is closed.
struct OpenControl {};
struct OpenData {};
struct CloseData {};
/// One-part messages.
struct SendControl {
  std::string bytes;
};
struct SendOnData {
  std::string bytes;
};
/// A two-part message on the data connection.
struct SendFrame {
  std::string header, frame;
};
/// Into the scheduler.
struct Deliver {
  Signal signal;
};
/// Have the scheduler run a turn of the process kept for it, then call on_turn().
struct CertifyTurn {};
struct Publish {
  Directory::Snapshot snapshot;
};
/// An envelope that could not be delivered.
struct Undeliverable {
  DeadLetterCause cause;
  signal::Send send;
};
/// More of them, which are only counted.
struct UndeliverableUnseen {
  DeadLetterCause cause;
  std::uint64_t envelopes;
};
/// Both connections stand; told at the first join and again after each interruption.
struct Joined {
  Epoch epoch;
  Incarnation incarnation;
  bool resumed;  // with the incarnation, the sessions and the ties that it had
};
/// Requests from elsewhere may be begun until then (DESIGN.md, contract 12); replaces what was said
/// before. TimePoint::min(): not at all.
struct Lease {
  TimePoint until;
};
/// The broker keeps so many records of one conversation's timeline; 0: none. At each welcome.
struct KeepRecords {
  std::uint32_t records_max;
  /// Whose it is: another broker than before knows nothing of what was told.
  Epoch epoch;
  /// It knows nothing of this incarnation: what is open is to be told again.
  bool anew = false;
};
/// The broker has all records up to this number.
struct RecordsArrived {
  std::uint64_t up_to;
};
/// Somebody wants this conversation of this node cancelled: call on_cancelled().
struct CancelConversation {
  ConversationId conversation;
  std::string by;
};
/// For now: this process had joined before, and tries again then.
struct RefusedForNow {
  control::RefusalCode code;
  std::string text;  // the broker's, escaped: on one line
  Duration again_in;
};
/// Final: the core does nothing more.
struct Refused {
  control::RefusalCode code;
  std::string text;  // the broker's, escaped: on one line
};
/// Final: this node's settings do not go with those of the cluster.
struct Unsuitable {
  std::string text;
};
/// The broker could not be reached any more; the node tries again.
struct Interrupted {};
/// A connection that stands is given up for another: control, or data alone; for the log.
struct BrokerSilent {
  Duration last_heard;
  bool data_only = false;
};
/// The node had to give up its incarnation and joins anew with another.
struct Fenced {
  Incarnation old_incarnation, fresh;
  std::string why;
};
/// Final: the broker was told (or could not be, within the bound).
struct Left {};

}  // namespace node_effect

using NodeEffect =
    std::variant<node_effect::OpenControl, node_effect::OpenData, node_effect::CloseData,
                 node_effect::SendControl, node_effect::SendOnData, node_effect::SendFrame,
                 node_effect::Deliver, node_effect::CertifyTurn, node_effect::Publish,
                 node_effect::Undeliverable, node_effect::UndeliverableUnseen, node_effect::Joined,
                 node_effect::Lease, node_effect::KeepRecords, node_effect::RecordsArrived,
                 node_effect::CancelConversation, node_effect::RefusedForNow, node_effect::Refused,
                 node_effect::Unsuitable, node_effect::Interrupted, node_effect::BrokerSilent,
                 node_effect::Fenced, node_effect::Left>;

/// One node's side of the cluster: membership, beats, a session with each peer, and the ties
/// (links, monitors, spawns) of its processes to those of others.
///
/// Promises: signals between living incarnations arrive exactly once, in order for each pair of
/// processes. When a peer goes down or leaves, every tie to it is told noconnection, once, after
/// everything that was accepted from it; nothing of it comes after. A signal to an incarnation that
/// is not there is answered in the same way at once. An envelope that may not travel is rejected,
/// one to a peer for which too much waits is deferred (its sender is to send it again; until then
/// nothing later of that sender to that process goes out): the sender gets a Refusal.
///
/// A session that cannot go on, because a frame of the peer broke a rule, is reset: ties through it
/// break with noconnection at both ends, and another one begins.
///
/// A broker's death changes nothing of that: when another one is there, the node resumes with the
/// incarnation it has and reports the peers it shares state with and the deaths it knows; sessions
/// go on where they were. A peer that the broker expects is waited for.
///
/// A control connection that stands but brings no echo of its beats for the cluster's down_after is
/// given up for another one, long before ZMTP notices; nobody is dead for it. While no control
/// connection stands there is no lease: peers may be told of this node's end within the grace.
///
/// A data connection on which the broker does not answer, while it echoes beats, is given up alone:
/// within one and a half times down_after of the last that came on it, the first time; later when
/// the one before it was given up as well (DataWatch).
///
/// A peer that this node was told, or had to conclude, is down stays so, whichever broker lists it.
///
/// A node that was declared down, or found no broker for `isolation_timeout`, is fenced: its ties
/// break with noconnection on its own side too, and it joins anew under a fresh incarnation.
///
/// A refusal of the first join is final. Of a node that had joined before, one for its name or for
/// a limit is not, for `isolation_timeout` since the first of them on this connection: the broker
/// may yet hold what this node was before, or be rejoined by all at once. It joins again after 1 s,
/// then twice as long each time, at most 8 s.
///
/// No I/O and no clock. The driver feeds events, carries out the effects in order, calls flush()
/// when the data connection takes more, and advance() when next_deadline() has passed.
/// Thread-safety: none; lives on the node's loop thread.
/// Errors: what peers or the broker send wrongly is counted and dropped, never half-applied.
class NodeCore {
 public:
  struct Settings {
    NodeName name;
    bool light = false;                                            // offers nothing
    std::vector<ServiceName> services = {};                        // sorted
    std::vector<std::pair<std::string, std::string>> labels = {};  // sorted by key
    Session::Settings session = {};
    /// Longer than the cluster's down_after and recovery together, or joining ends in Unsuitable.
    Duration isolation_timeout = std::chrono::seconds{60};
    /// When ZMTP itself gives up a silent connection, which only reaps dead sockets: beyond twice
    /// the cluster's down_after, or joining ends in Unsuitable; at most the 65 s of its field.
    Duration reap_after = std::chrono::seconds{64};
    /// A turn longer than this is taken off its worker's hands; shorter than the cluster's
    /// down_after, or joining ends in Unsuitable.
    Duration turn_max = std::chrono::milliseconds{500};
    Duration leave_bound = std::chrono::seconds{2};  // waits so long for acknowledgements
    std::size_t frames_per_flush_max = 64;           // of one peer
    /// What may wait for one peer; beyond it envelopes to it are deferred, other signals are not.
    std::size_t outbox_bytes_max = std::size_t{64} * 1024 * 1024;
  };
  using Effects = std::vector<NodeEffect>;

  /// `random` is for the incarnations and their secrets.
  NodeCore(Settings settings, Random random);

  // --- events ---

  [[nodiscard]] Effects start(TimePoint now);
  [[nodiscard]] Effects on_control_connected(TimePoint now);
  [[nodiscard]] Effects on_control_closed(TimePoint now);
  [[nodiscard]] Effects on_data_connected(TimePoint now);
  [[nodiscard]] Effects on_data_closed(TimePoint now);
  /// A one-part message that came on the control connection.
  [[nodiscard]] Effects on_control(std::string_view bytes, TimePoint now);
  /// A one-part message that came on the data connection.
  [[nodiscard]] Effects on_data_control(std::string_view bytes, TimePoint now);
  /// A two-part message that came on the data connection.
  [[nodiscard]] Effects on_frame(std::string_view header, std::string_view frame, TimePoint now);
  /// A signal of a local process to one elsewhere. REQUIRES: `to` is not local.
  [[nodiscard]] Effects on_signal(Signal signal, TimePoint now);
  /// The turn that CertifyTurn asked for took place.
  [[nodiscard]] Effects on_turn(std::uint32_t participants, std::uint32_t conversations,
                                TimePoint now);
  /// What happened in conversations here, numbered; RecordsArrived follows when a beat that was
  /// sent behind it on the same connection is echoed. Without one before the next KeepRecords it
  /// may be lost, and is to be told again from the first number that has not arrived. Give what is
  /// told again the same numbers. REQUIRES: takes_records().
  [[nodiscard]] Effects on_records(control::Records records);
  /// What CancelConversation came to: whether it was open, and is being cancelled.
  [[nodiscard]] Effects on_cancelled(const ConversationId& conversation, bool accepted);
  /// The node shall leave: its owned participants end with shutdown, then it goes.
  [[nodiscard]] Effects leave(TimePoint now);
  [[nodiscard]] Effects advance(TimePoint now);

  /// The frames that may go out now. Call when the data connection takes more.
  [[nodiscard]] Effects flush(TimePoint now);
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;

  /// Whether records can be sent now; while they cannot they wait elsewhere.
  [[nodiscard]] bool takes_records() const;
  /// It waits for acknowledgements, and then leaves: what is to be told is to be told now.
  [[nodiscard]] bool leaving() const { return phase_ == Phase::kLeaving; }

  // --- for people and tests ---

  [[nodiscard]] Incarnation incarnation() const { return incarnation_; }
  [[nodiscard]] bool joined() const { return phase_ == Phase::kJoined; }

  struct Counters {
    std::uint64_t malformed_frames = 0;    // control or data
    std::uint64_t foreign_frames = 0;      // of another epoch, a fenced incarnation, or not for us
    std::uint64_t session_violations = 0;  // each resets its session
    std::uint64_t sessions_reset = 0;      // by us, or by the other end
    std::uint64_t deferred = 0;            // envelopes, here
  };
  [[nodiscard]] const Counters& counters() const { return counters_; }
  /// Sessions and ties that stand; zero when nothing is shared with anybody.
  [[nodiscard]] std::size_t sessions() const { return peers_.size(); }
  [[nodiscard]] std::size_t ties() const;

 private:
  enum class Phase : std::uint8_t {
    kConnecting,  // no control connection yet, or not any more
    kJoining,     // Join was sent
    kAttaching,   // welcome; the data connection is on its way
    kJoined,
    kLeaving,  // waiting for acknowledgements
    kEnded,    // refused or left
  };

  // Of a peer that no broker was told of: the next join reports it.
  static constexpr MembershipVersion kUnreported{std::numeric_limits<std::uint64_t>::max()};

  struct Peer {
    NodeName name;
    Session session;
    RemoteTies ties;
    MembershipVersion seen_at;  // the membership must list it from this version on
    Deferrals<std::pair<Serial, Serial>> deferrals{kDeferredMax};  // by sender and receiver
  };
  static constexpr std::size_t kBeatsBehindMax = 256;
  static constexpr std::size_t kDeferredMax = 65536;  // to one peer; beyond it: rejected

  void join(TimePoint now, Effects& effects);
  void refused(control::Refused refusal, TimePoint now, Effects& effects);
  void end_outside(TimePoint now, Effects& effects);
  /// How long to wait before another join; nullopt: the refusal is final.
  [[nodiscard]] std::optional<Duration> patience_with(control::RefusalCode code,
                                                      TimePoint now) const;
  [[nodiscard]] std::optional<std::string> why_unsuitable(const ClusterSettings& cluster) const;
  /// The control connection is gone, or given up.
  void lose_control(Effects& effects);
  /// When the control connection is given up unless something is heard on it.
  [[nodiscard]] std::optional<TimePoint> control_silent_at() const;
  void give_up_control(TimePoint now, Effects& effects);
  void open_data(TimePoint now, Effects& effects);
  void give_up_data(TimePoint now, Effects& effects);
  /// On the data connection: to attach it, or to hear whether it still carries anything.
  void send_attach(Effects& effects) const;
  void welcomed(control::Welcome welcome, TimePoint now, Effects& effects);
  void begin_epoch(Effects& effects);
  void remember_missing(const std::map<Incarnation, Member>& listed, bool new_epoch, TimePoint now);
  void count_reports(bool new_epoch);
  void attached(TimePoint now, Effects& effects);
  void changed(control::Changes changes, TimePoint now, Effects& effects);
  void came(const Member& member);
  void loaded(const control::Loads& loads, Effects& effects);
  void heard_echo(std::uint64_t number, Effects& effects);
  void mark_records(std::uint64_t beat);
  /// Breaks every remote tie and takes a new incarnation; the caller sees to the joining.
  void fence(std::string why, TimePoint now, Effects& effects);
  void leave_when_settled(TimePoint now, Effects& effects);
  void publish(Effects& effects) const;

  [[nodiscard]] bool stands_on_control() const;
  /// When this incarnation has to be given up unless a broker is heard; nullopt: nobody knows it.
  [[nodiscard]] std::optional<TimePoint> isolated_at() const;
  [[nodiscard]] Peer* peer_for(const Pid& to, TimePoint now);
  [[nodiscard]] bool may_yet_appear(const Pid& to) const;
  [[nodiscard]] bool bears_a_held_name(const RouteFrom& route) const;
  Peer& open_peer(Incarnation incarnation, const NodeName& name, MembershipVersion seen_at);
  void peer_lost(Incarnation incarnation, std::optional<Evidence> evidence, Effects& effects);
  /// The session cannot go on; neither node is down.
  void reset_session(Incarnation incarnation, SessionNumber number, Effects& effects);
  void violated(Incarnation incarnation, Effects& effects);
  void bury_unsettled(const Session& session, Effects& effects) const;
  void break_ties(Incarnation incarnation, Peer& peer, const std::optional<Evidence>& evidence,
                  Effects& effects) const;
  void lose_all_peers(TimePoint now, Effects& effects);  // we are out of the cluster ourselves
  [[nodiscard]] Evidence since_heard(EvidenceSource source, TimePoint now) const;
  void drop_unlisted_peers(const std::optional<Evidence>& evidence, Effects& effects);
  void answer_unreachable(const Signal& signal, Effects& effects);
  [[nodiscard]] std::optional<std::string> why_not_to_travel(const Envelope& envelope) const;
  /// Whether it may be given to the session; if not, it was answered.
  [[nodiscard]] bool admit(Peer& peer, signal::Send& send, Effects& effects);
  [[nodiscard]] bool addressed_rightly(const SessionFrame& frame, const RouteFrom& route) const;
  [[nodiscard]] Pid outside(Pid pid) const;  // a local pid as others see it

  Settings settings_;
  TokenSource tokens_;
  Incarnation incarnation_;
  std::uint64_t secret_;          // of this incarnation: for brokers alone
  std::uint64_t records_stream_;  // the same for all incarnations of this process
  Phase phase_ = Phase::kConnecting;
  bool attached_ = false;
  bool resumed_ = false;  // rather than joined, by the latest welcome
  bool leave_wanted_ = false;
  std::optional<TimePoint> leave_deadline_;

  std::optional<Epoch> epoch_;
  MembershipVersion version_{0};
  std::uint64_t token_ = 0;
  std::uint64_t joins_ = 0;             // that were sent, in the life of this process
  std::uint64_t data_connections_ = 0;  // that were opened, likewise
  std::optional<ClusterSettings> cluster_;
  std::map<Incarnation, Member> members_;       // living or expected, without ourselves
  std::map<Incarnation, std::uint32_t> loads_;  // participants of members_, where there are any
  std::uint32_t participants_ = 0;              // here, by the latest beat
  bool recovering_ = false;                     // the broker is: more may appear
  std::set<Incarnation> reported_;              // peers, by the latest join
  bool report_due_ = false;                     // a peer came up that the broker does not list

  BeatBook beats_;                          // ours, of this incarnation and epoch
  std::uint64_t broker_beat_ = 0;           // number of the newest that was read
  std::optional<TimePoint> broker_heard_;   // its welcome, or our sending of what it echoed last
  std::optional<TimePoint> waits_since_;    // without an epoch, for the first who may yet appear
  std::optional<TimePoint> control_since_;  // the welcome that came on it, or our latest join
  Duration join_patience_{};                // of an unanswered join, from the second one on
  std::optional<TimePoint> asked_at_;       // by the first join on this connection
  bool had_joined_ = false;                 // ever, in this process
  std::optional<TimePoint> refused_since_;  // the first refusal on this connection since a welcome
  std::optional<TimePoint> rejoin_at_;      // after a refusal, on the connection that stands
  Duration refusal_delay_{};                // before the last rejoin
  /// Not earlier than this was sent what the broker last told us: the silence that it counts of us,
  /// once it has heard so, began no earlier.
  TimePoint told_after_ = TimePoint::min();
  std::map<std::uint64_t, TimePoint> told_after_at_;  // of each beat that beats_ remembers
  std::optional<TimePoint> beat_due_;
  bool turn_asked_ = false;
  DataWatch data_watch_;  // what it says counts while stands_on_control()

  /// A beat that is behind all records up to this number, on the connection that stands.
  struct BeatBehind {
    std::uint64_t beat, records;
  };
  std::deque<BeatBehind> beats_behind_;            // not echoed, oldest first
  std::optional<std::uint64_t> records_unmarked_;  // sent behind the newest beat, up to this number

  std::map<Incarnation, Peer> peers_;
  std::set<Incarnation> dirty_;  // peers whose session may have something to send at once
  Departed departed_;
  Counters counters_;
};

}  // namespace liminal
