//! Keeps chitchat from an answer that it has no room for.
//!
//! Who is asked answers with its own digest and with news, in one message of 64 KiB; where the digest leaves less than a
//! hundred bytes for the news, chitchat panics. A digest names every member and, for half of
//! [`Tuning::grace`](super::Tuning::grace), whoever died: some 1,300 lives fit. From a little below that on, questions are
//! dropped instead. Members lose sight of each other then, until enough of the dead are forgotten.

use chitchat::ChitchatMessage;

/// Lengths of a digest that leave room for news, and for lives heard of since the length was taken: some 80.
const DIGEST_BYTES_MAX: usize = 60 << 10;

/// How long this member's own digest is.
#[derive(Debug, Default)]
pub struct Room {
    own: usize,
}

impl Room {
    /// A message of so many bytes goes out. Every round begins with questions, which hold this member's digest.
    pub fn on_sent(&mut self, message: &ChitchatMessage, bytes: usize) {
        if is_question(message) {
            self.own = bytes;
        }
    }

    /// Whether chitchat may be given a message of so many bytes.
    pub fn admits(&self, message: &ChitchatMessage, bytes: usize) -> bool {
        !is_question(message) || self.own.max(bytes) <= DIGEST_BYTES_MAX
    }
}

fn is_question(message: &ChitchatMessage) -> bool {
    matches!(message, ChitchatMessage::Syn { .. })
}

#[cfg(test)]
mod tests {
    use chitchat::{ChitchatMessage, Deserializable};

    use super::{DIGEST_BYTES_MAX, Room};

    #[test]
    fn questions_are_dropped_while_either_digest_leaves_no_room() {
        // Its magic number, version, kind, the cluster's name and no digests.
        let question = [0x53, 0xb0, 0, 0, 0, 0, 0, 0];
        let question = ChitchatMessage::deserialize(&mut &question[..]).unwrap();
        let admits = |own: usize, theirs: usize| {
            let mut room = Room::default();
            room.on_sent(&question, own);
            room.on_sent(&ChitchatMessage::BadCluster, usize::MAX);
            assert!(room.admits(&ChitchatMessage::BadCluster, theirs), "only questions are answered");
            room.admits(&question, theirs)
        };
        assert!(admits(DIGEST_BYTES_MAX, DIGEST_BYTES_MAX));
        assert!(!admits(DIGEST_BYTES_MAX + 1, 100));
        assert!(!admits(100, DIGEST_BYTES_MAX + 1));
    }
}
