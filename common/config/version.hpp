// The version that all programs print.
#pragma once

#include <string_view>

namespace liminal::config {

inline constexpr std::string_view kProgramVersion = "0.1.0";

}  // namespace liminal::config
