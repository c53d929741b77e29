#include "node/scheduler/in_turn.hpp"

#include <utility>

namespace liminal {
namespace {

thread_local bool in_turn = false;

}  // namespace

bool is_in_turn() noexcept { return in_turn; }

InTurn::InTurn() noexcept : before_(std::exchange(in_turn, true)) {}
InTurn::~InTurn() { in_turn = before_; }

}  // namespace liminal
