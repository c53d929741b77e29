// Bytes to stdout, with its errors seen.
#pragma once

#include <string_view>

#include "common/base/result.hpp"

namespace liminal::cli {

/// Errors: kInternal with the system's words (a closed pipe, a full disk). May block.
[[nodiscard]] Result<void> write_out(std::string_view bytes);

}  // namespace liminal::cli
