//! Whose request it is: `X-Scope-OrgID`, with Loki's rules for the names of tenants and its words where one is
//! refused.

use crate::config::server::Tenancy;
use crate::push::error::{ErrorCode, PushError};

/// The one tenant of a node that does not tell tenants apart, as in Loki without `auth_enabled`.
pub const SINGLE_TENANT: &str = "fake";

/// Bytes of a tenant's name.
pub const TENANT_BYTES_MAX: usize = 150;

/// The tenants that a request names, in order, each once. Several only make sense for queries.
///
/// # Errors
/// None is named, or a name is not one that a tenant may have.
pub fn tenants(tenancy: Tenancy, header: Option<&str>) -> Result<Vec<String>, PushError> {
    if tenancy == Tenancy::Single {
        return Ok(vec![SINGLE_TENANT.to_owned()]);
    }
    let Some(header) = header.filter(|header| !header.is_empty()) else {
        return Err(PushError::new(ErrorCode::Unauthenticated, "no org id"));
    };
    let mut names: Vec<String> = header.split('|').map(str::to_owned).collect();
    names.iter().try_for_each(|name| check_name(name))?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The one tenant of a push.
///
/// # Errors
/// As [`tenants`], and if several are named.
pub fn tenant(tenancy: Tenancy, header: Option<&str>) -> Result<String, PushError> {
    let mut names = tenants(tenancy, header)?;
    match names.pop() {
        Some(name) if names.is_empty() && !name.is_empty() => Ok(name),
        Some(_) if !names.is_empty() => Err(PushError::invalid("multiple org IDs present")),
        _ => Err(PushError::new(ErrorCode::Unauthenticated, "no org id")),
    }
}

/// Checks the name of a tenant.
///
/// # Errors
/// It is not one that a tenant may have.
pub fn check_name(name: &str) -> Result<(), PushError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
    if let Some(c) = name.chars().find(|&c| !allowed(c)) {
        return Err(PushError::invalid(format!("tenant ID '{name}' contains unsupported character '{c}'")));
    }
    if name.len() > TENANT_BYTES_MAX {
        return Err(PushError::invalid(format!("tenant ID is too long: max {TENANT_BYTES_MAX} characters")));
    }
    if name == "." || name == ".." {
        return Err(PushError::invalid("tenant ID is '.' or '..'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{tenant, tenants};
    use crate::config::server::Tenancy;

    fn check(header: Option<&str>, all: Result<&[&str], (u16, &str)>, one: Result<&str, (u16, &str)>) {
        let owned = |expected: (u16, &str)| (expected.0, expected.1.to_owned());
        let said = |error: crate::push::error::PushError| (error.code.status(), error.message);
        let all = all.map(|names| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert_eq!(tenants(Tenancy::Header, header).map_err(said), all.map_err(owned), "{header:?}");
        assert_eq!(
            tenant(Tenancy::Header, header).map_err(said),
            one.map(str::to_owned).map_err(owned),
            "{header:?}"
        );
    }

    fn check_refused(header: Option<&str>, status: u16, text: &str) {
        check(header, Err((status, text)), Err((status, text)));
    }

    #[test]
    fn tenants_are_named_by_the_header() {
        check(Some("a"), Ok(&["a"]), Ok("a"));
        check(Some("ok-_.!*'()9"), Ok(&["ok-_.!*'()9"]), Ok("ok-_.!*'()9"));
        check(Some("b|a|b"), Ok(&["a", "b"]), Err((400, "multiple org IDs present")));
        check(Some("a|a"), Ok(&["a"]), Ok("a"));
        check(Some("|"), Ok(&[""]), Err((401, "no org id")));
    }

    #[test]
    fn names_have_rules() {
        check_refused(None, 401, "no org id");
        check_refused(Some(""), 401, "no org id");
        check_refused(Some("a b"), 400, "tenant ID 'a b' contains unsupported character ' '");
        check_refused(Some("a/b"), 400, "tenant ID 'a/b' contains unsupported character '/'");
        check_refused(Some("."), 400, "tenant ID is '.' or '..'");
        check_refused(Some("a|.."), 400, "tenant ID is '.' or '..'");
        check_refused(Some(&"a".repeat(151)), 400, "tenant ID is too long: max 150 characters");
    }

    #[test]
    fn a_single_tenant_needs_no_name() {
        assert_eq!(tenant(Tenancy::Single, Some("a|b")), Ok("fake".to_owned()));
    }
}
