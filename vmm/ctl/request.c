/* One request of the control socket. The line comes from outside and is not trusted: every
 * field is checked for its type and range before anything is done. */
#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "map.h"

struct request {
	const struct ctl_ops *ops;
	void *user;
	const json_t *json;
	json_t *reply;
	char error[CTL_ERROR_BYTES];
};

static int refuse(struct request *req, int err, const char *why)
{
	snprintf(req->error, sizeof(req->error), "%s", why);
	return err;
}

/* Puts an object that an operation made into the reply. */
static int give(struct request *req, const char *key, json_t *value)
{
	if (!value || json_object_set_new(req->reply, key, value))
		return refuse(req, -ENOMEM, "out of memory");
	return 0;
}

static int get_bytes(struct request *req, uint64_t *bytes)
{
	const json_t *value = json_object_get(req->json, "bytes");

	if (!json_is_integer(value))
		return refuse(req, -EINVAL, "\"bytes\" is missing or no integer");
	if (json_integer_value(value) < 0)
		return refuse(req, -EINVAL, "\"bytes\" is negative");
	*bytes = (uint64_t)json_integer_value(value);
	return 0;
}

static int do_stats(struct request *req)
{
	return give(req, "stats", req->ops->stats(req->user));
}

static int do_map(struct request *req)
{
	const json_t *value = json_object_get(req->json, "chunks");
	json_int_t chunks = MAP_DEFAULT_CHUNKS;

	if (value) {
		if (!json_is_integer(value))
			return refuse(req, -EINVAL, "\"chunks\" is no integer");
		chunks = json_integer_value(value);
	}
	if (chunks < MAP_MIN_CHUNKS || chunks > MAP_MAX_CHUNKS) {
		snprintf(req->error, sizeof(req->error), "\"chunks\" is not from %d to %d",
			 MAP_MIN_CHUNKS, MAP_MAX_CHUNKS);
		return -EINVAL;
	}
	return give(req, "map", req->ops->map(req->user, (unsigned)chunks));
}

static int do_balloon(struct request *req)
{
	uint64_t bytes;
	int err = get_bytes(req, &bytes);

	return err ? err : req->ops->balloon(req->user, bytes, req->error, sizeof(req->error));
}

static int do_limit(struct request *req)
{
	uint64_t bytes;
	int err = get_bytes(req, &bytes);

	return err ? err : req->ops->limit(req->user, bytes, req->error, sizeof(req->error));
}

static int do_pause(struct request *req)
{
	return req->ops->pause(req->user, req->error, sizeof(req->error));
}

static int do_resume(struct request *req)
{
	return req->ops->resume(req->user, req->error, sizeof(req->error));
}

static int do_quit(struct request *req)
{
	return req->ops->quit(req->user, req->error, sizeof(req->error));
}

static int dispatch(struct request *req)
{
	static const struct {
		const char *name;
		int (*run)(struct request *req);
	} commands[] = {
		{"stats", do_stats}, {"map", do_map},	  {"balloon", do_balloon},
		{"limit", do_limit}, {"pause", do_pause}, {"resume", do_resume},
		{"quit", do_quit},
	};
	const char *name = json_string_value(json_object_get(req->json, "cmd"));

	if (!name)
		return refuse(req, -EINVAL, "\"cmd\" is missing or no string");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(name, commands[i].name))
			return commands[i].run(req);
	}
	return refuse(
		req, -EINVAL,
		"unknown \"cmd\": stats, map, balloon, limit, pause, resume and quit are known");
}

/* Text of a reply, newline included; takes the reference. */
static char *reply_text(json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;
	size_t n = text ? strlen(text) : 0;
	char *line = text ? realloc(text, n + 2) : NULL;

	if (line)
		memcpy(line + n, "\n", 2);
	else
		free(text);
	json_decref(reply);
	return line;
}

char *request_refusal(const char *error)
{
	return reply_text(json_pack("{s:b, s:s}", "ok", 0, "error", error));
}

char *request_handle(const struct ctl_ops *ops, void *user, const char *line, size_t n)
{
	struct request req = {.ops = ops, .user = user};
	json_error_t why;
	json_t *json = json_loadb(line, n, JSON_REJECT_DUPLICATES, &why), *id;
	char *text;
	int err;

	if (!json) {
		snprintf(req.error, sizeof(req.error), "no JSON: %s at byte %d", why.text,
			 why.position);
		return request_refusal(req.error);
	}
	if (!json_is_object(json)) {
		json_decref(json);
		return request_refusal("a request is a JSON object");
	}
	req.json = json;
	req.reply = json_pack("{s:b}", "ok", 1);
	err = req.reply ? dispatch(&req) : -ENOMEM;
	if (err) {
		json_decref(req.reply);
		req.reply = json_pack("{s:b, s:s}", "ok", 0, "error",
				      req.error[0] ? req.error : strerror(-err));
	}
	id = json_object_get(json, "id");
	if (id && req.reply)
		json_object_set(req.reply, "id", id);
	text = reply_text(req.reply);
	json_decref(json);
	return text;
}
