// Decides who is a member of the cluster, who is judged dead, and where frames go. No I/O.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/effects.hpp"
#include "broker/ended_nodes.hpp"
#include "broker/recovery.hpp"
#include "broker/reply_limiter.hpp"
#include "broker/timelines.hpp"
#include "common/base/ids.hpp"
#include "common/base/random.hpp"
#include "common/base/time.hpp"
#include "common/base/token_source.hpp"
#include "common/liveness/beat_book.hpp"
#include "common/liveness/failure_detector.hpp"
#include "common/wire/control.hpp"
#include "common/wire/limits.hpp"

namespace liminal::broker {

/// Why a frame on its way between nodes was not forwarded; the sessions send again what matters.
enum class DropCause : std::uint8_t {
  kUnknownSender,        // not the data connection of a living node; answered by Unknown
  kReplacedConnection,   // of a living node that has attached another connection since
  kDestinationGone,      // no such incarnation is announced
  kDestinationDetached,  // it is, but its data connection is being reopened
};
inline constexpr std::size_t kDropCauses = 4;
[[nodiscard]] std::string_view name_of(DropCause cause);

/// Whether the connection that a message came on still stood when it was read. After a flood or a
/// stall what a connection delivered may be read long after it closed.
enum class Line : std::uint8_t { kOpen, kClosed };

/// Whether other connections may have delivered more before the one in question closed.
enum class Others : std::uint8_t { kRead, kUnread };

struct BrokerCounters {
  std::uint64_t forwarded = 0;
  std::uint64_t forwarded_bytes = 0;                          // of frames, headers excepted
  std::array<std::uint64_t, kDropCauses> dropped = {};        // by DropCause
  std::array<std::uint64_t, kBadFrameReasons> rejected = {};  // by BadFrameReason
  std::uint64_t ignored_control = 0;  // valid frames of replaced and closed connections
  std::uint64_t unknown_replies = 0;
  std::uint64_t replies_withheld = 0;  // Unknown and Refused beyond one per connection and second
  std::uint64_t joins = 0;             // announced
  std::uint64_t resumes = 0;
  std::uint64_t expected = 0;  // incarnations that were reported in recovery
  std::uint64_t refusals = 0;
  std::uint64_t downs = 0;   // of announced nodes
  std::uint64_t leaves = 0;  // of announced nodes

  friend bool operator==(const BrokerCounters&, const BrokerCounters&) = default;
};

/// The one judge of which nodes live, and the switch between their data connections.
///
/// Each node with an open control connection sees Welcome{version v}, then Changes v+1, v+2, ...
/// without gap or overlap; a version that is about the node itself comes to it as Changes without a
/// change. A node is announced when both of its connections stand; no frame of it is forwarded
/// before that was sent, none after its end. At most one incarnation of a name lives; an
/// incarnation that ended is never taken back: its frames are answered by Unknown, and one that is
/// judged while its control connection is open is told so with the verdict.
///
/// Names and incarnations are known to all members, so a resume is granted only with the secret
/// that the incarnation told at its first join here.
///
/// It remembers nothing of another broker's time. In recovery, after its start and anew when the
/// first incarnation of an earlier epoch comes, nodes resume with the incarnations they have and
/// report the peers and the deaths they know: a reported death wins, other reported peers are
/// expected, and are down if they have not resumed when recovery ends. It does not end while all
/// nodes are silent. Reports count when their join is admitted or resumed, and not before.
///
/// A claim of another incarnation on a held name waits, one claim per name, until the holder has
/// answered a beat that it was sent behind the claim, which refuses it, or has ended, which admits
/// it. What the holder said before proves nothing: the claim may be its own node's, which fenced
/// itself while this broker was stalled. An expected holder is waited for like any other.
///
/// A connection that has closed carries nothing: a join on it does not displace another one, nor
/// does an attach, and no question on it is answered. What it delivered before counts all the same:
/// frames are forwarded, echoes prove life, a leave is a leave.
///
/// What comes late without having closed (a packet was lost, and the connection given up by its
/// node meanwhile) is known by its number: an earlier join or attach does not displace a later one.
///
/// What nodes tell of conversations it keeps in Timelines, and shows to whoever asks; who asks for
/// a cancellation is answered when the conversation's node has answered, or ended.
///
/// It takes bytes as they came and decodes them itself, so that the loop, the simulator and fuzzers
/// go the same way. Nothing that a peer can send breaks it.
///
/// No I/O and no clock. `now` never goes back; a call with an earlier one counts as the latest.
/// Thread-safety: none; lives on the broker's loop thread.
/// Cost: a frame is O(log nodes) and never copied; a change of the membership O(nodes).
class BrokerCore {
 public:
  struct Settings {
    ClusterSettings cluster;
    std::size_t nodes_max = 1024;  // joining ones included; beyond it a join is refused
    /// Waiting at once; beyond it a claim is refused. nullopt: nodes_max, for after a long stall or
    /// cut all nodes may claim their own names.
    std::optional<std::size_t> claims_max = {};
    /// What they say of themselves and report; beyond it a claim is refused.
    std::size_t claims_bytes_max = std::size_t{8} * 1024 * 1024;
    /// What a node says of itself at join; beyond either a join is refused, so that no Welcome and
    /// no status outgrows wire::kPartBytesMax.
    std::size_t node_bytes_max = std::size_t{128} * 1024;
    std::size_t all_nodes_bytes_max = std::size_t{2} * 1024 * 1024;
    /// Incarnations of another broker's time that are waited for; beyond it one counts as down.
    /// With all_nodes_bytes_max they fit into one Welcome.
    std::size_t expected_max = 16384;
    std::size_t reports_max = 2 * wire::kPeersMax;  // of one node, in recovery; the rest is ignored
    std::size_t history_max = 64;                   // names; beyond it the oldest is forgotten
    std::size_t history_bytes_max = std::size_t{1024} * 1024;
    Duration history_kept = std::chrono::minutes{10};
    std::size_t ended_incarnations_max = 65536;  // beyond it the oldest is forgotten
    /// Of timelines; how many records of one conversation, cluster.timeline_records_max says.
    std::size_t timelines_max = Timelines::Limits{}.conversations_max;
    std::size_t timeline_bytes_max = Timelines::Limits{}.bytes_max;
    std::size_t cancels_max = 1024;  // askers that wait; beyond it one is told so
  };

