//! Calls that ask the kernel for the time are skewed by data that stand in this process.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    thread,
};

use nix::libc;

use super::{
    Act,
    stub_tests::{FIRST, NEVER, Patched, SURE, rule},
};
use crate::vdso::{Clock, DATA, SLOT, SLOTS_AT, Segment, Slot, Timescale};

const S: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * S;
/// How far two readings may be apart of each other.
const NEAR: i64 = 200_000_000;

/// The data of a hook, as they stand in a vDSO.
struct Data(Box<[AtomicU8; DATA]>);

impl Data {
    fn new(slot: &Slot) -> Self {
        let data = Self(Box::new(std::array::from_fn(|_| AtomicU8::new(0))));
        data.write(SLOTS_AT, &slot.bytes());
        data
    }

    fn write(&self, at: usize, bytes: &[u8]) {
        for (place, byte) in self.0[at..].iter().zip(bytes) {
            place.store(*byte, Ordering::SeqCst);
        }
    }

    /// Has the other slot be in force.
    fn turn(&self, generation: u8, slot: &Slot) {
        self.write(SLOTS_AT + SLOT * usize::from(generation & 1), &slot.bytes());
        self.write(0, &[generation]);
    }

    /// A program of which some calls are skewed by this.
    fn patched(&self, number: Option<libc::c_long>, deadline: u64) -> Patched {
        let act = Act::Skew(self.0.as_ptr().addr() as u64);
        let calls = [
            libc::SYS_clock_gettime,
            libc::SYS_gettimeofday,
            libc::SYS_time,
        ];
        let calls = calls
            .into_iter()
            .filter(|call| number.is_none_or(|one| one == *call));
        let rules: Vec<_> = calls.map(|call| rule(call, SURE, act)).collect();
        Patched::with(number, &rules, deadline)
    }
}

/// All clocks of some timescales by some time, from now on until a while has passed.
fn slot(skews: &[(Timescale, i64, f64)], lasts: i64) -> Slot {
    let clocks: Vec<Clock> = Clock::all().collect();
    let mut slot = Slot::default();
    for (timescale, shift, rate) in skews {
        let now = timescale.now_ns();
        let segment = Segment::new(now, *shift, *rate, now.saturating_add(lasts));
        slot.set(*timescale, &clocks, [segment, segment]);
    }
    slot
}

/// What a call says of a clock, in nanoseconds.
fn told(patched: &Patched, clock: libc::clockid_t) -> i64 {
    let mut told = [-1_i64; 2];
    let place = told.as_mut_ptr().addr() as u64;
    let id = u64::from(clock.cast_unsigned());
    let number = libc::SYS_clock_gettime;
    let after = patched.call_number([id, place, 3], number);
    assert_eq!(after.result, 0);
    assert_eq!(after.kept[FIRST..FIRST + 3], [id, place, 3]);
    assert!((0..S).contains(&told[1]), "{told:?}");
    told[0] * S + told[1]
}

fn truth(clock: libc::clockid_t) -> i64 {
    let time = nix::time::clock_gettime(clock.into()).expect("there is such a clock");
    time.tv_sec() * S + time.tv_nsec()
}

/// How far a clock is from the true one.
fn skew(patched: &Patched, clock: libc::clockid_t) -> i64 {
    let before = truth(clock);
    told(patched, clock) - before
}

fn is_about(skew: i64, wanted: i64) {
    assert!((skew - wanted).abs() < NEAR, "{skew} ns, not {wanted}");
}

#[test]
fn a_clock_that_is_asked_of_the_kernel_is_skewed_as_the_hook_skews_it() {
    let data = Data::new(&slot(
        &[
            (Timescale::Realtime, -HOUR, 0.0),
            (Timescale::Monotonic, 7 * S, 0.0),
        ],
        HOUR,
    ));
    for number in [Some(libc::SYS_clock_gettime), None] {
        let patched = data.patched(number, NEVER);
        for (clock, wanted) in [
            (libc::CLOCK_REALTIME, -HOUR),
            (libc::CLOCK_REALTIME_COARSE, -HOUR),
            (libc::CLOCK_MONOTONIC, 7 * S),
            (libc::CLOCK_MONOTONIC_COARSE, 7 * S),
            (libc::CLOCK_BOOTTIME, 0),
            (libc::CLOCK_TAI, 0),
            (libc::CLOCK_PROCESS_CPUTIME_ID, 0),
            (libc::CLOCK_THREAD_CPUTIME_ID, 0),
        ] {
            is_about(skew(&patched, clock), wanted);
        }
        assert_eq!(patched.hits(1), [4], "only what is skewed is counted");
    }
}

#[test]
fn whatever_the_data_say_is_followed_and_what_is_over_is_over() {
    let data = Data::new(&slot(&[(Timescale::Realtime, HOUR, 0.0)], HOUR));
    let patched = data.patched(None, NEVER);
    let realtime = || skew(&patched, libc::CLOCK_REALTIME);
    is_about(realtime(), HOUR);
    data.turn(1, &slot(&[(Timescale::Realtime, -2 * HOUR, 0.0)], HOUR));
    is_about(realtime(), -2 * HOUR);
    data.turn(2, &slot(&[(Timescale::Realtime, i64::MIN / 2, 0.0)], HOUR));
    assert!(
        told(&patched, libc::CLOCK_REALTIME) < S,
        "nothing before 1970"
    );
    data.turn(3, &slot(&[(Timescale::Realtime, 0, -1.0)], HOUR));
    let (first, second) = (
        told(&patched, libc::CLOCK_REALTIME),
        told(&patched, libc::CLOCK_REALTIME),
    );
    assert!((second - first).abs() <= 1, "it stands still");
    data.turn(4, &slot(&[(Timescale::Realtime, HOUR, 0.0)], 0));
    is_about(realtime(), 0);
    is_about(skew(&patched, libc::CLOCK_REALTIME_COARSE), 0);
    data.turn(5, &Slot::default());
    is_about(realtime(), 0);
}

