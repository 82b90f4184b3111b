/* What the kernel's files offer each other, in reading order. */
#ifndef GUEST_KERNEL_KERNEL_H
#define GUEST_KERNEL_KERNEL_H

#include "cpu.h"
#include "vma.h"

#include <errno.h>

#define PAGE_BYTES UINT64_C(4096)
#define HUGE_BYTES UINT64_C(0x200000)
#define HUGE_PAGES 512u
#define USER_END   UINT64_C(0x7ffffffff000)

/* ---- entry.S: the usual, and copies from and to programs' memory */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
/* Checked by user_ok first. 0 or -EFAULT. */
long user_copy(void *to, const void *from, size_t n);
extern char user_copy_long[], user_copy_rest[], user_copy_failed[];
extern char kernel_start[], kernel_end[], kernel_text_end[], kernel_rodata_end[];
extern char programs_start[], programs_end[];

static inline bool user_ok(uint64_t address, uint64_t bytes)
{
	return bytes <= USER_END && address <= USER_END - bytes;
}
long user_get(void *to, uint64_t from, size_t n);
long user_put(uint64_t to, const void *from, size_t n);

/* ---- main.c: how it was started */
extern struct gmm_boot_info boot;
extern struct gmm_shared *shared;
_Noreturn void kernel_main(const struct gmm_boot_info *info, unsigned index);
static inline bool have_host(void)
{
	return boot.flags & GMM_BOOT_HOSTCALLS;
}
/* Waits on this CPU for a thread to run; does not return. */
_Noreturn void cpu_idle(void);

/* ---- host.c: the VMM, or a serial line where there is none */
long hostcall(enum gmm_hostcall number, uint64_t a, uint64_t b, uint64_t c);
/* cpu_wait() by GMM_HC_IDLE. */
void host_wait(void);
/* Bytes in kernel memory or in the direct map. */
void console_write(int fd, const char *text, size_t bytes);
/* %s, %u, %x (64 bits each); a line is printed as one. */
void say(const char *format, ...);
_Noreturn void machine_exit(unsigned status, unsigned signal);
_Noreturn void panic(const char *what, const struct regs *regs);

/* ---- phys.c: page frames. Kernel lock. */
static inline void *direct(uint64_t gpa)
{
	return (void *)(GMM_DIRECT_MAP + gpa);
}
uint64_t kernel_gpa(const void *in_image);
/* Gives phys.c all RAM but what is in use, and shares the allocator with the VMM if that has laid
 * one. */
void phys_init(void);
extern bool phys_is_shared; /* the VMM takes free frames, and gives them back, at any time */
/* A frame that reads as zero, or 0: out of memory. */
uint64_t phys_get(void);
/* Up to n frames that read as zero; how many. */
unsigned phys_get_some(unsigned n, uint64_t *gfns);
/* A frame of whatever content, or 0. */
uint64_t phys_get_any(void);
/* 512 frames, aligned, that read as zero, or 0. Leaves a reserve for small ones. */
uint64_t phys_get_huge(void);
void phys_put(uint64_t gfn, unsigned n);
/* Told to the VMM (or zeroed) and free from now on. */
void phys_flush(void);
/* Frames that stay where they are, but read as zero from now on. */
void phys_discard(uint64_t gfn, uint64_t n);
/* phys_flush if it is worth its price. */
void phys_settle(void);
uint64_t phys_n_free(void);
extern uint64_t phys_n_pages; /* RAM in all */
/* For the balloon: frames taken out and put back, known to read as zero. */
bool phys_take_huge(uint64_t *gfn);
unsigned phys_take(unsigned n, uint64_t *gfns);
void phys_return(unsigned n, const uint64_t *gfns);

/* ---- balloon.c. Kernel lock. */
extern uint64_t balloon_seen; /* the VMM's target, as last looked at, or what it misses */
static inline bool balloon_is_due(void)
{
	return __atomic_load_n(&shared->balloon_target_pages, __ATOMIC_RELAXED) != balloon_seen;
}
void balloon_work(void);
/* The program asks: see GMM_SYS_BALLOON. */
long balloon_ask(uint64_t pages);
/* Out of memory: true if the VMM gave some back, or let the balloon give them. */
bool balloon_rescue(uint64_t pages);

