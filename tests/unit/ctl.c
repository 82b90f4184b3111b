/* The control socket: requests and replies, clients that misbehave, the socket file. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"
#include "vmm/ctl/client.h"
#include "vmm/ctl/ctl.h"
#include "vmm/ctl/map.h"
#include "vmm/ctl/request.h"
#include "vmm/ctl/socket.h"

static struct {
	uint64_t balloon, limit;
	unsigned n_pause, n_resume, n_quit, n_stats;
	unsigned chunks;
} seen;

static json_t *fake_stats(void *user)
{
	(void)user;
	seen.n_stats++;
	return json_pack("{s:s}", "schema", "guestmm-stats-1");
}

static json_t *fake_map(void *user, unsigned max_chunks)
{
	char *filler = user;

	seen.chunks = max_chunks;
	return json_pack("{s:s}", "filler", filler);
}

static int fake_balloon(void *user, uint64_t bytes, char *error, size_t error_bytes)
{
	(void)user;
	if (bytes > UINT64_C(1) << 30) {
		snprintf(error, error_bytes, "larger than the guest");
		return -EINVAL;
	}
	seen.balloon = bytes;
	return 0;
}

static int fake_limit(void *user, uint64_t bytes, char *error, size_t error_bytes)
{
	(void)user, (void)error, (void)error_bytes;
	seen.limit = bytes;
	return bytes == 13 ? -EINVAL : 0; /* without a message of its own */
}

static int fake_pause(void *user, char *error, size_t error_bytes)
{
	(void)user, (void)error, (void)error_bytes;
	seen.n_pause++;
	return 0;
}

static int fake_resume(void *user, char *error, size_t error_bytes)
{
	(void)user, (void)error, (void)error_bytes;
	seen.n_resume++;
	return 0;
}

static int fake_quit(void *user, char *error, size_t error_bytes)
{
	(void)user, (void)error, (void)error_bytes;
	seen.n_quit++;
	return 0;
}

static const struct ctl_ops ops = {fake_stats, fake_map,    fake_balloon, fake_limit,
				   fake_pause, fake_resume, fake_quit};

static char dir[32], path[64];
static char *filler; /* what "map" replies */
static struct ctl *ctl;

