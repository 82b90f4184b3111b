/* Where a guest's output goes: standard output, buffered, and standard error. */
#ifndef VMM_DEV_CONSOLE_H
#define VMM_DEV_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

struct console;

int console_new(struct console **out);
struct console *console_free(struct console *console); /* takes NULL; writes nothing */

/* Takes guest output for stream 1 or 2. 0, or what writing failed with, -EPIPE for one. */
int console_write(struct console *console, int stream, const void *data, size_t bytes);

/* Writes out what is buffered. console_flush_idle() does so only where it need not wait. */
int console_flush(struct console *console);
void console_flush_idle(struct console *console);

/* Does what the guest wrote to standard output end in the middle of a line? */
bool console_is_mid_line(struct console *console);

/* Makes writers that wait for a full pipe give up, now and from now on (true), or wait again. */
void console_give_up(struct console *console, bool on);

#endif
