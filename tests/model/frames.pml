/* gmm_frames as a model that is checked in every order of events: two vCPUs get and put single
 * frames while the host takes a huge frame, or single ones, and gives them back.
 *
 * It follows include/guestmm/frames_core.h and frames_hints.h access by access: what is one
 * atomic operation there is one step here, and what is two is two. Only the numbers are small:
 * two areas of N_WORDS words of N_BITS frames. Processors that reorder are not modelled; all
 * accesses to the bitmap and to kinds[] that matter are sequentially consistent in the code.
 *
 * Checked:
 *  - no frame has two holders (taken());
 *  - who is told that memory is out has not missed a frame that was free all the while (`always`);
 *  - no loop goes round more often than the others' steps explain (MAX_TRIES), and every process ends;
 *  - when nobody is inside a call, the frames in use are those that somebody has, and kinds[] says what invariant 2 of frames.h promises (quiet()): above
 *    all, no area with a free frame is called FULL.
 *
 * Each BUG_ is a fault that must be found; tests/model/frames.sh runs the model with and without.
 */
#ifndef N_WORDS
#define N_WORDS 2
#define N_BITS	1
#endif
#ifndef N_STEPS
#define N_STEPS 2 /* calls of each process */
#endif
#ifndef USED
#define USED 0 /* frames that somebody else has for ever */
#endif
#define N_AREAS	 2
#define N_FRAMES (N_AREAS * N_WORDS * N_BITS)
#ifndef N_VCPUS
#define N_VCPUS 2
#endif
#define N_PROCS	 (N_VCPUS + 1)
#define ALL	 ((1 << N_BITS) - 1)
#define AREA(f)	 ((f) / (N_WORDS * N_BITS))
#define BIT(f)	 (1 << ((f) % N_BITS))
#define NONE	 255
#ifndef MAX_TRIES
#define MAX_TRIES 8
#endif

#define FREE 0
#define PART 1
#define RES  2
#define FULL 3

byte word[N_AREAS * N_WORDS];
byte kind[N_AREAS];
byte next1[N_PROCS]; /* by caller; the host is `anyone` */

/* Not part of the allocator: what is checked. */
byte owner[N_FRAMES];
byte always[N_PROCS]; /* frames that were free since the process' call began */
byte kept;	      /* frames that a process has when it ends */
byte n_done;

/* Those frames of word w have a holder now; part of the step that set their bits. */
inline taken(w, mask)
{
	f = (w) * N_BITS;
	do
	:: f < ((w) + 1) * N_BITS ->
		if
		:: (mask) & BIT(f) ->
			assert(owner[f] == 0);
			owner[f] = me + 1;
			always[0] = always[0] & ~(1 << f);
			always[1] = always[1] & ~(1 << f);
			always[N_PROCS - 1] = always[N_PROCS - 1] & ~(1 << f);
		:: else
		fi;
		f++
	:: else -> break
	od;
	f = 0
}

inline begin_call()
{
	d_step {
		f = 0;
		always[me] = 0;
		do
		:: f < N_FRAMES ->
			always[me] = always[me] | ((1 - ((word[f / N_BITS] >> (f % N_BITS)) & 1)) << f);
			f++
		:: else -> break
		od;
		f = 0
	}
}

/* ---- kinds[] ---- */

/* yes = are all words of the area equal to what? */
inline area_is(area, what)
{
	i = 0;
	yes = 1;
	do
	:: i < N_WORDS && yes -> d_step { yes = (word[(area) * N_WORDS + i] == (what)); i++ }
	:: else -> break
	od;
	i = 0
}

inline count_area(area)
{
	i = 0;
	n_all = 0;
	n_none = 0;
	do
	:: i < N_WORDS ->
		d_step {
			n_none = n_none + (word[(area) * N_WORDS + i] == 0);
			n_all = n_all + (word[(area) * N_WORDS + i] == ALL);
			i++
		}
	:: else -> break
	od;
	atomic {
		real = (n_none == N_WORDS -> FREE : (n_all == N_WORDS -> FULL : PART));
		i = 0;
		n_all = 0;
		n_none = 0
	}
}

inline kind_cas(area, from, to)
{
	d_step {
		if
		:: kind[area] == (from) -> kind[area] = (to); swapped = 1
		:: else -> swapped = 0
		fi
	}
}

inline settle(area)
{
	tries = 0;
	do
	:: 1 ->
		k = kind[area];
		if
		:: k == RES -> break
		:: k == FREE -> area_is(area, 0)
		:: k == FULL -> area_is(area, ALL)
		:: k == PART ->
			area_is(area, 0);
			if
			:: yes -> yes = 0
			:: else -> area_is(area, ALL); yes = 1 - yes
			fi
		fi;
		if
		:: yes -> break
		:: else
		fi;
		count_area(area);
#ifdef BUG_STALE_KIND
		kind_cas(area, FULL, real); /* expects what it saw once, for ever */
#else
		kind_cas(area, k, real);
#endif
#ifdef BUG_NO_RELOOK
		break;
#endif
		tries++;
		assert(tries <= MAX_TRIES)
	od;
	atomic { tries = 0; k = 0; real = 0; yes = 0; swapped = 0 }
}