static void setup(void)
{
	char error[CTL_ERROR_BYTES] = "";

	memset(&seen, 0, sizeof(seen));
	filler = calloc(1, 2 << 20);
	ck_assert_ptr_nonnull(filler);
	snprintf(dir, sizeof(dir), "/tmp/guestmm-ctl-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	ck_assert_msg(!ctl_new(path, &ops, filler, &ctl, error, sizeof(error)), "%s", error);
}

static void teardown(void)
{
	ctl = ctl_free(ctl);
	unlink(path);
	rmdir(dir);
	free(filler);
}

/* Sends text as it is and returns the line that comes back, as JSON. */
static json_t *raw_call(int fd, const char *text, size_t n)
{
	static char line[4 << 20];
	size_t at = 0;
	json_t *reply;

	ck_assert(!n || send(fd, text, n, MSG_NOSIGNAL) == (ssize_t)n);
	while (at < sizeof(line) && read(fd, line + at, 1) == 1 && line[at] != '\n')
		at++;
	reply = json_loadb(line, at, 0, NULL);
	ck_assert_msg(reply != NULL, "'%.*s' is no JSON", (int)at, line);
	return reply;
}

static int connect_raw(void)
{
	char error[CTL_ERROR_BYTES] = "";
	int fd = socket_connect(path, error, sizeof(error));

	ck_assert_msg(fd >= 0, "%s", error);
	return fd;
}

/* One request, text to reply, on a connection of its own. */
static json_t *ask(const char *text)
{
	int fd = connect_raw();
	char line[REQUEST_MAX_BYTES + 2];
	json_t *reply;

	snprintf(line, sizeof(line), "%s\n", text);
	reply = raw_call(fd, line, strlen(line));
	close(fd);
	return reply;
}

static void assert_ok(const char *text)
{
	json_t *reply = ask(text);

	ck_assert_msg(json_is_true(json_object_get(reply, "ok")), "%s was refused: %s", text,
		      json_string_value(json_object_get(reply, "error")));
	json_decref(reply);
}

static void assert_refused(const char *text, const char *words)
{
	json_t *reply = ask(text);
	const char *error = json_string_value(json_object_get(reply, "error"));

	ck_assert_msg(json_is_false(json_object_get(reply, "ok")), "%s was not refused", text);
	ck_assert_msg(error && strstr(error, words), "%s: said \"%s\", wanted \"%s\"", text, error,
		      words);
	json_decref(reply);
}

START_TEST(every_command_reaches_its_operation)
{
	assert_ok("{\"cmd\":\"balloon\",\"bytes\":1048576}");
	ck_assert_uint_eq(seen.balloon, 1048576);
	assert_ok("{\"cmd\":\"balloon\",\"bytes\":0}");
	ck_assert_uint_eq(seen.balloon, 0);
	assert_ok("{\"cmd\":\"limit\",\"bytes\":4096}");
	ck_assert_uint_eq(seen.limit, 4096);
	assert_ok("{\"cmd\":\"pause\"}");
	assert_ok("{\"cmd\":\"resume\"}");
	assert_ok("{\"cmd\":\"quit\"}");
	assert_ok("{\"cmd\":\"map\"}");
	ck_assert_uint_eq(seen.chunks, MAP_DEFAULT_CHUNKS);
	assert_ok("{\"cmd\":\"map\",\"chunks\":100}");
	ck_assert_uint_eq(seen.chunks, 100);
	ck_assert_uint_eq(seen.n_pause + seen.n_resume + seen.n_quit, 3);
}
END_TEST

START_TEST(stats_come_back)
{
	json_t *reply = ask("{\"cmd\":\"stats\",\"id\":[7]}"), *stats, *id;

	stats = json_object_get(reply, "stats");
	ck_assert_str_eq(json_string_value(json_object_get(stats, "schema")), "guestmm-stats-1");
	id = json_array_get(json_object_get(reply, "id"), 0);
	ck_assert_int_eq(json_integer_value(id), 7);
	json_decref(reply);
}
END_TEST

START_TEST(bad_requests_are_refused_with_a_reason)
{
	assert_refused("hello", "no JSON");
	assert_refused("{\"cmd\":\"stats\"", "no JSON");
	assert_refused("{\"cmd\":\"stats\",\"cmd\":\"quit\"}", "no JSON");
	assert_refused("[]", "JSON object");
	assert_refused("{}", "\"cmd\" is missing");
	assert_refused("{\"cmd\":7}", "\"cmd\" is missing");
	assert_refused("{\"cmd\":\"format\"}", "unknown");
	assert_refused("{\"cmd\":\"balloon\"}", "\"bytes\" is missing");
	assert_refused("{\"cmd\":\"balloon\",\"bytes\":\"1M\"}", "no integer");
	assert_refused("{\"cmd\":\"balloon\",\"bytes\":-1}", "negative");
	assert_refused("{\"cmd\":\"balloon\",\"bytes\":99999999999999999999}", "no JSON");
	assert_refused("{\"cmd\":\"balloon\",\"bytes\":9223372036854775807}", "larger than");
	assert_refused("{\"cmd\":\"limit\",\"bytes\":1.5}", "no integer");
	assert_refused("{\"cmd\":\"limit\",\"bytes\":13}", "Invalid argument");
	assert_refused("{\"cmd\":\"map\",\"chunks\":0}", "is not from");
	assert_refused("{\"cmd\":\"map\",\"chunks\":99999999}", "is not from");
	assert_refused("{\"cmd\":\"map\",\"chunks\":true}", "no integer");
	ck_assert_uint_eq(seen.balloon, 0);
}
END_TEST

START_TEST(requests_in_one_piece_are_answered_in_order)
{
	static const char text[] = "\n{\"cmd\":\"stats\",\"id\":1}\n{\"cmd\":\"no\",\"id\":2}\n"
				   "{\"cmd\":\"stats\",\"id\":3}\n";
	int fd = connect_raw();
	json_t *reply = raw_call(fd, text, strlen(text));

	for (int i = 1; i <= 3; i++) {
		if (i > 1)
			reply = raw_call(fd, "", 0);
		ck_assert_int_eq(json_integer_value(json_object_get(reply, "id")), i);
		json_decref(reply);
	}
	close(fd);
}
END_TEST

START_TEST(the_last_request_needs_no_newline)
{
	static const char text[] = "{\"cmd\":\"stats\"}";
	int fd = connect_raw();
	char byte;
	json_t *reply;

	ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	shutdown(fd, SHUT_WR);
	reply = raw_call(fd, "", 0);
	ck_assert(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	ck_assert_int_eq(read(fd, &byte, 1), 0);
	close(fd);
}
END_TEST

START_TEST(an_endless_line_is_cut_off)
{
	char text[REQUEST_MAX_BYTES + 1];
	int fd = connect_raw();
	json_t *reply;
	char byte;

	memset(text, ' ', sizeof(text));
	reply = raw_call(fd, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(reply, "error")), "longer"));
	json_decref(reply);
	ck_assert_int_le(read(fd, &byte, 1), 0);
	close(fd);
	assert_ok("{\"cmd\":\"stats\"}");
}
END_TEST

