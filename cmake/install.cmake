# What `cmake --install` puts where: the library, its headers, pkg-config and CMake
# packages, the program, the man pages.
include(CMakePackageConfigHelpers)

set(GMM_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/guestmm)

set_target_properties(guestmm_shared PROPERTIES EXPORT_NAME guestmm)
set_target_properties(guestmm_static PROPERTIES EXPORT_NAME static)
install(TARGETS guestmm_shared guestmm_static EXPORT guestmm-targets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
	ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/guestmm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)
install(EXPORT guestmm-targets NAMESPACE guestmm:: DESTINATION ${GMM_PACKAGE_DIR})

configure_file(cmake/guestmm-config.cmake.in guestmm-config.cmake @ONLY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/guestmm-config-version.cmake
	COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/guestmm-config.cmake
	${PROJECT_BINARY_DIR}/guestmm-config-version.cmake DESTINATION ${GMM_PACKAGE_DIR})

# The prefix is found from where the .pc file lies, so that a moved tree still works.
file(RELATIVE_PATH GMM_PC_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/guestmm.pc.in guestmm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/guestmm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(TARGET guestmm)
	install(TARGETS guestmm RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES man/guestmm.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES man/guestmm.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
