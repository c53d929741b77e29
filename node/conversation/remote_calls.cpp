#include "node/conversation/remote_calls.hpp"

#include <string_view>
#include <utility>

#include "common/wire/parts.hpp"
#include "common/wire/reader.hpp"
#include "common/wire/writer.hpp"

namespace liminal {
namespace {

using wire::Reader;
using wire::Writer;

// The second element, after the version. Numbers are never given anew.
enum class Kind : std::uint8_t {
  kWatch = 1,
  kSend = 2,
  kReceive = 3,
  kAbandon = 4,
  kClose = 5,
  kCancel = 6,
  kReceived = 7,
  kDetach = 8,
  kTaken = 16,
  kReply = 17,
  kFailed = 18,
  kState = 19,
};

constexpr std::size_t kUsualBytes = 64;

Writer begin(Kind kind, std::size_t fields) {
  Writer w{kUsualBytes};
  w.array(fields + 2).uint(wire::kProtocolVersion).enumerator(kind);
  return w;
}

std::string encode(const remote_call::Watch&) { return begin(Kind::kWatch, 0).take(); }

std::string encode(const remote_call::Send& send) {
  Writer w = begin(Kind::kSend, 4);
  w.text_cut(send.role, kCallTextBytesMax);
  send.reply ? w.enumerator(*send.reply) : w.nil();
  return w.enumerator(send.when_deferred).boolean(send.waits_for_reply).take();
}

std::string encode(const remote_call::Receive& receive) {
  return begin(Kind::kReceive, 1).optional_id(receive.request).take();
}

std::string encode(const remote_call::Abandon& abandon) {
  return begin(Kind::kAbandon, 2).id(abandon.call).boolean(abandon.forget).take();
}

std::string encode(const remote_call::Close&) { return begin(Kind::kClose, 0).take(); }

std::string encode(const remote_call::Cancel& cancel) {
  return begin(Kind::kCancel, 1).text_cut(cancel.by, kCallTextBytesMax).take();
}

std::string encode(const remote_call::Received& received) {
  Writer w = begin(Kind::kReceived, 1);
  w.array(received.calls.size());
  for (const MessageId& call : received.calls) w.id(call);
  return w.take();
}

std::string encode(const remote_call::Detach&) { return begin(Kind::kDetach, 0).take(); }

std::string encode(const remote_outcome::Taken& taken) {
  return begin(Kind::kTaken, 1).boolean(taken.has_state).take();
}

std::string encode(const remote_outcome::Reply&) { return begin(Kind::kReply, 0).take(); }

std::string encode(const remote_outcome::Failed& failed) {
  return begin(Kind::kFailed, 4)
      .enumerator(failed.error.code)
      .text_cut(failed.error.detail, kCallTextBytesMax)
      .boolean(failed.instead_of_reply)
      .boolean(failed.has_state)
      .take();
}

std::string encode(const remote_outcome::State&) { return begin(Kind::kState, 0).take(); }

template <class Said>
void put_header(Envelope& envelope, const Said& said) {
  envelope.headers.emplace(envelope.headers.begin(), std::string{},
                           std::visit([](const auto& s) { return encode(s); }, said));
}

Result<std::string> take_header(Envelope& envelope) {
  if (envelope.headers.empty() || !envelope.headers.front().first.empty()) {
    return fail(Errc::kMalformed, "a call or outcome without the header that says which");
  }
  std::string bytes = std::move(envelope.headers.front().second);
  envelope.headers.erase(envelope.headers.begin());
  return bytes;
}

std::optional<MessageId> optional_message(Reader& r, const char* field) {
  if (r.nil()) return std::nullopt;
  return r.wide<MessageId>(field);
}

template <class Enum>
std::optional<Enum> optional_enumerator(Reader& r, const char* field, Enum last) {
  if (r.nil()) return std::nullopt;
  return r.enumerator(field, last);
}

remote_call::Received read_received(Reader& r) {
  remote_call::Received received;
  const std::size_t size = r.array("calls", remote_call::kReceivedMax);
  for (std::size_t i = 0; i < size && r.ok(); ++i) {
    received.calls.push_back(r.wide<MessageId>("call"));
  }
  return received;
}

std::string cut_text(Reader& r, const char* field) {
  const std::string_view text = r.text(field);
  if (text.size() > kCallTextBytesMax) r.reject(field, "too long");
  return std::string{text};
}

RemoteCall read_call(Reader& r) {
  switch (static_cast<Kind>(r.kind())) {
    case Kind::kWatch:
      r.frame("watch", 0);
      return remote_call::Watch{};
    case Kind::kSend:
      r.frame("send", 4);
      return remote_call::Send{
          cut_text(r, "role"), optional_enumerator(r, "reply", ReplyMode::kCorrelated),
          r.enumerator("when deferred", WhenDeferred::kTell), r.boolean("waits for reply")};
    case Kind::kReceive:
      r.frame("receive", 1);
      return remote_call::Receive{optional_message(r, "request")};
    case Kind::kAbandon:
      r.frame("abandon", 2);
      return remote_call::Abandon{r.wide<MessageId>("call"), r.boolean("forget")};
    case Kind::kClose:
      r.frame("close", 0);
      return remote_call::Close{};
    case Kind::kCancel:
      r.frame("cancel", 1);
      return remote_call::Cancel{cut_text(r, "by")};
    case Kind::kReceived:
      r.frame("received", 1);
      return read_received(r);
    case Kind::kDetach:
      r.frame("detach", 0);
      return remote_call::Detach{};
    case Kind::kTaken:
    case Kind::kReply:
    case Kind::kFailed:
    case Kind::kState:
      break;
  }
  r.reject("kind", "no call");
  return remote_call::Detach{};  // never that: it was rejected
}

RemoteOutcome read_outcome(Reader& r) {
  switch (static_cast<Kind>(r.kind())) {
    case Kind::kTaken:
      r.frame("taken", 1);
      return remote_outcome::Taken{r.boolean("has state")};
    case Kind::kReply:
      r.frame("reply", 0);
      return remote_outcome::Reply{};
    case Kind::kFailed:
      r.frame("failed", 4);
      return remote_outcome::Failed{
          {r.enumerator("error code", Errc::kCompensationFailed), cut_text(r, "error detail")},
          r.boolean("instead of reply"),
          r.boolean("has state")};
    case Kind::kState:
      r.frame("state", 0);
      return remote_outcome::State{};
    case Kind::kWatch:
    case Kind::kSend:
    case Kind::kReceive:
    case Kind::kAbandon:
    case Kind::kClose:
    case Kind::kCancel:
    case Kind::kReceived:
    case Kind::kDetach:
      break;
  }
  r.reject("kind", "no outcome");
  return remote_outcome::Taken{};  // never that: it was rejected
}

}  // namespace

void put(Envelope& envelope, const RemoteCall& call) { put_header(envelope, call); }
void put(Envelope& envelope, const RemoteOutcome& outcome) { put_header(envelope, outcome); }

Result<RemoteCall> take_call(Envelope& envelope) {
  const auto bytes = take_header(envelope);
  if (!bytes) return tl::unexpected{bytes.error()};
  Reader r{*bytes, wire::kTextBytesMax, "call"};
  RemoteCall call = read_call(r);
  return r.finish(std::move(call));
}

Result<RemoteOutcome> take_outcome(Envelope& envelope) {
  const auto bytes = take_header(envelope);
  if (!bytes) return tl::unexpected{bytes.error()};
  Reader r{*bytes, wire::kTextBytesMax, "outcome"};
  RemoteOutcome outcome = read_outcome(r);
  return r.finish(std::move(outcome));
}

}  // namespace liminal
