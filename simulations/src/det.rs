//! Chance and time of a simulation's thread: the C library's functions for both, overridden at link level.
//!
//! Everything that draws random bytes or reads a clock ends in one of four symbols of the C library: the
//! standard library's hash seeds in `getrandom`, ring's keys in `syscall`, clocks in `clock_gettime`. An
//! executable that defines them itself is asked first, so that quinn, rustls, rand and tokio run unmodified.
//! The functions here answer from the seed and the simulated clock on threads that asked for it with
//! [`enter`], and pass on everywhere else. **They are linked into simulations and their tests only**; nothing
//! that users run depends on this crate.
//!
//! Not covered, because nothing in the workspace uses them: the processor's own instructions (`rdrand`), and
//! AWS-LC, which seeds a generator of its own.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_long, c_uint, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use libc::{clockid_t, size_t, ssize_t, timespec};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::random::Random;

/// The wall's time when a simulation begins, ns since 1970: 2023-11-14, 22:13:20 UTC, so that many runs see
/// midnight pass.
pub const EPOCH_NANOS: i64 = 1_700_000_000_000_000_000;
/// What the monotonic clock shows then: far enough from 0 that subtracting does not underflow.
const MONOTONIC_START: Duration = Duration::from_secs(1_000_000);
/// The most that `getentropy` may be asked for.
const GETENTROPY_BYTES_MAX: usize = 256;

thread_local! {
    /// The state of the generator; none where the system is to be asked.
    static ENTROPY: Cell<Option<u64>> = const { Cell::new(None) };
    static CLOCK: Cell<Option<Clock>> = const { Cell::new(None) };
}

/// How this thread's clock reads.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The simulated time at `origin`, or now where there is none.
    pub at: Duration,
    /// Inside a node: an instant of its runtime, which goes on by itself.
    pub origin: Option<Instant>,
    /// How far the wall's clock is off.
    pub skew_nanos: i64,
}

impl Clock {
    fn elapsed(self) -> Duration {
        match self.origin {
            // Outside a runtime, `Instant::now` would ask the clock that asks here.
            Some(origin) if Handle::try_current().is_ok() => self.at + (Instant::now() - origin),
            _ => self.at,
        }
    }
}

/// Takes this thread's chance and time from a seed, until the guard is dropped. Tokio and hash maps keep seeds
/// in thread-local state: use a fresh thread for each simulation.
pub fn enter(seed: u64) -> Entered {
    ENTROPY.set(Some(Random::of_part(seed, "entropy").next()));
    set_clock(Duration::ZERO, None, 0);
    Entered(())
}

/// This thread is deterministic for as long as this lives.
#[derive(Debug)]
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        ENTROPY.set(None);
        CLOCK.set(None);
    }
}

/// Sets what this thread's clock reads.
pub fn set_clock(at: Duration, origin: Option<Instant>, skew_nanos: i64) {
    CLOCK.set(Some(Clock { at, origin, skew_nanos }));
}

/// The simulated time; zero on a thread without one.
pub fn elapsed() -> Duration {
    CLOCK.get().map_or(Duration::ZERO, Clock::elapsed)
}

/// Whether the functions of this module are the ones that libraries call: the linker could have chosen the C
/// library's, and then seeds would silently mean nothing.
pub fn is_linked() -> bool {
    let _entered = enter(0);
    let mut expected = [0; 16];
    Random::new(Random::of_part(0, "entropy").next()).fill(&mut expected);
    let mut drawn = [0u8; 16];
    // SAFETY: the buffer is as long as said.
    let got = unsafe { libc::getrandom(drawn.as_mut_ptr().cast(), drawn.len(), 0) };
    got == 16 && drawn == expected && expected != [0; 16]
}

/// Fills a buffer from the seed; false where this thread has none.
///
/// # Safety
/// `buffer` must be writable for `length` bytes.
unsafe fn fill(buffer: *mut c_void, length: size_t) -> bool {
    let Ok(Some(state)) = ENTROPY.try_with(Cell::get) else { return false };
    if length == 0 {
        return true; // Libraries probe so, once in a process: it must not move the generator.
    }
    // SAFETY: the caller vouches for buffer and length.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    let mut random = Random::new(state);
    random.fill(buffer);
    ENTROPY.set(Some(random.next()));
    true
}

/// Asks the kernel for random bytes.
///
/// # Safety
/// As for [`fill`].
unsafe fn system_random(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    let arguments = [buffer as usize, length, flags as usize, 0, 0, 0];
    // SAFETY: these are the arguments of this call, and the caller vouches for the buffer.
    unsafe { system_call(libc::SYS_getrandom, arguments) as ssize_t }
}

/// `getrandom(2)`.
///
/// # Safety
/// `buffer` must be writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    // SAFETY: the caller's promise is passed on.
    unsafe { if fill(buffer, length) { length as ssize_t } else { system_random(buffer, length, flags) } }
}

/// `getentropy(3)`.
///
/// # Safety
/// `buffer` must be writable for `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: size_t) -> c_int {
    // SAFETY: the caller's promise is passed on.
    let filled =
        length <= GETENTROPY_BYTES_MAX && unsafe { getrandom(buffer, length, 0) } == length as ssize_t;
    if filled { 0 } else { -1 }
}

