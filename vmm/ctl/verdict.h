/* Whether a guest is thrashing, in words. */
#ifndef VMM_CTL_VERDICT_H
#define VMM_CTL_VERDICT_H

#include <guestmm/space.h>

#define VERDICT_BYTES 240

/* Of the last ten seconds: "thrashing: ...", or "not thrashing: ...". Returns text. */
char *verdict_text(const struct gmm_stats *mm, char text[VERDICT_BYTES]);

/* Of all the time so far: "it was thrashing for ..."; "" where it never was. Returns text. */
char *verdict_past(const struct gmm_stats *mm, char text[VERDICT_BYTES]);

/* What the guest uses, and what it would refault with half as much memory, as much as now, and
 * twice as much; "" where nobody watches. Returns text. */
char *verdict_working_set(const struct gmm_stats *mm, char text[VERDICT_BYTES]);

#endif
