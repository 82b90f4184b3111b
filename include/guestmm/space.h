/* Spaces: one VM's guest-physical memory.
 *
 * A space has regions (RAM, or read-only windows on files), one state word a page, a
 * userfaultfd that tells of guest accesses to absent pages, and the machinery that
 * fills and evicts them. Threads: every function may be called from any thread
 * unless it says otherwise. The library makes no thread: either call
 * gmm_space_dispatch() whenever gmm_space_fd() polls readable, or let a gmm_worker do it.
 * Whoever dispatches must never touch guest memory itself.
 */
#ifndef GUESTMM_SPACE_H
#define GUESTMM_SPACE_H

#include <guestmm/policy.h>
#include <guestmm/pool.h>
#include <guestmm/store.h>
#include <guestmm/trace.h>
#include <guestmm/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gmm_space;

enum gmm_engine {
	GMM_ENGINE_BEST, /* move where the kernel has UFFDIO_MOVE (6.8), else copy */
	GMM_ENGINE_MOVE,
	GMM_ENGINE_COPY, /* Linux 5.15 and later */
};

/* Frames of 2 MiB: one fault, one move and one entry of the page tables for 512 pages. Only the
 * move engine has them, where transparent huge pages are not switched off, from a limit of 64 MiB
 * on, and only as long as frames are plenty. */
enum gmm_huge {
	GMM_HUGE_AUTO,	 /* where memory is filled in order */
	GMM_HUGE_ALWAYS, /* at any first touch of a fresh block */
	GMM_HUGE_NEVER,
};

enum gmm_page_state {
	GMM_PAGE_EMPTY,	    /* reads as zero; no frame, no slot */
	GMM_PAGE_FILLING,   /* being brought in */
	GMM_PAGE_RESIDENT,  /* mapped in the guest */
	GMM_PAGE_EVICTING,  /* unmapped, content in our hands, on its way out */
	GMM_PAGE_SWAPPED,   /* content in the store, or in the window's file */
	GMM_PAGE_BALLOONED, /* given up by the guest */
	GMM_PAGE_POISONED,  /* content lost to an I/O error */
	GMM_PAGE_N_STATES
};

enum gmm_event_kind {
	/* A page's only copy could not be read back: gpa, error. Told once when it is found. */
	GMM_EVENT_POISONED,
	/* A thread touched a poisoned page: gpa, tid. The access fails as on broken hardware:
	 * SIGBUS with BUS_MCEERR_AR, or KVM_RUN returns -EFAULT / -EHWPOISON. Never zeros. */
	GMM_EVENT_POISON_TOUCHED,
	/* The store took no more pages (error: -ENOSPC, or -EIO where writes fail);
	 * eviction has stopped; no content is lost; guests wait where a frame is needed. */
	GMM_EVENT_STORE_FULL,
	GMM_EVENT_STORE_USABLE, /* it takes pages again */
	/* The userfaultfd failed (error): nothing is served any more; guests hang at their
	 * next fault rather than read zeros. End them. */
	GMM_EVENT_DEAD,
};

struct gmm_event {
	enum gmm_event_kind kind;
	int error;
	gmm_gpa gpa;
	int32_t tid;
};

/* Called from the dispatching thread without any lock held. May not touch guest memory. */
typedef void gmm_event_fn(void *user, const struct gmm_event *event);

/* Which pages the guest touches, watched at a sample of them, for less than 1 % of a CPU: see
 * struct gmm_stats. */
enum gmm_working_set {
	GMM_WORKING_SET_OFF,
	GMM_WORKING_SET_ON,
};

struct gmm_space_config {
	uint32_t size; /* sizeof(struct gmm_space_config): what lies beyond it counts as 0 */
	enum gmm_engine engine;
	struct gmm_pool *pool;		     /* not owned; outlives the space */
	struct gmm_store *store;	     /* owned by the space on success; NULL: no swap */
	const struct gmm_policy_ops *policy; /* NULL: the default */
	uint32_t n_vcpus;		     /* for stall accounting; 0: 1 */
	gmm_event_fn *on_event;		     /* may be NULL */
	void *user;
	enum gmm_huge huge;
	struct gmm_trace *trace; /* not owned, of this space alone, outlives it; NULL: none */
	enum gmm_working_set working_set;
};

#define GMM_CURVE_POINTS 40 /* at most */

struct gmm_curve_point {
	uint64_t limit_bytes;
	uint64_t refaults_per_s;
};

