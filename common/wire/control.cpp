#include "common/wire/control.hpp"

namespace liminal {

std::string_view name_of(MemberState state) {
  switch (state) {
    case MemberState::kJoined:
      return "joined";
    case MemberState::kSuspect:
      return "suspect";
    case MemberState::kDown:
      return "down";
    case MemberState::kLeft:
      return "left";
    case MemberState::kExpected:
      return "expected";
  }
  return "?";
}

}  // namespace liminal
