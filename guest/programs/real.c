/* Series, after bringing the argument near to where they converge fast. */
#include "real.h"

#include <stdint.h>
#include <string.h>

#define LN2 0.69314718055994530942

double real_log(double x)
{
	uint64_t bits;
	int exponent;
	double t, t2, term, sum = 0;

	__builtin_memcpy(&bits, &x, sizeof(bits));
	exponent = (int)(bits >> 52 & 0x7ff) - 1023;
	bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
	__builtin_memcpy(&x, &bits, sizeof(x));
	if (x > 1.4142135623730951) {
		x /= 2;
		exponent++;
	}
	/* log x = 2 artanh t; |t| < 0.172 */
	t = (x - 1) / (x + 1);
	t2 = t * t;
	term = t;
	for (int i = 1; i < 20; i += 2) {
		sum += term / i;
		term *= t2;
	}
	return 2 * sum + exponent * LN2;
}

double real_exp(double x)
{
	int64_t k = (int64_t)(x / LN2 + (x < 0 ? -0.5 : 0.5));
	double r = x - (double)k * LN2, term = 1, sum = 1, power;
	uint64_t bits = (uint64_t)(k + 1023) << 52;

	for (int i = 1; i < 14; i++) {
		term *= r / i;
		sum += term;
	}
	__builtin_memcpy(&power, &bits, sizeof(power));
	return sum * power;
}
