//! The one list of what peers may ask each other, and who answers which.
//!
//! A number means one thing for ever. Each part of the node hands in a handler for its methods before gossip starts;
//! a call that comes earlier is told to try again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use grapevine_gossip::rpc::{Handler, Method, Refusal, RefusalCode, Reply, Request, Served};

const fn first(id: u16) -> Method {
    Method { id, version: 1 }
}

/// Take this part of a push.
pub const REPLICATE: Method = first(1);
/// Who holds what of the pushes that entered here; and which of these do you hold?
pub const COMPARE: Method = first(2);
/// Take these pushes from their holders before you answer a query.
pub const CATCH_UP: Method = first(3);
/// I have packed these streams.
pub const ANNOUNCE: Method = first(4);
/// Give me this pack.
pub const PACK: Method = first(5);
/// Which pushes do you hold that may not be complete?
pub const UNCONFIRMED: Method = first(6);
/// Which packs do you know?
pub const PACK_SETS: Method = first(7);
/// Find these lines.
pub const READ_LINES: Method = first(10);
/// Reckon this part of a metric query.
pub const READ_LEAF: Method = first(11);
/// Labels, series, stats, volume, patterns, fields.
pub const CATALOGUE: Method = first(12);
/// Tell me of new lines.
pub const TAIL: Method = first(13);
/// How are you?
pub const STATUS: Method = first(20);
/// Pack and ship all that is yours to pack.
pub const FLUSH: Method = first(21);
/// Take note of these delete requests; and what else do you know?
pub const DELETES: Method = first(22);
/// By which ring have you learnt everything, and from me?
pub const LEARNT: Method = first(23);
/// Take note of these rule groups; and what else do you know?
pub const RULES: Method = first(24);
/// Bring all owners what you hold and they lack.
pub const SETTLE: Method = first(25);

/// All methods.
pub const ALL: [Method; 17] = [
    REPLICATE,
    COMPARE,
    CATCH_UP,
    ANNOUNCE,
    PACK,
    UNCONFIRMED,
    PACK_SETS,
    READ_LINES,
    READ_LEAF,
    CATALOGUE,
    TAIL,
    STATUS,
    FLUSH,
    DELETES,
    LEARNT,
    RULES,
    SETTLE,
];

/// Leads calls to those who answer them.
#[derive(Default)]
pub struct Dispatch {
    handlers: RwLock<BTreeMap<u16, Arc<dyn Handler>>>,
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(handlers.keys()).finish()
    }
}

impl Dispatch {
    /// From now on `handler` answers these methods, each of which must be one of [`ALL`] and be nobody's yet.
    pub fn register(&self, methods: &[Method], handler: Arc<dyn Handler>) {
        let mut handlers = self.handlers.write().unwrap_or_else(PoisonError::into_inner);
        for method in methods {
            assert!(ALL.contains(method), "`{method}` is not in the list of methods");
            let former = handlers.insert(method.id, Arc::clone(&handler));
            assert!(former.is_none(), "`{method}` has two handlers");
        }
    }

    /// From now on nobody answers: handlers, and what they hold, are let go of.
    pub fn clear(&self) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn handler(&self, method: Method) -> Result<Arc<dyn Handler>, Refusal> {
        let refusal = |code, text| Err(Refusal::new(code, text));
        let Some(known) = ALL.into_iter().find(|known| known.id == method.id) else {
            return refusal(RefusalCode::UnknownMethod, format!("nobody answers method `{method}`"));
        };
        if method.version == 0 || method.version > known.version {
            return refusal(RefusalCode::UnknownVersion, format!("`{known}` is known, `{method}` is not"));
        }
        let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
        match handlers.get(&method.id) {
            Some(handler) => Ok(Arc::clone(handler)),
            None => {
                refusal(RefusalCode::Unavailable, format!("the node does not answer method `{method}` now"))
            }
        }
    }
}

impl Handler for Dispatch {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move { self.handler(request.method)?.serve(request, reply).await })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use grapevine_gossip::rpc::{Method, NoMethods, RefusalCode};

    use super::{ALL, COMPARE, Dispatch, STATUS};

    #[test]
    fn no_number_means_two_things() {
        assert_eq!(ALL.iter().map(|method| method.id).collect::<BTreeSet<_>>().len(), ALL.len());
    }

    #[test]
    fn calls_reach_who_answers_them_or_are_refused_with_the_reason() {
        let dispatch = Dispatch::default();
        let check = |id, version, expected: Result<(), RefusalCode>| {
            let found = dispatch.handler(Method { id, version });
            assert_eq!(found.map(|_| ()).map_err(|refusal| refusal.code), expected, "{id}.{version}");
        };
        check(STATUS.id, 1, Err(RefusalCode::Unavailable));
        dispatch.register(&[STATUS], Arc::new(NoMethods));
        check(STATUS.id, 1, Ok(()));
        check(STATUS.id, 0, Err(RefusalCode::UnknownVersion));
        check(STATUS.id, 2, Err(RefusalCode::UnknownVersion));
        check(COMPARE.id, 1, Err(RefusalCode::Unavailable));
        check(999, 1, Err(RefusalCode::UnknownMethod));
        dispatch.clear();
        check(STATUS.id, 1, Err(RefusalCode::Unavailable));
    }

    #[test]
    #[should_panic(expected = "has two handlers")]
    fn one_method_has_one_handler() {
        let dispatch = Dispatch::default();
        dispatch.register(&[STATUS], Arc::new(NoMethods));
        dispatch.register(&[COMPARE, STATUS], Arc::new(NoMethods));
    }
}
