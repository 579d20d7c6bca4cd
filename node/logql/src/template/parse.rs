//! Builds the tree of a template from its tokens, with the grammar and the refusals of Go's `text/template`.

mod pipe;

use std::collections::BTreeMap;

use super::{
    TemplateError,
    ast::{Branch, Node},
    lex::{self, Kind, Token},
    limits, unquote,
};

/// The parsed main template, and what it defines by name.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) main: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

/// Whose functions a template may call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Vocabulary<'v> {
    /// Go's and Loki's, which can be rendered.
    Loki,
    /// Go's and some of these names, which others render.
    Named(&'v [&'v str]),
}

pub(super) fn parse(source: &str, vocabulary: Vocabulary<'_>) -> Result<Parsed, TemplateError> {
    if source.len() > limits::SOURCE_BYTES_MAX {
        let problem = format!("template is longer than {} bytes", limits::SOURCE_BYTES_MAX);
        return Err(TemplateError::parse(source, 0, problem));
    }
    let mut parser = Parser {
        source,
        vocabulary,
        tokens: lex::tokens(source)?,
        next: 0,
        variables: vec!["$".to_owned()],
        ranges: 0,
        nesting: 0,
        parsed: Parsed::default(),
    };
    parser.parsed.main = parser.main()?;
    Ok(parser.parsed)
}

struct Parser<'s> {
    source: &'s str,
    vocabulary: Vocabulary<'s>,
    /// Never empty: the last token is [`Kind::End`], and is never passed.
    tokens: Vec<Token<'s>>,
    next: usize,
    /// Variables in scope, innermost last.
    variables: Vec<String>,
    /// How many `range` blocks of this template are open, for `break` and `continue`.
    ranges: u32,
    nesting: u32,
    parsed: Parsed,
}

/// What closed a list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closer {
    End,
    Else,
}

/// What one `{{…}}` turned out to be.
enum Item {
    Node(Node),
    Closer(Closer),
}

impl<'s> Parser<'s> {
    fn main(&mut self) -> Result<Vec<Node>, TemplateError> {
        let mut nodes = Vec::new();
        loop {
            match self.take() {
                token if token.kind == Kind::End => return Ok(nodes),
                token if token.kind == Kind::Text => nodes.push(text(token)),
                _ if self.take_keyword("define") => self.definition()?,
                token => match self.item()? {
                    Item::Node(node) => nodes.push(node),
                    Item::Closer(Closer::End) => return Err(self.error_at(token, "unexpected {{end}}")),
                    Item::Closer(Closer::Else) => return Err(self.error_at(token, "unexpected {{else}}")),
                },
            }
        }
    }

