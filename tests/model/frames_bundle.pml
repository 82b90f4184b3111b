/* The bundles of gmm_frames as a model that is checked in every order of events: a vCPU gets batches of two
 * frames and returns them, whole or one by one, or hands one to another vCPU, which returns it; the other
 * has a bundle too, of one frame; it and the host take what is free, out of bundles too, and give it back.
 *
 * It follows include/guestmm/frames_bundle.h step by step; bitmap and areas (frames.pml) are one
 * bit a frame here. A bundle is tied whenever that is possible, not after a proof.
 *
 * Checked:
 *  - no frame has two holders, be it got by its bit or by its bundle (hold());
 *  - who is told that memory is out has not missed a frame that was free all the while (`always`; a
 *    frame counts as taken while somebody moves it from a bundle to the bitmap);
 *  - to return a frame that is free is an error and changes nothing, at whatever moment (wrong());
 *  - no loop goes round more often than the others' steps explain;
 *  - when nobody is inside a call, each frame is held, free in the bitmap, or free in the bundle, and
 *    whoever is named is marked (quiet()).
 *
 * Each BUG_ is a fault that must be found; tests/model/frames.sh runs the model with and without.
 */
#ifndef N_FRAMES
#define N_FRAMES 3
#endif
#ifndef N_STEPS
#define N_STEPS 4 /* calls of the vCPU with the bundle */
#endif
#ifndef N_OTHER
#define N_OTHER 2 /* calls of each of the others */
#endif
#define N_PROCS	  3
#define MAX_TRIES 6
#define NONE	  255

#define LOOSE	0
#define TYING	2
#define OUT	3
#define IN	4
#define UNTYING 5

bool bit_[N_FRAMES], mark[N_FRAMES];
byte state[2], version[2], n_names[2], names[4];
#define NAME(bundle, i) names[(bundle) * 2 + (i)]

/* Not part of the allocator: what is checked. */
byte owner[N_FRAMES];
byte always[N_PROCS]; /* frames that were free since the process' call began */
byte handed = NONE;   /* a frame on its way from the first vCPU to the other */
bool spoilt;	      /* a frame was returned that somebody else got just then */
byte n_done;

/* Frame x has a holder now. */
inline hold(x)
{
	assert(spoilt || owner[x] == 0);
	owner[x] = me + 1;
	always[0] = always[0] & ~(1 << (x));
	always[1] = always[1] & ~(1 << (x));
	always[2] = always[2] & ~(1 << (x))
}

inline begin_call()
{
	d_step {
		f = 0;
		always[me] = 0;
		do
		:: f < N_FRAMES -> always[me] = always[me] | ((owner[f] == 0) << f); f++
		:: else -> break
		od;
		f = 0
	}
}

/* swapped = the state of the bundle went from `was' (of version v) to `now'. */
inline state_cas(bundle, was, v, now)
{
	d_step {
		if
		:: state[bundle] == (was) && version[bundle] == (v) -> state[bundle] = (now); swapped = 1
		:: else -> swapped = 0
		fi
	}
}

/* The same from IN on: the named frames have a holder from this step on. */
inline state_take(bundle, v, now)
{
	d_step {
		if
#ifdef BUG_NOT_SWAPPED
		:: state[bundle] != TYING ->
#else
		:: state[bundle] == IN && version[bundle] == (v) ->
#endif
			state[bundle] = (now);
			swapped = 1;
			hold(NAME(bundle, 0));
			if
			:: n_names[bundle] == 2 -> hold(NAME(bundle, 1))
			:: else
			fi
		:: else -> swapped = 0
		fi
	}
}

/* ---- Frame by frame ---- */

/* Frame x is marked: free = it is free all the same. If not, no bundle names it any more. */
inline tied_is_free(x)
{
	c = 0;
	do
	:: c < 2 && !free ->
		tries = 0;
		do
		:: d_step { s = state[c]; v = version[c]; n = n_names[c] };
			if
			:: s < OUT -> break
			:: else
			fi;
			at = 0;
			do
			:: at < n && NAME(c, at) != (x) -> at++
			:: else -> break
			od;
			if
			:: at == n -> break
			:: else
			fi;
			if
			:: s == OUT ->
				state_cas(c, OUT, v, LOOSE);
				if
				:: swapped -> break
				:: else
				fi
			:: else ->
				d_step { free = (state[c] >= IN && version[c] == v && at < n_names[c]) };
				if
				:: free -> break
				:: else
				fi
			fi;
			tries++;
			assert(tries <= MAX_TRIES)
		od;
		c++
	:: else -> break
	od;
	atomic { tries = 0; s = 0; v = 0; n = 0; at = 0; c = 0; swapped = 0 }
}

