/* What the control socket's requests do to a machine. */
#ifndef VMM_CMD_CONTROL_H
#define VMM_CMD_CONTROL_H

#include "vmm/cmd/machine.h"
#include "vmm/ctl/ctl.h"

/* For ctl_new(), with a struct machine as user. */
extern const struct ctl_ops control_ops;

#endif
