//! Bugs planted on purpose: each breaks one rule that the cluster lives by, and the simulation must find it.
//!
//! Compiled in with the feature `planted-bugs` alone, which only the simulator turns on; in what users run, `is` is
//! `false` and the compiler drops what hangs on it. No configuration, flag or variable leads here.

/// A rule that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Bug {
    /// Pushes of a cluster are answered before the log is synced, and it is not.
    AnswersUnsynced = 1,
    /// A push is answered before any owner holds it.
    AnswersUnheld,
    /// What an owner is found to lack is taken to be there, and not sent.
    ForgetsRepairs,
    /// Who learns what it owns leaves out the packs of the latest day.
    ForgetsADay,
    /// Who joins or comes back takes itself to have learnt everything.
    ReadsUnlearnt,
    /// Heads let go of what another's pack covers although the index does not know that pack.
    LetsGoUnindexed,
    /// Nobody is asked, before a query reads, what its readers may lack.
    DoubtsNothing,
    /// An answer does not name members that could not be asked.
    KeepsSilent,
    /// A range is read by two of its owners, and both count.
    ReadsTwice,
}

impl Bug {
    /// All there are.
    pub const ALL: [Bug; 9] = [
        Bug::AnswersUnsynced,
        Bug::AnswersUnheld,
        Bug::ForgetsRepairs,
        Bug::ForgetsADay,
        Bug::ReadsUnlearnt,
        Bug::LetsGoUnindexed,
        Bug::DoubtsNothing,
        Bug::KeepsSilent,
        Bug::ReadsTwice,
    ];
}

const _: () = assert!(Bug::ReadsTwice as usize == Bug::ALL.len(), "the last bug is the last of all");

#[cfg(feature = "planted-bugs")]
static PLANTED: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Plants a bug in all nodes of this process.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as u8, std::sync::atomic::Ordering::Relaxed);
}

/// Whether a bug is planted.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Whether a bug is planted: none ever is.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