struct gmm_stats {
	uint32_t size; /* sizeof(struct gmm_stats), set by the caller: no more is written */
	const char *engine, *policy, *store; /* static strings; store NULL where there is none */
	uint64_t memory_bytes;		     /* RAM regions */
	uint64_t limit_bytes;
	uint64_t resident_bytes;      /* frames in use for this space, in flight included */
	uint64_t resident_peak_bytes; /* of the pool: never above the limit in force */
	uint64_t swapped_bytes;
	uint64_t ballooned_bytes;
	uint64_t evicting_bytes;
	uint64_t poisoned_pages;
	struct {
		uint64_t demand_zero, swap_in, rescue;
		/* Pages that came along before anybody asked: zeros beside a first touch, and
		 * what was read ahead of a touch and came before it. */
		uint64_t prefetched;
		/* Pages whose reads were begun on a guess; of these, prefetch_used are known to
		 * have been touched, by a fault or because what read them went on behind them, and
		 * prefetch_wasted were evicted before that was known. */
		uint64_t read_ahead, prefetch_used, prefetch_wasted;
		uint64_t poison;
		/* From the event's reading to the page in place: of one in 16, the longest of all.
		 */
		uint64_t p50_ns, p99_ns, max_ns;
	} faults;
	struct {
		uint64_t evicted; /* pages unmapped to be taken; of these: */
		uint64_t zero;	  /* were all zero: nothing to keep */
		uint64_t clean;	  /* had a valid copy in the store: no write */
		uint64_t written; /* went to the store */
		uint64_t dropped; /* pages of file windows: read again when needed */
		uint64_t busy;	  /* could not be unmapped (pinned) and stayed */
		uint64_t failed;  /* could not be written and went back */
	} reclaim;
	struct gmm_store_stats io;
	uint64_t stall_some_ns, stall_full_ns;
	double stall_some_avg[3], stall_full_avg[3]; /* percent of the last 10, 60, 300 s */
	uint64_t metadata_bytes;  /* host memory that bookkeeping takes and that grows with memory,
				     the block of a shared allocator with it */
	uint64_t fixed_bytes;	  /* what it takes beside, however small the guest is */
	uint64_t prezeroed_bytes; /* frames zeroed ahead of need, ready to be mapped */
	uint64_t huge_bytes;	  /* mapped in the guest as 2 MiB pages */
	struct {
		uint64_t filled;   /* 2 MiB blocks given as one */
		uint64_t taken;	   /* evicted as one */
		uint64_t split;	   /* made single pages of */
		uint64_t gathered; /* put together again from single pages */
	} huge;
	uint64_t free_taken; /* not evicted, but dropped, for they were free in the guest's
				allocator */
	/* Does the guest wait for pages that it had a moment ago? Of the last 10 s, looked at every
	 * 2 s: on where something waited for at least 40 % of the time (ends below 20 %) and at
	 * least half of the pages that came back (ends below a quarter) were refaults: away for
	 * fewer evictions than four times the limit has frames. */
	struct {
		bool on;
		uint32_t stalled_permille; /* of window_ns, with at least one thread waiting */
		uint64_t window_ns;
		uint64_t refaults;   /* pages, in that time */
		uint64_t more_bytes; /* with so much more it would end, about; 0: it is not on */
		uint64_t most_more_bytes; /* the most that was so far */
		uint64_t total_ns;	  /* that it was on since the beginning */
	} thrash;
	/* What the guest touches, from a sample of its pages. The curve says how many pages a
	 * second would come back after they had left, with another limit, if the guest went on as
	 * in the last minute or so and at the speed it has now: at eighths of the limit in force up
	 * to twice as much, then doubling, and never above all memory, with which there are none.
	 * It is that of an LRU. All 0 where it is off. */
	struct {
		bool on;
		uint64_t bytes;		 /* touched in the last 60 s; where no page can be watched
					  * (all in huge frames, before Linux 6.14): may have been */
		uint64_t pages_a_sample; /* that each page of the sample stands for */
		uint64_t sampled;	 /* pages in the sample that are in use */
		uint64_t touches;	 /* faults that there would not have been without it */
		uint64_t spent_ns;	 /* CPU time, with each of those paid in advance: 60 us, or
					  * four times what a move of a page costs here */
		uint32_t n_points;
		struct gmm_curve_point curve[GMM_CURVE_POINTS]; /* by limit_bytes */
	} working_set;
};

/* Errors: -EINVAL, -ENOMEM, -EPERM (userfaultfd refused: needs vm.unprivileged_userfaultfd=1,
 * CAP_SYS_PTRACE, or access to /dev/userfaultfd), -ENOSYS (kernel without userfaultfd),
 * -EOPNOTSUPP (the engine asked for is not offered by this kernel), -EMFILE. */
GMM_API int gmm_space_new(const struct gmm_space_config *config, struct gmm_space **out);

/* The guest is over: no page is served any more, and what still waits for one (KVM's asynchronous
 * page faults do, and closing a vCPU waits for them) reads zeros. Call it after the last vCPU has
 * stopped for good and before its descriptor is closed. */
GMM_API void gmm_space_detach(struct gmm_space *space);

/* Frees a space that no guest runs on any more, its regions' mappings and its store.
 * Takes NULL, returns NULL. */
GMM_API struct gmm_space *gmm_space_free(struct gmm_space *space);

