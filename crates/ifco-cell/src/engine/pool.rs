//! The threads that help with a forward pass.
//!
//! They are made at the first call that wants them, and live on: between calls they watch for
//! work for a moment, and then sleep. One caller at a time has them; whoever comes while they are
//! busy works alone, with the same numbers as a result.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How often a thread looks for news before it sleeps (or lets others run): some 100 µs. Few times
/// under Miri, where a look takes as long.
const LOOKS: u32 = if cfg!(miri) { 10 } else { 10_000 };

/// Threads asked for by [`set_threads`]; 0: as many as there are cores.
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// More helpers than this were never of use to one forward pass.
const MOST: usize = 64;

static POOL: Mutex<Vec<Helper>> = Mutex::new(Vec::new());

/// How many threads a forward pass may use, the caller's included; 0 stands for all cores.
///
/// Without it the environment variable `IFCO_THREADS` says how many, and without that all cores
/// that this process may run on. Small layers use fewer: see `docs/performance.md`. The results are
/// the same whatever the number.
///
/// ```
/// ifco_cell::set_threads(1);
/// assert_eq!(ifco_cell::threads(), 1);
/// ifco_cell::set_threads(0); // as many as there are cores
/// assert!(ifco_cell::threads() >= 1);
/// ```
pub fn set_threads(threads: usize) {
    WANTED.store(threads.min(MOST), Relaxed);
}

/// How many threads a forward pass may use: see [`set_threads`].
pub fn threads() -> usize {
    match WANTED.load(Relaxed) {
        0 => {
            static DEFAULT: OnceLock<usize> = OnceLock::new();
            *DEFAULT.get_or_init(|| {
                let said = std::env::var("IFCO_THREADS").ok();
                let said = said.and_then(|said| said.trim().parse().ok());
                said.filter(|said| *said > 0)
                    .or_else(|| thread::available_parallelism().ok().map(usize::from))
                    .unwrap_or(1)
                    .min(MOST)
            })
        }
        wanted => wanted,
    }
}

/// The right to use the helpers until it is dropped.
pub(crate) struct Team {
    helpers: Option<MutexGuard<'static, Vec<Helper>>>,
    /// How many work together, the caller included.
    pub(crate) members: usize,
}

impl Team {
    /// At most `most` members; the caller alone where the helpers are busy.
    pub(crate) fn gather(most: usize) -> Self {
        let alone = Team {
            helpers: None,
            members: 1,
        };
        if most < 2 {
            return alone;
        }
        let mut helpers = match POOL.try_lock() {
            Ok(helpers) => helpers,
            // A caller that panicked left helpers that wait for work, as they should.
            Err(TryLockError::Poisoned(helpers)) => helpers.into_inner(),
            Err(TryLockError::WouldBlock) => return alone,
        };
        while helpers.len() + 1 < most {
            match Helper::start() {
                Some(helper) => helpers.push(helper),
                None => break,
            }
        }
        Team {
            members: most.min(helpers.len() + 1),
            helpers: Some(helpers),
        }
    }

    /// Calls `work` once for each member, with its number, all at the same time.
    pub(crate) fn run(&self, work: &(dyn Fn(usize) + Sync)) {
        let helpers = self.helpers.as_deref().map_or(&[][..], Vec::as_slice);
        let helpers = &helpers[..self.members - 1];
        // Waits for the helpers even if this thread's own part panics: they use `work`.
        let _done = Done(helpers);
        for (helper, member) in helpers.iter().zip(1..) {
            helper.give(work, member);
        }
        work(0);
    }
}

struct Done<'a>(&'a [Helper]);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        for helper in self.0 {
            let mut looks = 0;
            while helper.desk.state.load(Acquire) != IDLE {
                wait_a_moment(&mut looks);
            }
        }
    }
}

/// For a thread that waits for another one's next step.
#[inline]
fn wait_a_moment(looks: &mut u32) {
    std::hint::spin_loop();
    *looks += 1;
    if *looks > LOOKS {
        // More threads than cores: let the one that is waited for run.
        thread::yield_now();
    }
}

/// Whether somebody waited in vain a moment ago: other programs have the cores, and threads that
/// wait for each other after every step would mostly wait.
pub(super) fn is_crowded() -> bool {
    match CROWDED_SINCE.load(Relaxed) {
        0 => false,
        since => now().saturating_sub(since) < CROWDED_MILLISECONDS,
    }
}

