//! The `service_name` label: Grafana's Logs Drilldown cannot work without it, so Loki derives it on ingest.

/// The label that is derived.
pub const SERVICE_NAME: &str = "service_name";

/// What a stream is called in which no source of a name is found.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// Labels of streams that Loki writes for itself; no rule for clients' streams holds for those.
pub const LOKI_OWN: [&str; 2] = ["__aggregated_metric__", "__pattern__"];

/// Labels that Loki looks at by default, in order.
pub const DEFAULT_SOURCES: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// The name to add, or `None` where the stream has one or discovery is off (`sources` is empty). Streams that
/// Loki writes for itself are left alone.
pub fn discover<'a>(labels: &'a [(impl AsRef<str>, impl AsRef<str>)], sources: &[String]) -> Option<&'a str> {
    let value = |name: &str| {
        let found = labels.iter().find(|(n, value)| n.as_ref() == name && !value.as_ref().is_empty());
        found.map(|(_, value)| value.as_ref())
    };
    let named = value(SERVICE_NAME).is_some() || LOKI_OWN.iter().any(|name| value(name).is_some());
    if sources.is_empty() || named {
        return None;
    }
    Some(sources.iter().find_map(|name| value(name)).unwrap_or(UNKNOWN_SERVICE))
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_SOURCES, discover};

    fn check(labels: &[(&str, &str)], expected: Option<&str>) {
        assert_eq!(discover(labels, &DEFAULT_SOURCES.map(String::from)), expected, "{labels:?}");
    }

    #[test]
    fn first_source_present_names_the_service() {
        check(&[("app", "foo"), ("job", "j")], Some("foo"));
        check(&[("container", "cc"), ("job", "j")], Some("cc"));
        check(&[("service", ""), ("job", "jj")], Some("jj"));
        check(&[("zone", "z")], Some("unknown_service"));
        check(&[], Some("unknown_service"));
    }

    #[test]
    fn a_stream_with_a_name_keeps_it() {
        check(&[("service_name", "own"), ("app", "foo")], None);
        check(&[("__aggregated_metric__", "x"), ("app", "foo")], None);
    }

    #[test]
    fn no_sources_means_no_discovery() {
        assert_eq!(discover(&[("app", "foo")], &[]), None);
    }
}
