/* Start: the boot information is copied and checked, CPU 0 sets everything up and enters the
 * program; the other CPUs wait for threads.
 */
#include "kernel.h"

struct gmm_boot_info boot;
struct gmm_shared *shared;

static struct gmm_shared no_host;
static bool is_up; /* atomic */

long user_get(void *to, uint64_t from, size_t n)
{
	return user_ok(from, n) ? user_copy(to, (const void *)from, n) : -EFAULT;
}

long user_put(uint64_t to, const void *from, size_t n)
{
	return user_ok(to, n) ? user_copy((void *)to, from, n) : -EFAULT;
}

static void boot_check(const struct gmm_boot_info *info)
{
	if (info->magic != GMM_BOOT_MAGIC || info->bytes < sizeof(boot))
		panic("started by a VMM that speaks another version", NULL);
	boot = *info;
	if (boot.n_cpus < 1 || boot.n_cpus > N_CPUS || boot.n_ranges < 1 ||
	    boot.n_ranges > GMM_MAX_RANGES || boot.n_files > GMM_MAX_FILES || !boot.tsc_khz)
		panic("the boot information is wrong", NULL);
	n_cpus = boot.n_cpus;
	tsc_khz = boot.tsc_khz;
	shared = boot.shared_gpa ? direct(boot.shared_gpa) : &no_host;
	balloon_seen = shared->balloon_target_pages;
}

_Noreturn void cpu_idle(void)
{
	struct cpu *c = this_cpu();

	for (;;) {
		kernel_lock();
		if (c->state == CPU_BUSY) {
			kernel_unlock();
			write_cr3(read_cr3());
			wrmsr(MSR_FS_BASE, c->start_fs);
			regs_enter(&c->start);
		}
		kernel_unlock();
		cpu_wait();
	}
}

_Noreturn void kernel_main(const struct gmm_boot_info *info, unsigned index)
{
	if (index) {
		while (!__atomic_load_n(&is_up, __ATOMIC_ACQUIRE))
			cpu_pause();
		cpu_init(index, true);
		kernel_lock();
		this_cpu()->state = CPU_IDLE;
		kernel_unlock();
		cpu_idle();
	}
	cpu_init(0, info->flags & GMM_BOOT_HOSTCALLS);
	boot_check(info);
	phys_init();
	/* A balloon that was asked for before the start is due at once. */
	balloon_seen = 0;
	__atomic_store_n(&is_up, true, __ATOMIC_RELEASE);
	/* A program that makes threads at once shall find all CPUs. */
	for (unsigned i = 1; i < n_cpus; i++)
		while (__atomic_load_n(&cpus[i].state, __ATOMIC_ACQUIRE) == CPU_OFF)
			cpu_pause();
	exec_boot();
}
