//! Which of two connections to one peer stays. Decides, never waits.
//!
//! Two nodes that connect to each other at the same moment end up with two connections, and both must keep the same
//! one without a word: the one begun by whoever has the lesser certificate, which both know of both.

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// Whether this node began it.
    pub(crate) begun_here: bool,
    /// The certificate this node showed.
    pub(crate) ours: &'a [u8],
    /// The certificate the peer showed.
    pub(crate) theirs: &'a [u8],
    /// Whether it is closed already.
    pub(crate) closed: bool,
}

impl Facts<'_> {
    fn begun_by_lesser(&self) -> bool {
        (self.ours < self.theirs) == self.begun_here
    }
}

/// Whether `newer` takes the place of `older`.
pub(crate) fn newer_stays(older: Facts<'_>, newer: Facts<'_>) -> bool {
    // Another certificate is another life of the peer (or of this node); what it replaces is dead or dying.
    let other_life = older.theirs != newer.theirs || older.ours != newer.ours;
    if older.closed || other_life || older.begun_here == newer.begun_here {
        return true;
    }
    newer.begun_by_lesser()
}

#[cfg(test)]
mod tests {
    use super::{Facts, newer_stays};

    fn facts<'a>(begun_here: bool, ours: &'a [u8], theirs: &'a [u8]) -> Facts<'a> {
        Facts { begun_here, ours, theirs, closed: false }
    }

    #[test]
    fn both_sides_keep_the_same_connection_in_whatever_order_they_see_them() {
        // A connection is named by who began it; each node sees both, in either order.
        for (a, b) in [(&b"1"[..], &b"2"[..]), (b"2", b"1")] {
            let mut kept = Vec::new();
            for (ours, theirs, we_are_a) in [(a, b, true), (b, a, false)] {
                for first_here in [true, false] {
                    let newer =
                        newer_stays(facts(first_here, ours, theirs), facts(!first_here, ours, theirs));
                    let begun_here = if newer { !first_here } else { first_here };
                    kept.push(begun_here == we_are_a);
                }
            }
            assert!(kept.iter().all(|begun_by_a| *begun_by_a == kept[0]), "{kept:?}");
        }
    }

    #[test]
    fn a_new_life_a_closed_connection_and_a_second_dial_give_way() {
        let old = facts(true, b"1", b"2");
        assert!(newer_stays(old, facts(false, b"1", b"3")));
        assert!(newer_stays(old, facts(true, b"1", b"2")));
        assert!(newer_stays(Facts { closed: true, ..old }, facts(false, b"1", b"2")));
        assert!(!newer_stays(old, facts(false, b"1", b"2")));
    }
}