/* Who returns what is not his changes something: of a frame that was free all the while, or that
 * somebody got this moment? */
inline not_ours(x)
{
	assert(spoilt || !(always[me] & (1 << (x))));
	spoilt = 1
}

/* ok = frame x was returned. */
inline put_one(x)
{
	ok = 0;
	free = 0;
	if
	:: bit_[x] ->
#ifndef BUG_MARK_IGNORED
		if
		:: mark[x] -> tied_is_free(x)
		:: else
		fi;
#endif
		if
		:: !free ->
			d_step {
				if
				:: wronged && mark[x] -> not_ours(x)
				:: else
				fi;
				mark[x] = 0
			};
			d_step {
				ok = bit_[x];
				if
				:: wronged && ok -> not_ours(x)
				:: else
				fi;
				bit_[x] = 0;
				owner[x] = 0
			}
		:: else
		fi
	:: else
	fi;
	free = 0
}

/* ---- The bundle's own caller ---- */

#define MINE me

inline bundle_get()
{
	v = version[MINE];
	if
	:: state[MINE] == IN ->
		state_take(MINE, v, OUT);
		if
		:: swapped && n_names[MINE] == 2 -> a = NAME(MINE, 0); b = NAME(MINE, 1)
		:: swapped && n_names[MINE] == 1 -> a = NAME(MINE, 0)
		:: else
		fi
	:: else
	fi;
	atomic { v = 0; swapped = 0 }
}

inline tie()
{
	if
	:: state[MINE] == LOOSE ->
		d_step { state[MINE] = TYING; version[MINE]++; n_names[MINE] = (b == NONE -> 1 : 2) };
		NAME(MINE, 0) = a;
#ifndef BUG_NOT_MARKED
		mark[a] = 1;
#endif
		if
		:: b != NONE -> NAME(MINE, 1) = b; mark[b] = 1
		:: else
		fi;
		state[MINE] = OUT
	:: else
	fi
}

/* ok = the batch was returned as a whole. */
inline bundle_put()
{
	ok = 0;
	d_step { s = state[MINE]; v = version[MINE]; n = n_names[MINE] };
	if
	:: s == OUT && NAME(MINE, 0) == a && n == (b == NONE -> 1 : 2) &&
	   (b == NONE || NAME(MINE, 1) == b) ->
		/* what was the caller's is free from this step on */
		d_step {
			if
			:: state[MINE] == OUT && version[MINE] == v ->
				state[MINE] = IN;
				assert(spoilt || owner[a] == me + 1);
				owner[a] = 0;
				if
				:: b != NONE -> assert(spoilt || owner[b] == me + 1); owner[b] = 0
				:: else
				fi;
				ok = 1
			:: else
			fi
		}
	:: else
	fi;
	atomic { s = 0; v = 0; n = 0 }
}

/* ---- Anyone ---- */

inline untie(bundle)
{
	v = version[bundle];
	if
	:: state[bundle] == IN ->
		state_take(bundle, v, UNTYING);
		if
		:: swapped ->
			/* nobody else writes the names now */
			n = n_names[bundle];
			do
			:: n > 0 ->
				n--;
				f = NAME(bundle, n);
#ifndef BUG_NAMED_STILL
				n_names[bundle] = n;
#endif
				mark[f] = 0;
				d_step { bit_[f] = 0; owner[f] = 0; f = 0 }
			:: else -> break
			od;
			state[bundle] = LOOSE
		:: else
		fi
	:: else
	fi;
	atomic { v = 0; n = 0; swapped = 0 }
}

/* Up to n frames, into a and b. */
inline take(want)
{
	k = 0;
	do
	:: k < N_FRAMES && (a == NONE || (want == 2 && b == NONE)) ->
		d_step {
			if
			:: !bit_[k] ->
				bit_[k] = 1;
				hold(k);
				if
				:: a == NONE -> a = k
				:: else -> b = k
				fi
			:: else
			fi;
			k++
		}
	:: else -> break
	od;
	k = 0
}

inline swap_if_needed()
{
	if
	:: a > b && b != NONE -> d_step { k = a; a = b; b = k; k = 0 }
	:: else
	fi
}

