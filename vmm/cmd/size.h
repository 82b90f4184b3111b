/* Sizes as people write them: 128M, 2G, 4096. */
#ifndef VMM_CMD_SIZE_H
#define VMM_CMD_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Room that every message of size_parse() fits in. */
#define SIZE_ERROR_BYTES 160

/* Parses a whole number of bytes with an optional suffix K, M, G or T (powers of 1024, either
 * case). Returns 0, or -EINVAL / -ERANGE (does not fit 64 bits) with a message for people in
 * error, which begins with the text itself; *bytes is then untouched. Zero is refused. */
int size_parse(const char *text, uint64_t *bytes, char *error, size_t error_bytes);

/* The same, but zero is a size too. */
int size_parse_or_zero(const char *text, uint64_t *bytes, char *error, size_t error_bytes);

/* Room that size_format() needs at most. */
#define SIZE_TEXT_BYTES 24

/* Writes bytes for people, three digits or so: "0 B", "4 KiB", "1.5 MiB", "128 MiB". Returns text.
 */
char *size_format(uint64_t bytes, char text[SIZE_TEXT_BYTES]);

#endif
