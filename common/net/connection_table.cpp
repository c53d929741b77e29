#include "common/net/connection_table.hpp"

#include <algorithm>
#include <utility>

namespace liminal::net {
namespace {

// Of two connections that had the same descriptor, the one that closed first shook hands first.
bool earlier(RoutingNumber a, RoutingNumber b) { return static_cast<std::int32_t>(a - b) < 0; }

}  // namespace

void ConnectionTable::accepted(int fd) {
  Descriptor& descriptor = descriptors_[fd];
  // The kernel gives a number again only when its connection is over.
  if (descriptor.connection) close(*descriptor.connection);
  descriptor = Descriptor{.open = true, .connection = std::nullopt, .others = newest_};
}

void ConnectionTable::disconnected(int fd) {
  Descriptor& descriptor = descriptors_[fd];
  if (descriptor.connection) close(*descriptor.connection);
  descriptor = Descriptor{};
}

std::optional<ConnectionId> ConnectionTable::find(RoutingNumber routing) const {
  const auto found = by_routing_.find(routing);
  if (found == by_routing_.end()) return std::nullopt;
  return found->second;
}

ConnectionId ConnectionTable::add(RoutingNumber routing, int fd) {
  const ConnectionId id{next_++};
  connections_.emplace(id, Connection{.routing = routing, .fd = fd});
  by_routing_.emplace(routing, id);
  if (!newest_ || earlier(*newest_, routing)) newest_ = routing;
  if (fd < 0) return id;  // its closing shows when a send fails

  Descriptor& descriptor = descriptors_[fd];
  const bool is_former = descriptor.others && !earlier(*descriptor.others, routing);
  if (!descriptor.open || is_former) {
    close(id);  // over before its first message was read
    return id;
  }
  if (descriptor.connection) {
    const RoutingNumber present = connections_.at(*descriptor.connection).routing;
    if (earlier(routing, present)) {
      close(id);  // a former one, whose messages come to be read only now
      return id;
    }
    close(*descriptor.connection);
  }
  descriptor.connection = id;
  return id;
}

std::optional<RoutingNumber> ConnectionTable::routing(ConnectionId connection) const {
  const auto found = connections_.find(connection);
  if (found == connections_.end() || found->second.closing) return std::nullopt;
  return found->second.routing;
}

int ConnectionTable::descriptor(ConnectionId connection) const {
  const auto found = connections_.find(connection);
  return found == connections_.end() || found->second.closing ? -1 : found->second.fd;
}

void ConnectionTable::unreachable(ConnectionId connection) { close(connection); }

void ConnectionTable::close(ConnectionId connection) {
  const auto found = connections_.find(connection);
  if (found == connections_.end() || found->second.closing) return;
  found->second.closing = true;
  found->second.last_read = reads_;
  closing_.push_back(connection);
  // From here on the descriptor is free for whoever speaks with it next.
  const auto descriptor = descriptors_.find(found->second.fd);
  if (descriptor != descriptors_.end() && descriptor->second.connection == connection) {
    descriptor->second.connection.reset();
  }
}

bool ConnectionTable::read(ConnectionId connection) {
  ++reads_;
  if (!is_counting()) return false;
  Connection& one = connections_.at(connection);
  one.last_read = reads_;
  return one.closing;
}

void ConnectionTable::watch(ConnectionId connection) {
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return;
  if (!found->second.closing) found->second.last_read = reads_;
  if (!std::exchange(found->second.watched, true)) watched_.push_back(connection);
}

void ConnectionTable::ran_dry() {
  const auto any = [](const Connection&) { return true; };
  tell_if(any);
  tell_watched_if(any);
}

void ConnectionTable::tell_quiet() {
  const std::uint64_t rounds = 2 * connections_.size() + kQuietMin;
  const auto is_quiet = [&](const Connection& each) { return reads_ - each.last_read > rounds; };
  tell_if(is_quiet);
  tell_watched_if(is_quiet);
}

void ConnectionTable::tell_overdue() {
  tell_if([this](Connection& each) {
    const auto before = std::exchange(each.looked_at, reads_);
    return before && each.last_read <= *before;
  });
}

template <class IsReadOut>
void ConnectionTable::tell_if(IsReadOut&& is_read_out) {
  std::erase_if(closing_, [&](ConnectionId id) {
    const auto found = connections_.find(id);
    if (!is_read_out(found->second)) return false;
    by_routing_.erase(found->second.routing);
    connections_.erase(found);
    closed_.push_back(id);
    return true;
  });
}

template <class IsReadOut>
void ConnectionTable::tell_watched_if(IsReadOut&& is_read_out) {
  std::erase_if(watched_, [&](ConnectionId id) {
    const auto found = connections_.find(id);
    if (found == connections_.end()) return true;  // told as closed
    if (found->second.closing || !is_read_out(found->second)) return false;
    found->second.watched = false;
    read_out_.push_back(id);
    return true;
  });
}

std::vector<ConnectionId> ConnectionTable::take_read_out() { return std::exchange(read_out_, {}); }

std::vector<ConnectionId> ConnectionTable::take_closed() {
  std::vector<ConnectionId> out = std::exchange(closed_, {});
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace liminal::net