  /// REQUIRES: of settings.cluster what FailureDetector requires.
  BrokerCore(Settings settings, Random random, TimePoint now);

  /// A message of one part, from any connection.
  [[nodiscard]] Effects on_control(ConnectionId connection, std::string_view peer_address,
                                   std::string_view bytes, TimePoint now, Line line = Line::kOpen);

  /// A message of two parts: its header, and the size of the frame that the caller holds. The frame
  /// goes on if the effects contain a Forward, behind its header; else it is dropped.
  [[nodiscard]] Effects on_data(ConnectionId connection, std::string_view header,
                                std::size_t frame_bytes, TimePoint now, Line line = Line::kOpen);

  /// The connection closed, and all that it delivered was passed in before. With kUnread a node
  /// whose control connection this is, and which has a data connection, is in its grace from when
  /// that one is read out (effect::Watch, then on_read_out()), has closed or is replaced, and after
  /// suspect_after in any case, whatever it delivers: its own silence is judged soon after that.
  [[nodiscard]] Effects on_closed(ConnectionId connection, TimePoint now,
                                  Others others = Others::kRead);

  /// What the connection had delivered when effect::Watch named it was passed in.
  [[nodiscard]] Effects on_read_out(ConnectionId connection, TimePoint now);

  /// For a connection that the caller itself ended, because its peer did not take what was sent:
  /// the node may live, and has down_after to resume. What comes of it from here on is kClosed;
  /// on_closed() follows.
  [[nodiscard]] Effects on_given_up(ConnectionId connection, TimePoint now);

  /// An answer was not sent, for those before it were not read: it is told so, now and then.
  [[nodiscard]] Effects on_withheld(ConnectionId connection, TimePoint now);

  /// The loop itself came `lag` too late, and has passed in everything that waited. Closings of
  /// that moment come after this, with the same `now`.
  void observer_late(Duration lag, TimePoint now);

  /// Sends the beats and judges what is due.
  [[nodiscard]] Effects advance(TimePoint now);

  /// Sends the beats, if they are due, and judges nobody: for a loop that must read before it may.
  [[nodiscard]] Effects beat(TimePoint now);

  /// The next time at which advance() has something to do; nullopt if there is none.
  [[nodiscard]] std::optional<TimePoint> next_deadline() const;
  /// When beat() has something to do.
  [[nodiscard]] std::optional<TimePoint> next_beat() const { return next_beat_; }

