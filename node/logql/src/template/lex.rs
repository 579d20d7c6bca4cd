//! Cuts a template into tokens, by the rules of Go's `text/template` (trim markers, comments, spaces that
//! matter, what may follow a name).

use super::TemplateError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    LeftDelim,
    RightDelim,
    Space,
    /// A name that is no keyword: a function.
    Identifier,
    Keyword,
    Bool,
    Nil,
    Dot,
    /// `.name`, the point included.
    Field,
    /// `$name`, the dollar included.
    Variable,
    Number,
    Char,
    /// `"…"`, still quoted.
    Quoted,
    /// `` `…` ``, still quoted.
    Raw,
    Pipe,
    Declare,
    Assign,
    LeftParen,
    RightParen,
    Comma,
    End,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    pub(super) text: &'s str,
    /// Byte offset in the source.
    pub(super) at: usize,
}

const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];
const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// All tokens of `source`; the last is [`Kind::End`].
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, TemplateError> {
    let mut lexer = Lexer { source, at: 0, parens: 0, tokens: Vec::new() };
    lexer.run()?;
    lexer.push(Kind::End, source.len());
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    parens: u32,
    tokens: Vec<Token<'s>>,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), TemplateError> {
        let mut trim_left = false;
        while let Some(found) = self.rest().find("{{") {
            let open = self.at + found;
            let inside = &self.source[open + 2..];
            let trims = inside.starts_with('-') && inside[1..].starts_with(SPACES);
            self.text(open, trim_left, trims);
            self.at = open;
            let body = open + 2 + if trims { 2 } else { 0 };
            if self.source[body..].starts_with("/*") {
                self.at = body;
                trim_left = self.comment()?;
            } else {
                self.push(Kind::LeftDelim, body);
                trim_left = self.action()?;
            }
        }
        self.text(self.source.len(), trim_left, false);
        Ok(())
    }

    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    /// Takes everything up to `end` as a token of `kind`.
    fn push(&mut self, kind: Kind, end: usize) {
        self.tokens.push(Token { kind, text: &self.source[self.at..end], at: self.at });
        self.at = end;
    }

    fn text(&mut self, end: usize, trim_left: bool, trim_right: bool) {
        let mut text = &self.source[self.at..end];
        if trim_left {
            text = text.trim_start_matches(SPACES);
        }
        if trim_right {
            text = text.trim_end_matches(SPACES);
        }
        if !text.is_empty() {
            self.tokens.push(Token { kind: Kind::Text, text, at: self.at });
        }
        self.at = end;
    }

    /// Skips a comment with its closing delimiter; true if that trims what follows.
    fn comment(&mut self) -> Result<bool, TemplateError> {
        let Some(close) = self.rest()[2..].find("*/") else {
            return Err(self.error("unclosed comment"));
        };
        self.at += 2 + close + 2;
        match self.right_delim() {
            Some((length, trims)) => {
                self.at += length;
                Ok(trims)
            }
            None => Err(self.error("comment ends before closing delimiter")),
        }
    }

    /// Length of the closing delimiter that starts here, and whether it trims.
    fn right_delim(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some((2, false));
        }
        let trims = rest.starts_with(SPACES) && rest[1..].starts_with("-}}");
        trims.then_some((4, true))
    }

    /// The inside of one `{{…}}`, closing delimiter included; true if that trims what follows.
    fn action(&mut self) -> Result<bool, TemplateError> {
        loop {
            if let Some((length, trims)) = self.right_delim() {
                if self.parens > 0 {
                    return Err(self.error("unclosed left paren"));
                }
                self.push(Kind::RightDelim, self.at + length);
                return Ok(trims);
            }
            self.token()?;
        }
    }

    fn token(&mut self) -> Result<(), TemplateError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Err(self.error("unclosed action"));
        };
        match first {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            ':' if rest.starts_with(":=") => self.push(Kind::Declare, self.at + 2),
            ':' => return Err(self.error("expected `:=`")),
            '=' => self.push(Kind::Assign, self.at + 1),
            '|' => self.push(Kind::Pipe, self.at + 1),
            ',' => self.push(Kind::Comma, self.at + 1),
            '"' => self.quoted(Kind::Quoted, '"')?,
            '\'' => self.quoted(Kind::Char, '\'')?,
            '`' => self.raw()?,
            '$' => self.name(Kind::Variable)?,
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.name(Kind::Field)?,
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            '(' => {
                self.parens += 1;
                self.push(Kind::LeftParen, self.at + 1);
            }
            ')' => {
                self.parens =
                    self.parens.checked_sub(1).ok_or_else(|| self.error("unexpected right paren"))?;
                self.push(Kind::RightParen, self.at + 1);
            }
            c if is_alphanumeric(c) => self.identifier()?,
            c => return Err(self.error(format!("unexpected character `{c}` in action"))),
        }
        Ok(())
    }

    /// A run of spaces, less the last one where that belongs to a trimming delimiter.
    fn space(&mut self) {
        let rest = self.rest();
        let mut length = rest.len() - rest.trim_start_matches(SPACES).len();
        if rest[length..].starts_with("-}}") {
            length -= 1;
        }
        if length > 0 {
            self.push(Kind::Space, self.at + length);
        }
    }

    fn quoted(&mut self, kind: Kind, quote: char) -> Result<(), TemplateError> {
        let mut escaped = false;
        for (offset, c) in self.rest().char_indices().skip(1) {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.push(kind, self.at + offset + 1);
                    return Ok(());
                }
                _ => {}
            }
        }
        Err(self.error("unterminated quoted string"))
    }

    fn raw(&mut self) -> Result<(), TemplateError> {
        match self.rest()[1..].find('`') {
            Some(close) => self.push(Kind::Raw, self.at + close + 2),
            None => return Err(self.error("unterminated raw quoted string")),
        }
        Ok(())
    }

    /// `.name` or `$name`, or the bare sign.
    fn name(&mut self, kind: Kind) -> Result<(), TemplateError> {
        let length = 1 + alphanumeric_length(&self.rest()[1..]);
        self.check_terminator(length)?;
        let kind = if length == 1 && kind == Kind::Field { Kind::Dot } else { kind };
        self.push(kind, self.at + length);
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), TemplateError> {
        let length = alphanumeric_length(self.rest());
        self.check_terminator(length)?;
        let kind = match &self.rest()[..length] {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        };
        self.push(kind, self.at + length);
        Ok(())
    }

    /// A name must be followed by something that cannot be part of one.
    fn check_terminator(&self, length: usize) -> Result<(), TemplateError> {
        match self.rest()[length..].chars().next() {
            None | Some(' ' | '\t' | '\r' | '\n' | '.' | ',' | '|' | ':' | ')' | '(') => Ok(()),
            Some('}') if self.rest()[length..].starts_with("}}") => Ok(()),
            Some(c) => Err(self.error(format!("bad character `{c}` after `{}`", &self.rest()[..length]))),
        }
    }

    fn number(&mut self) -> Result<(), TemplateError> {
        let length = number_length(self.rest());
        let after = self.rest()[length..].chars().next();
        if after.is_some_and(is_alphanumeric) {
            let end = length + alphanumeric_length(&self.rest()[length..]);
            return Err(self.error(format!("bad number syntax: `{}`", &self.rest()[..end])));
        }
        self.push(Kind::Number, self.at + length);
        Ok(())
    }

    fn error(&self, problem: impl Into<String>) -> TemplateError {
        TemplateError::parse(self.source, self.at, problem)
    }
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn alphanumeric_length(text: &str) -> usize {
    text.find(|c| !is_alphanumeric(c)).unwrap_or(text.len())
}

/// Length of what looks like a number; whether it is one, the parser decides.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    let accept = |at: &mut usize, set: &[u8]| {
        let found = bytes.get(*at).is_some_and(|b| set.contains(b));
        *at += usize::from(found);
        found
    };
    accept(&mut at, b"+-");
    let mut digits: &[u8] = b"0123456789_";
    if accept(&mut at, b"0") {
        if accept(&mut at, b"xX") {
            digits = b"0123456789abcdefABCDEF_";
        } else if accept(&mut at, b"oO") {
            digits = b"01234567_";
        } else if accept(&mut at, b"bB") {
            digits = b"01_";
        }
    }
    while accept(&mut at, digits) {}
    if accept(&mut at, b".") {
        while accept(&mut at, digits) {}
    }
    let exponent: &[u8] = match digits.len() {
        11 => b"eE",
        23 => b"pP",
        _ => b"",
    };
    if accept(&mut at, exponent) {
        accept(&mut at, b"+-");
        while accept(&mut at, b"0123456789_") {}
    }
    at
}
