/* The built-in policies. */
#ifndef MM_POLICY_POLICY_H
#define MM_POLICY_POLICY_H

#include <guestmm/policy.h>

extern const struct gmm_policy_ops policy_heat;
extern const struct gmm_policy_ops policy_twogen;
extern const struct gmm_policy_ops policy_clock;
extern const struct gmm_policy_ops policy_fifo;
extern const struct gmm_policy_ops policy_random;

#endif
