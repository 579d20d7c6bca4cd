//! The reference page of all keys, made from their declarations.

use std::fmt::Write;

use super::{Key, tables, variable_of};

/// The page as Markdown: a section a table, an entry a key.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Configuration\n\nKeys of the TOML file. Each can also be set by the variable named with it, or by a flag \
         `--set KEY=VALUE`; flags beat variables, variables beat the file.\n",
    );
    for table in tables() {
        let title =
            if table.path.is_empty() { "Top of the file".to_owned() } else { format!("`[{}]`", table.path) };
        // Writing to a string cannot fail.
        let _ = write!(page, "\n## {title}\n\n{}\n", table.doc);
        for key in &table.keys {
            write_key(&mut page, table.path, key);
        }
    }
    page
}

fn write_key(page: &mut String, table: &str, key: &Key) {
    let path = if table.is_empty() { key.name.to_owned() } else { format!("{table}.{}", key.name) };
    let _ = write!(page, "\n### `{path}`\n\n{}\n\n", key.doc);
    let _ = writeln!(page, "Default: `{}`. Variable: `{}`.", key.default, variable_of(&path));
}

#[cfg(test)]
mod tests {
    use super::markdown;
    use crate::config::paths;

    #[test]
    fn every_key_has_an_entry_with_its_default() {
        let page = markdown();
        for path in paths() {
            assert!(page.contains(&format!("\n### `{path}`\n\n")), "{path}");
        }
        assert!(!page.contains("Default: ``"), "{page}");
        assert!(page.contains("Default: `\"256KB\"`. Variable: `GRAPEVINE_LIMITS_MAX_LINE_SIZE`."));
    }
}