/// A wait that is longer than a thread takes to wake, and than members' shares of a step differ.
const IN_VAIN: Duration = Duration::from_millis(2);

/// How long it is remembered.
const CROWDED_MILLISECONDS: u64 = 100;

/// What a barrier takes at most between cores that share a cache: there it is some 35 ns, and from
/// one cache to another 120 to 150 ns.
const NEAR: Duration = Duration::from_nanos(70);

/// How long they are taken to be where they were.
const NEAR_MILLISECONDS: u64 = 100;

/// When it was last so, as `now` tells the time; 0: never.
static CROWDED_SINCE: AtomicU64 = AtomicU64::new(0);

/// Milliseconds, from 1 on.
fn now() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = FIRST.get_or_init(Instant::now);
    u64::try_from(first.elapsed().as_millis()).map_or(u64::MAX, |passed| passed.saturating_add(1))
}

struct Helper {
    desk: Arc<Desk>,
    thread: Thread,
}

/// Where a helper finds its work.
struct Desk {
    /// `IDLE`, or the number of the member whose part lies there.
    state: AtomicUsize,
    work: UnsafeCell<Option<Work>>,
}

const IDLE: usize = 0;

/// The caller's closure, whose lifetime `Team::run` guards.
type Work = *const (dyn Fn(usize) + Sync);

// SAFETY: `work` is written by the one caller who has the pool while `state` is IDLE, and read
// by the helper while it is not.
unsafe impl Sync for Desk {}
// SAFETY: as above; the closure itself is Sync.
unsafe impl Send for Desk {}

impl Helper {
    /// `None` when the system gives no more threads.
    fn start() -> Option<Helper> {
        let desk = Arc::new(Desk {
            state: AtomicUsize::new(IDLE),
            work: UnsafeCell::new(None),
        });
        let own = desk.clone();
        let thread = thread::Builder::new()
            .name("ifco".into())
            .spawn(move || own.attend())
            .ok()?;
        Some(Helper {
            desk,
            thread: thread.thread().clone(),
        })
    }

    fn give(&self, work: &(dyn Fn(usize) + Sync), member: usize) {
        // SAFETY: only the lifetime is changed. `Team::run` returns, or unwinds, only when the
        // helper is idle again, so that the closure outlives its use.
        let work: Work = unsafe { std::mem::transmute(work as *const (dyn Fn(usize) + Sync)) };
        // SAFETY: the helper is idle: it does not look.
        unsafe { *self.desk.work.get() = Some(work) };
        self.desk.state.store(member, Release);
        self.thread.unpark();
    }
}

