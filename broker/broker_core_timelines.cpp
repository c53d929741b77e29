// Conversations as nodes tell of them, their cancellation, and the loads that nodes are told.
#include <algorithm>
#include <utility>

#include "broker/broker_core.hpp"
#include "common/wire/limits.hpp"

namespace liminal::broker {

void BrokerCore::on_frame(ConnectionId connection, control::Records& records) {
  const Binding* binding = binding_of(connection);
  if (binding == nullptr) {
    answer_unknown(connection);
    return;
  }
  if (binding->role == Role::kData) {
    bad_frame(connection, BadFrameReason::kOutOfPlace, "records on a data connection");
    return;
  }
  // What was under way on a connection that was replaced happened all the same.
  const Member& teller = node_of(*binding).member;
  timelines_.take(teller.name, teller.incarnation, std::move(records), now_);
}

// ---- cancellation ----

void BrokerCore::on_frame(ConnectionId connection, std::string_view address,
                          const control::CancelQuery& query) {
  using control::CancelOutcome;
  using control::ConversationStanding;
  const ConversationId id = query.conversation;
  const auto refuse_with = [&](CancelOutcome outcome) {
    answer(connection, control::CancelReply{id, outcome});
  };
  const auto where = timelines_.find(id);
  if (!where) return refuse_with(CancelOutcome::kUnknown);
  if (where->standing == ConversationStanding::kEnded) return refuse_with(CancelOutcome::kEnded);
  const auto node = nodes_.find(where->node);
  if (node == nodes_.end() || node->second.member.incarnation != where->incarnation) {
    return refuse_with(CancelOutcome::kNodeGone);
  }
  const auto waiting = cancels_.find(id);
  if (waiting != cancels_.end() &&
      std::find(waiting->second.askers.begin(), waiting->second.askers.end(), connection) !=
          waiting->second.askers.end()) {
    return;  // it asked already, and is told once
  }
  if (cancels_waiting_ >= settings_.cancels_max) return refuse_with(CancelOutcome::kTooMany);

  ++cancels_waiting_;
  if (waiting != cancels_.end()) {
    waiting->second.askers.push_back(connection);
    return;
  }
  Cancel cancel{where->node,
                where->incarnation,
                "liminal cancel, from " + std::string{address},
                {connection}};
  if (node->second.control) send(*node->second.control, control::CancelOrder{id, cancel.by});
  cancels_.emplace(id, std::move(cancel));
  effects_.push_back(effect::CancelOrdered{id, where->node, std::string{address}});
}

void BrokerCore::on_frame(ConnectionId connection, const control::CancelAnswer& answer) {
  const Binding* binding = binding_of(connection);
  if (binding == nullptr) {
    answer_unknown(connection);
    return;
  }
  if (is_past(binding->role)) {  // it was ordered anew where the node is now
    ++counters_.ignored_control;
    return;
  }
  if (binding->role == Role::kData) {
    bad_frame(connection, BadFrameReason::kOutOfPlace, "a cancel answer on a data connection");
    return;
  }
  const auto ordered = cancels_.find(answer.conversation);
  if (ordered == cancels_.end()) return;  // who asked is gone
  if (!is_ordered_of(ordered->second, node_of(*binding))) {
    bad_frame(connection, BadFrameReason::kOutOfPlace,
              "a cancel answer about another node's conversation");
    return;
  }
  answer_cancel(answer.conversation, answer.accepted ? control::CancelOutcome::kAccepted
                                                     : control::CancelOutcome::kEnded);
}

/// What the timelines know may have been forgotten since.
bool BrokerCore::is_ordered_of(const Cancel& cancel, const Node& node) {
  return cancel.node == node.member.name && cancel.incarnation == node.member.incarnation;
}

/// The node has another connection: what was ordered before may not have come.
void BrokerCore::order_cancels(const Node& node) {
  for (const auto& [id, cancel] : cancels_) {
    if (is_ordered_of(cancel, node)) send(*node.control, control::CancelOrder{id, cancel.by});
  }
}

void BrokerCore::end_cancels(const Node& node) {
  std::vector<ConversationId> unanswered;
  for (const auto& [id, cancel] : cancels_) {
    if (is_ordered_of(cancel, node)) unanswered.push_back(id);
  }
  for (const ConversationId& id : unanswered) {
    answer_cancel(id, control::CancelOutcome::kNodeGone);
  }
}

void BrokerCore::answer_cancel(const ConversationId& conversation, control::CancelOutcome outcome) {
  const auto found = cancels_.find(conversation);
  for (const ConnectionId asker : found->second.askers) {
    send(asker, control::CancelReply{conversation, outcome});
  }
  cancels_waiting_ -= found->second.askers.size();
  cancels_.erase(found);
}

void BrokerCore::forget_asker(ConnectionId connection) {
  if (cancels_.empty()) return;
  for (auto cancel = cancels_.begin(); cancel != cancels_.end();) {
    cancels_waiting_ -= std::erase(cancel->second.askers, connection);
    cancel = cancel->second.askers.empty() ? cancels_.erase(cancel) : std::next(cancel);
  }
}

// ---- loads ----

void BrokerCore::tell_loads() {
  std::vector<control::Loads::Load> changed;
  const auto tell = [&] {
    const control::Loads frame{std::exchange(changed, {})};
    for (const auto& [name, node] : nodes_) {
      if (node.control) send(*node.control, frame);
    }
  };
  for (auto& [name, node] : nodes_) {
    if (!node.announced || node.told_participants == node.participants) continue;
    node.told_participants = node.participants;
    changed.push_back({node.member.incarnation, node.participants});
    if (changed.size() == wire::kLoadsMax) tell();
  }
  if (!changed.empty()) tell();
}

/// As the others were told; what changed since comes with the next beat.
void BrokerCore::tell_all_loads(const Node& to) {
  control::Loads all{.loads = {}};
  for (const auto& [name, node] : nodes_) {
    if (!node.announced || node.told_participants == 0) continue;
    all.loads.push_back({node.member.incarnation, node.told_participants});
    if (all.loads.size() == wire::kLoadsMax) send(*to.control, std::exchange(all, {}));
  }
  if (!all.loads.empty()) send(*to.control, all);
}

}  // namespace liminal::broker
