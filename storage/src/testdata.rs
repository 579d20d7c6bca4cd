//! Log lines shaped like those of sixteen real systems, from a seed: for tests and benchmarks that must not depend on
//! a corpus being present. Shapes follow what such systems print; names, numbers and words are made up.

use crate::entry::EntryRef;
use crate::pack::{Append, BlockText};

/// How many kinds of streams there are.
pub const KINDS: usize = 16;

/// splitmix64 (Steele, Lea and Flood, 2014): small, seeded and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// A stream of made-up log lines.
#[derive(Clone, Debug)]
pub struct LogLines {
    kind: usize,
    random: Random,
    timestamp: i64,
}

const START: i64 = 1_700_000_000_000_000_000;
const WORDS: [&str; 16] = [
    "connection",
    "session",
    "cache",
    "request",
    "worker",
    "replica",
    "timeout",
    "packet",
    "checkpoint",
    "volume",
    "listener",
    "queue",
    "certificate",
    "scheduler",
    "buffer",
    "handshake",
];
const USERS: [&str; 8] = ["root", "admin", "amara", "jonas", "postgres", "deploy", "guest", "backup"];
const LEVELS: [&str; 8] = ["INFO", "INFO", "INFO", "INFO", "DEBUG", "WARN", "ERROR", "INFO"];

impl LogLines {
    /// The stream of one of the [`KINDS`] kinds (taken modulo that) and a seed.
    pub fn new(kind: usize, seed: u64) -> Self {
        let random = Random(seed ^ (kind as u64) << 32);
        LogLines { kind: kind % KINDS, random, timestamp: START }
    }

    fn random(&mut self) -> u64 {
        self.random.draw()
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }

    fn address(&mut self) -> String {
        format!("10.{}.{}.{}", self.below(4), self.below(32), self.below(256))
    }

    fn clock(&self) -> String {
        let second = self.timestamp / 1_000_000_000 % 86_400;
        format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }

    /// The next timestamp (milliseconds for even kinds, nanoseconds for odd ones) and line.
    pub fn next_entry(&mut self) -> (i64, String) {
        let gap = self.below(40_000_000) as i64;
        self.timestamp += if self.kind.is_multiple_of(2) { gap / 1_000_000 * 1_000_000 } else { gap };
        (self.timestamp, self.line())
    }

    fn line(&mut self) -> String {
        let (a, b) = (self.pick(&WORDS), self.pick(&WORDS));
        let (n, m, id) = (self.below(100_000), self.below(1_000), self.random());
        let (user, level, clock, host) =
            (self.pick(&USERS), self.pick(&LEVELS), self.clock(), self.address());
        let low = id as u32;
        match self.kind {
            0 => format!(
                "03-17 {clock}.{m:03}  1702  {n:5} D WindowManager: {a} token={low:x}, visible={}",
                m % 2 == 0
            ),
            1 => format!(
                "[Sun Dec 04 {clock} 2005] [{}] mod_jk child {a} {n} in state {m}",
                level.to_lowercase()
            ),
            2 => format!(
                "- {n} 2005.06.03 R{m:02}-M1-N0-C:J12-U11 {clock} RAS KERNEL {level} {a} parity error corrected"
            ),
            3 => format!(
                "081109 {clock} {m} {level} dfs.DataNode$PacketResponder: {a} {} for block blk_{id} terminating",
                m % 3
            ),
            4 => format!(
                "{n} node-{m} unix.hw state_change.unavailable {a} 1 Component State Change: {b} {low}"
            ),
            5 => format!(
                "2015-10-18 {clock},{m:03} {level} [AsyncDispatcher] org.apache.hadoop.mapreduce.{a}: attempt_{n}_{m:04}_m_{:06} {b}",
                id % 1_000_000
            ),
            6 => format!("20171223-{clock}:{m:03}|Step_LSC|{n}|on{a} 1514038530000##{n}##{m}##8661##12{m}"),
            7 => format!(
                "Jun 14 {clock} combo sshd(pam_unix)[{n}]: {a} failure; logname= uid=0 euid=0 rhost={host} user={user}"
            ),
            8 => format!(
                "Jul  1 {clock} calvisitor-{} kernel[0]: ARPT: {n}.{m:06}: {a}::handle{b}(): 0x{low:08x}",
                host.replace('.', "-")
            ),
            9 => format!(
                "Dec 10 {clock} LabSZ sshd[{n}]: Failed password for invalid user {user} from {host} port {} ssh2",
                id % 65_536
            ),
            10 => format!(
                "nova-api.log 2017-05-16 {clock}.{m:03} {n} {level} nova.osapi_compute.wsgi [req-{low:08x}-{m:04x}-4cb5] {host} \"GET /v2/servers/{id:016x} HTTP/1.1\" status: {} len: {n} time: 0.{m:03}",
                [200, 200, 404, 500][m as usize % 4]
            ),
            11 => format!(
                "[10.30 {clock}] chrome.exe - proxy.{a}.example:{} close, {n} bytes sent, {m} bytes received, lifetime 00:{:02}",
                5_000 + m % 80,
                m % 60
            ),
            12 => format!(
                "17/06/09 {clock} {level} storage.BlockManager: Found {a} rdd_{m}_{} locally, {b} {n} ms",
                m % 40
            ),
            13 => format!(
                "- {n} 2005.11.09 dn{m} Nov 9 {clock} dn{m}/dn{m} crond(pam_unix)[{n}]: session {a} for user {user} by (uid=0)"
            ),
            14 => format!(
                "2016-09-28 {clock}, {level}                  CBS    {a} package {low:08x}-{:04x} {b} [HRESULT = 0x800f{m:04x}]",
                n % 65_536
            ),
            _ => format!(
                "2015-07-29 {clock},{m:03} - {level}  [QuorumPeer[myid=1]/{host}:2181:{a}@{n}] - {b} request timed out"
            ),
        }
    }

    /// Fills a block until it is full.
    pub fn fill(&mut self, block: &mut BlockText) {
        loop {
            let (timestamp, line) = self.next_entry();
            if block.append(&EntryRef { timestamp, line: line.as_bytes(), metadata: &[] }) != Append::Taken {
                return;
            }
        }
    }

    /// A full block.
    pub fn block(&mut self) -> BlockText {
        let mut block = BlockText::new();
        self.fill(&mut block);
        block
    }
}

#[cfg(test)]
mod tests {
    use super::{KINDS, LogLines};

    #[test]
    fn a_seed_gives_the_same_lines_and_another_seed_others() {
        for kind in 0..KINDS {
            let lines = |seed| {
                let mut stream = LogLines::new(kind, seed);
                (0..100).map(|_| stream.next_entry()).collect::<Vec<_>>()
            };
            assert_eq!(lines(1), lines(1));
            assert_ne!(lines(1), lines(2));
            assert!(lines(1).is_sorted_by_key(|(timestamp, _)| *timestamp));
            assert!(lines(1).iter().all(|(_, line)| (30..400).contains(&line.len())));
        }
    }
}
