#include "node/conversation/placement_searches.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "common/base/check.hpp"
#include "common/base/fault_point.hpp"

namespace liminal {

PlacementSearches::PlacementSearches(ConversationId conversation,
                                     std::shared_ptr<const ConversationConfig> config,
                                     const Directory& directory, LinkedParticipants& linked,
                                     MakeHere make_here)
    : conversation_(conversation),
      config_(std::move(config)),
      directory_(directory),
      linked_(linked),
      make_here_(std::move(make_here)) {}

PlacementSearches::Report PlacementSearches::begin(Context& context, effect::Place place) {
  if (make_here_) return make_here(context, place.role);
  const OwnedInstance& owned = wanted(place.role);
  const Placement placement{
      Placement::Settings{.service = owned.service,
                          .rule = owned.placement,
                          .timeout = place.to_compensate_within.value_or(config_->policy_timeout),
                          .tried = std::move(place.tried),
                          .persistent = place.to_compensate_within.has_value()},
      context.now()};
  const auto [search, is_new] = searches_.emplace(
      place.role,
      Search{.placement = placement, .to_compensate = place.to_compensate_within.has_value()});
  check(is_new, "one search for a role at a time");
  return go_on(context, search);
}

PlacementSearches::Report PlacementSearches::abandon(Context& context, RoleIndex role) {
  const auto search = searches_.find(role);
  if (search == searches_.end()) return std::nullopt;
  return give_up(context, search, Error{Errc::kConversationFailed, "not wanted any more"});
}

PlacementSearches::Report PlacementSearches::on_timer(Context& context, TimerId timer) {
  const auto search = std::find_if(searches_.begin(), searches_.end(),
                                   [&](const auto& entry) { return entry.second.timer == timer; });
  if (search == searches_.end()) return std::nullopt;
  if (!search->second.spawn) return go_on(context, search);
  return give_up(context, search, search->second.placement.unanswered());
}

PlacementSearches::Report PlacementSearches::on_spawned(Context& context,
                                                        message::Spawned spawned) {
  const auto entry = std::find_if(searches_.begin(), searches_.end(), [&](const auto& search) {
    return search.second.spawn == spawned.spawn;
  });
  if (entry == searches_.end()) return std::nullopt;
  auto& [role, search] = *entry;
  search.spawn.reset();
  stop(context, search);
  if (spawned.instance && search.to_compensate && !spawned.compensates) {
    context.unlink(*spawned.instance);
    context.exit(*spawned.instance, ExitReason::shutdown());
    spawned.instance = fail(Errc::kNoService,
                            "the service cannot compensate on " + spawned.instance->node.value());
  }
  if (!spawned.instance) {
    search.placement.failed(std::move(spawned.instance.error()));
    return go_on(context, entry);
  }
  fault_point(FaultPoint::kPlacementAnswered);
  Report ready = found(role, *spawned.instance, spawned.compensates, search.placement.reason());
  searches_.erase(entry);
  return ready;
}

void PlacementSearches::end_all(Context& context) {
  for (auto& [role, search] : searches_) stop(context, search);
  searches_.clear();
}

const OwnedInstance& PlacementSearches::wanted(RoleIndex role) const {
  return std::get<OwnedInstance>(config_->participants[role].who);
}

PlacementSearches::Report PlacementSearches::make_here(Context& context, RoleIndex role) {
  auto made = make_here_();
  if (!made) return input::ParticipantUnavailable{role, std::move(made.error())};
  const Pid instance = context.spawn_link(std::move(made->process));
  return found(role, instance, made->compensates, "made for it on its node");
}

/// Asks the next node, or waits for one.
PlacementSearches::Report PlacementSearches::go_on(Context& context, Searches::iterator entry) {
  auto& [role, search] = *entry;
  auto next = search.placement.next(*directory_.snapshot(), linked_.shares(), context.random(),
                                    context.now());
  if (auto* give_up_now = std::get_if<Placement::GiveUp>(&next)) {
    return give_up(context, entry, std::move(give_up_now->error));
  }
  if (const auto* attempt = std::get_if<Placement::Try>(&next)) {
    fault_point(FaultPoint::kPlacementChosen);
    search.spawn = context.spawn_service(attempt->node, wanted(role).service, conversation_);
    search.timer = context.start_timer(
        std::max(search.placement.give_up_at() - context.now(), Duration::zero()));
  } else {
    search.timer = context.start_timer(std::get<Placement::Wait>(next).before_next);
  }
  return std::nullopt;
}

PlacementSearches::Report PlacementSearches::found(RoleIndex role, const Pid& instance,
                                                   bool compensates, std::string why_there) {
  linked_.add_instance(instance);
  return input::ParticipantReady{role, instance, compensates, std::move(why_there)};
}

PlacementSearches::Report PlacementSearches::give_up(Context& context, Searches::iterator entry,
                                                     Error error) {
  const RoleIndex role = entry->first;
  stop(context, entry->second);
  searches_.erase(entry);
  return input::ParticipantUnavailable{role, std::move(error)};
}

void PlacementSearches::stop(Context& context, Search& search) {
  if (search.spawn) context.abandon_spawn(*std::exchange(search.spawn, std::nullopt));
  if (search.timer) context.cancel_timer(*std::exchange(search.timer, std::nullopt));
}

}  // namespace liminal
