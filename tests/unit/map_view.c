/* A page map as text and as a picture; and maps that are none are refused. */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "vmm/cmd/map.h"
#include "vmm/ctl/map.h"

/* 64 pages a chunk: the n-th chunk's story is told by n. */
static int story(void *user, gmm_gfn gfn, uint64_t n_pages, uint8_t *states)
{
	(void)user;
	for (uint64_t i = 0; i < n_pages; i++) {
		uint64_t chunk = (gfn.v + i) / 64, at = (gfn.v + i) % 64;

		states[i] = GMM_PAGE_EMPTY;
		if (chunk == 1 || (chunk == 2 && at < 40))
			states[i] = GMM_PAGE_RESIDENT;
		if (chunk == 2 && at >= 40)
			states[i] = GMM_PAGE_SWAPPED;
		if (chunk == 3)
			states[i] = at == 63 ? GMM_PAGE_POISONED : GMM_PAGE_RESIDENT;
		if (chunk == 4 && at == 0)
			states[i] = GMM_PAGE_BALLOONED;
	}
	return 0;
}

static const struct map_region regions[] = {{{0}, 64 * 64 << 12, "ram"},
					    {{UINT64_C(1) << 32}, 1 << 12, "/<a&b>"}};

static json_t *make_json(void)
{
	json_t *json = map_json(regions, 2, 64, story, NULL);

	ck_assert_ptr_nonnull(json);
	ck_assert_int_eq(json_integer_value(json_object_get(json, "chunk_pages")), 64);
	return json;
}

typedef void render_fn(const struct map_view *view, FILE *to);

static void as_text(const struct map_view *view, FILE *to)
{
	map_view_text(view, to, false);
}

__attribute__((noinline)) static char *render(json_t *json, render_fn *draw)
{
	struct map_view *view = NULL;
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	ck_assert_int_eq(map_view_new(json, &view), 0);
	draw(view, to);
	fclose(to);
	map_view_free(view);
	json_decref(json);
	return text;
}

START_TEST(each_chunk_is_one_letter)
{
	char *text = render(make_json(), as_text), *row = strstr(text, "0x0000000000  ");

	ck_assert_ptr_nonnull(row);
	ck_assert_msg(!strncmp(row, "0x0000000000  .Rr!,....", 23), "%.80s", row);
	ck_assert_ptr_nonnull(strstr(text, "ram, 16 MiB\n"));
	ck_assert_ptr_nonnull(strstr(text, "0x0100000000  .\n"));
	ck_assert_ptr_nonnull(strstr(text, "  S     swapped         24     96 KiB   0.6 %"));
	ck_assert_ptr_nonnull(strstr(text, "  !     poisoned         1      4 KiB"));
	free(text);
}
END_TEST

/* Every element is closed by its own name, and nothing follows the root. */
static void assert_well_formed(const char *xml)
{
	char open[32][16];
	unsigned depth = 0, n_roots = 0;

	for (const char *at = xml; (at = strchr(at, '<')); at++) {
		char name[16];
		const char *end = strchr(at, '>');
		bool is_end = at[1] == '/';

		ck_assert_ptr_nonnull(end);
		ck_assert_ptr_null(memchr(at + 1, '<', (size_t)(end - at - 1)));
		ck_assert_int_eq(sscanf(at + 1 + is_end, "%15[a-zA-Z]", name), 1);
		if (is_end) {
			ck_assert_uint_gt(depth, 0);
			ck_assert_str_eq(open[--depth], name);
		} else if (end[-1] != '/') {
			n_roots += depth == 0;
			ck_assert_uint_lt(depth, 32);
			strcpy(open[depth++], name);
		}
	}
	ck_assert_uint_eq(depth, 0);
	ck_assert_uint_eq(n_roots, 1);
}

START_TEST(the_picture_is_well_formed_and_says_what_is_where)
{
	char *svg = render(make_json(), map_view_svg);

	assert_well_formed(svg);
	ck_assert_ptr_nonnull(strstr(svg, "0x80000 to 0xc0000: resident 62.5 %, swapped 37.5 %"));
	ck_assert_ptr_nonnull(strstr(svg, "/&lt;a&amp;b&gt;"));
	ck_assert_ptr_null(strstr(svg, "<a&b>"));
	free(svg);
}
END_TEST

