/* The table of built-in policies; the first is the default. */
#include "policy/policy.h"

#include <string.h>

static const struct gmm_policy_ops *const policies[] = {
	&policy_heat, &policy_twogen, &policy_clock, &policy_fifo, &policy_random,
};

const struct gmm_policy_ops *gmm_policy_at(unsigned i)
{
	return i < sizeof(policies) / sizeof(policies[0]) ? policies[i] : NULL;
}

const struct gmm_policy_ops *gmm_policy_find(const char *name)
{
	const struct gmm_policy_ops *ops;

	if (!name)
		return policies[0];
	for (unsigned i = 0; (ops = gmm_policy_at(i)); i++)
		if (strcmp(ops->name, name) == 0)
			return ops;
	return NULL;
}
