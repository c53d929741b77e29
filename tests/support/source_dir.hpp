// Where the project's files are, for tests that read some.
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace liminal::test {

/// A file or folder of the project: in the folder that LIMINAL_SOURCE names, which CTest sets.
/// Never what the compiler was told, since a compiler's cache makes such paths relative to some
/// build.
///
/// Errors: std::runtime_error, which fails the test; so not for namespace scope.
inline std::string source_path(const std::string& path) {
  const char* folder = std::getenv("LIMINAL_SOURCE");
  if (folder == nullptr) throw std::runtime_error{"LIMINAL_SOURCE must name the project's folder"};
  return std::string{folder} + "/" + path;
}

}  // namespace liminal::test
