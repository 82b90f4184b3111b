/* guestmm's own words: to standard error, one line each, "guestmm: ..." in front. */
#ifndef VMM_SAY_H
#define VMM_SAY_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Says one line. Safe from any thread; a progress line is cleared first and drawn again. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_v(const char *format, va_list args);

/* What is to be written before guestmm says anything: guest output that still waits in a buffer.
 * Called by whoever says something, without a lock; must neither block nor say anything. NULL:
 * nothing (any more). */
void say_after(void (*write_first)(void *user), void *user);

/* Is standard error a terminal that a progress line can be drawn on? */
bool say_can_progress(void);

/* Draws `line` as the progress line, in place of the one before; NULL clears it. Its parts, divided
 * by " | ", are left out from the end on where the terminal is too narrow for them. */
void say_progress(const char *line);

/* Writes guest output to fd (1 or 2), all of it, beside the progress line where both share a
 * terminal. Gives up with -EINTR once *give_up is true; else 0 or what write() failed with. */
int say_output(int fd, const void *data, size_t bytes, const atomic_bool *give_up);

#endif