#[test]
fn a_coarse_clock_ends_with_the_fine_one() {
    // The coarse clock is behind: it would show the skew for a tick more.
    for _ in 0..50 {
        let data = Data::new(&slot(&[(Timescale::Realtime, HOUR, 0.0)], 300_000));
        let patched = data.patched(None, NEVER);
        loop {
            let fine = skew(&patched, libc::CLOCK_REALTIME) > S;
            let coarse = skew(&patched, libc::CLOCK_REALTIME_COARSE) > S;
            assert!(fine || !coarse, "the coarse one is skewed longer");
            if !fine {
                break;
            }
        }
    }
}

#[test]
fn behind_the_lease_the_true_time_is_told() {
    let data = Data::new(&slot(&[(Timescale::Realtime, HOUR, 0.0)], HOUR));
    let patched = data.patched(None, 1);
    is_about(skew(&patched, libc::CLOCK_REALTIME), 0);
    let before = truth(libc::CLOCK_REALTIME_COARSE) / S;
    let seconds = patched.call_number([0; 3], libc::SYS_time).result;
    assert!((before..before + 5).contains(&seconds));
    assert_eq!(patched.hits(3), [0, 0, 0]);
}

#[test]
fn the_time_of_day_is_skewed_in_every_form() {
    // Half a second more: seconds are those of the skewed clock, not skewed seconds.
    let data = Data::new(&slot(&[(Timescale::Realtime, HOUR + S / 2, 0.0)], HOUR));
    for number in [None, Some(libc::SYS_gettimeofday)] {
        let patched = data.patched(number, NEVER);
        let (mut day, mut zone) = ([-1_i64; 2], [-1_i32; 2]);
        let places = [day.as_mut_ptr().addr(), zone.as_mut_ptr().addr()].map(|at| at as u64);
        let before = truth(libc::CLOCK_REALTIME);
        let call = |day, zone| patched.call_number([day, zone, 3], libc::SYS_gettimeofday);
        assert_eq!(call(places[0], places[1]).result, 0);
        assert!((0..1_000_000).contains(&day[1]), "{day:?}");
        is_about(day[0] * S + day[1] * 1000 - before, HOUR + S / 2);
        assert_ne!(zone, [-1; 2]);
        assert_eq!(call(0, places[1]).result, 0);
        assert_eq!(call(0, 0).result, 0);
        assert_eq!(patched.hits(2)[usize::from(number.is_none())], 1);
    }
    for number in [None, Some(libc::SYS_time)] {
        let patched = data.patched(number, NEVER);
        let mut kept = -1_i64;
        let place = (&raw mut kept).addr() as u64;
        for to in [0, place] {
            let skewed = || truth(libc::CLOCK_REALTIME_COARSE) + HOUR + S / 2;
            let before = skewed() / S;
            let seconds = patched.call_number([to, 2, 3], libc::SYS_time).result;
            assert!((before..=skewed() / S).contains(&seconds), "{seconds}");
            assert!(to == 0 || kept == seconds);
        }
    }
}

#[test]
fn a_call_that_fails_fails_as_it_would() {
    let data = Data::new(&slot(&[(Timescale::Realtime, HOUR, 0.0)], HOUR));
    let patched = data.patched(None, NEVER);
    let mut kept = [-1_i64; 2];
    let place = kept.as_mut_ptr().addr() as u64;
    for (call, arguments, errno) in [
        (libc::SYS_clock_gettime, [0, 8, 3], libc::EFAULT),
        (libc::SYS_clock_gettime, [0, 0, 3], libc::EFAULT),
        (libc::SYS_clock_gettime, [99, place, 3], libc::EINVAL),
        (libc::SYS_clock_gettime, [12, place, 3], libc::EINVAL),
        (libc::SYS_gettimeofday, [8, 0, 3], libc::EFAULT),
        (libc::SYS_gettimeofday, [place, 8, 3], libc::EFAULT),
        (libc::SYS_time, [8, 0, 3], libc::EFAULT),
    ] {
        let result = patched.call_number(arguments, call).result;
        assert_eq!(result, -i64::from(errno), "{call} of {arguments:?}");
    }
    // The kernel has written the time before it found that the zone could not be.
    assert!(kept[0] < truth(libc::CLOCK_REALTIME) / S + HOUR / S / 2);
    assert_eq!(patched.hits(3), [0, 0, 0]);
}

#[test]
fn nothing_is_skewed_twice_where_threads_share_the_place() {
    let data = Data::new(&slot(&[(Timescale::Realtime, HOUR, 0.0)], HOUR));
    let patched = data.patched(None, NEVER);
    let (call, mut shared) = (patched.entry(), [0_i64; 2]);
    let place = shared.as_mut_ptr().addr() as u64;
    let most = truth(libc::CLOCK_REALTIME) / S + HOUR / S + 600;
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..20_000 {
                    let after = call.call_number([0, place, 3], libc::SYS_clock_gettime);
                    assert_eq!(after.result, 0);
                    // SAFETY: it is aligned, and the kernel and stubs write whole words there.
                    let seconds = unsafe { (place as *const i64).read_volatile() };
                    assert!(seconds < most, "{seconds}");
                }
            });
        }
    });
    assert_eq!(patched.hits(1), [80_000]);
}