/* ---- paging.c: the programs' page tables. Kernel lock. */
#define PTE_P	  UINT64_C(1)
#define PTE_W	  UINT64_C(2)
#define PTE_U	  UINT64_C(4)
#define PTE_A	  UINT64_C(0x20) /* set by the processor */
#define PTE_HUGE  UINT64_C(0x80)
#define PTE_OWNED UINT64_C(0x200) /* the frame is this page's alone: free it with the page */
#define PTE_NX	  (UINT64_C(1) << 63)
#define PTE_FRAME UINT64_C(0x000ffffffffff000)

static inline void *entry_target(uint64_t entry)
{
	return direct(entry & PTE_FRAME);
}
uint64_t pte_bits(uint32_t prot);
/* The page directory entry of an address; NULL: none yet and !make, or no memory. */
uint64_t *pd_entry(uint64_t address, bool make);
/* The page table that a page directory entry points to, splitting a huge page. */
uint64_t *pd_table(uint64_t *pde);
/* What the address is mapped to: guest-physical address, or 0. */
uint64_t paging_walk(uint64_t address);
void paging_zap(uint64_t start, uint64_t end);
/* As paging_zap for a range that stays: it reads as zero from now on. */
void paging_discard(uint64_t start, uint64_t end);
void paging_protect(uint64_t start, uint64_t end, uint32_t prot);
/* Moves what is mapped; both ranges lie alike modulo 2 MiB; -ENOMEM: nothing moved. */
int paging_move(uint64_t from, uint64_t to, uint64_t bytes);
/* The flush that a zap owes; phys.c asks for it before it gives frames away. */
void paging_settle(void);

/* ---- fault.c */
enum fault_result {
	FAULT_SERVED,
	FAULT_INVALID, /* nothing there, or no right to it */
	FAULT_NO_MEMORY,
};
extern struct vma_list vmas;		 /* kernel lock */
extern struct gmm_fault_counts n_faults; /* kernel lock */
int fault_fast(struct regs *regs);
void trap(struct regs *regs);

/* ---- signal.c */
/* A fault of the program: its handler is next, or it ends. */
void signal_fault(struct regs *regs, int signal, int code, uint64_t address);
void signal_return(struct regs *regs);
void signal_self(struct regs *regs, int signal);
long sys_rt_sigaction(uint64_t signal, uint64_t act, uint64_t old, uint64_t bytes);
long sys_rt_sigprocmask(uint64_t how, uint64_t set, uint64_t old, uint64_t bytes);
long sys_sigaltstack(uint64_t stack, uint64_t old);

/* ---- exec.c */
/* Maps the program and enters it with the boot arguments. */
_Noreturn void exec_boot(void);
extern uint64_t brk_start, brk_end; /* kernel lock */
_Noreturn void process_exit(unsigned status, unsigned signal);

/* ---- thread.c */
long thread_clone(struct regs *regs);
void thread_exit(void);
long sys_futex(uint64_t word, uint64_t op, uint64_t value, uint64_t timeout, uint64_t word2,
	       uint64_t value3);

/* ---- sys_memory.c, sys_file.c */
long sys_mmap(uint64_t address, uint64_t bytes, uint64_t prot, uint64_t flags, uint64_t fd,
	      uint64_t offset);
long sys_munmap(uint64_t address, uint64_t bytes);
long sys_mprotect(uint64_t address, uint64_t bytes, uint64_t prot);
long sys_madvise(uint64_t address, uint64_t bytes, uint64_t advice);
long sys_mremap(uint64_t address, uint64_t bytes, uint64_t new_bytes, uint64_t flags, uint64_t to);
long sys_brk(uint64_t to);
long sys_read(uint64_t fd, uint64_t to, uint64_t bytes);
long sys_pread64(uint64_t fd, uint64_t to, uint64_t bytes, uint64_t at);
long sys_write(uint64_t fd, uint64_t from, uint64_t bytes);
long sys_writev(uint64_t fd, uint64_t vector, uint64_t n);
long sys_open(uint64_t name_at, uint64_t flags);
long sys_openat(uint64_t dir, uint64_t name_at, uint64_t flags);
long sys_close(uint64_t fd);
long sys_fstat(uint64_t fd, uint64_t to);
long sys_newfstatat(uint64_t dir, uint64_t name_at, uint64_t to, uint64_t flags);
long sys_lseek(uint64_t fd, uint64_t offset, uint64_t whence);
/* The window of an open file, or NULL. */
const struct gmm_boot_file *file_window(uint64_t fd);

/* entry.S calls these. */
long syscall_all_regs(struct regs *regs);

#endif