START_TEST(neighbours_of_one_colour_are_one_rectangle)
{
	char *svg = render(make_json(), map_view_svg);
	unsigned n = 0;

	for (const char *at = svg; (at = strstr(at, "<rect x=")); at++)
		n++;
	/* Chunks: . R r ! , and a run of empty ones; the second region's; the clip, the bar's
	 * five states, the legend's seven. */
	ck_assert_uint_eq(n, 6 + 1 + 1 + 5 + 7);
	free(svg);
}
END_TEST

START_TEST(one_poisoned_page_is_never_overlooked)
{
	const uint32_t counts[GMM_PAGE_N_STATES] = {
		[GMM_PAGE_RESIDENT] = 511, [GMM_PAGE_POISONED] = 1};
	const uint32_t mixed[GMM_PAGE_N_STATES] = {
		[GMM_PAGE_EMPTY] = 1, [GMM_PAGE_RESIDENT] = 2, [GMM_PAGE_SWAPPED] = 3};

	ck_assert_uint_eq(map_view_main_state(counts), GMM_PAGE_POISONED);
	ck_assert_uint_eq(map_view_main_state(mixed), GMM_PAGE_SWAPPED);
}
END_TEST

START_TEST(letters_and_names_are_those_of_the_states)
{
	for (unsigned i = 0; i < GMM_PAGE_N_STATES; i++) {
		ck_assert_str_eq(map_styles[i].name, map_state_name(i));
		for (unsigned k = 0; k < i; k++)
			ck_assert_int_ne(map_styles[i].letter, map_styles[k].letter);
	}
}
END_TEST

static void assert_no_map(const char *path, const char *key, json_t *value)
{
	json_t *json = make_json();
	json_t *in = !path[0] ? json : json_array_get(json_object_get(json, "regions"), 0);
	struct map_view *view = NULL;

	if (!strcmp(path, "chunk"))
		json_array_set_new(json_object_get(in, "chunks"), 5, value);
	else
		json_object_set_new(in, key, value);
	ck_assert_msg(map_view_new(json, &view) == -EPROTO, "a wrong \"%s\" was taken", key);
	ck_assert_ptr_null(view);
	json_decref(json);
}

START_TEST(what_is_no_map_is_refused)
{
	struct map_view *view = NULL;

	ck_assert_int_eq(map_view_new(NULL, &view), -EPROTO);
	assert_no_map("", "chunk_pages", json_integer(0));
	assert_no_map("", "chunk_pages", json_integer(-1));
	assert_no_map("", "chunk_pages", json_integer(63));
	assert_no_map("", "page_bytes", json_string("4096"));
	assert_no_map("", "regions", json_integer(7));
	assert_no_map("", "regions", json_pack("[i]", 7));
	assert_no_map("", "states", json_pack("[s]", "empty"));
	assert_no_map("region", "pages", json_integer(1));
	assert_no_map("region", "pages", json_integer(INT64_MAX));
	assert_no_map("region", "gpa", json_null());
	assert_no_map("region", "name", json_integer(1));
	assert_no_map("region", "chunks", json_array());
	assert_no_map("chunk", "chunk", json_pack("[i]", 64));
	assert_no_map("chunk", "chunk", json_pack("[i,i,i,i,i,i,i]", 64, 1, 0, 0, 0, 0, 0));
	assert_no_map("chunk", "chunk", json_pack("[i,i,i,i,i,i,i]", 65, -1, 0, 0, 0, 0, 0));
	assert_no_map("chunk", "chunk", json_pack("[i,i,i,i,i,i,s]", 64, 0, 0, 0, 0, 0, "x"));
}
END_TEST

UNIT_MAIN("map_view", each_chunk_is_one_letter, the_picture_is_well_formed_and_says_what_is_where,
	  neighbours_of_one_colour_are_one_rectangle, one_poisoned_page_is_never_overlooked,
	  letters_and_names_are_those_of_the_states, what_is_no_map_is_refused)
