//! Which labels a template can read, so that parsers before it need not extract the others.

use std::collections::BTreeSet;

use super::{
    ast::{Node, Operand, Pipe},
    parse::Parsed,
};

/// Names of all fields the template looks up; `None` where the labels are used as a whole.
pub(super) fn label_names(parsed: &Parsed) -> Option<BTreeSet<String>> {
    let mut names = Names { found: BTreeSet::new(), whole: false };
    names.list(&parsed.main, true);
    for nodes in parsed.defined.values() {
        // Dot is what the caller passed; if that is all labels, the call itself says so.
        names.list(nodes, false);
    }
    (!names.whole).then_some(names.found)
}

/// The label of a template that is one `{{.name}}`; what it is assigned to counts as little as it does in Loki.
pub(super) fn only_label(parsed: &Parsed) -> Option<&str> {
    let [Node::Action(pipe)] = parsed.main.as_slice() else { return None };
    let [command] = pipe.commands.as_slice() else { return None };
    match command.operands.as_slice() {
        [Operand::Field(keys)] if keys.len() == 1 => keys.first().map(String::as_str),
        _ => None,
    }
}

struct Names {
    found: BTreeSet<String>,
    whole: bool,
}

impl Names {
    /// `rooted`: dot is all labels here.
    fn list(&mut self, nodes: &[Node], rooted: bool) {
        for node in nodes {
            self.node(node, rooted);
        }
    }

    fn node(&mut self, node: &Node, rooted: bool) {
        match node {
            Node::Text(_) | Node::Break | Node::Continue => {}
            Node::Action(pipe) => self.pipe(pipe, rooted),
            Node::If(branch) => {
                self.pipe(&branch.pipe, rooted);
                self.list(&branch.body, rooted);
                self.list(&branch.otherwise, rooted);
            }
            Node::With(branch) | Node::Range(branch) => {
                self.pipe(&branch.pipe, rooted);
                self.list(&branch.body, false);
                self.list(&branch.otherwise, rooted);
            }
            // A template that calls the main one may do so with any dot: too rare to follow.
            Node::Template { name, .. } if name == "line" => self.whole = true,
            Node::Template { pipe, .. } => {
                if let Some(pipe) = pipe {
                    self.pipe(pipe, rooted);
                }
            }
        }
    }

    fn pipe(&mut self, pipe: &Pipe, rooted: bool) {
        for command in &pipe.commands {
            match command.operands.as_slice() {
                // `index . "name"` reads one label.
                [Operand::Function(function, _), Operand::Dot, Operand::Text(name)]
                    if rooted && function.name == "index" =>
                {
                    self.found.insert(String::from_utf8_lossy(name).into_owned());
                }
                operands => operands.iter().for_each(|operand| self.operand(operand, rooted)),
            }
        }
    }

    fn operand(&mut self, operand: &Operand, rooted: bool) {
        match operand {
            Operand::Dot => self.whole |= rooted,
            Operand::Variable(name, keys) if name == "$" && keys.is_empty() => self.whole = true,
            Operand::Field(keys) | Operand::Variable(_, keys) => self.found.extend(keys.first().cloned()),
            Operand::Pipe(pipe) => self.pipe(pipe, rooted),
            Operand::Chain(inner, _) => self.operand(inner, rooted),
            Operand::Nil
            | Operand::Bool(_)
            | Operand::Number(_)
            | Operand::Text(_)
            | Operand::Function(..) => {}
        }
    }
}
