// Rows of words as columns of text.
#pragma once

#include <string>
#include <vector>

namespace liminal::cli {

/// Columns as wide as their widest cell, two blanks between them, a line for each row; no blanks at
/// the ends of lines.
[[nodiscard]] std::string text_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace liminal::cli
