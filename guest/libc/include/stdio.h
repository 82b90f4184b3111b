/* Formatted output to file descriptors 1 and 2; a line is one system call. */
#ifndef GUEST_STDIO_H
#define GUEST_STDIO_H

#include <stdarg.h>
#include <stddef.h>

/* Conversions: %d %i %u %x %X %c %s %p %%, with h l ll z j t, width, precision, '-', '0'
 * and '*'. No floating point. The result is always terminated when n > 0; returns the
 * length that the whole text has. */
int vsnprintf(char *to, size_t n, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
int snprintf(char *to, size_t n, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* At most 1 KiB a call. Standard output is buffered by the line, and only the
 * first thread may use it; error output goes out at once. */
int printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
int eprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void stdout_flush(void);

#endif