/* A client that asks and never reads fills its socket; everybody else is served. */
START_TEST(a_client_that_does_not_read_blocks_nobody)
{
	static const char text[] = "{\"cmd\":\"map\"}\n";
	int lazy = connect_raw();
	unsigned asked = 0;

	memset(filler, 'x', (2 << 20) - 1);
	fcntl(lazy, F_SETFL, O_NONBLOCK);
	for (; asked < 1000 && send(lazy, text, strlen(text), MSG_NOSIGNAL) > 0; asked++)
		;
	ck_assert_uint_gt(asked, 10);
	for (int i = 0; i < 20; i++)
		assert_ok("{\"cmd\":\"stats\"}");
	close(lazy);
	assert_ok("{\"cmd\":\"stats\"}");
}
END_TEST

START_TEST(a_large_reply_arrives_whole)
{
	json_t *reply;

	memset(filler, 'y', (2 << 20) - 1);
	reply = ask("{\"cmd\":\"map\"}");
	ck_assert_uint_eq(
		json_string_length(json_object_get(json_object_get(reply, "map"), "filler")),
		(2 << 20) - 1);
	json_decref(reply);
}
END_TEST

START_TEST(too_many_clients_are_told_so)
{
	int fds[17];
	json_t *reply;

	for (int i = 0; i < 17; i++)
		fds[i] = connect_raw();
	reply = raw_call(fds[16], "", 0);
	ck_assert_ptr_nonnull(
		strstr(json_string_value(json_object_get(reply, "error")), "too many"));
	json_decref(reply);
	close(fds[0]);
	close(fds[16]);
	/* The freed place is found; it may take the server a moment to see it free. */
	for (int i = 0; i < 100; i++) {
		json_t *again = ask("{\"cmd\":\"stats\"}");
		bool ok = json_is_true(json_object_get(again, "ok"));

		json_decref(again);
		if (ok)
			break;
		ck_assert_int_lt(i, 99);
		usleep(10000);
	}
	for (int i = 1; i < 16; i++)
		close(fds[i]);
}
END_TEST

START_TEST(an_idle_client_makes_way_for_another)
{
	int fds[16];
	char byte;
	json_t *reply;

	for (int i = 0; i < 16; i++) {
		fds[i] = connect_raw();
		json_decref(raw_call(fds[i], "{\"cmd\":\"stats\"}\n", 16));
	}
	usleep(2500000);
	for (int i = 0; i < 16; i++) /* all but one are heard of again */
		if (i != 5)
			json_decref(raw_call(fds[i], "{\"cmd\":\"stats\"}\n", 16));
	reply = ask("{\"cmd\":\"stats\"}");
	ck_assert(json_is_true(json_object_get(reply, "ok")));
	json_decref(reply);
	ck_assert_int_eq(read(fds[5], &byte, 1), 0);
	for (int i = 0; i < 16; i++) {
		if (i != 5)
			json_decref(raw_call(fds[i], "{\"cmd\":\"stats\"}\n", 16));
		close(fds[i]);
	}
}
END_TEST

START_TEST(the_socket_is_private_and_removed_at_the_end)
{
	struct stat st;

	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ctl = ctl_free(ctl);
	ck_assert_int_eq(lstat(path, &st), -1);
	ck_assert_int_eq(errno, ENOENT);
}
END_TEST

START_TEST(a_live_socket_is_not_taken_over)
{
	char error[CTL_ERROR_BYTES] = "";
	struct ctl *other = NULL;

	ck_assert_int_eq(ctl_new(path, &ops, filler, &other, error, sizeof(error)), -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(error, "another process listens"));
	ck_assert_ptr_null(other);
	assert_ok("{\"cmd\":\"stats\"}");
}
END_TEST

START_TEST(a_stale_socket_is_replaced)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char error[CTL_ERROR_BYTES] = "";
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ctl = ctl_free(ctl);
	memcpy(addr.sun_path, path, strlen(path));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd); /* the file stays */
	ck_assert_msg(!ctl_new(path, &ops, filler, &ctl, error, sizeof(error)), "%s", error);
	assert_ok("{\"cmd\":\"stats\"}");
}
END_TEST

