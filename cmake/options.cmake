# Flags that every host target of the project is compiled with. The guest has its own:
# it is freestanding and never sanitized.
add_library(gmm_options INTERFACE)
target_include_directories(gmm_options INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
target_compile_definitions(gmm_options INTERFACE _GNU_SOURCE)

set(GMM_WARNINGS -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes
	-Wswitch-enum -Wvla -Wundef)
if(GUESTMM_WERROR)
	list(APPEND GMM_WARNINGS -Werror)
endif()
target_compile_options(gmm_options INTERFACE ${GMM_WARNINGS} -fvisibility=hidden)

if(GUESTMM_SANITIZE)
	target_compile_options(gmm_options INTERFACE -fsanitize=${GUESTMM_SANITIZE}
		-fno-sanitize-recover=all -fno-omit-frame-pointer)
	target_link_options(gmm_options INTERFACE -fsanitize=${GUESTMM_SANITIZE})
endif()

# Fuzzers see which code an input reached only where that code is instrumented.
if(GUESTMM_FUZZ)
	target_compile_options(gmm_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