inline leave(area)
{
	if
	:: kind[area] == RES ->
		kind_cas(area, RES, FULL);
#ifndef BUG_LEAVE_UNSETTLED
		settle(area)
#endif
	:: else
	fi
}

inline filled(area)
{
	if
	:: kind[area] == FREE -> settle(area)
	:: else
	fi
}

/* ---- Taking ---- */

/* got = a frame of word w, or NONE. */
inline take_word(w)
{
	old = word[w];
	do
	:: old == ALL -> break
	:: else ->
		d_step {
			mask = 1;
			do
			:: old & mask -> mask = mask << 1
			:: else -> break
			od;
#ifdef BUG_NOT_ATOMIC
			word[w] = old | mask;
			taken(w, mask);
			got = (w) * N_BITS + (mask == 2);
			old = ALL
#else
			if
			:: word[w] == old ->
				word[w] = old | mask;
				taken(w, mask);
				got = (w) * N_BITS + (mask == 2);
				old = ALL
			:: else -> old = word[w]
			fi
#endif
			tries++;
			assert(tries <= MAX_TRIES)
		}
	od;
	atomic { old = 0; mask = 0; tries = 0 }
}

inline take_area(area)
{
	j = 0;
	do
	:: j < N_WORDS && got == NONE -> take_word((area) * N_WORDS + j); j++
	:: else -> break
	od;
	j = 0;
	if
	:: got != NONE -> filled(area)
	:: else
	fi
}

/* The caller takes in this area from now on. */
inline move(area)
{
	d_step {
		from = next1[caller];
		next1[caller] = (area) * N_WORDS * N_BITS + 1
	}
	if
	:: from && AREA(from - 1) != (area) -> leave(AREA(from - 1))
	:: else
	fi;
	from = 0
}

/* at = the area to go on in, reserved for a caller with a number; NONE. */
inline choose()
{
	n_vain = 0;
	at = NONE;
	do
	:: n_vain < 2 ->
		part = NONE;
		whole = NONE;
		j = 0;
		do
		:: j < N_AREAS ->
			d_step {
				if
				:: kind[j] == FREE && whole == NONE -> whole = j
				:: kind[j] == PART && part == NONE -> part = j
				:: else
				fi;
				j++
			}
		:: else -> break
		od;
		atomic {
			j = 0;
			at = (part != NONE -> part : whole);
			hint = (part != NONE -> PART : FREE);
			part = 0;
			whole = 0
		}
		if
		:: at == NONE -> break
		:: else
		fi;
		count_area(at);
		if
		:: real == FULL ->
			kind_cas(at, hint, FULL);
			settle(at)
		:: else ->
			if
			:: caller == N_PROCS - 1 -> break
			:: else ->
				kind_cas(at, hint, RES);
				if
				:: swapped -> break
				:: else
				fi
			fi
		fi;
		at = NONE;
		n_vain++
	:: else -> break
	od;
	atomic { n_vain = 0; hint = 0; real = 0; swapped = 0 }
}

inline sweep()
{
	pass = 0;
	do
#ifdef BUG_HINTS_BELIEVED
	:: pass < 1 && got == NONE -> /* kinds[] alone says where memory is */
#else
	:: pass < 2 && got == NONE ->
#endif
		at = 0;
		do
		:: at < N_AREAS && got == NONE ->
			if
			:: pass == 0 && kind[at] == FULL
			:: else ->
				take_area(at);
				if
				:: got != NONE -> move(at)
				:: else
				fi
			fi;
			at++
		:: else -> break
		od;
		pass++
	:: else -> break
	od;
	atomic { pass = 0; at = 0 }
}

/* got = a frame, or NONE: memory is out. */
inline get()
{
	got = NONE;
	begin_call();
	if
	:: next1[caller] -> at = AREA(next1[caller] - 1); take_area(at)
	:: else
	fi;
	n_moves = 0;
	do
	:: got == NONE && n_moves < 2 ->
		choose();
		if
		:: at == NONE -> break
		:: else -> move(at); take_area(at)
		fi;
		n_moves++
	:: else -> break
	od;
	n_moves = 0;
	at = 0;
	if
	:: got == NONE -> sweep()
	:: else
	fi;
	assert(got != NONE || always[me] == 0);
	always[me] = 0
}

/* ---- Returning ---- */

inline put(frame)
{
	d_step {
		assert(owner[frame] == me + 1 && (word[(frame) / N_BITS] & BIT(frame)));
		owner[frame] = 0;
		word[(frame) / N_BITS] = word[(frame) / N_BITS] & ~BIT(frame)
	}
#ifndef BUG_PUT_UNSETTLED
	/* the code leaves open which of the two it looks at first */
	if
	:: k = kind[AREA(frame)]; old = word[(frame) / N_BITS]
	:: old = word[(frame) / N_BITS]; k = kind[AREA(frame)]
	fi;
	if
	:: k == FULL || (old == 0 && k != RES) ->
		kind_cas(AREA(frame), FULL, PART);
		area_is(AREA(frame), 0);
		if
		:: yes -> settle(AREA(frame))
		:: else
		fi
	:: else
	fi;
	d_step { k = 0; old = 0; yes = 0; swapped = 0 }
#endif
}

