#include "common/net/message_part.hpp"

#include <zmq.h>

#include <cstring>
#include <memory>
#include <utility>

#include "common/base/check.hpp"
#include "common/net/zmq_access.hpp"

namespace liminal::net {
namespace {

// Below this a copy is cheaper than the two allocations that handing the string over takes.
constexpr std::size_t kCopiedBytesMax = 256;

void delete_string(void*, void* string) { delete static_cast<std::string*>(string); }

}  // namespace

MessagePart::MessagePart() { zmq_msg_init(PartAccess::of(*this)); }

MessagePart::MessagePart(std::string bytes) {
  zmq_msg_t* message = PartAccess::of(*this);
  if (bytes.size() <= kCopiedBytesMax) {
    check(zmq_msg_init_size(message, bytes.size()) == 0, "there is memory for a message");
    if (!bytes.empty()) std::memcpy(zmq_msg_data(message), bytes.data(), bytes.size());
    return;
  }
  auto owned = std::make_unique<std::string>(std::move(bytes));
  check(zmq_msg_init_data(message, owned->data(), owned->size(), delete_string, owned.get()) == 0,
        "there is memory for a message");
  static_cast<void>(owned.release());  // delete_string has it, on whichever thread is last
}

MessagePart::MessagePart(MessagePart&& other) noexcept {
  zmq_msg_init(PartAccess::of(*this));
  zmq_msg_move(PartAccess::of(*this), PartAccess::of(other));
}

MessagePart& MessagePart::operator=(MessagePart&& other) noexcept {
  if (this != &other) zmq_msg_move(PartAccess::of(*this), PartAccess::of(other));
  return *this;
}

MessagePart::~MessagePart() { zmq_msg_close(PartAccess::of(*this)); }

std::string_view MessagePart::view() const noexcept {
  // libzmq takes no const pointer, but reads only
  zmq_msg_t* message = PartAccess::of(const_cast<MessagePart&>(*this));
  return {static_cast<const char*>(zmq_msg_data(message)), zmq_msg_size(message)};
}

}  // namespace liminal::net