/* Adds RAM at [start, start + bytes), 4 KiB aligned, zero-filled. *hva is where it is mapped in
 * this process, aligned like the guest-physical address within 1 GiB: give it to
 * KVM_SET_USER_MEMORY_REGION. Regions are added before the guest runs. At most 16, of 8 TiB in all.
 * Errors: -EINVAL (alignment, wraps around), -EEXIST (overlaps a region), -ENOSPC (16 regions),
 * -ENOMEM, -EBUSY (a page was touched already). */
GMM_API int gmm_space_add_ram(struct gmm_space *space, gmm_gpa start, uint64_t bytes, void **hva);

/* Adds a window on a file, filled in lazily and never written; the library keeps a
 * duplicate of fd. bytes is the file's part to show, from its beginning; the last page is
 * filled up with zeros. Make the KVM slot read-only. Errors: as above, -EBADF, -EISDIR,
 * -ENODATA (the file is shorter), -EINVAL (neither a file nor a block device). */
GMM_API int gmm_space_add_file(struct gmm_space *space, gmm_gpa start, int fd, uint64_t bytes,
			       void **hva);

/* A descriptor that polls readable when gmm_space_dispatch() has work. Owned by the space. */
GMM_API int gmm_space_fd(const struct gmm_space *space);

/* Serves what is pending: faults, finished input and output, reclaim. Never blocks on
 * a disk. One thread at a time. Returns 0, or -EAGAIN when more work is ready at once.
 * -EIO: the userfaultfd failed, or the space was detached; it serves nothing any more. */
GMM_API int gmm_space_dispatch(struct gmm_space *space);

/* Makes [gpa, gpa + bytes) resident and keeps it so until gmm_space_release: for devices, system
 * calls and vhost. *hva points to it. Waits for faults; where no other thread dispatches, it
 * dispatches itself. Within one region, at most 64 KiB. A page can be held at most 255 times. While
 * it is held the other pages of its 2 MiB stay too, if they are one huge page. Whoever has the
 * kernel pin guest memory (registered buffers of io_uring, VFIO) holds it for as long: kernels
 * before 6.18 may never return from moving a page out of a huge page that is pinned. Errors:
 * -EFAULT (outside, or crosses regions), -EIO (poisoned, or nothing is served any more), -EINVAL (0
 * or too long), -EBUSY (held too often), -ENOMEM (all spaces on the pool would hold more than half
 * of its limit), -EROFS (write to a window). */
GMM_API int gmm_space_hold(struct gmm_space *space, gmm_gpa gpa, size_t bytes, bool write,
			   void **hva);
GMM_API void gmm_space_release(struct gmm_space *space, gmm_gpa gpa, size_t bytes);

/* Copies from and to guest memory, any length, any alignment. All or nothing is
 * checked first. Errors: -EFAULT, -EROFS (nothing was copied); -EIO, -ENOMEM, -EBUSY as for
 * gmm_space_hold() (what lies before the page in question was copied). Never from the dispatching
 * thread of a worker. */
GMM_API int gmm_space_read(struct gmm_space *space, gmm_gpa gpa, void *to, size_t bytes);
GMM_API int gmm_space_write(struct gmm_space *space, gmm_gpa gpa, const void *from, size_t bytes);

/* Drops the content of n_pages pages at gfn, without writing it anywhere: they read as zero
 * afterwards. Held pages keep their content and are skipped; windows' pages are only
 * dropped. Never waits: a page that a read is filling reads as zero when that ends. Errors:
 * -EFAULT (outside). */
GMM_API int gmm_space_discard(struct gmm_space *space, gmm_gfn gfn, uint64_t n_pages);

/* Evicts up to `pages` pages now (proactive reclaim), and no more than are resident now, what is
 * free in the guest first. Returns 0; the work goes on in dispatch. Errors: -ENOSPC (no store, or
 * it is full). */
GMM_API int gmm_space_reclaim(struct gmm_space *space, uint64_t pages);

/* Fills in `out`, whose size the caller sets: what lies beyond it is left alone. */
GMM_API void gmm_space_stats(struct gmm_space *space, struct gmm_stats *out);

/* How a space with a store keeps a limit of so many pages: below `low` free frames it evicts, up to
 * `high`; and the last `staged` pages that left wait in memory, each with a second chance. For
 * models of it. */
struct gmm_watermarks {
	uint64_t low, high, staged;
};

GMM_API void gmm_space_watermarks(uint64_t limit_pages, struct gmm_watermarks *out);

/* States of n_pages pages from gfn, one byte each (enum gmm_page_state); a snapshot that is
 * exact for each page. Errors: -EFAULT (outside). */
GMM_API int gmm_space_states(struct gmm_space *space, gmm_gfn gfn, uint64_t n_pages,
			     uint8_t *states);

#ifdef __cplusplus
}
#endif
#endif
