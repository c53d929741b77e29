# What cmake --install puts under a prefix beside the programs: headers, libraries, the CMake package.

include(CMakePackageConfigHelpers)

set(LIMINAL_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR}/liminal)
set(LIMINAL_PACKAGEDIR ${CMAKE_INSTALL_LIBDIR}/cmake/Liminal)

install(DIRECTORY common node DESTINATION ${LIMINAL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")

# The rooms, as Liminal::base and so on; what is built here says liminal_base.
get_property(rooms GLOBAL PROPERTY LIMINAL_ROOMS)
list(FILTER rooms EXCLUDE REGEX "^liminal_(broker|cli)$")
list(APPEND rooms liminal_options liminal_common)
foreach(room ${rooms})
  string(REGEX REPLACE "^liminal_" "" exported ${room})
  set_target_properties(${room} PROPERTIES EXPORT_NAME ${exported})
endforeach()
install(TARGETS ${rooms} EXPORT LiminalTargets)
install(EXPORT LiminalTargets NAMESPACE Liminal:: DESTINATION ${LIMINAL_PACKAGEDIR})

configure_package_config_file(cmake/LiminalConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/LiminalConfig.cmake
                              INSTALL_DESTINATION ${LIMINAL_PACKAGEDIR})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/LiminalConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/LiminalConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/LiminalConfigVersion.cmake
        DESTINATION ${LIMINAL_PACKAGEDIR})
