// Joins, resumes, attachments, and claims on held names.
#include <algorithm>
#include <utility>

#include "broker/broker_core.hpp"
#include "common/base/fault_point.hpp"
#include "common/base/text.hpp"

namespace liminal::broker {
namespace {

using std::chrono::seconds;

// A node that reopens connections faster than the old ones close is told that it is unknown.
constexpr std::size_t kReplacedMax = 8;
constexpr std::size_t kTokensMax = 4;  // of one node
constexpr std::size_t kUnechoedBeatsMax = 65536;
constexpr Duration kIsolationMax = std::chrono::hours{24};  // that others are told

// Deadlines start anew at most three times, and a verdict may wait one more bound, so an echo that
// still matters is at most five down_after old. While all are silent the newest decides. Claims
// may double the number of beats.
std::size_t unechoed_beats_max(const ClusterSettings& cluster) {
  const auto beats = 10 * (cluster.down_after / cluster.beat_interval) + 16;
  return std::min(static_cast<std::size_t>(beats), kUnechoedBeatsMax);
}

// For people: to the millisecond, from 10 s on to the second.
std::string rounded(Duration duration) {
  if (duration >= seconds{10}) return to_string(std::chrono::floor<seconds>(duration));
  return to_string(std::chrono::floor<std::chrono::milliseconds>(duration));
}

std::string describe(const NodeName& name, Incarnation incarnation) {
  return "'" + name.value() + "' (incarnation " + to_hex(incarnation.value()) + ")";
}

Member member_of(const control::Join& join) {
  return Member{.name = join.name,
                .incarnation = join.incarnation,
                .state = MemberState::kJoined,
                .light = join.light,
                .services = join.services,
                .labels = join.labels,
                .isolation_timeout = std::min(join.isolation_timeout, kIsolationMax)};
}

// What a claim takes while it waits, never less.
std::size_t claim_bytes(const control::Join& join) {
  std::size_t bytes = description_bytes(member_of(join));
  for (const control::Peer& peer : join.peers) {
    bytes += sizeof(control::Peer) + peer.name.value().size();
  }
  for (const control::Verdict& verdict : join.verdicts) {
    bytes += sizeof(control::Verdict) + verdict.peer.name.value().size();
  }
  return bytes;
}

}  // namespace

void BrokerCore::on_frame(ConnectionId connection, std::string_view address, control::Join& join) {
  if (const Binding* binding = binding_of(connection)) {
    Node& node = node_of(*binding);
    if (binding->role == Role::kLate) {  // overtaken
      ++counters_.ignored_control;
      return;
    }
    if (binding->role != Role::kControl || node.member.name != join.name ||
        node.member.incarnation != join.incarnation) {
      bad_frame(connection, BadFrameReason::kOutOfPlace, "a join on a connection that is in use");
      return;
    }
    take_reports(connection, join);
    resume(node, connection, address, join);
    return;
  }
  if (is_overtaken(join)) {
    replace(nodes_.at(join.name), connection, Role::kLate);
    ++counters_.ignored_control;
    return;
  }
  for (const auto& [name, waiting] : claims_) {
    if (waiting.connection != connection) continue;
    bad_frame(connection, BadFrameReason::kOutOfPlace, "a join on a connection that waits for one");
    return;
  }
  if (join.incarnation == local_incarnation()) {
    refuse_join(connection, join, control::RefusalCode::kMalformed,
                "the incarnation 0 is nobody's");
    return;
  }
  if (ended_.contains(join.incarnation)) {  // fenced: it takes a new incarnation and joins anew
    return fence(connection);
  }
  const auto owner = incarnations_.find(join.incarnation);
  if (owner != incarnations_.end() && owner->second != join.name) {
    refuse_join(connection, join, control::RefusalCode::kNameTaken,
                "the incarnation " + to_hex(join.incarnation.value()) + " is that of node '" +
                    owner->second.value() + "'");
    return;
  }
  const control::Peer* expected = recovery_.find(join.incarnation);
  if (expected != nullptr && expected->name != join.name) {
    refuse_join(connection, join, control::RefusalCode::kNameTaken,
                "the incarnation " + to_hex(join.incarnation.value()) +
                    " is expected as that of node '" + expected->name.value() + "'");
    return;
  }
  const auto holder = nodes_.find(join.name);
  if (holder != nodes_.end() && holder->second.member.incarnation == join.incarnation) {
    if (holder->second.secret != join.secret) {
      refuse_join(connection, join, control::RefusalCode::kNameTaken,
                  "the incarnation " + to_hex(join.incarnation.value()) +
                      " has joined already, and this join does not know its secret");
      return;
    }
    begin_recovery(join);  // back from another broker, where this one judged nobody
    take_reports(connection, join);
    resume(holder->second, connection, address, join);
  } else if (join.epoch || expected != nullptr) {
    resume_from_before(connection, address, join);
  } else if (nodes_.contains(join.name) || recovery_.is_expected(join.name)) {
    claim(connection, address, std::move(join));
  } else {
    admit(connection, address, join, false);
  }
}

/// The node has sent a later one, on another connection, which came first.
bool BrokerCore::is_overtaken(const control::Join& join) const {
  const auto holder = nodes_.find(join.name);
  return holder != nodes_.end() && holder->second.member.incarnation == join.incarnation &&
         holder->second.secret == join.secret && join.number < holder->second.newest_join;
}

/// Its node has, or will have, another connection, where it says the same again: so who is not
/// known to live is not admitted, and nothing waits for it. But this one may yet deliver a leave.
void BrokerCore::on_late_join(ConnectionId connection, std::string_view address,
                              const control::Join& join) {
  ++counters_.ignored_control;
  const Binding* binding = binding_of(connection);
  const auto holder = nodes_.find(join.name);
  if (holder != nodes_.end()) {
    Node& node = holder->second;
    if (node.member.incarnation != join.incarnation || node.secret != join.secret) return;
    if (binding != nullptr && binding->node != join.name) return;
    take_reports(connection, join);
    if (binding != nullptr) return;
    const bool is_news = !node.control && !is_overtaken(join);
    replace(node, connection, Role::kLate);
    if (!is_news) return;
    node.newest_join = join.number;
    // it was there since its other connection closed
    std::vector<control::Change> changes;
    node.closing_waits.reset();
    const auto change = detector_.resumed(node.member.incarnation, now_);
    detector_.connection_closed(node.member.incarnation, now_);
    // it may have been owed as much for the closing before, and its data has longer than it waits
    detector_.closing_was_ours(node.member.incarnation);
    if (change) apply(*change, changes);
    announce(changes);
    return;
  }
  // Of an earlier epoch: others may wait for it, and what it reports counts.
  const auto owner = incarnations_.find(join.incarnation);
  const control::Peer* expected = recovery_.find(join.incarnation);
  if (join.incarnation == local_incarnation() || binding != nullptr ||
      owner != incarnations_.end() || ended_.contains(join.incarnation) ||
      (expected != nullptr && expected->name != join.name) || !(join.epoch || expected) ||
      !may_resume(join)) {
    return;
  }
  admit(connection, address, join, true);
  if (const auto admitted = nodes_.find(join.name); admitted != nodes_.end()) {
    give_up_control(admitted->second);
  }
}

void BrokerCore::resume_from_before(ConnectionId connection, std::string_view address,
                                    const control::Join& join) {
  if (!may_resume(join)) {
    ended_.add(join.incarnation);
    return fence(connection);
  }
  admit(connection, address, join, true);
}

void BrokerCore::admit(ConnectionId connection, std::string_view address, const control::Join& join,
                       bool resumed) {
  const Member member = member_of(join);
  if (const auto limit = over_limit(member)) {
    refuse_join(connection, join, control::RefusalCode::kLimit, *limit);
    return;
  }
  if (resumed) {
    begin_recovery(join);
    end_expected_of(join.name, join.incarnation);
  }
  take_reports(connection, join);
  const std::size_t bytes = description_bytes(member);
  const auto added =
      nodes_.emplace(member.name, Node{.member = member,
                                       .address = std::string{address},
                                       .joined = now_,
                                       .attach_by = now_ + settings_.cluster.down_after,
                                       .attach_limit = now_ + 3 * settings_.cluster.down_after,
                                       .resumed = resumed,
                                       .secret = join.secret,
                                       .control = connection,
                                       .newest_join = join.number,
                                       .beats = BeatBook{unechoed_beats_max(settings_.cluster)},
                                       .bytes = bytes});
  Node& node = added.first->second;
  nodes_bytes_ += bytes;
  incarnations_.emplace(member.incarnation, member.name);
  connections_.insert_or_assign(connection, Binding{member.name, Role::kControl});
  give_token(node);
  strangers_.forget(connection);
  recovery_.name_was_seen(member.name);
  detector_.watch(member.incarnation, now_, member.light);
  if (!next_beat_) next_beat_ = now_ + settings_.cluster.beat_interval;
  welcome(node);
}

void BrokerCore::resume(Node& node, ConnectionId connection, std::string_view address,
                        const control::Join& join) {
  const NodeName name = node.member.name;
  std::vector<control::Change> changes;
  node.newest_join = std::max(node.newest_join, join.number);
  if (join.epoch != epoch_) node.newest_beat = 0;  // back from another broker: it counts anew
  if (node.control != connection) {
    if (node.control) replace(node, *node.control, Role::kReplaced);
    node.control = connection;
    node.closing_waits.reset();
    node.address = address;
    connections_.insert_or_assign(connection, Binding{name, Role::kControl});
    strangers_.forget(connection);
    ++counters_.resumes;
    effects_.push_back(effect::NodeResumed{name, node.member.incarnation, node.address});
    const auto change = detector_.resumed(node.member.incarnation, now_);
    if (change) apply(*change, changes);
    node.attach_by = now_ + settings_.cluster.down_after;
    node.attach_limit = now_ + 3 * settings_.cluster.down_after;
  }
  give_token(node);
  fault_point(FaultPoint::kBrokerResume);

  welcome(node);  // first: what follows is told as changes of its version
  announce(changes);
  if (!node.announced && node.data) announce_join(node);
}

void BrokerCore::give_token(Node& node) {
  node.tokens.push_back(token_source_.next());
  tokens_.emplace(node.tokens.back(), node.member.name);
  node.attached_by_newest = false;
  if (node.tokens.size() <= kTokensMax) return;
  tokens_.erase(node.tokens.front());
  node.tokens.pop_front();
}

void BrokerCore::welcome(Node& node) {
  control::Welcome frame{.epoch = epoch_,
                         .version = version(),
                         .token = node.tokens.back(),
                         .settings = settings_.cluster,
                         .members = {},
                         .recovering = recovery_.is_running()};
  for (const auto& [name, other] : nodes_) {
    if (other.announced && &other != &node) frame.members.push_back(other.member);
  }
  for (const control::Peer& peer : recovery_.expected()) {
    if (peer.incarnation != node.member.incarnation) frame.members.push_back(expected_member(peer));
  }
  effects_.push_back(effect::CarriesBeats{*node.control});
  send(*node.control, frame);
  send_beat(node);  // at once, so that its echo is early
  tell_all_loads(node);
  order_cancels(node);
}

std::optional<std::string> BrokerCore::over_limit(const Member& member) const {
  const std::size_t bytes = description_bytes(member);
  if (nodes_.size() >= settings_.nodes_max) {
    return "there are " + std::to_string(nodes_.size()) + " nodes, and no more may join";
  }
  if (auto limit = over_own_limit(bytes)) return limit;
  if (nodes_bytes_ + bytes > settings_.all_nodes_bytes_max) {
    return "services and labels of all nodes would take more than " +
           std::to_string(settings_.all_nodes_bytes_max) + " bytes";
  }
  return std::nullopt;
}

std::optional<std::string> BrokerCore::over_own_limit(std::size_t bytes) const {
  if (bytes <= settings_.node_bytes_max) return std::nullopt;
  return "services and labels of the node take " + std::to_string(bytes) + " bytes, more than " +
         std::to_string(settings_.node_bytes_max);
}

void BrokerCore::on_frame(ConnectionId connection, const control::Attach& attach) {
  const Binding* binding = binding_of(connection);
  if (binding != nullptr && is_past(binding->role)) {
    ++counters_.ignored_control;
    return;
  }
  const auto found = tokens_.find(attach.token);
  if (binding != nullptr && (binding->role == Role::kControl || found == tokens_.end() ||
                             found->second != binding->node)) {
    bad_frame(connection, BadFrameReason::kOutOfPlace, "an attach on a connection that is in use");
    return;
  }
  if (found == tokens_.end()) {
    answer_unknown(connection);
    return;
  }
  Node& node = nodes_.at(found->second);
  const bool is_newest = attach.token == node.tokens.back();
  const bool is_overtaken =
      attach.number < node.newest_attach || (!is_newest && node.attached_by_newest);
  if (is_overtaken && node.data != connection) {  // the node uses the later one
    replace(node, connection, Role::kReplaced);
    ++counters_.ignored_control;
    return;
  }
  if (node.data && node.data != connection) {
    replace(node, *node.data, Role::kReplaced);
    begin_grace(node);  // what comes of the former one is not taken any more
  }
  node.data = connection;
  node.attached_by_newest = is_newest;
  node.newest_attach = std::max(node.newest_attach, attach.number);
  connections_.insert_or_assign(connection, Binding{node.member.name, Role::kData});
  strangers_.forget(connection);
  if (!node.announced && node.control) announce_join(node);
  send(connection, control::Attached{});
}

void BrokerCore::announce_join(Node& node) {
  node.announced = true;
  recovery_.forget(node.member.incarnation);
  history_.forget(node.member.name);
  if (node.resumed) {
    ++counters_.resumes;
    effects_.push_back(
        effect::NodeResumed{node.member.name, node.member.incarnation, node.address});
  } else {
    ++counters_.joins;
    effects_.push_back(effect::NodeJoined{node.member.name, node.member.incarnation, node.address,
                                          node.member.light});
  }
  Member joined = node.member;
  joined.state = MemberState::kJoined;
  announce({{joined, std::nullopt}});
  if (node.member.state == MemberState::kSuspect) {
    effects_.push_back(effect::NodeSuspect{node.member.name, node.member.incarnation});
    announce({{node.member, std::nullopt}});
  }
}

void BrokerCore::abandon_late_joins() {
  std::vector<NodeName> late;
  for (const auto& [name, node] : nodes_) {
    if (!node.announced && now_ >= node.attach_by) late.push_back(name);
  }
  for (const NodeName& name : late) {
    // there is nothing to tell, unless others knew it from before
    const auto change = end(name, MemberState::kDown, recovery_evidence());
    if (change) announce({*change});
  }
}

void BrokerCore::replace(Node& node, ConnectionId connection, Role role) {
  connections_.insert_or_assign(connection, Binding{node.member.name, role});
  node.replaced.push_back(connection);
  if (node.replaced.size() <= kReplacedMax) return;
  connections_.erase(node.replaced.front());
  node.replaced.pop_front();
}

// ---- claims on a held name ----

void BrokerCore::claim(ConnectionId connection, std::string_view address, control::Join join) {
  const std::size_t bytes = claim_bytes(join);
  Claim claim{.connection = connection,
              .address = std::string{address},
              .join = std::move(join),
              .bytes = bytes};
  const NodeName name = claim.join.name;
  const auto waiting = claims_.find(name);
  if (waiting != claims_.end()) {
    if (waiting->second.join.incarnation != claim.join.incarnation ||
        waiting->second.join.secret != claim.join.secret) {
      refuse_claim(claim, "incarnation " + to_hex(waiting->second.join.incarnation.value()) +
                              " from " + waiting->second.address + " waits for it already; ");
      return;
    }
    if (claim.join.number < waiting->second.join.number) {  // overtaken by it
      ++counters_.ignored_control;
      return;
    }
    const Claim before = unpark(name);  // the same node on a new connection
    claim.holder = before.holder;
    claim.asked = before.asked;
  }
  if (auto limit = why_no_claim(claim.join, bytes)) {
    return refuse_join(connection, claim.join, control::RefusalCode::kLimit, *std::move(limit));
  }
  if (claim.holder) return park(std::move(claim));
  effects_.push_back(effect::ClaimWaits{name, claim.join.incarnation, claim.address});
  const auto holder = nodes_.find(name);
  if (holder != nodes_.end()) ask_holder(claim, holder->second);
  park(std::move(claim));
}

std::optional<std::string> BrokerCore::why_no_claim(const control::Join& join,
                                                    std::size_t bytes) const {
  if (claims_.size() >= settings_.claims_max.value_or(settings_.nodes_max)) {
    return std::to_string(claims_.size()) + " claims on held names wait, and no more may";
  }
  if (claims_bytes_ + bytes > settings_.claims_bytes_max) {
    return "claims on held names would take more than " +
           std::to_string(settings_.claims_bytes_max) + " bytes";
  }
  return over_own_limit(description_bytes(member_of(join)));
}

void BrokerCore::park(Claim claim) {
  claims_bytes_ += claim.bytes;
  NodeName name = claim.join.name;
  claims_.emplace(std::move(name), std::move(claim));
}

/// REQUIRES: one waits.
BrokerCore::Claim BrokerCore::unpark(const NodeName& name) {
  auto taken = claims_.extract(name);
  claims_bytes_ -= taken.mapped().bytes;
  return std::move(taken.mapped());
}

/// At once, so that a living holder answers with its next beat; but strangers do not have it sent
/// more than one beat in addition to each of its own.
void BrokerCore::ask_holder(Claim& claim, Node& holder) {
  claim.holder = holder.member.incarnation;
  claim.asked = holder.beats_sent;
  if (!holder.control) return;
  if (holder.asked && now_ - *holder.asked < settings_.cluster.beat_interval) return;
  holder.asked = now_;
  send_beat(holder);
}

bool BrokerCore::has_answered(const Node& holder, const Claim& claim) const {
  return claim.holder == holder.member.incarnation && holder.echoed > claim.asked &&
         holder.control && holder.member.state == MemberState::kJoined;
}

void BrokerCore::settle_claim(const NodeName& name) {
  const auto waiting = claims_.find(name);
  if (waiting == claims_.end()) return;
  const auto holder = nodes_.find(name);
  if (holder != nodes_.end() && !has_answered(holder->second, waiting->second)) {
    // it came, or came back, after the claim
    if (waiting->second.holder != holder->second.member.incarnation) {
      ask_holder(waiting->second, holder->second);
    }
    return;
  }
  if (holder == nodes_.end() && recovery_.is_expected(name)) return;

  Claim claim = unpark(name);
  if (holder != nodes_.end()) {
    refuse_claim(claim, "");
  } else {
    // the checks of a join again: its incarnation may have been used elsewhere meanwhile
    on_frame(claim.connection, claim.address, claim.join);
  }
}

void BrokerCore::settle_claims() {
  std::vector<NodeName> names;
  names.reserve(claims_.size());
  for (const auto& [name, waiting] : claims_) names.push_back(name);
  for (const NodeName& name : names) settle_claim(name);
}

void BrokerCore::refuse_claim(const Claim& claim, std::string text) {
  const auto holder = nodes_.find(claim.join.name);
  if (holder == nodes_.end()) {
    text += "the name may still be held by a node of before this broker's start";
  } else {
    const Node& node = holder->second;
    text += "the name is held by " + describe(node.member.name, node.member.incarnation) +
            " from " + node.address + ", joined " + rounded(now_ - node.joined) + " ago";
  }
  ++counters_.refusals;
  effects_.push_back(
      effect::ClaimRefused{claim.join.name, claim.join.incarnation, claim.address, text});
  refuse(claim.connection, control::RefusalCode::kNameTaken, std::move(text));
}

}  // namespace liminal::broker
