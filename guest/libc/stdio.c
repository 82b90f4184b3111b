/* Formatted output. Standard output collects a line before it goes to the kernel: a
 * system call of a guest costs tens of microseconds. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES 1024

static char out[4096];
static size_t n_out;

struct sink {
	char *to;
	size_t bytes;
	size_t n; /* what the text needs, also past the end */
};

struct conversion {
	bool left, zero;
	int width;
	int precision; /* -1: none given */
	int longs;     /* 0 int, 1 long and its kin */
};

static void put(struct sink *s, char c)
{
	if (s->n + 1 < s->bytes)
		s->to[s->n] = c;
	s->n++;
}

static void put_padded(struct sink *s, const struct conversion *c, const char *text, size_t n,
		       char prefix)
{
	size_t width = (size_t)c->width, used = n + (prefix ? 1 : 0);
	size_t pad = width > used ? width - used : 0;

	if (!c->left && !c->zero)
		for (; pad; pad--)
			put(s, ' ');
	if (prefix)
		put(s, prefix);
	if (c->zero)
		for (; pad; pad--)
			put(s, '0');
	for (size_t i = 0; i < n; i++)
		put(s, text[i]);
	for (; pad; pad--)
		put(s, ' ');
}

static void put_number(struct sink *s, struct conversion *c, uint64_t value, unsigned base,
		       const char *digits, char prefix)
{
	char text[24];
	size_t at = sizeof(text);

	do {
		text[--at] = digits[value % base];
		value /= base;
	} while (value);
	c->zero = c->zero && !c->left;
	put_padded(s, c, text + at, sizeof(text) - at, prefix);
}

static const char *parse_number(const char *f, va_list *args, int *number)
{
	if (*f == '*') {
		*number = va_arg(*args, int);
		if (*number < 0)
			*number = 0;
		return f + 1;
	}
	for (*number = 0; *f >= '0' && *f <= '9'; f++)
		if (*number < LINE_BYTES)
			*number = *number * 10 + (*f - '0');
	return f;
}

static const char *parse_conversion(const char *f, va_list *args, struct conversion *c)
{
	*c = (struct conversion){.precision = -1};
	for (; *f == '-' || *f == '0'; f++) {
		c->left |= *f == '-';
		c->zero |= *f == '0';
	}
	f = parse_number(f, args, &c->width);
	if (*f == '.')
		f = parse_number(f + 1, args, &c->precision);
	for (; *f && strchr("hlzjt", *f); f++)
		c->longs |= *f != 'h';
	return f;
}

static void put_string(struct sink *s, struct conversion *c, const char *text)
{
	if (!text)
		text = "(null)";
	c->zero = false;
	put_padded(s, c, text,
		   c->precision >= 0 ? strnlen(text, (size_t)c->precision) : strlen(text), 0);
}

static void convert(struct sink *s, char kind, struct conversion *c, va_list *args)
{
	static const char lower[] = "0123456789abcdef", upper[] = "0123456789ABCDEF";
	int64_t value;
	uint64_t bits;

	switch (kind) {
	case 'd':
	case 'i':
		value = c->longs ? va_arg(*args, long) : va_arg(*args, int);
		bits = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
		put_number(s, c, bits, 10, lower, value < 0 ? '-' : 0);
		return;
	case 'u':
	case 'x':
	case 'X':
		bits = c->longs ? va_arg(*args, unsigned long) : va_arg(*args, unsigned);
		put_number(s, c, bits, kind == 'u' ? 10 : 16, kind == 'X' ? upper : lower, 0);
		return;
	case 'p':
		put(s, '0');
		put(s, 'x');
		put_number(s, c, (uintptr_t)va_arg(*args, void *), 16, lower, 0);
		return;
	case 'c':
		put(s, (char)va_arg(*args, int));
		return;
	case 's':
		put_string(s, c, va_arg(*args, const char *));
		return;
	default: /* also %% */
		put(s, kind);
	}
}

int vsnprintf(char *to, size_t n, const char *format, va_list args)
{
	struct sink s = {to, n, 0};
	struct conversion c;
	va_list mine;

	va_copy(mine, args);
	for (const char *f = format; *f; f++) {
		if (*f != '%') {
			put(&s, *f);
			continue;
		}
		f = parse_conversion(f + 1, &mine, &c);
		if (!*f)
			break;
		convert(&s, *f, &c, &mine);
	}
	va_end(mine);
	if (n)
		to[s.n < n ? s.n : n - 1] = '\0';
	return (int)s.n;
}

int snprintf(char *to, size_t n, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(to, n, format, args);
	va_end(args);
	return length;
}

static void write_all(int fd, const char *from, size_t n)
{
	while (n) {
		ssize_t written = write(fd, from, n);

		if (written <= 0)
			return; /* nobody is left to tell */
		from += written;
		n -= (size_t)written;
	}
}

void stdout_flush(void)
{
	write_all(1, out, n_out);
	n_out = 0;
}

int printf(const char *format, ...)
{
	va_list args;
	int length;
	size_t n;

	if (sizeof(out) - n_out < LINE_BYTES)
		stdout_flush();
	va_start(args, format);
	length = vsnprintf(out + n_out, LINE_BYTES, format, args);
	va_end(args);
	n = (size_t)length < LINE_BYTES ? (size_t)length : LINE_BYTES - 1;
	n_out += n;
	if (n_out && out[n_out - 1] == '\n')
		stdout_flush();
	return length;
}

int eprintf(const char *format, ...)
{
	char text[LINE_BYTES];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	write_all(2, text, strnlen(text, sizeof(text)));
	return length;
}
