#include "common/session/session.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "common/base/check.hpp"
#include "common/wire/codec.hpp"
#include "common/wire/limits.hpp"

namespace liminal {
namespace {

// That many items are acknowledged at once, so that the other end need not keep them.
constexpr std::uint64_t kItemsUnacknowledgedMax = 64;

static_assert(Session::kFrameItemsMax <= wire::kFrameItemsMax);

// Room made for the items of a frame: first for as many as most have, then for some, then for all.
constexpr std::size_t kItemsReservedFirst = 2;
constexpr std::size_t kItemsReserved = 16;

/// What an item adds to its frame, nearly. Texts of signals count here though they need no credit:
/// a thousand long exit reasons would pass the limit of a message part.
std::size_t frame_bytes(const Item& item) {
  if (const auto* signal = std::get_if<Signal>(&item)) return wire::weight_bytes(*signal);
  return std::max(wire::kItemCreditBytes, wire::credit_bytes(item));
}

}  // namespace

Session::Session(SessionNumber number, Settings settings)
    : number_(number),
      settings_(settings),
      lanes_(first_credit(settings)),
      resend_wait_(settings.resend_after),
      reassembly_({.granted_bytes_max = settings.reassembly_bytes_max,
                   .payload_bytes_max = settings.payload_bytes_max,
                   .transfers_max = Lanes::kTransfersMax}),
      credit_limit_told_(first_credit(settings)) {
  check(settings.credit_window_bytes > 0 && settings.unacknowledged_items_max > 0 &&
            settings.resend_after > Duration::zero() &&
            settings.resend_after <= settings.resend_after_max,
        "a session has a window, and 0 < resend_after <= resend_after_max");
}

void Session::announce() {
  unconfirmed_ = true;
  ask_to_resend_ = true;
  acknowledge_now_ = true;
}

void Session::send(Signal signal) { lanes_.add(std::move(signal)); }

Result<Session::Received> Session::receive(SessionFrame frame, TimePoint now) {
  if (const char* violation = violation_in(frame)) return fail(Errc::kMalformed, violation);
  now_ = std::max(now_, now);
  if (std::exchange(unconfirmed_, false) && sent_.empty()) stop_waiting();

  if (lanes_.raise_credit_limit(frame.credit_limit) && sent_.empty()) stop_waiting();
  acknowledged_below(frame.next_expected);
  if (frame.resend) {
    acknowledge_now_ = true;  // it may be our credit that it misses
    // an older request was answered already: what it misses has been acknowledged since
    if (frame.next_expected == first_unacknowledged()) go_back();
  }

  Received received;
  if (frame.first_sequence > next_expected_) {
    found_gap();
    return received;
  }
  if (frame.items.empty()) return received;

  const std::uint64_t known = next_expected_ - frame.first_sequence;
  if (known >= frame.items.size()) {
    received.duplicate = true;
    acknowledge_now_ = true;  // the other end has missed that we have it
    return received;
  }
  received.signals.reserve(frame.items.size() - static_cast<std::size_t>(known));
  for (std::size_t i = static_cast<std::size_t>(known); i < frame.items.size(); ++i) {
    ++next_expected_;
    take_item(std::move(frame.items[i]), received.signals);
  }
  for (const TransferId transfer : reassembly_.take_grants()) lanes_.add_grant(transfer);
  ask_to_resend_ = false;
  asked_to_resend_at_.reset();
  if (next_expected_ - next_expected_told_ >= kItemsUnacknowledgedMax) acknowledge_now_ = true;
  acknowledge_soon();
  return received;
}

void Session::returned(const Signal& signal) {
  const auto* send = std::get_if<signal::Send>(&signal);
  if (send == nullptr) return;
  const std::size_t payload = send->envelope.payload.size();
  const std::size_t cost = wire::credit_bytes(send->envelope);
  // the credit of chunks came back as they were stored
  give_credit(charge(payload > wire::kChunkBytesMax ? cost - payload : cost));
}

void Session::reconnected() {
  go_back();
  stop_waiting();
  ask_to_resend_ = true;
  acknowledge_now_ = true;
}

std::vector<SessionFrame> Session::collect(TimePoint now, std::size_t frames_max) {
  now_ = std::max(now_, now);
  if (resend_at_ && now_ >= *resend_at_) nothing_came();

  std::vector<SessionFrame> frames;
  while (frames.size() < frames_max) {
    SessionFrame frame = next_frame();
    fill(frame);
    if (frame.items.empty() && !acknowledgement_is_due()) break;

    if (ask_to_resend_) asked_to_resend_at_ = now_;
    ask_to_resend_ = false;
    acknowledge_now_ = false;
    acknowledge_at_.reset();
    next_expected_told_ = frame.next_expected;
    credit_limit_told_ = frame.credit_limit;
    credit_returned_told_ = credit_returned_;
    frames.push_back(std::move(frame));
  }
  const bool waits = !sent_.empty() || lanes_.is_short_of_credit() || unconfirmed_;
  if (waits && !resend_at_) resend_at_ = now_ + resend_wait_;
  return frames;
}

std::optional<TimePoint> Session::next_deadline() const {
  if (acknowledge_now_ || may_send_items()) return now_;
  if (!acknowledge_at_) return resend_at_;
  return resend_at_ ? std::min(*acknowledge_at_, *resend_at_) : acknowledge_at_;
}

bool Session::settled() const { return sent_.empty() && lanes_.empty(); }

const char* Session::violation_in(const SessionFrame& frame) const {
  if (frame.session != number_) return "a frame of another session";
  if (frame.next_expected == 0 || frame.next_expected > end_of_sent_)
    return "an acknowledgement of what was not sent";
  if (frame.first_sequence == 0 ||
      frame.first_sequence > std::numeric_limits<std::uint64_t>::max() - frame.items.size())
    return "a sequence number out of range";
  // what comes too early or was here before is dropped unseen
  if (frame.first_sequence > next_expected_) return nullptr;
  return violation_in_new_items(frame);
}

const char* Session::violation_in_new_items(const SessionFrame& frame) const {
  std::uint64_t credit = credit_limit_told_ - credit_consumed_;
  std::optional<Reassembly::Trial> transfers;
  std::vector<TransferId> grants;
  const auto trial = [&]() -> Reassembly::Trial& {
    return transfers ? *transfers : transfers.emplace(reassembly_);
  };

  for (std::uint64_t i = next_expected_ - frame.first_sequence; i < frame.items.size(); ++i) {
    const Item& item = frame.items[static_cast<std::size_t>(i)];
    const char* violation = nullptr;
    if (const auto* signal = std::get_if<Signal>(&item)) {
      const auto* send = std::get_if<signal::Send>(signal);
      if (send != nullptr && send->envelope.payload.size() > wire::kChunkBytesMax)
        violation = "a payload that should travel in chunks";
    } else if (const auto* offer = std::get_if<item::Offer>(&item)) {
      violation = trial().check(*offer);
    } else if (const auto* begin = std::get_if<item::Begin>(&item)) {
      violation = trial().check(*begin);
    } else if (const auto* chunk = std::get_if<item::Chunk>(&item)) {
      violation = trial().check(*chunk);
    } else if (const auto* grant = std::get_if<item::Grant>(&item)) {
      const bool again = std::find(grants.begin(), grants.end(), grant->transfer) != grants.end();
      if (again || !lanes_.is_offered(grant->transfer)) violation = "a grant of no offer";
      grants.push_back(grant->transfer);
    }
    if (violation != nullptr) return violation;

    const std::size_t cost = charge(wire::credit_bytes(item));
    if (cost > credit) return "more envelopes than there is credit for";
    credit -= cost;
  }
  return nullptr;
}

void Session::acknowledged_below(std::uint64_t sequence) {
  if (sequence <= first_unacknowledged()) return;  // said before, or by a frame that was overtaken

  while (first_unacknowledged() < sequence) {
    sent_bytes_ -= frame_bytes(sent_.front());
    sent_.pop_front();
  }
  if (to_resend_ >= sent_.size()) {
    to_resend_ = sent_.size();
    resend_from_ = sent_.begin();
  }
  probing_ = false;
  stop_waiting();
  if (!sent_.empty()) resend_at_ = now_ + resend_wait_;
}

void Session::stop_waiting() {
  resend_wait_ = settings_.resend_after;
  resend_at_.reset();
}

void Session::go_back() {
  probing_ = false;
  to_resend_ = sent_.size();
  resend_from_ = sent_.begin();
}

void Session::take_item(Item item, std::vector<Signal>& signals) {
  credit_consumed_ += charge(wire::credit_bytes(item));
  if (auto* signal = std::get_if<Signal>(&item)) {
    signals.push_back(std::move(*signal));
  } else if (const auto* offer = std::get_if<item::Offer>(&item)) {
    reassembly_.take(*offer);
  } else if (const auto* grant = std::get_if<item::Grant>(&item)) {
    lanes_.granted(grant->transfer);
  } else if (auto* begin = std::get_if<item::Begin>(&item)) {
    reassembly_.take(std::move(*begin));
  } else if (const auto* chunk = std::get_if<item::Chunk>(&item)) {
    if (auto whole = reassembly_.take(*chunk)) signals.push_back(std::move(*whole));
    give_credit(charge(wire::credit_bytes(item)));
  }
}

void Session::found_gap() {
  // once for each gap: what is under way behind it tells nothing new
  if (asked_to_resend_at_ && now_ < *asked_to_resend_at_ + settings_.resend_after) return;
  ask_to_resend_ = true;
  acknowledge_now_ = true;
}

void Session::acknowledge_soon() {
  if (!acknowledge_at_) acknowledge_at_ = now_ + settings_.acknowledge_after;
}

void Session::give_credit(std::size_t bytes) {
  credit_returned_ += bytes;
  check(credit_returned_ <= credit_consumed_, "each signal is returned once");
  const std::uint64_t allowed =
      std::min<std::uint64_t>(credit_limit_told_, settings_.credit_window_bytes);
  if (credit_returned_ - credit_returned_told_ >= allowed / 4) acknowledge_now_ = true;
  acknowledge_soon();
}

std::size_t Session::charge(std::size_t credit_bytes) const {
  // an envelope that takes more passes when that much is free, in the smallest window too
  return std::min(credit_bytes, first_credit(settings_));
}

std::uint64_t Session::credit_limit() const {
  return credit_returned_ + settings_.credit_window_bytes;
}

void Session::nothing_came() {
  if (sent_.empty()) {
    // all is acknowledged, so only a frame that gave us credit can have been lost
    ask_to_resend_ = true;
    acknowledge_now_ = true;
  } else {
    go_back();
    probing_ = true;
    probe_is_out_ = false;
  }
  resend_wait_ = std::min(2 * resend_wait_, settings_.resend_after_max);
  resend_at_ = now_ + resend_wait_;
}

bool Session::may_send_items() const {
  if (probing_) return !probe_is_out_;
  if (to_resend_ > 0) return true;
  return sent_.size() < settings_.unacknowledged_items_max && lanes_.may_take();
}

bool Session::acknowledgement_is_due() const {
  return acknowledge_now_ || (acknowledge_at_ && now_ >= *acknowledge_at_);
}

SessionFrame Session::next_frame() {
  return {.session = number_,
          .next_expected = next_expected_,
          .credit_limit = credit_limit(),
          .resend = ask_to_resend_,
          .first_sequence = end_of_sent_ - to_resend_,
          .items = {}};
}

void Session::fill(SessionFrame& frame) {
  std::size_t bytes = 0;
  while (bytes < wire::kFrameFillBytes && frame.items.size() < kFrameItemsMax && may_send_items()) {
    if (to_resend_ == 0) {
      if (probing_ || !lanes_.take(sent_)) break;
      ++end_of_sent_;
      sent_bytes_ += frame_bytes(sent_.back());
      to_resend_ = 1;
      resend_from_ = std::prev(sent_.end());
    }
    if (const std::size_t room = frame.items.capacity(); frame.items.size() == room)
      frame.items.reserve(room == 0               ? kItemsReservedFirst
                          : room < kItemsReserved ? kItemsReserved
                                                  : kFrameItemsMax);
    bytes += frame_bytes(*resend_from_);
    frame.items.push_back(*resend_from_);
    ++resend_from_;
    --to_resend_;
  }
  if (!frame.items.empty() && probing_) probe_is_out_ = true;
}

}  // namespace liminal