START_TEST(a_file_that_is_no_socket_is_left_alone)
{
	char error[CTL_ERROR_BYTES] = "";
	struct stat st;
	int fd;

	ctl = ctl_free(ctl);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, "text", 4), 4);
	close(fd);
	ck_assert_int_eq(ctl_new(path, &ops, filler, &ctl, error, sizeof(error)), -EEXIST);
	ck_assert_ptr_nonnull(strstr(error, "no socket"));
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_int_eq(st.st_size, 4);
}
END_TEST

START_TEST(another_ones_socket_is_not_removed)
{
	struct stat st;
	int fd;

	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	ctl = ctl_free(ctl);
	ck_assert_int_eq(lstat(path, &st), 0);
}
END_TEST

START_TEST(names_that_cannot_be_are_refused)
{
	char error[CTL_ERROR_BYTES] = "", name[200];
	struct ctl *other = NULL;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(ctl_new(name, &ops, NULL, &other, error, sizeof(error)), -ENAMETOOLONG);
	ck_assert_ptr_nonnull(strstr(error, "too long"));
	ck_assert_int_eq(ctl_new("", &ops, NULL, &other, error, sizeof(error)), -EINVAL);
	ck_assert_int_eq(ctl_new("/no/such/folder/s", &ops, NULL, &other, error, sizeof(error)),
			 -ENOENT);
	ck_assert_ptr_nonnull(strstr(error, "/no/such/folder/s"));
}
END_TEST

START_TEST(an_abstract_socket_leaves_no_file)
{
	char error[CTL_ERROR_BYTES] = "", name[64];
	struct ctl *other = NULL, *third = NULL;
	struct ctl_client *client;
	json_t *reply;

	snprintf(name, sizeof(name), "@guestmm-test-%d", getpid());
	ck_assert_msg(!ctl_new(name, &ops, filler, &other, error, sizeof(error)), "%s", error);
	ck_assert_int_eq(ctl_new(name, &ops, filler, &third, error, sizeof(error)), -EADDRINUSE);
	ck_assert_int_eq(ctl_client_new(name, &client, error, sizeof(error)), 0);
	ck_assert_int_eq(ctl_client_call(client, json_pack("{s:s}", "cmd", "stats"), &reply, error,
					 sizeof(error)),
			 0);
	json_decref(reply);
	ctl_client_free(client);
	ctl_free(other);
	ck_assert_int_eq(ctl_client_new(name, &client, error, sizeof(error)), -ECONNREFUSED);
	ck_assert_ptr_nonnull(strstr(error, "no guestmm listens"));
}
END_TEST

START_TEST(the_client_tells_a_refusal_from_an_end)
{
	char error[CTL_ERROR_BYTES] = "";
	struct ctl_client *client;
	json_t *reply = NULL;

	ck_assert_int_eq(ctl_client_new(path, &client, error, sizeof(error)), 0);
	ck_assert_int_eq(ctl_client_call(client, json_pack("{s:s}", "cmd", "no"), &reply, error,
					 sizeof(error)),
			 -EREMOTEIO);
	ck_assert_ptr_nonnull(strstr(error, "unknown"));
	memset(filler, 'z', (2 << 20) - 1);
	ck_assert_int_eq(ctl_client_call(client, json_pack("{s:s}", "cmd", "map"), &reply, error,
					 sizeof(error)),
			 0);
	json_decref(reply);
	ctl = ctl_free(ctl);
	ck_assert_int_eq(ctl_client_call(client, json_pack("{s:s}", "cmd", "stats"), &reply, error,
					 sizeof(error)),
			 -EPIPE);
	ck_assert_ptr_nonnull(strstr(error, "has ended"));
	ctl_client_free(client);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		every_command_reaches_its_operation,
		stats_come_back,
		bad_requests_are_refused_with_a_reason,
		requests_in_one_piece_are_answered_in_order,
		the_last_request_needs_no_newline,
		an_endless_line_is_cut_off,
		a_client_that_does_not_read_blocks_nobody,
		a_large_reply_arrives_whole,
		too_many_clients_are_told_so,
		an_idle_client_makes_way_for_another,
		the_socket_is_private_and_removed_at_the_end,
		a_live_socket_is_not_taken_over,
		a_stale_socket_is_replaced,
		a_file_that_is_no_socket_is_left_alone,
		another_ones_socket_is_not_removed,
		names_that_cannot_be_are_refused,
		an_abstract_socket_leaves_no_file,
		the_client_tells_a_refusal_from_an_end,
	};
	Suite *suite = suite_create("ctl");
	TCase *tc = tcase_create("ctl");
	SRunner *runner;
	int status;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 30);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	status = unit_status(runner);
	srunner_free(runner);
	return status;
}