/// `syscall(2)`: ring asks for random bytes this way.
///
/// The C library's is variadic. Both ABIs supported pass its integers just as those of a function with seven.
///
/// # Safety
/// As for the system call of that number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    // SAFETY: for `getrandom`, `a` and `b` are a buffer and its length; else all is passed on as it came.
    unsafe {
        if number == libc::SYS_getrandom && fill(a as *mut c_void, b) {
            return b as c_long;
        }
        system_call(number, [a, b, c, d, e, f])
    }
}

type SystemCall = unsafe extern "C" fn(c_long, usize, usize, usize, usize, usize, usize) -> c_long;

/// The C library's own `syscall`, which sets `errno`.
///
/// # Safety
/// As for the system call of that number.
unsafe fn system_call(number: c_long, [a, b, c, d, e, f]: [usize; 6]) -> c_long {
    static FOUND: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let mut found = FOUND.load(Ordering::Relaxed);
    if found.is_null() {
        const NAME: &std::ffi::CStr = c"syscall";
        // SAFETY: the name is a C string.
        found = unsafe { libc::dlsym(libc::RTLD_NEXT, NAME.as_ptr().cast::<c_char>()) };
        assert!(!found.is_null(), "the C library has a `syscall`");
        FOUND.store(found, Ordering::Relaxed);
    }
    // SAFETY: the symbol is the C library's function of this signature (see above on its being variadic).
    unsafe {
        let real = std::mem::transmute::<*mut c_void, SystemCall>(found);
        real(number, a, b, c, d, e, f)
    }
}

/// `clock_gettime(2)`.
///
/// # Safety
/// `time` must be writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    let Some(shown) = simulated(clock) else {
        // SAFETY: these are the arguments of this call, and the caller vouches for the pointer.
        return unsafe {
            system_call(libc::SYS_clock_gettime, [clock as usize, time as usize, 0, 0, 0, 0]) as c_int
        };
    };
    let parts = timespec { tv_sec: shown.as_secs() as i64, tv_nsec: i64::from(shown.subsec_nanos()) };
    // SAFETY: the caller vouches for the pointer.
    unsafe { time.write(parts) };
    0
}

/// What a clock shows; none where the system's is to be asked.
fn simulated(clock: clockid_t) -> Option<Duration> {
    // Taken out while it is read: should tokio ask for the time meanwhile, it gets the system's, not a loop.
    let reading = CLOCK.try_with(Cell::take).ok()??;
    let elapsed = reading.elapsed();
    CLOCK.set(Some(reading));
    match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => {
            let nanos = wall_nanos(elapsed, reading.skew_nanos);
            Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)))
        }
        libc::CLOCK_MONOTONIC
        | libc::CLOCK_MONOTONIC_RAW
        | libc::CLOCK_MONOTONIC_COARSE
        | libc::CLOCK_BOOTTIME => Some(MONOTONIC_START + elapsed),
        _ => None,
    }
}

/// The wall's time at a simulated time.
pub fn wall_nanos(elapsed: Duration, skew_nanos: i64) -> i64 {
    EPOCH_NANOS.saturating_add(elapsed.as_nanos() as i64).saturating_add(skew_nanos)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, RandomState};
    use std::time::Duration;

    use super::{EPOCH_NANOS, enter, is_linked, set_clock};

    fn on_a_fresh_thread<T: Send>(seed: u64, work: impl FnOnce() -> T + Send) -> T {
        let work = || {
            let _entered = enter(seed);
            work()
        };
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn overrides_are_the_functions_that_libraries_call() {
        assert!(is_linked());
    }

    #[test]
    fn every_known_source_of_chance_follows_the_seed() {
        fn draw() -> (u64, u64, [u8; 32]) {
            let mut key = [0; 32];
            let ring = rustls::crypto::ring::default_provider();
            ring.secure_random.fill(&mut key).unwrap();
            (RandomState::new().hash_one(1), rand::random(), key)
        }
        let (one, same, other) =
            (on_a_fresh_thread(1, draw), on_a_fresh_thread(1, draw), on_a_fresh_thread(2, draw));
        assert_eq!(one, same);
        assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
        assert_ne!(rand::random::<u64>(), rand::random::<u64>(), "other threads ask the system");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "whoever reads these must get simulated time")]
    fn clocks_show_simulated_time_and_skew_only_moves_the_wall() {
        use std::time::{Instant, SystemTime};
        on_a_fresh_thread(1, || {
            let began = Instant::now();
            set_clock(Duration::from_secs(90), None, -1_000_000_000);
            assert_eq!(began.elapsed(), Duration::from_secs(90));
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(wall.as_nanos() as i64, EPOCH_NANOS + 89_000_000_000);
        });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "whoever reads this must get simulated time")]
    fn inside_a_paused_runtime_time_goes_on_by_sleeping() {
        on_a_fresh_thread(1, || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                set_clock(Duration::from_secs(5), Some(tokio::time::Instant::now()), 0);
                let began = std::time::Instant::now();
                tokio::time::sleep(Duration::from_secs(3600)).await;
                assert_eq!(began.elapsed(), Duration::from_secs(3600));
                assert_eq!(super::elapsed(), Duration::from_secs(3605));
            });
        });
    }

    #[test]
    fn hash_sets_of_one_seed_are_walked_in_one_order() {
        let walk = || HashSet::<u32>::from_iter(0..100).into_iter().collect::<Vec<_>>();
        assert_eq!(on_a_fresh_thread(3, walk), on_a_fresh_thread(3, walk));
        assert_ne!(on_a_fresh_thread(3, walk), on_a_fresh_thread(4, walk));
    }
}
