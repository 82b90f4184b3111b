/* Stores from a description, as on a command line. The grammar stands at gmm_store_parse(). */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <guestmm/store.h>

#include "store/backing.h"

#define MIN_BYTES (UINT64_C(1) << 20)
#define MAX_PARTS 4u

/* What was asked for beside the description, and where to say what is wrong with that. */
struct request {
	char *error;
	size_t error_bytes;
	bool encrypt;
};

__attribute__((format(printf, 2, 3))) static void say(const struct request *to, const char *format,
						      ...)
{
	va_list args;

	if (!to->error_bytes)
		return;
	va_start(args, format);
	vsnprintf(to->error, to->error_bytes, format, args);
	va_end(args);
}

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* Digits, then at most one of K M G T, in either case. */
static int parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	uint64_t bytes = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++) {
		unsigned digit = (unsigned)(*text - '0');

		if (bytes > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		bytes = bytes * 10 + digit;
	}
	if (*text) {
		unit = strchr(units, toupper((unsigned char)*text));
		if (!unit || text[1] || bytes > UINT64_MAX >> (10 * (unit - units + 1)))
			return -EINVAL;
		bytes <<= 10 * (unit - units + 1);
	}
	*out = bytes;
	return 0;
}

static int get_size(const char *text, uint64_t *out, const struct request *rq)
{
	if (parse_size(text, out) == 0)
		return 0;
	say(rq, "swap: '%s' is not a size; give a number with K, M, G or T, such as 512M", text);
	return -EINVAL;
}

/* What a size for everything may be rounded to without asking. */
static uint64_t rounded(uint64_t bytes)
{
	if (bytes < MIN_BYTES)
		return MIN_BYTES;
	return bytes > UINT64_MAX - GMM_PAGE_BYTES
		       ? bytes / GMM_PAGE_BYTES * GMM_PAGE_BYTES
		       : (bytes + GMM_PAGE_BYTES - 1) / GMM_PAGE_BYTES * GMM_PAGE_BYTES;
}

static const char *remedy(int error)
{
	switch (error) {
	case -EEXIST:
		return "there is something of this name already; give a path that does not exist "
		       "yet";
	case -EISDIR:
		return "this is a directory; give the path of a file to make in it";
	case -EACCES:
	case -EPERM:
		return "no permission to make it; give a path in a directory that you may write to";
	case -ENOENT:
	case -ENOTDIR:
		return "there is no such directory; make it first, or give another path";
	case -EROFS:
		return "the file system is read-only; give a path on another one";
	case -ENOSPC:
		return "there is no room for it; free some space, give a smaller size or another "
		       "path";
	case -EFBIG:
		return "a file may not be that large; give a smaller size, or raise `ulimit -f`";
	case -ENOLCK:
		return "the key cannot be locked in memory; raise `ulimit -l`";
	case -ENOTSUP:
		return "OpenSSL has no AES-256-XTS; see its configuration, or do not encrypt";
	case -EBUSY:
		return "the device is in use; unmount it, or give another one";
	case -EINVAL:
		return "the size is not possible; give a multiple of 4K, at least 1M";
	default:
		return NULL;
	}
}

static int file_failed(int error, const char *path, uint64_t bytes, const struct request *rq)
{
	const char *why = remedy(error);
	bool is_even = bytes % (UINT64_C(1) << 20) == 0;

	say(rq, "swap: no store of %" PRIu64 " %s in %s'%s'%s: %s%s", is_even ? bytes >> 20 : bytes,
	    is_even ? "MiB" : "bytes", path ? "" : "an unnamed file in ",
	    path ? path : backing_private_dir(),
	    path ? "" : " (set TMPDIR to use another directory)", why ? why : strerror(-error),
	    why ? "" : "; give another path");
	return error;
}

