/* Random operations on the guest's malloc against a naive oracle. GUESTMM_SEED repeats a
 * run, GUESTMM_OPS makes it longer. */
#include "malloc_ops.h"
#include "unit.h"

static uint64_t random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 0) : otherwise;
}

/* Mostly small, at times near a threshold, seldom large. */
static size_t random_size(uint64_t *random)
{
	uint64_t kind = random_next(random) % 1000, bits;

	if (kind < 2)
		return random_next(random) % (5 << 20);
	if (kind < 40)
		return 32768 - 40 + random_next(random) % 80;
	bits = random_next(random) % 14;
	return random_next(random) % ((size_t)2 << bits);
}

static enum model_op random_op(uint64_t *random, unsigned phase)
{
	uint64_t kind = random_next(random) % 1000;

	if (kind < 2)
		return MODEL_TRIM;
	if (kind < 4)
		return MODEL_TUNE;
	if (kind < 6)
		return MODEL_FLUSH;
	if (kind < 250)
		return MODEL_REALLOC;
	if (kind < (phase % 2 ? 750u : 480u)) /* phases of growth and of decline */
		return MODEL_FREE;
	return (enum model_op)(random_next(random) % 3);
}

START_TEST(random_operations_agree_with_the_oracle)
{
	static struct model model;
	uint64_t seed = setting("GUESTMM_SEED", 20240229), n_ops = setting("GUESTMM_OPS", 100000);
	uint64_t random = seed | 1;

	printf("seed %llu, %llu operations\n", (unsigned long long)seed, (unsigned long long)n_ops);
	for (uint64_t i = 0; i < n_ops; i++) {
		enum model_op op = random_op(&random, (unsigned)(i / 3000));
		size_t n = random_size(&random);

		model_op(&model, op, n, (uint32_t)(random_next(&random) >> 16));
		if (i % 2000 == 0)
			model_verify(&model);
	}
	model_end(&model);
}
END_TEST

UNIT_MAIN_TIMEOUT("malloc", 110, random_operations_agree_with_the_oracle)
