//! One declaration a key: its meaning, its type and its default, from which come the type that was written,
//! the type that is meant, and the reference page.

use std::collections::BTreeMap;

/// What is known of one key without a value: a line of the reference page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The key within its table.
    pub name: &'static str,
    /// Its Rust type, as declared.
    pub kind: &'static str,
    /// Meaning and trade-off, as documented at the declaration.
    pub doc: String,
    /// The default, as TOML. Empty where there is none.
    pub default: String,
}

/// A table of keys that share a path, for the reference page, the environment and the search for typing errors.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where it stands: `limits`; empty for the top of the file. `*` stands for a name that the user chooses.
    pub path: &'static str,
    /// What it is for.
    pub doc: String,
    /// Its keys, in the order of the declaration.
    pub keys: Vec<Key>,
}

/// Values by key, as TOML.
pub(crate) fn values(table: &impl serde::Serialize) -> BTreeMap<String, toml::Value> {
    match toml::Value::try_from(table) {
        Ok(toml::Value::Table(table)) => table.into_iter().collect(),
        _ => BTreeMap::new(),
    }
}

/// Doc comments arrive as one string a line, each with a leading space.
pub(crate) fn doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Declares a table: `$written` with every key optional and unknown ones refused, `$meant` with every key
/// present. `$written::over` lays what was written over a base; `$meant::table` documents.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        $path:literal: $written:ident => $meant:ident {
            $( $(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:expr, )*
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $meant {
            $( $(#[doc = $doc])+ pub $name: $kind, )*
        }

        #[doc = concat!("The keys of [`", stringify!($meant), "`] as far as somebody wrote them.")]
        #[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $written {
            $( $(#[doc = $doc])+ pub $name: Option<$kind>, )*
        }

        impl Default for $meant {
            fn default() -> Self {
                $meant { $( $name: $default, )* }
            }
        }

        impl $written {
            /// What is meant: the keys written here, and for the others those of `base`.
            pub fn over(self, base: &$meant) -> $meant {
                $meant { $( $name: self.$name.unwrap_or_else(|| base.$name.clone()), )* }
            }
        }

        impl $meant {
            /// The documentation of the table and its keys.
            pub fn table() -> $crate::config::keys::Table {
                let defaults = $crate::config::keys::values(&$meant::default());
                let default = |name: &str| defaults.get(name).map(ToString::to_string).unwrap_or_default();
                $crate::config::keys::Table {
                    path: $path,
                    doc: $crate::config::keys::doc(&[$($about),+]),
                    keys: vec![ $( $crate::config::keys::Key {
                        name: stringify!($name),
                        kind: stringify!($kind),
                        doc: $crate::config::keys::doc(&[$($doc),+]),
                        default: default(stringify!($name)),
                    }, )* ],
                }
            }
        }
    };
}

pub(crate) use table;
