//! Pipelines: declarations, commands, and the operands they run on.

use super::{Parser, Vocabulary};
use crate::template::TemplateError;
use crate::template::ast::{self, Command, Operand, Pipe};
use crate::template::functions::{self, regex};
use crate::template::lex::{Kind, Token};
use crate::template::{number, unquote};

impl<'s> Parser<'s> {
    /// A pipeline up to and with its closing token.
    pub(super) fn pipe(&mut self, context: &str, close: Kind) -> Result<Pipe, TemplateError> {
        let mut pipe = Pipe::default();
        self.declarations(context, &mut pipe)?;
        loop {
            self.skip_space();
            let token = self.peek();
            if token.kind == close {
                self.next += 1;
                self.check_pipe(token, context, &pipe)?;
                return Ok(pipe);
            }
            if !starts_operand(token.kind) {
                return Err(self.unexpected(token, context));
            }
            pipe.commands.push(self.command()?);
        }
    }

    /// `$x :=`, `$x =` or, in `range`, `$i, $x :=` before a pipeline.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<(), TemplateError> {
        loop {
            self.skip_space();
            let start = self.next;
            let variable = self.peek();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.next += 1;
            self.skip_space();
            let after = self.take();
            if !matches!(after.kind, Kind::Assign | Kind::Declare | Kind::Comma) {
                self.next = start;
                return Ok(());
            }
            pipe.variables.push(variable.text.to_owned());
            self.variables.push(variable.text.to_owned());
            if after.kind != Kind::Comma {
                pipe.assigns = after.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.variables.len() > 1 {
                return Err(self.error_at(after, format!("too many declarations in {context}")));
            }
            self.skip_space();
            if !matches!(self.peek().kind, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                return Err(self.error_at(self.peek(), "range can only initialize variables"));
            }
        }
    }

    fn check_pipe(&self, token: Token<'s>, context: &str, pipe: &Pipe) -> Result<(), TemplateError> {
        if pipe.commands.is_empty() {
            return Err(self.error_at(token, format!("missing value for {context}")));
        }
        let constant = |command: &Command| {
            matches!(
                command.operands[0],
                Operand::Bool(_) | Operand::Dot | Operand::Nil | Operand::Number(_) | Operand::Text(_)
            )
        };
        match pipe.commands.iter().skip(1).position(constant) {
            Some(at) => {
                let problem = format!("non executable command in pipeline stage {}", at + 2);
                Err(self.error_at(token, problem))
            }
            None => Ok(()),
        }
    }

    /// Operands with spaces between them, up to a `|` (taken) or what closes the pipeline (left).
    fn command(&mut self) -> Result<Command, TemplateError> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.peek();
            match token.kind {
                Kind::Space => {}
                Kind::RightDelim | Kind::RightParen => break,
                Kind::Pipe => {
                    self.next += 1;
                    break;
                }
                _ => return Err(self.unexpected(token, "operand")),
            }
        }
        if operands.is_empty() {
            return Err(self.error_at(self.peek(), "empty command"));
        }
        precompile_pattern(&mut operands);
        Ok(Command { operands })
    }

    /// A term, and the `.field`s that follow it without a space.
    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let token = self.peek();
        let Some(term) = self.term()? else { return Ok(None) };
        let mut keys = Vec::new();
        while self.peek().kind == Kind::Field {
            keys.push(self.take().text[1..].to_owned());
        }
        if keys.is_empty() {
            return Ok(Some(term));
        }
        Ok(Some(match term {
            Operand::Field(mut path) => {
                path.append(&mut keys);
                Operand::Field(path)
            }
            Operand::Variable(name, mut path) => {
                path.append(&mut keys);
                Operand::Variable(name, path)
            }
            Operand::Function(..) | Operand::Pipe(_) => Operand::Chain(Box::new(term), keys),
            _ => return Err(self.error_at(token, format!("unexpected `.` after term `{}`", token.text))),
        }))
    }

    fn term(&mut self) -> Result<Option<Operand>, TemplateError> {
        let token = self.peek();
        if !starts_operand(token.kind) {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(match token.kind {
            Kind::Identifier => Operand::Function(self.function(token)?, None),
            Kind::Dot => Operand::Dot,
            Kind::Nil => Operand::Nil,
            Kind::Bool => Operand::Bool(token.text == "true"),
            Kind::Field => Operand::Field(vec![token.text[1..].to_owned()]),
            Kind::Variable => {
                if !self.variables.iter().any(|known| known == token.text) {
                    return Err(self.error_at(token, format!("undefined variable `{}`", token.text)));
                }
                Operand::Variable(token.text.to_owned(), Vec::new())
            }
            Kind::Number => {
                Operand::Number(number::constant(token.text).map_err(|e| self.error_at(token, e))?)
            }
            Kind::Char => {
                let int = unquote::char_constant(token.text).ok_or_else(|| {
                    self.error_at(token, format!("malformed character constant: {}", token.text))
                })?;
                Operand::Number(ast::Number { int: Some(int), float: int as f64, looks_float: false })
            }
            Kind::LeftParen => {
                self.enter()?;
                let pipe = self.pipe("parenthesized pipeline", Kind::RightParen)?;
                self.nesting -= 1;
                Operand::Pipe(pipe)
            }
            _ => match self.string(token)? {
                Some(text) => Operand::Text(text.into_boxed_slice()),
                None => return Err(self.unexpected(token, "operand")),
            },
        }))
    }

    fn function(&self, token: Token<'s>) -> Result<&'static functions::Function, TemplateError> {
        let found = match self.vocabulary {
            Vocabulary::Loki => functions::find(token.text),
            Vocabulary::Named(names) if names.contains(&token.text) => Some(&functions::ELSEWHERE),
            Vocabulary::Named(_) => functions::find_builtin(token.text),
        };
        found.ok_or_else(|| self.error_at(token, format!("function `{}` not defined", token.text)))
    }
}

fn starts_operand(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Bool
            | Kind::Char
            | Kind::Dot
            | Kind::Field
            | Kind::Identifier
            | Kind::Number
            | Kind::Nil
            | Kind::Raw
            | Kind::Quoted
            | Kind::Variable
            | Kind::LeftParen
    )
}

/// Compiles a constant regular expression once, not for every line.
fn precompile_pattern(operands: &mut [Operand]) {
    if let [Operand::Function(function, pattern), Operand::Text(source), ..] = operands
        && function.takes_pattern
    {
        *pattern = Some(Box::new(regex::Pattern::new(source)));
    }
}