  [[nodiscard]] Epoch epoch() const { return epoch_; }
  [[nodiscard]] MembershipVersion version() const { return MembershipVersion{version_}; }
  /// Whether it is one of a node's connections.
  [[nodiscard]] bool is_a_nodes(ConnectionId connection) const {
    return connections_.contains(connection);
  }
  /// Those announced and not ended, by name.
  [[nodiscard]] std::vector<Member> members() const;
  /// What a StatusQuery is answered.
  [[nodiscard]] control::StatusReply status(TimePoint now) const;
  [[nodiscard]] const BrokerCounters& counters() const { return counters_; }
  [[nodiscard]] const Timelines& timelines() const { return timelines_; }
  /// Askers that wait for a node's answer.
  [[nodiscard]] std::size_t cancels_waiting() const { return cancels_waiting_; }

 private:
  struct Node {
    Member member;  // kJoined or kSuspect
    std::string address;
    TimePoint joined;
    TimePoint attach_by;     // while not announced: abandoned then, unless it answers beats
    TimePoint attach_limit;  // and then all the same
    bool resumed = false;    // it had joined another broker before
    std::uint64_t secret;    // of its first join here; a resume has to know it
    bool announced = false;
    std::optional<ConnectionId> control = {};  // nullopt: closed, the grace runs
    std::optional<ConnectionId> data = {};
    /// Its control connection closed, but what `data` delivered is not read yet: until then at
    /// most.
    std::optional<TimePoint> closing_waits = {};
    std::deque<ConnectionId> replaced = {};  // or late, not yet told as closed; oldest first
    std::deque<std::uint64_t> tokens =
        {};                           // newest last; with older ones an Attach may be on its way
    bool attached_by_newest = false;  // `data` came with the newest token
    std::uint64_t newest_join = 0;    // number of
    std::uint64_t newest_attach = 0;  // likewise
    BeatBook beats;
    std::uint64_t newest_beat = 0;
    std::uint64_t beats_sent = 0;         // number of our newest
    std::uint64_t echoed = 0;             // the newest of ours that it has read
    std::optional<TimePoint> asked = {};  // when a claim last had it sent a beat of its own
    std::uint32_t participants = 0;
    std::uint32_t conversations = 0;
    std::uint32_t told_participants = 0;  // by the last Loads
    std::size_t bytes;
  };
  enum class Role : std::uint8_t {
    kControl,
    kData,
    kReplaced,
    kLate,  // given up, or closed before its join was read: only a leave on it counts
  };
  /// Whether the node has another connection instead, or will have.
  [[nodiscard]] static bool is_past(Role role) {
    return role == Role::kReplaced || role == Role::kLate;
  }
  struct Binding {
    NodeName node;
    Role role;
  };
  struct Claim {
    ConnectionId connection;
    std::string address;
    control::Join join;
    std::size_t bytes;
    std::optional<Incarnation> holder = {};  // that was asked
    std::uint64_t asked = 0;                 // it lives if it has read a later beat than this one
  };
  struct Cancel {
    NodeName node;  // that was ordered, and alone may answer
    Incarnation incarnation;
    std::string by;
    std::vector<ConnectionId> askers;  // that wait for the answer
  };

  // one for each frame that a node may send
  void on_frame(ConnectionId connection, std::string_view address, control::Join& join);
  [[nodiscard]] bool is_overtaken(const control::Join& join) const;
  void on_late_join(ConnectionId connection, std::string_view address, const control::Join& join);
  void on_frame(ConnectionId connection, const control::Attach& attach);
  void on_frame(ConnectionId connection, const control::NodeBeat& beat);
  void on_frame(ConnectionId connection, const control::Leave& leave);
  void on_frame(ConnectionId connection, control::Records& records);
  void on_frame(ConnectionId connection, const control::CancelAnswer& answer);
  void on_frame(ConnectionId connection, std::string_view address,
                const control::CancelQuery& query);

  void on_undecodable(ConnectionId connection, std::string_view bytes, const Error& error);
  void admit(ConnectionId connection, std::string_view address, const control::Join& join,
             bool resumed);
  void resume(Node& node, ConnectionId connection, std::string_view address,
              const control::Join& join);
  void resume_from_before(ConnectionId connection, std::string_view address,
                          const control::Join& join);
  void claim(ConnectionId connection, std::string_view address, control::Join join);
  [[nodiscard]] std::optional<std::string> why_no_claim(const control::Join& join,
                                                        std::size_t bytes) const;
  void park(Claim claim);
  [[nodiscard]] Claim unpark(const NodeName& name);
  void ask_holder(Claim& claim, Node& holder);
  void settle_claim(const NodeName& name);
  void settle_claims();
  [[nodiscard]] std::optional<std::string> over_limit(const Member& member) const;
  [[nodiscard]] std::optional<std::string> over_own_limit(std::size_t bytes) const;