/* Whether a file's name ends in ",key=value": an option that there is not, or `size` twice. */
static bool has_option(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *comma = strchr(slash ? slash : path, ',');

	for (; comma; comma = strchr(comma + 1, ',')) {
		size_t n = strspn(comma + 1, "abcdefghijklmnopqrstuvwxyz_-");

		if (n && comma[1 + n] == '=')
			return true;
	}
	return false;
}

/* `text` is what follows "file", without its size. */
static int check_path(const char *text, const struct request *rq)
{
	if (strcmp(text, ":") == 0)
		say(rq, "swap: 'file:' lacks its PATH; give file:PATH, or file alone for an "
			"unnamed file");
	else if (*text && *text != ':')
		say(rq, "swap: 'file%s' is no store; give file:PATH[,size=SIZE]", text);
	else if (has_option(text))
		say(rq,
		    "swap: 'file%s' has an option that is not known, or one twice; there is "
		    "file:PATH[,size=SIZE]",
		    text);
	else
		return 0;
	return -EINVAL;
}

/* `text` is what follows "file": "", or ":PATH", ",size=" wherever it stands last. */
static int make_file(char *text, uint64_t bytes, struct gmm_store **out, const struct request *rq)
{
	struct gmm_store_file_config config = {.size = sizeof(config)};
	char *size = NULL;
	int error;

	for (char *at = text; (at = strstr(at, ",size=")); at++)
		size = at;
	if (size) {
		*size = '\0';
		error = get_size(size + strlen(",size="), &bytes, rq);
		if (error)
			return error;
	}
	error = check_path(text, rq);
	if (error)
		return error;
	if (*text == ':')
		text++;
	config.path = *text ? text : NULL;
	config.capacity_bytes = bytes;
	config.encrypt = rq->encrypt;
	error = gmm_store_file_new(&config, out);
	return error ? file_failed(error, config.path, bytes, rq) : 0;
}

static int get_codec(const char *text, enum gmm_store_codec *out, const struct request *rq)
{
	bool is_zstd = strcmp(text, "zstd") == 0;

	if (!is_zstd && strcmp(text, "lz4") != 0) {
		say(rq, "swap: '%s' is no codec; there are lz4 and zstd", text);
		return -EINVAL;
	}
	*out = is_zstd ? GMM_STORE_ZSTD : GMM_STORE_LZ4;
	return 0;
}

/* `text` is what follows "ram": "", ":SIZE", then ",codec=NAME" or not. */
static int make_ram(char *text, uint64_t bytes, struct gmm_store **out, const struct request *rq)
{
	struct gmm_store_ram_config config = {.size = sizeof(config)};
	char *codec = strstr(text, ",codec=");
	int error;

	if (codec) {
		*codec = '\0';
		error = get_codec(codec + strlen(",codec="), &config.codec, rq);
		if (error)
			return error;
	}
	if (*text == ':') {
		error = get_size(text + 1, &bytes, rq);
		if (error)
			return error;
	} else if (*text) {
		say(rq, "swap: 'ram%s' is no store; give ram[:SIZE][,codec=zstd]", text);
		return -EINVAL;
	}
	config.capacity_bytes = bytes;
	error = gmm_store_ram_new(&config, out);
	if (error == -EINVAL)
		say(rq, "swap: ram of %llu bytes is not possible; give at least 1M, at most 64G",
		    (unsigned long long)bytes);
	else if (error)
		say(rq, "swap: no address space for %llu MiB of ram; give a smaller size",
		    (unsigned long long)(bytes >> 20));
	return error;
}

static bool is_kind(const char *text, const char *kind)
{
	size_t n = strlen(kind);

	return starts_with(text, kind) &&
	       (text[n] == '\0' || text[n] == ':' || text[n] == '+' || text[n] == ',');
}

