//! Which OpenTelemetry attributes become stream labels, structured metadata, or nothing: Loki's `otlp_config`.

use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// Resource attributes that become labels unless the tenant says otherwise.
pub const DEFAULT_LABELS: [&str; 18] = [
    "service.name",
    "service.namespace",
    "service.instance.id",
    "deployment.environment",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.container.name",
    "container.name",
    "k8s.replicaset.name",
    "k8s.deployment.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.cronjob.name",
    "k8s.job.name",
];

/// Rules for one kind of attribute, at most: each is tried on each attribute.
const RULES_MAX: usize = 256;

/// Memory that one regular expression may take once compiled.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A label of the stream.
    IndexLabel,
    /// Structured metadata of each entry.
    #[default]
    StructuredMetadata,
    /// Nothing.
    Drop,
}

/// A rule as written: an action, and the attributes it is for, by name or by pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleWritten {
    /// What becomes of them.
    pub action: Action,
    /// Their names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Or a regular expression that matches their whole names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regex: String,
}

/// Rules for resource attributes as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResourceWritten {
    /// Leave out the rule that makes labels of [`DEFAULT_LABELS`].
    pub ignore_defaults: bool,
    /// Further rules.
    pub attributes_config: Vec<RuleWritten>,
}

/// `otlp_config` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpWritten {
    /// Rules for attributes of resources.
    pub resource_attributes: ResourceWritten,
    /// Rules for attributes of scopes; these cannot become labels.
    pub scope_attributes: Vec<RuleWritten>,
    /// Rules for attributes of log records.
    pub log_attributes: Vec<RuleWritten>,
    /// Make a label of `severity_text`, besides metadata.
    pub severity_text_as_label: bool,
}

/// `otlp_config`, its patterns compiled. Cheap to clone.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "OtlpWritten", into = "OtlpWritten")]
pub struct OtlpConfig(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    written: OtlpWritten,
    resource: Vec<Rule>,
    scope: Vec<Rule>,
    log: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    action: Action,
    names: Vec<String>,
    pattern: Option<Regex>,
}

/// A rule that makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// Neither names nor a pattern.
    #[error("a rule names no attributes; set either `attributes` or `regex`")]
    Empty,
    /// Names and a pattern.
    #[error("a rule has both `attributes` and `regex`; set only one of them")]
    Both,
    /// A label made of a scope's attribute.
    #[error("action `index_label` is not possible for `scope_attributes`; use `resource_attributes`")]
    ScopeLabel,
    /// Not a regular expression.
    #[error("`{0}` is not a regular expression: {1}")]
    Pattern(String, regex::Error),
    /// Too many rules.
    #[error("`{0}` rules are too many: at most {RULES_MAX}")]
    TooMany(usize),
}

impl TryFrom<OtlpWritten> for OtlpConfig {
    type Error = RuleError;

    fn try_from(written: OtlpWritten) -> Result<Self, RuleError> {
        if written.scope_attributes.iter().any(|rule| rule.action == Action::IndexLabel) {
            return Err(RuleError::ScopeLabel);
        }
        let mut resource = compile(&written.resource_attributes.attributes_config)?;
        if !written.resource_attributes.ignore_defaults {
            let names = DEFAULT_LABELS.map(String::from).to_vec();
            resource.insert(0, Rule { action: Action::IndexLabel, names, pattern: None });
        }
        let (scope, log) = (compile(&written.scope_attributes)?, compile(&written.log_attributes)?);
        Ok(OtlpConfig(Arc::new(Compiled { written, resource, scope, log })))
    }
}

impl From<OtlpConfig> for OtlpWritten {
    fn from(config: OtlpConfig) -> Self {
        config.0.written.clone()
    }
}

impl PartialEq for OtlpConfig {
    fn eq(&self, other: &Self) -> bool {
        self.0.written == other.0.written
    }
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig::try_from(OtlpWritten::default()).expect("without rules there is nothing to refuse")
    }
}

