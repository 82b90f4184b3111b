/* libFuzzer drives the guest's malloc: five bytes of input are one operation, checked
 * against the same oracle as the model test. */
#include "tests/model/malloc_ops.h"

#define OP_BYTES 5
#define MAX_OPS	 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	static struct model model;

	model_tune(3 + 3 * 5 + 3 * 20); /* the defaults: each input stands alone */
	for (size_t i = 0; i + OP_BYTES <= bytes && i < MAX_OPS * OP_BYTES; i += OP_BYTES) {
		enum model_op op = (enum model_op)(data[i] % MODEL_N_OPS);
		uint32_t choice = data[i + 1] | (uint32_t)data[i + 2] << 8;
		size_t mantissa = data[i + 3], shift = data[i + 4] % 14;

		model_op(&model, op, mantissa << shift | (mantissa & 7), choice);
	}
	model_verify(&model);
	model_end(&model);
	return 0;
}
