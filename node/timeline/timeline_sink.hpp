// Where processes leave what is to be told to the timeline.
#pragma once

#include <functional>

#include "common/wire/timeline.hpp"

namespace liminal {

/// Takes what happened in conversations; called from any thread, returns at once. Empty: nobody
/// keeps it.
using TimelineSink = std::function<void(TimelineRecord)>;

}  // namespace liminal