static int make_one(char *text, uint64_t bytes, struct gmm_store **out, const struct request *rq)
{
	int error;

	if (is_kind(text, "file"))
		return make_file(text + strlen("file"), bytes, out, rq);
	if (is_kind(text, "ram"))
		return make_ram(text + strlen("ram"), bytes, out, rq);
	if (strcmp(text, "same") == 0) {
		error = gmm_store_same_new(out);
		if (error)
			say(rq, "swap: out of memory");
		return error;
	}
	say(rq, "swap: '%s' is no store; give file:PATH[,size=SIZE], ram[:SIZE], tier:A+B or off",
	    text);
	return -EINVAL;
}

/* The '+' before the next store's name, or NULL: a path may have one too. */
static char *next_part(char *text)
{
	for (char *plus = strchr(text, '+'); plus; plus = strchr(plus + 1, '+'))
		if (is_kind(plus + 1, "file") || is_kind(plus + 1, "ram") ||
		    is_kind(plus + 1, "same"))
			return plus;
	return NULL;
}

/* One of a tier's stores. A path that ends in '+' would be a store left out, most likely. */
static int make_part(char *text, uint64_t bytes, struct gmm_store **out, const struct request *rq)
{
	size_t n = strlen(text);

	if (n && text[n - 1] == '+') {
		say(rq,
		    "swap: no store stands after the '+' of '%s'; name one, or leave the '+' out",
		    text);
		return -EINVAL;
	}
	return make_one(text, bytes, out, rq);
}

static int make_parts(char *text, uint64_t bytes, struct gmm_store **stores, unsigned *n,
		      const struct request *rq)
{
	int error = 0;

	if (!starts_with(text, "same+")) {
		error = gmm_store_same_new(&stores[*n]);
		if (error)
			say(rq, "swap: out of memory");
		else
			(*n)++;
	}
	while (text && !error) {
		char *plus = next_part(text);

		if (plus)
			*plus = '\0';
		if (*n == MAX_PARTS) {
			say(rq, "swap: a tier of more than %u stores; leave some out",
			    MAX_PARTS - 1);
			return -EINVAL;
		}
		error = make_part(text, bytes, &stores[*n], rq);
		if (!error)
			(*n)++;
		text = plus ? plus + 1 : NULL;
	}
	return error;
}

static int make_tier(char *text, uint64_t bytes, struct gmm_store **out, const struct request *rq)
{
	struct gmm_store *stores[MAX_PARTS] = {NULL};
	unsigned n = 0;
	int error = make_parts(text, bytes, stores, &n, rq);

	if (!error) {
		error = gmm_store_tier_new(stores, n, out);
		if (error)
			say(rq, "swap: no tier of these stores: %s", strerror(-error));
	}
	for (unsigned i = 0; error && i < n; i++)
		gmm_store_free(stores[i]);
	return error;
}

int gmm_store_parse_with(const char *spec, const struct gmm_store_parse_config *config,
			 struct gmm_store **out, char *error, size_t error_bytes)
{
	const struct request rq = {error, error_bytes, config->encrypt};
	uint64_t bytes = rounded(config->default_bytes);
	char *copy;
	int result;

	if (config->size != sizeof(*config)) {
		say(&rq, "swap: a configuration of another version of the library");
		return -EINVAL;
	}
	if (strcmp(spec, "off") == 0) {
		*out = NULL;
		return 0;
	}
	copy = strdup(spec);
	if (!copy) {
		say(&rq, "swap: out of memory");
		return -ENOMEM;
	}
	if (starts_with(copy, "tier:"))
		result = make_tier(copy + strlen("tier:"), bytes, out, &rq);
	else
		result = make_one(copy, bytes, out, &rq);
	free(copy);
	return result;
}

int gmm_store_parse(const char *spec, uint64_t default_bytes, struct gmm_store **out, char *error,
		    size_t error_bytes)
{
	const struct gmm_store_parse_config config = {.size = sizeof(config),
						      .default_bytes = default_bytes};

	return gmm_store_parse_with(spec, &config, out, error, error_bytes);
}
