// What tests ask /proc about the processes of the machine.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

namespace liminal::test {

struct ProcessInfo {
  pid_t pid;
  pid_t parent;
  std::string name;
  char state;  // 'Z': a zombie
};

/// Empty when it is gone, also while it is read.
inline std::string contents(const std::string& path) {
  std::string text;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char buffer[4096];
  ssize_t bytes;
  while ((bytes = ::read(file, buffer, sizeof buffer)) > 0) {
    text.append(buffer, static_cast<std::size_t>(bytes));
  }
  if (file >= 0) ::close(file);
  return text;
}

inline std::vector<ProcessInfo> all_processes() {
  std::vector<ProcessInfo> processes;
  DIR* folder = ::opendir("/proc");
  while (const dirent* entry = ::readdir(folder)) {
    const std::string pid = entry->d_name;
    if (pid.find_first_not_of("0123456789") != pid.npos) continue;
    const std::string stat = contents("/proc/" + pid + "/stat");
    const auto open = stat.find('(');
    const auto close = stat.rfind(')');
    if (open == stat.npos || close == stat.npos) continue;
    ProcessInfo info{std::atoi(pid.c_str()), 0, stat.substr(open + 1, close - open - 1), '?'};
    std::istringstream{stat.substr(close + 1)} >> info.state >> info.parent;
    processes.push_back(info);
  }
  ::closedir(folder);
  return processes;
}

inline std::vector<ProcessInfo> children_of(pid_t parent) {
  std::vector<ProcessInfo> children;
  for (const auto& process : all_processes()) {
    if (process.parent == parent) children.push_back(process);
  }
  return children;
}

/// Living processes with LIMINAL_TEST_MARK=`mark` in their environment; of that name, if one is
/// given.
inline std::vector<pid_t> marked(const std::string& mark, const std::string& name = {}) {
  std::vector<pid_t> found;
  for (const auto& process : all_processes()) {
    if (!name.empty() && process.name != name) continue;
    const std::string environment = contents("/proc/" + std::to_string(process.pid) + "/environ");
    if (environment.find("LIMINAL_TEST_MARK=" + mark + '\0') != environment.npos) {
      found.push_back(process.pid);
    }
  }
  return found;
}

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count - 3;  // ".", ".." and the folder itself
}

/// Asks again and again; false when `limit` has passed.
inline bool eventually(const std::function<bool()>& holds,
                       std::chrono::milliseconds limit = std::chrono::seconds{20}) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  return true;
}

}  // namespace liminal::test