/* at = an area all of which was free and is taken now, or NONE. */
inline get_huge()
{
	pass = 0;
	at = 0;
	got = NONE;
	do
	:: pass < 2 && got == NONE ->
		at = 0;
		do
		:: at < N_AREAS && got == NONE ->
			if
			:: pass == 0 && kind[at] != FREE
			:: else -> take_whole(at)
			fi;
			at++
		:: else -> break
		od;
		pass++
	:: else -> break
	od;
	atomic { at = got; got = NONE; pass = 0 }
}

inline take_whole(area)
{
	area_is(area, 0);
	if
	:: yes ->
		j = 0;
		do
		:: j < N_WORDS && yes ->
			d_step {
				if
				:: word[(area) * N_WORDS + j] == 0 ->
					word[(area) * N_WORDS + j] = ALL;
					taken((area) * N_WORDS + j, ALL);
					j++
				:: else -> yes = 0
				fi
			}
		:: else -> break
		od;
		if
		:: j == N_WORDS -> got = area
		:: else -> /* somebody was faster */
#ifndef BUG_NOT_UNDONE
			do
			:: j > 0 -> j--; clear_word((area) * N_WORDS + j)
			:: else -> break
			od
#endif
		fi;
		j = 0;
		yes = 0;
		settle(area)
	:: else
	fi
}

inline clear_word(w)
{
	d_step {
		f = (w) * N_BITS;
		do
		:: f < ((w) + 1) * N_BITS -> assert(owner[f] == me + 1); owner[f] = 0; f++
		:: else -> break
		od;
		word[w] = 0;
		f = 0
	}
}

inline put_huge(area)
{
	j = 0;
	do
	:: j < N_WORDS -> clear_word((area) * N_WORDS + j); j++
	:: else -> break
	od;
	j = 0;
	settle(area)
}

/* ---- Who does it ---- */

#define LOCALS                                                                                     \
	byte caller = me, f, i, j, k, n_all, n_none, real, yes, swapped, tries, old, mask, got,    \
	     from, part, whole, hint, n_vain, n_moves, at, pass, n_calls

proctype vcpu(byte me)
{
	LOCALS;
	byte held = NONE;

	do
	:: n_calls < N_STEPS && held == NONE -> get(); atomic { held = got; got = 0; n_calls++ }
	:: n_calls < N_STEPS && held != NONE -> put(held); atomic { held = NONE; n_calls++ }
	:: n_calls == N_STEPS -> break
	od;
	atomic {
		kept = (held != NONE -> kept | (1 << held) : kept);
		n_done++
	}
}

proctype host(byte me)
{
	LOCALS;
	byte held = NONE, huge = NONE;

	do
	:: n_calls < N_STEPS && held == NONE && huge == NONE ->
		if
		:: get_huge(); atomic { huge = at; at = 0 }
		:: get(); atomic { held = got; got = 0 }
		fi;
		n_calls++
	:: n_calls < N_STEPS && held != NONE -> put(held); atomic { held = NONE; n_calls++ }
	:: n_calls < N_STEPS && huge != NONE -> put_huge(huge); atomic { huge = NONE; n_calls++ }
	:: n_calls == N_STEPS -> break
	od;
	atomic {
		kept = (held != NONE -> kept | (1 << held) : kept);
		kept = (huge != NONE -> kept | (((1 << N_WORDS * N_BITS) - 1) << (huge * N_WORDS * N_BITS)) : kept);
		n_done++
	}
}

/* Nobody is inside a call. */
inline quiet()
{
	d_step {
		a = 0;
		do
		:: a < N_AREAS ->
			w = a * N_WORDS;
			n_free = 0;
			n_full = 0;
			do
			:: w < (a + 1) * N_WORDS ->
				n_free = n_free + (word[w] == 0);
				n_full = n_full + (word[w] == ALL);
				assert(word[w] == (((kept | USED) >> (w * N_BITS)) & ALL));
				w++
			:: else -> break
			od;
			assert(kind[a] != FULL || n_full == N_WORDS);
			assert(kind[a] != FREE || n_free == N_WORDS);
			assert(n_free < N_WORDS || kind[a] == FREE || kind[a] == RES);
			a++
		:: else -> break
		od
	}
}

init {
	byte a, w, n_free, n_full;

	atomic {
		do
		:: w < N_AREAS * N_WORDS ->
			word[w] = (USED >> (w * N_BITS)) & ALL;
			n_full = n_full + (word[w] == ALL);
			n_free = n_free + (word[w] == 0);
			w++;
			if
			:: w % N_WORDS == 0 ->
				kind[w / N_WORDS - 1] = (n_free == N_WORDS -> FREE : (n_full == N_WORDS -> FULL : PART));
				n_free = 0;
				n_full = 0
			:: else
			fi
		:: else -> break
		od;
		run host(N_VCPUS);
		do
		:: a < N_VCPUS -> run vcpu(a); a++
		:: else -> break
		od;
		a = 0
	}
	n_done == N_PROCS;
	quiet()
}