    /// Nodes up to the `{{end}}` or `{{else}}` that closes them.
    fn list(&mut self) -> Result<(Vec<Node>, Closer), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            let token = self.take();
            match token.kind {
                Kind::End => return Err(self.error_at(token, "unexpected end of template, missing {{end}}")),
                Kind::Text => nodes.push(text(token)),
                _ => match self.item()? {
                    Item::Node(node) => nodes.push(node),
                    Item::Closer(closer) => return Ok((nodes, closer)),
                },
            }
        }
    }

    /// One `{{…}}`, its left delimiter taken, with all of the block it may open.
    fn item(&mut self) -> Result<Item, TemplateError> {
        self.skip_space();
        let token = self.peek();
        if token.kind != Kind::Keyword {
            return Ok(Item::Node(Node::Action(self.pipe("command", Kind::RightDelim)?)));
        }
        self.next += 1;
        Ok(Item::Node(match token.text {
            "if" => Node::If(self.block("if")?),
            "with" => Node::With(self.block("with")?),
            "range" => Node::Range(self.block("range")?),
            "template" => self.template()?,
            "block" => self.block_template()?,
            "break" => self.jump(token, Node::Break)?,
            "continue" => self.jump(token, Node::Continue)?,
            "end" => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::Closer(Closer::End));
            }
            "else" => {
                self.skip_space();
                let chained = self.peek().kind == Kind::Keyword && matches!(self.peek().text, "if" | "with");
                if !chained {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Item::Closer(Closer::Else));
            }
            _ => return Err(self.error_at(token, format!("unexpected `{}` in command", token.text))),
        }))
    }

    /// `if`, `with` or `range`, from its pipeline to its `{{end}}`.
    fn block(&mut self, context: &'static str) -> Result<Branch, TemplateError> {
        self.enter()?;
        let scope = self.variables.len();
        let pipe = self.pipe(context, Kind::RightDelim)?;
        self.ranges += u32::from(context == "range");
        let body = self.list();
        self.ranges -= u32::from(context == "range");
        let (body, closer) = body?;
        let otherwise = match closer {
            Closer::End => Vec::new(),
            Closer::Else => self.otherwise(context)?,
        };
        self.variables.truncate(scope);
        self.nesting -= 1;
        Ok(Branch { pipe, body, otherwise })
    }

    /// What follows `{{else`: a chained `if` or `with` of the same kind, or a list.
    fn otherwise(&mut self, context: &'static str) -> Result<Vec<Node>, TemplateError> {
        if context == "if" && self.take_keyword("if") {
            return Ok(vec![Node::If(self.block("if")?)]);
        }
        if context == "with" && self.take_keyword("with") {
            return Ok(vec![Node::With(self.block("with")?)]);
        }
        let token = self.peek();
        if token.kind == Kind::Keyword {
            return Err(self.error_at(token, format!("unexpected `{}` after else in {context}", token.text)));
        }
        match self.list()? {
            (nodes, Closer::End) => Ok(nodes),
            (_, Closer::Else) => Err(self.error_at(token, "expected {{end}}, found a second {{else}}")),
        }
    }

    fn jump(&mut self, token: Token<'s>, node: Node) -> Result<Node, TemplateError> {
        if self.ranges == 0 {
            return Err(self.error_at(token, format!("{{{{{}}}}} outside {{{{range}}}}", token.text)));
        }
        self.expect(Kind::RightDelim, "break or continue")?;
        Ok(node)
    }

    /// `{{define "name"}}…{{end}}`, after its keyword.
    fn definition(&mut self) -> Result<(), TemplateError> {
        let name = self.template_name("define clause")?;
        self.expect(Kind::RightDelim, "define clause")?;
        self.define(name)
    }

    /// The body of a definition: a template of its own, with its own variables and ranges.
    fn define(&mut self, name: String) -> Result<(), TemplateError> {
        self.enter()?;
        let start = self.peek();
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, closer) = self.list()?;
        if closer == Closer::Else {
            return Err(self.error_at(start, "unexpected {{else}} in define clause"));
        }
        self.variables = variables;
        self.ranges = ranges;
        self.nesting -= 1;
        match self.parsed.defined.get(&name) {
            Some(old) if !is_blank(old) => {
                if is_blank(&nodes) {
                    return Ok(());
                }
                Err(self.error_at(start, format!("multiple definition of template `{name}`")))
            }
            _ => {
                self.parsed.defined.insert(name, nodes);
                Ok(())
            }
        }
    }

    fn template(&mut self) -> Result<Node, TemplateError> {
        let name = self.template_name("template clause")?;
        self.skip_space();
        let pipe = if self.peek().kind == Kind::RightDelim {
            self.next += 1;
            None
        } else {
            Some(self.pipe("template clause", Kind::RightDelim)?)
        };
        Ok(Node::Template { name, pipe })
    }

    /// `{{block "name" pipe}}…{{end}}`: defines and calls at once.
    fn block_template(&mut self) -> Result<Node, TemplateError> {
        let name = self.template_name("block clause")?;
        let pipe = Some(self.pipe("block clause", Kind::RightDelim)?);
        self.define(name.clone())?;
        Ok(Node::Template { name, pipe })
    }

    fn template_name(&mut self, context: &str) -> Result<String, TemplateError> {
        self.skip_space();
        let token = self.take();
        let bytes = self.string(token)?.ok_or_else(|| self.unexpected(token, context))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The value of a string constant; `None` if the token is none.
    fn string(&self, token: Token<'s>) -> Result<Option<Vec<u8>>, TemplateError> {
        match token.kind {
            Kind::Quoted => unquote::text(token.text)
                .map(Some)
                .ok_or_else(|| self.error_at(token, format!("invalid string syntax: {}", token.text))),
            // As in Go, a carriage return is dropped from a raw string.
            Kind::Raw => Ok(Some(token.text.trim_matches('`').replace('\r', "").into_bytes())),
            _ => Ok(None),
        }
    }

    fn enter(&mut self) -> Result<(), TemplateError> {
        self.nesting += 1;
        if self.nesting > limits::NESTING_MAX {
            let problem = format!("template is nested deeper than {} levels", limits::NESTING_MAX);
            return Err(self.error_at(self.peek(), problem));
        }
        Ok(())
    }

    fn peek(&self) -> Token<'s> {
        self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token<'s> {
        let token = self.peek();
        self.next += usize::from(token.kind != Kind::End);
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.next += 1;
        }
    }

    fn take_keyword(&mut self, word: &str) -> bool {
        let start = self.next;
        self.skip_space();
        let token = self.peek();
        let found = token.kind == Kind::Keyword && token.text == word;
        self.next = if found { self.next + 1 } else { start };
        found
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<(), TemplateError> {
        self.skip_space();
        let token = self.take();
        if token.kind == kind { Ok(()) } else { Err(self.unexpected(token, context)) }
    }

    fn unexpected(&self, token: Token<'s>, context: &str) -> TemplateError {
        match token.kind {
            Kind::End => self.error_at(token, format!("unexpected end of template in {context}")),
            _ => self.error_at(token, format!("unexpected `{}` in {context}", token.text)),
        }
    }

    fn error_at(&self, token: Token<'s>, problem: impl Into<String>) -> TemplateError {
        TemplateError::parse(self.source, token.at, problem)
    }
}

fn text(token: Token<'_>) -> Node {
    Node::Text(token.text.as_bytes().into())
}

/// Nothing but white space; such a definition gives way to another of its name.
fn is_blank(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim_ascii().is_empty()))
}