inline get(want)
{
	take(want);
	if
	:: a == NONE || (want == 2 && b == NONE) ->
#ifndef BUG_HIDDEN
		untie(0);
		untie(1);
#endif
		take(want)
	:: else
	fi
}

/* ---- Who does it ---- */

#define LOCALS                                                                                     \
	byte f, k, s, v, n, c, at, tries, n_calls, a = NONE, b = NONE;                                 \
	bool swapped, ok, free, wronged

inline get_batch()
{
	begin_call();
	bundle_get();
	if
	:: a == NONE ->
		get(2);
		swap_if_needed();
		if
		:: a == NONE -> assert(always[me] == 0)
		:: a != NONE && b == NONE ->
			assert((always[me] & (always[me] - 1)) == 0);
			put_one(a);
			a = NONE
		:: else -> tie()
		fi
	:: else
	fi;
	always[me] = 0
}

proctype batcher(byte me)
{
	LOCALS;

	do
	:: n_calls == N_STEPS -> break
	:: n_calls < N_STEPS && a == NONE -> get_batch(); n_calls++
	:: n_calls < N_STEPS && a != NONE ->
		if
		:: b != NONE ->
			bundle_put();
			if
			:: ok -> skip
			:: else -> put_one(a); assert(spoilt || ok); put_one(b); assert(spoilt || ok)
			fi
		:: b != NONE && handed == NONE ->
			d_step { handed = b; owner[b] = 2; b = NONE };
			put_one(a);
			assert(spoilt || ok)
		fi;
		atomic { a = NONE; b = NONE; ok = 0; n_calls++ }
	od;
	n_done++
}

/* To return what one does not hold. */
inline wrong()
{
	if
	:: owner[0] == 0 -> a = 0
	:: owner[1] == 0 -> a = 1
	:: else
	fi;
	if
	:: a != NONE ->
		begin_call();
		wronged = 1;
		put_one(a);
		wronged = 0;
		always[me] = 0;
		a = NONE
	:: else
	fi
}

proctype other(byte me)
{
	LOCALS;

	do
	:: n_calls == N_OTHER -> break
	:: n_calls < N_OTHER && a == NONE ->
		begin_call();
		if
		:: me == 1 -> bundle_get()
		:: else
		fi;
		if
		:: a == NONE ->
			get(1);
			assert(a != NONE || always[me] == 0);
			if
			:: me == 1 && a != NONE -> tie()
			:: else
			fi
		:: else
		fi;
		always[me] = 0;
		n_calls++
	:: n_calls < N_OTHER && a != NONE ->
		ok = 0;
		if
		:: me == 1 -> bundle_put()
		:: skip
		fi;
		if
		:: !ok -> put_one(a)
		:: else
		fi;
		assert(spoilt || ok);
		atomic { a = NONE; ok = 0; n_calls++ }
	:: n_calls < N_OTHER && me == 1 && handed != NONE && a == NONE ->
		d_step { a = handed; handed = NONE };
		put_one(a);
		assert(spoilt || ok);
		atomic { a = NONE; ok = 0; n_calls++ }
#ifdef WRONG
	:: n_calls < N_OTHER && me == 2 && a == NONE -> wrong(); atomic { ok = 0; n_calls++ }
#endif
	od;
	n_done++
}

inline quiet()
{
	d_step {
		f = 0;
		do
		:: f < N_FRAMES ->
			live = 0;
			free = 0;
			c = 0;
			do
			:: c < 2 ->
				named = state[c] >= OUT && n_names[c] > 0 &&
					(NAME(c, 0) == f || (n_names[c] == 2 && NAME(c, 1) == f));
				assert(spoilt || !named || !live);
				live = live || named;
				free = free || (named && state[c] == IN);
				c++
			:: else -> break
			od;
			assert(spoilt || (bit_[f] != 0) == (owner[f] != 0 || free));
			assert(spoilt || !live || mark[f]);
			assert(spoilt || !mark[f] || bit_[f]);
			f++
		:: else -> break
		od;
		assert(state[0] != TYING && state[0] != UNTYING && state[1] != TYING &&
		       state[1] != UNTYING)
	}
}

init {
	byte f, c;
	bool named, live, free;

	atomic {
		run batcher(0);
		run other(1);
		run other(2)
	}
	n_done == N_PROCS;
	quiet()
}
