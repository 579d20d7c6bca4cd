//! The three sources of a configuration, laid over each other: a TOML file, variables, flags.

use toml::{Table, Value};

use super::{ConfigError, suggest, tables};
use crate::limits::elsewhere;

/// What every variable begins with.
const VARIABLE: &str = "GRAPEVINE_";

/// Variables that are not keys: the place of the file itself, what client commands read, and where the project's
/// own tests find their tools.
const OTHER_VARIABLES: [&str; 10] = [
    "GRAPEVINE_CONFIG",
    "GRAPEVINE_ADDR",
    "GRAPEVINE_ORG_ID",
    "GRAPEVINE_TOOLS",
    "GRAPEVINE_TEST_S3",
    "GRAPEVINE_USERNAME",
    "GRAPEVINE_PASSWORD",
    "GRAPEVINE_BEARER_TOKEN",
    "GRAPEVINE_BEARER_TOKEN_FILE",
    "GRAPEVINE_CA_CERT",
];

/// Keys whose text is never read as TOML.
const SECRETS: [&str; 4] = ["cluster.join", "s3.access_key_id", "s3.secret_access_key", "s3.session_token"];

/// One table of what file, variables and flags say, each over the one before. All keys in it exist.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn merged(
    file: &str,
    variables: impl IntoIterator<Item = (String, String)>,
    flags: impl IntoIterator<Item = (String, String)>,
) -> Result<Table, ConfigError> {
    let mut table: Table = file
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::Syntax(error.to_string().trim_end().to_owned()))?;
    check_keys(&table)?;
    let keys = paths();
    for (variable, text) in variables {
        if !variable.starts_with(VARIABLE) || OTHER_VARIABLES.contains(&variable.as_str()) {
            continue;
        }
        let key = keys.iter().find(|key| variable_of(key) == variable);
        put(&mut table, key.ok_or_else(|| unknown_variable(&variable, &keys))?, &text);
    }
    for (key, text) in flags {
        if !keys.contains(&key) {
            return Err(unknown_key(key.clone(), &key, keys.iter().map(String::as_str)));
        }
        put(&mut table, &key, &text);
    }
    Ok(table)
}

/// The keys of all tables with their tables, as flags name them.
pub fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for table in tables() {
        for key in table.keys {
            paths.push(if table.path.is_empty() {
                key.name.to_owned()
            } else {
                format!("{}.{}", table.path, key.name)
            });
        }
    }
    paths
}

/// The variable of a key: `wal.size_max` is `GRAPEVINE_WAL_SIZE_MAX`.
pub fn variable_of(path: &str) -> String {
    format!("{VARIABLE}{}", path.replace('.', "_").to_ascii_uppercase())
}

fn unknown_variable(variable: &str, keys: &[String]) -> ConfigError {
    let names: Vec<String> = keys.iter().map(|key| variable_of(key)).collect();
    let nearest = suggest::nearest(variable, names.iter().map(String::as_str)).map(str::to_owned);
    ConfigError::UnknownVariable { variable: variable.to_owned(), nearest }
}

/// What to say of a key, given how it was written (with its tables or without) and what it could have been.
fn unknown_key<'a>(key: String, written: &str, known: impl Iterator<Item = &'a str>) -> ConfigError {
    let limit = key.rsplit_once('.').filter(|(table, _)| *table == "limits" || table.ends_with(".limits"));
    match limit.and_then(|(_, name)| elsewhere::reason(name)) {
        Some(reason) => ConfigError::Elsewhere { key, reason },
        None => ConfigError::UnknownKey { key, nearest: suggest::nearest(written, known).map(str::to_owned) },
    }
}

/// Puts a value at a path of at most two names. A text that is a TOML value is that value (`5`, `true`,
/// `["a"]`), any other is a string; so is a secret, even one of digits alone.
fn put(table: &mut Table, path: &str, text: &str) {
    if SECRETS.contains(&path) {
        let quoted = Value::String(text.to_owned());
        return put_value(table, path, quoted);
    }
    let value = format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v"));
    let value = value.filter(|value| !value.is_datetime()).unwrap_or_else(|| Value::String(text.to_owned()));
    put_value(table, path, value);
}

fn put_value(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((outer, inner)) => {
            let entry = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(entry) = entry {
                entry.insert(inner.to_owned(), value);
            }
        }
    }
}

/// Looks for keys that do not exist; what is in a key's own value is left to its type.
fn check_keys(file: &Table) -> Result<(), ConfigError> {
    let tables = tables();
    let names = |path: &str| -> Vec<&str> {
        let of = tables.iter().filter(|table| table.path == path);
        of.flat_map(|table| table.keys.iter().map(|key| key.name)).collect()
    };
    let mut top = names("");
    top.extend(tables.iter().map(|table| table.path).filter(|path| !path.is_empty()).chain(["tenants"]));
    check_names(file, "", &top)?;
    for table in tables.iter().filter(|table| !table.path.is_empty()) {
        check_table(file.get(table.path), table.path, &names(table.path))?;
    }
    let Some(Value::Table(tenants)) = file.get("tenants") else { return Ok(()) };
    for (tenant, value) in tenants {
        let path = format!("tenants.{tenant}");
        check_table(Some(value), &path, &["limits"])?;
        check_table(value.get("limits"), &format!("{path}.limits"), &names("limits"))?;
    }
    Ok(())
}

fn check_table(value: Option<&Value>, path: &str, known: &[&str]) -> Result<(), ConfigError> {
    match value {
        None => Ok(()),
        Some(Value::Table(table)) => check_names(table, path, known),
        Some(other) => Err(ConfigError::Value(format!(
            "`{path}` is a table of keys, not `{other}`; write `[{path}]` above its keys"
        ))),
    }
}

fn check_names(table: &Table, path: &str, known: &[&str]) -> Result<(), ConfigError> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let whole = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
    Err(unknown_key(whole, key, known.iter().copied()))
}
