/* guestmm's own words: to standard error, one line each, "guestmm: ..." in front. */
#ifndef VMM_SAY_H
#define VMM_SAY_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>

/* Says one line. Safe from any thread; a progress line is cleared first and drawn again. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_v(const char *format, va_list args);

/* Draws `line` as the progress line, in place of the one before; NULL clears it. */
void say_progress(const char *line);

/* Writes guest output to fd (1 or 2), all of it, beside the progress line where both share a
 * terminal. Gives up with -EINTR once *give_up is true; else 0 or what write() failed with. */
int say_output(int fd, const void *data, size_t bytes, const atomic_bool *give_up);

#endif