  // recovery
  [[nodiscard]] Evidence recovery_evidence() const;
  [[nodiscard]] bool may_resume(const control::Join& join) const;
  void begin_recovery(const control::Join& join);
  void take_reports(ConnectionId connection, const control::Join& join);
  void expect_all(const control::Join& join, std::vector<control::Change>& changes);
  void take_verdict(ConnectionId connection, const control::Join& reporter,
                    const control::Verdict& verdict, std::vector<control::Change>& changes);
  void expect(const control::Join& reporter, const control::Peer& peer,
              std::vector<control::Change>& changes);
  void end_expected_of(const NodeName& name, Incarnation but);
  [[nodiscard]] control::Change end_expected(const control::Peer& peer, const Evidence& evidence);
  void record_down(const Member& member, const Evidence& evidence);
  void keep_in_history(const Member& member, const Evidence& evidence);
  void end_recovery();
  /// Those who are not back in person; how many there were.
  std::size_t end_all_expected();

  void give_token(Node& node);
  void welcome(Node& node);
  void announce_join(Node& node);
  void announce(const std::vector<control::Change>& changes);          // if there are any
  void announce_version(const std::vector<control::Change>& changes);  // in any case
  void apply(const LivenessChange& change, std::vector<control::Change>& changes);
  /// Ends the incarnation and unbinds all of it. Returns the change, if it had been announced.
  [[nodiscard]] std::optional<control::Change> end(const NodeName& name, MemberState state,
                                                   const Evidence& evidence);
  void abandon_late_joins();
  void tell_doubt();

  // conversations
  [[nodiscard]] static bool is_ordered_of(const Cancel& cancel, const Node& node);
  void order_cancels(const Node& node);
  void end_cancels(const Node& node);
  void answer_cancel(const ConversationId& conversation, control::CancelOutcome outcome);
  void forget_asker(ConnectionId connection);
  void tell_loads();
  void tell_all_loads(const Node& to);

  void send_beats();
  void send_beat(Node& node);

  void replace(Node& node, ConnectionId connection, Role role);
  void lose_control(Node& node, Others others);
  void begin_grace(Node& node);  // unless it has begun
  void begin_overdue_graces();
  void give_up_control(Node& node);
  [[nodiscard]] const Binding* binding_of(ConnectionId connection) const;
  [[nodiscard]] Node& node_of(const Binding& binding) { return nodes_.at(binding.node); }
  [[nodiscard]] bool has_answered(const Node& holder, const Claim& claim) const;

  void send(ConnectionId connection, const ControlFrame& frame);
  void answer(ConnectionId connection, const ControlFrame& frame);
  void refuse(ConnectionId connection, control::RefusalCode code, std::string text);
  void refuse_claim(const Claim& claim, std::string text);
  void refuse_join(ConnectionId connection, const control::Join& join, control::RefusalCode code,
                   std::string text);
  void fence(ConnectionId connection);           // it joined: it is told in any case
  void answer_unknown(ConnectionId connection);  // a stranger, now and then
  void bad_frame(ConnectionId connection, BadFrameReason reason, std::string detail);
  void drop(DropCause cause);
  void move_time_to(TimePoint now);
  [[nodiscard]] Effects take_effects();

  Settings settings_;
  TokenSource token_source_;
  Epoch epoch_;
  TimePoint started_;
  TimePoint now_;
  std::optional<TimePoint> late_at_;  // of the latest observer_late()
  std::uint64_t version_ = 0;
  FailureDetector detector_;
  Recovery recovery_;
  std::map<NodeName, Node> nodes_;
  std::size_t nodes_bytes_ = 0;
  std::map<Incarnation, NodeName> incarnations_;  // of nodes_
  std::map<ConnectionId, Binding> connections_;   // of nodes_
  std::map<std::uint64_t, NodeName> tokens_;      // of nodes_
  std::map<NodeName, Claim> claims_;              // that wait
  std::size_t claims_bytes_ = 0;
  std::optional<TimePoint> next_beat_;  // nullopt: there are no nodes
  EndedIncarnations ended_;
  History history_;
  ReplyLimiter strangers_;
  Timelines timelines_;
  std::map<ConversationId, Cancel> cancels_;  // ordered and not answered
  std::size_t cancels_waiting_ = 0;           // askers, of all of them
  BrokerCounters counters_;
  std::optional<ConnectionId> gone_;  // the closed one whose message this call is about
  Effects effects_;                   // of the call that runs
};

}  // namespace liminal::broker
