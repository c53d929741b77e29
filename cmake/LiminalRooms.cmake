# A room is a folder with a library of its own: its sources, and the rooms and libraries it may see.

add_library(liminal_options INTERFACE)
# msgpack-cxx is headers only, and needs no Boost when told so
target_compile_definitions(liminal_options INTERFACE MSGPACK_NO_BOOST)
target_compile_features(liminal_options INTERFACE cxx_std_20)
target_include_directories(liminal_options INTERFACE
                           $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/liminal>)
# What follows is ours: who links an installed library chooses warnings and sanitizers himself.
set(LIMINAL_WARNINGS -Wall -Wextra -Wpedantic -Wconversion -Wshadow)
# g++ 12 reports an overlap that is not there for "text" + std::string (its bug 105651)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND LIMINAL_WARNINGS -Wno-restrict)
endif()
# and under ThreadSanitizer takes optionals that are empty for uninitialized ones
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND LIMINAL_SANITIZE MATCHES "thread")
  list(APPEND LIMINAL_WARNINGS -Wno-maybe-uninitialized)
endif()
if(LIMINAL_WERROR)
  list(APPEND LIMINAL_WARNINGS -Werror)
endif()
target_compile_options(liminal_options INTERFACE "$<BUILD_INTERFACE:${LIMINAL_WARNINGS}>")
if(LIMINAL_SANITIZE)
  target_compile_options(liminal_options INTERFACE
                         "$<BUILD_INTERFACE:-fsanitize=${LIMINAL_SANITIZE};-fno-omit-frame-pointer;-fno-sanitize-recover=all>")
  target_link_options(liminal_options INTERFACE "$<BUILD_INTERFACE:-fsanitize=${LIMINAL_SANITIZE}>")
  if(LIMINAL_SANITIZE MATCHES thread)
    # TSan knows no fences; our code has none, the library's shared_ptr has
    target_compile_options(liminal_options INTERFACE $<BUILD_INTERFACE:-Wno-tsan>)
  endif()
endif()

# liminal_room(NAME [SEES TARGET...] [PRIVATE TARGET...])
# The library of the folder it is called in: its *.cpp, main programs (*main.cpp) excepted. SEES is
# what its headers include, PRIVATE what only its sources do.
function(liminal_room name)
  cmake_parse_arguments(room "" "" "SEES;PRIVATE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "main\\.cpp$")
  if(sources)
    add_library(${name} STATIC ${sources})
    target_link_libraries(${name} PUBLIC liminal_options ${room_SEES} PRIVATE ${room_PRIVATE})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE liminal_options ${room_SEES} ${room_PRIVATE})
  endif()
  set_property(GLOBAL APPEND PROPERTY LIMINAL_ROOMS ${name})
endfunction()
