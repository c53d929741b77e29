// How the examples treat errors that they can do nothing about.
#pragma once

#include <stdexcept>
#include <type_traits>
#include <utility>

#include "common/base/result.hpp"

/// What `result` holds; its error thrown. In a behaviour that is the participant's crash.
template <class T>
T or_throw(liminal::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().detail);
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}