fn compile(rules: &[RuleWritten]) -> Result<Vec<Rule>, RuleError> {
    if rules.len() > RULES_MAX {
        return Err(RuleError::TooMany(rules.len()));
    }
    rules.iter().map(compile_rule).collect()
}

fn compile_rule(rule: &RuleWritten) -> Result<Rule, RuleError> {
    let pattern = match (rule.attributes.is_empty(), rule.regex.as_str()) {
        (true, "") => return Err(RuleError::Empty),
        (false, "") => None,
        (false, _) => return Err(RuleError::Both),
        (true, text) => {
            let whole =
                regex::RegexBuilder::new(&format!("^(?:{text})$")).size_limit(REGEX_BYTES_MAX).build();
            Some(whole.map_err(|error| RuleError::Pattern(text.to_owned(), error))?)
        }
    };
    Ok(Rule { action: rule.action, names: rule.attributes.clone(), pattern })
}

/// The first rule that matches decides; without one an attribute becomes structured metadata.
fn decide(rules: &[Rule], attribute: &str) -> Action {
    let matches = |rule: &&Rule| match &rule.pattern {
        Some(pattern) => pattern.is_match(attribute),
        None => rule.names.iter().any(|name| name == attribute),
    };
    rules.iter().find(matches).map_or(Action::StructuredMetadata, |rule| rule.action)
}

impl OtlpConfig {
    /// What becomes of an attribute of a resource.
    pub fn resource(&self, attribute: &str) -> Action {
        decide(&self.0.resource, attribute)
    }

    /// What becomes of an attribute of a scope.
    pub fn scope(&self, attribute: &str) -> Action {
        decide(&self.0.scope, attribute)
    }

    /// What becomes of an attribute of a log record.
    pub fn log(&self, attribute: &str) -> Action {
        decide(&self.0.log, attribute)
    }

    /// Whether `severity_text` becomes a label too.
    pub fn severity_text_as_label(&self) -> bool {
        self.0.written.severity_text_as_label
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, OtlpConfig};

    fn config(text: &str) -> Result<OtlpConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let config = config(
            r#"
            resource_attributes.attributes_config = [
                { action = "drop", regex = "k8s\\..*" },
                { action = "index_label", attributes = ["host.name"] },
                { attributes = ["x"] },
            ]
            log_attributes = [{ action = "index_label", regex = "a|b" }]
            scope_attributes = [{ action = "drop", attributes = ["s"] }]
            "#,
        )
        .unwrap();
        assert_eq!(config.resource("k8s.pod.name"), Action::IndexLabel);
        assert_eq!(config.resource("k8s.pod.uid"), Action::Drop);
        assert_eq!(config.resource("host.name"), Action::IndexLabel);
        assert_eq!(config.resource("other"), Action::StructuredMetadata);
        assert_eq!((config.log("a"), config.log("ab")), (Action::IndexLabel, Action::StructuredMetadata));
        assert_eq!((config.scope("s"), config.scope("t")), (Action::Drop, Action::StructuredMetadata));
    }

    #[test]
    fn defaults_can_be_left_out() {
        assert_eq!(OtlpConfig::default().resource("service.name"), Action::IndexLabel);
        let config = config("resource_attributes.ignore_defaults = true").unwrap();
        assert_eq!(config.resource("service.name"), Action::StructuredMetadata);
    }

    #[test]
    fn senseless_rules_are_refused() {
        for (text, part) in [
            ("log_attributes = [{ action = 'drop' }]", "either `attributes` or `regex`"),
            ("log_attributes = [{ attributes = ['a'], regex = 'b' }]", "both `attributes` and `regex`"),
            ("log_attributes = [{ regex = '(' }]", "`(` is not a regular expression"),
            ("log_attributes = [{ action = 'keep', regex = 'a' }]", "unknown variant `keep`"),
            (
                "scope_attributes = [{ action = 'index_label', regex = 'a' }]",
                "not possible for `scope_attributes`",
            ),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