impl Desk {
    /// What a helper does all its life.
    fn attend(&self) {
        loop {
            let mut looks = 0;
            let member = loop {
                match self.state.load(Acquire) {
                    IDLE if looks < LOOKS => {
                        looks += 1;
                        std::hint::spin_loop();
                    }
                    // Wakes for work that came since, too: that left its token.
                    IDLE => thread::park(),
                    member => break member,
                }
            };
            // A panic here would leave the others waiting for ever.
            let abort = AbortOnPanic;
            // SAFETY: the state is not IDLE: the work lies there, and its owner waits.
            if let Some(work) = unsafe { *self.work.get() } {
                // SAFETY: see `give`.
                unsafe { (*work)(member) };
            }
            std::mem::forget(abort);
            self.state.store(IDLE, Release);
        }
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Where the members of a team wait for each other, again and again.
#[derive(Default)]
pub(super) struct Barrier {
    arrived: AtomicUsize,
    /// How often all have been here.
    round: AtomicUsize,
}

impl Barrier {
    /// Returns when all `members` have called it.
    pub(super) fn wait(&self, members: usize) {
        if members == 1 {
            return;
        }
        let round = self.round.load(Relaxed);
        if self.arrived.fetch_add(1, AcqRel) + 1 == members {
            self.arrived.store(0, Relaxed);
            self.round.store(round.wrapping_add(1), Release);
            return;
        }
        let mut looks = 0;
        let mut began = None;
        while self.round.load(Acquire) == round {
            wait_a_moment(&mut looks);
            if looks > LOOKS {
                let began = *began.get_or_insert_with(Instant::now);
                if began.elapsed() > IN_VAIN {
                    CROWDED_SINCE.store(now(), Relaxed);
                }
            }
        }
    }
}

/// Whether two threads hear of each other so fast that they may share the steps of a small layer:
/// whether their cores share a cache, that is. Asked anew now and then, since a system moves its
/// threads from core to core, and a virtual machine its cores.
pub(super) fn are_near() -> bool {
    /// When that was, in milliseconds, and whether they were.
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let known = KNOWN.load(Relaxed);
    if known != 0 && now().saturating_sub(known >> 1) < NEAR_MILLISECONDS {
        return known & 1 == 1;
    }
    let team = Team::gather(2);
    if team.members < 2 {
        return false;
    }
    let near = meeting(&team) <= NEAR;
    KNOWN.store(now() << 1 | u64::from(near), Relaxed);
    near
}

/// How long a barrier takes of which nobody is late: the best of a few times.
fn meeting(team: &Team) -> Duration {
    const TIMES: u32 = 16;
    let (barrier, best) = (Barrier::default(), Mutex::new(Duration::MAX));
    team.run(&|member| {
        for _ in 0..8 {
            let began = Instant::now();
            (0..TIMES).for_each(|_| barrier.wait(team.members));
            if member == 0
                && let Ok(mut best) = best.lock()
            {
                *best = (*best).min(began.elapsed() / TIMES);
            }
        }
    });
    best.into_inner().unwrap_or(Duration::MAX)
}

/// Runs both, at the same time where a second thread is to be had.
///
/// What they run in turn (the two directions of a `Bidirectional` layer) then uses one thread each.
///
/// ```
/// let (a, b) = ifco_cell::join(|| 1 + 1, || "two");
/// assert_eq!((a, b), (2, "two"));
/// ```
pub fn join<A: Send, B: Send>(
    a: impl FnOnce() -> A + Send,
    b: impl FnOnce() -> B + Send,
) -> (A, B) {
    let team = Team::gather(threads().min(2));
    if team.members < 2 {
        return (a(), b());
    }
    let tasks = (Mutex::new(Some(a)), Mutex::new(Some(b)));
    let results = (Mutex::new(None), Mutex::new(None));
    team.run(&|member| match member {
        0 => finish(&tasks.0, &results.0),
        _ => finish(&tasks.1, &results.1),
    });
    let result = (
        results.0.into_inner().ok().flatten(),
        results.1.into_inner().ok().flatten(),
    );
    match result {
        (Some(a), Some(b)) => (a, b),
        // A panic of the first leaves by unwinding, one of the second by aborting.
        _ => unreachable!("both tasks ran"),
    }
}

/// Runs a task that is there, and leaves its result.
fn finish<T>(task: &Mutex<Option<impl FnOnce() -> T>>, result: &Mutex<Option<T>>) {
    let task = task.lock().ok().and_then(|mut task| task.take());
    let done = task.map(|task| task());
    if let Ok(mut result) = result.lock() {
        *result = done;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_works_once() {
        for _ in 0..100 {
            let team = Team::gather(3);
            let seen: Vec<AtomicUsize> = (0..3).map(|_| AtomicUsize::new(0)).collect();
            team.run(&|member| {
                seen[member].fetch_add(1, Relaxed);
            });
            let seen: Vec<usize> = seen.into_iter().map(AtomicUsize::into_inner).collect();
            assert!(seen.iter().take(team.members).all(|times| *times == 1));
        }
    }

    #[test]
    fn a_barrier_lets_nobody_ahead() {
        let team = Team::gather(3);
        let (barrier, count) = (Barrier::default(), AtomicUsize::new(0));
        team.run(&|_| {
            for round in 1..=200 {
                count.fetch_add(1, Relaxed);
                barrier.wait(team.members);
                assert_eq!(count.load(Relaxed), round * team.members);
                barrier.wait(team.members);
            }
        });
    }

    /// A team of two, as soon as the other tests leave the helpers.
    fn pair() -> Team {
        loop {
            let team = Team::gather(2);
            if team.members == 2 {
                return team;
            }
        }
    }

    #[test]
    fn a_meeting_takes_some_time() {
        let took = meeting(&pair());
        assert!(took > Duration::ZERO && took < Duration::MAX, "{took:?}");
    }

    #[test]
    fn callers_beside_each_other_do_not_wait() {
        let team = pair();
        assert!(thread::scope(|scope| {
            scope
                .spawn(|| Team::gather(2).members == 1)
                .join()
                .unwrap_or(false)
        }));
        drop(team);
    }
}
