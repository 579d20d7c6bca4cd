//! What a pack's key in the chunk store says of it: every node reads off it whose it is, and where on the ring it lies.

use grapevine_storage::index::Day;

use crate::querier::share::Share;

/// What a pack's name says: `<tenant>/<day>/<tokens>/<content hash>.gz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackName<'a> {
    /// Whose it is.
    pub tenant: &'a str,
    /// Of which day.
    pub day: Day,
    /// The top 16 bits of the tokens of its first and its last stream; none where they cannot be read.
    pub ends: Option<(u16, u16)>,
    /// The hash of its bytes.
    pub content_hash: u128,
}

impl<'a> PackName<'a> {
    /// Reads an object key; none if it is not that of a pack.
    pub fn parse(object_key: &'a str) -> Option<Self> {
        let mut parts = object_key.split('/');
        let (tenant, day, tokens, name) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hash = name.strip_suffix(".gz").filter(|hash| hash.len() == 32)?;
        let content_hash = u128::from_str_radix(hash, 16).ok()?;
        let token = |text| u16::from_str_radix(text, 16).ok();
        let ends = tokens.split_once('-').and_then(|(first, last)| token(first).zip(token(last)));
        let is_last = parts.next().is_none();
        is_last.then_some(PackName { tenant, day: day.parse().ok()?, ends, content_hash })
    }

    /// The tokens between its first and its last stream; all where it does not tell.
    pub fn span(&self) -> Share {
        match self.ends {
            Some((first, last)) if first <= last => {
                Share::of_arcs(&[(u64::from(first) << 48, u64::from(last) << 48 | 0xffff_ffff_ffff)])
            }
            _ => Share::all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_storage::index::Day;

    use super::PackName;

    #[test]
    fn only_what_a_node_names_is_a_pack() {
        let hash = format!("{:032x}", 77);
        let key = format!("ten.ant/2026-11-23/0000-ffff/{hash}.gz");
        let day: Day = "2026-11-23".parse().unwrap();
        let name = PackName { tenant: "ten.ant", day, ends: Some((0, 0xffff)), content_hash: 77 };
        assert_eq!(PackName::parse(&key), Some(name));
        let others = [
            format!("t/2026-11-23/{hash}.gz"),
            format!("t/2026-11-31/0-f/{hash}.gz"),
            format!("t/2026-11-23/0-f/{hash}"),
            format!("t/2026-11-23/0-f/1{hash}.gz"),
            format!("t/2026-11-23/0-f/{hash}.gz/x"),
            "t/2026-11-23/0-f/notes.gz".to_owned(),
        ];
        for other in others {
            assert_eq!(PackName::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn a_name_says_between_which_tokens_the_streams_of_a_pack_lie() {
        let span = |tokens: &str| {
            let key = format!("t/2026-11-26/{tokens}/{:032x}.gz", 77);
            PackName::parse(&key).unwrap().span()
        };
        assert_eq!(span("00ff-0a00").arcs(), [(0x00ff << 48, 0x0a00 << 48 | 0xffff_ffff_ffff)]);
        assert!(span("0a00-00ff").is_all() && span("xyz-1").is_all());
    }
}
