//! How long what is known of requests is kept.
//!
//! One that was carried out or taken back matters for as long as somebody may come back who never heard of that. A member
//! that is down is no member any more after a while: the others are done without it. When it is back it may have lines that
//! were deleted, or a request that was taken back. So nothing is forgotten before the tenant's retention has passed the last
//! day that a request is about: then such lines go for their age. Where nothing ever expires the oldest make room for others
//! once there are very many.

use std::collections::BTreeSet;

use grapevine_storage::index::Day;

use super::request::{DeleteRequest, Name, Requests};
use crate::housekeeping::retention::Retention;

/// How long a request is listed after it was carried out, and how long it is kept at least.
pub(super) const LISTED_FOR: i64 = 30 * 86_400 * 1_000_000_000;

/// When there was nothing to do about a request any more; none while there is.
pub(super) fn ended_at(request: &DeleteRequest, members: &BTreeSet<String>) -> Option<i64> {
    if request.is_cancelled() { request.cancelled_at } else { request.done_at(members) }
}

/// Whether a request ended so long ago that nobody asks for it any more.
pub(super) fn is_past(request: &DeleteRequest, members: &BTreeSet<String>, now: i64) -> bool {
    ended_at(request, members).is_some_and(|at| now.saturating_sub(at) > LISTED_FOR)
}

/// Forgets what nobody can bring up any more, and the oldest of what is past where there are more than `most`.
pub(super) fn forget(
    requests: &mut Requests,
    members: &BTreeSet<String>,
    retention: &Retention,
    now: i64,
    most: usize,
) {
    let is_past = |request: &DeleteRequest| is_past(request, members, now);
    requests.retain(|_, request| {
        !(is_past(request) && retention.is_day_expired(&request.tenant, Day::of(request.end), now))
    });
    let excess = requests.len().saturating_sub(most);
    if excess == 0 {
        return;
    }
    let past = requests.values().filter(|request| is_past(request));
    let mut past: Vec<(Option<i64>, Name)> =
        past.map(|request| (ended_at(request, members), request.name())).collect();
    past.sort_unstable();
    past.truncate(excess);
    past.iter().for_each(|(_, name)| drop(requests.remove(name)));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::request::{DeleteRequest, Requests};
    use super::{LISTED_FOR, forget};
    use crate::config::Config;
    use crate::housekeeping::retention::Retention;

    const DAY_NS: i64 = 86_400_000_000_000;

    /// One that was made at the moment 0, and when it was carried out or taken back.
    fn request(id: &str, end: i64, done_at: Option<i64>, cancelled_at: Option<i64>) -> DeleteRequest {
        DeleteRequest {
            id: id.into(),
            tenant: "t".into(),
            query: "{}".into(),
            start: 0,
            end,
            created_at: 0,
            cancelled_at,
            processed: done_at.map(|at| ("m".to_owned(), at)).into_iter().collect::<BTreeMap<_, _>>(),
        }
    }

    fn check(all: &[DeleteRequest], period: &str, now: i64, most: usize, left: &[&str]) {
        let flags = [("limits.retention_period".to_owned(), period.to_owned())];
        let limits = Config::load("", [], flags).unwrap().tenant_limits();
        let mut requests: Requests = all.iter().map(|request| (request.name(), request.clone())).collect();
        let members = ["m".to_owned()].into();
        forget(&mut requests, &members, &Retention::new(&limits).unwrap(), now, most);
        assert_eq!(requests.values().map(|request| request.id.as_str()).collect::<Vec<_>>(), left);
    }

    #[test]
    fn what_ended_is_kept_until_its_lines_have_expired() {
        let all = [
            request("cancelled", DAY_NS, None, Some(5)),
            request("done", DAY_NS, Some(5), None),
            request("due", DAY_NS, None, None),
            request("later", 80 * DAY_NS, Some(5), None),
        ];
        check(&all, "5d", LISTED_FOR, usize::MAX, &["cancelled", "done", "due", "later"]);
        check(&all, "5d", LISTED_FOR + 6, usize::MAX, &["due", "later"]);
        check(&all, "60d", LISTED_FOR + 6, usize::MAX, &["cancelled", "done", "due", "later"]);
        check(&all, "60d", 70 * DAY_NS, usize::MAX, &["due", "later"]);
        check(&all, "0s", 9_000 * DAY_NS, usize::MAX, &["cancelled", "done", "due", "later"]);
    }

    #[test]
    fn the_oldest_of_what_is_past_makes_room_and_nothing_else_does() {
        let all = [
            request("1", DAY_NS, Some(7), None),
            request("2", DAY_NS, None, Some(6)),
            request("3", DAY_NS, None, None),
            request("4", DAY_NS, Some(DAY_NS), None),
        ];
        let now = LISTED_FOR + 8;
        check(&all, "0s", now, 4, &["1", "2", "3", "4"]);
        check(&all, "0s", now, 3, &["1", "3", "4"]);
        check(&all, "0s", now, 1, &["3", "4"]);
    }
}
