//! YAML as a tree, bounded: what a rule group comes in.
//!
//! The parser gives events; a tree of them is all that a group needs. Serde is not used, for the rules of which
//! scalar is a text are those of Go's YAML library, where any scalar is.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Nodes of a document, what aliases stand for included: a hundred times a large group.
const NODES_MAX: usize = 200_000;
/// How deep a document may be.
const DEPTH_MAX: usize = 32;

/// A part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A value.
    Scalar {
        /// As it is after unquoting.
        text: String,
        /// Whether it stands without quotes, so that it may be a number.
        plain: bool,
    },
    /// Values one after another.
    List(Vec<Node>),
    /// Values by name, in the order of the document.
    Map(Vec<(String, Node)>),
}

/// Why a text is no document that can be used.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// It is not YAML.
    #[error("{0}")]
    Syntax(#[from] saphyr_parser::ScanError),
    /// It is too large.
    #[error("it has more than `{NODES_MAX}` values")]
    TooLarge,
    /// It is too deep.
    #[error("it is nested deeper than `{DEPTH_MAX}`")]
    TooDeep,
    /// A name is not a scalar, or stands twice.
    #[error("a name is no text, or stands twice")]
    Name,
    /// An alias that nothing stands for.
    #[error("an alias has no anchor")]
    Alias,
}

/// What is being read: a list or a map, and its anchor.
enum Open {
    List(usize, Vec<Node>),
    Map(usize, Vec<(String, Node)>, Option<String>),
}

#[derive(Default)]
struct Reader {
    open: Vec<Open>,
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads the first document of a text; an empty text is nothing.
///
/// # Errors
/// [`YamlError`]
pub fn read(text: &str) -> Result<Node, YamlError> {
    let mut reader = Reader::default();
    for event in Parser::new_from_str(text) {
        let (event, _) = event?;
        if let Event::DocumentEnd = event {
            break;
        }
        reader.take(event)?;
    }
    Ok(reader.root.unwrap_or(Node::Null))
}

impl Reader {
    fn take(&mut self, event: Event<'_>) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let node = scalar(text.into_owned(), style == ScalarStyle::Plain);
                self.add(anchor, node, 1)
            }
            Event::Alias(anchor) => {
                let (node, size) = self.anchors.get(&anchor).cloned().ok_or(YamlError::Alias)?;
                self.add(0, node, size)
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List(anchor, Vec::new())),
            Event::MappingStart(anchor, _) => self.begin(Open::Map(anchor, Vec::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(anchor, items)) => self.close(anchor, Node::List(items)),
                Some(Open::Map(anchor, pairs, _)) => self.close(anchor, Node::Map(pairs)),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn begin(&mut self, open: Open) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(YamlError::TooDeep);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, anchor: usize, node: Node) -> Result<(), YamlError> {
        let size = if anchor == 0 { 1 } else { size(&node) };
        // Its parts were counted when they came.
        self.nodes -= size - 1;
        self.add(anchor, node, size)
    }

    /// Puts a part where it belongs; it counts as `size` nodes.
    fn add(&mut self, anchor: usize, node: Node, size: usize) -> Result<(), YamlError> {
        self.nodes += size;
        if self.nodes > NODES_MAX {
            return Err(YamlError::TooLarge);
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
            self.nodes += size;
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, pairs, name)) => match name.take() {
                Some(name) => pairs.push((name, node)),
                None => {
                    let Node::Scalar { text, .. } = node else { return Err(YamlError::Name) };
                    if pairs.iter().any(|(known, _)| *known == text) {
                        return Err(YamlError::Name);
                    }
                    *name = Some(text);
                }
            },
        }
        Ok(())
    }
}

fn scalar(text: String, plain: bool) -> Node {
    match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" if plain => Node::Null,
        _ => Node::Scalar { text, plain },
    }
}

/// How many nodes there are in one.
fn size(node: &Node) -> usize {
    match node {
        Node::Null | Node::Scalar { .. } => 1,
        Node::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Node::Map(pairs) => 1 + pairs.iter().map(|(_, node)| size(node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{Node, read};

    fn text(text: &str, plain: bool) -> Node {
        Node::Scalar { text: text.into(), plain }
    }

    #[test]
    fn documents_become_trees() {
        for (yaml, expected) in [
            ("", Node::Null),
            ("# nothing\n", Node::Null),
            ("~", Node::Null),
            ("'~'", text("~", false)),
            ("a: b", Node::Map(vec![("a".into(), text("b", true))])),
            (
                "{a: [1, \"2\"]}",
                Node::Map(vec![("a".into(), Node::List(vec![text("1", true), text("2", false)]))]),
            ),
            ("a: &x b\nc: *x", Node::Map(vec![("a".into(), text("b", true)), ("c".into(), text("b", true))])),
            ("a: |\n  one\n  two\n", Node::Map(vec![("a".into(), text("one\ntwo\n", false))])),
            ("a: 1\n---\nb: 2\n", Node::Map(vec![("a".into(), text("1", true))])),
        ] {
            assert_eq!(read(yaml).unwrap(), expected, "{yaml}");
        }
    }

    #[test]
    fn what_is_no_document_or_too_large_is_refused() {
        let bomb = |levels: usize| {
            let level = |n: usize| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(","));
            format!("a0: &a0 [x]\n{}", (1..levels).map(level).collect::<String>())
        };
        read(&bomb(4)).unwrap();
        for yaml in [
            bomb(9),
            "[".repeat(100),
            "a: 1\na: 2".into(),
            "[a]: 1".into(),
            "a: *nobody".into(),
            "a: 'b".into(),
            "a: b: c".into(),
            "\tb: c\n  d: e: f".into(),
        ] {
            assert!(read(&yaml).is_err(), "{}", &yaml[..yaml.len().min(40)]);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in r#"[-:&*\[\]{}'"|>#,a0 \n!?%@]{0,60}"#) {
            let _ = read(&text);
        }
    }
}
