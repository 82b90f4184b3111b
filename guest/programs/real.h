/* Logarithm and exponential, for there is no libm. Relative error below 1e-12. */
#ifndef GUEST_REAL_H
#define GUEST_REAL_H

double real_log(double x); /* x > 0 and normal */
double real_exp(double x); /* |x| < 700 */

#endif
