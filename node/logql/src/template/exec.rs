//! Runs a parsed template over one line: blocks, variables, pipelines, field lookups. Calls are in `call`.

use std::borrow::Cow;

use super::{
    Context, TemplateError,
    ast::{Branch, Command, Node, Number, Operand, Pipe},
    call,
    functions::Function,
    limits,
    parse::Parsed,
    print,
    value::Value,
};

/// One render.
pub(super) struct Exec<'v, 'o> {
    pub(super) parsed: &'v Parsed,
    pub(super) context: &'v dyn Context,
    pub(super) out: &'o mut Vec<u8>,
    /// Length of `out` before the render.
    start: usize,
    /// Variables in scope, innermost last. The root `$` is not among them: most templates need none.
    variables: Vec<(&'v str, Value<'v>)>,
    depth: u32,
    work: u64,
}

/// How a list of nodes ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(super) type Outcome<T> = Result<T, TemplateError>;

impl<'v, 'o> Exec<'v, 'o> {
    pub(super) fn new(parsed: &'v Parsed, context: &'v dyn Context, out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Exec { parsed, context, out, start, variables: Vec::new(), depth: 0, work: 0 }
    }

    pub(super) fn run(&mut self) -> Outcome<()> {
        self.list(&self.parsed.main, &Value::Labels)?;
        Ok(())
    }

    fn list(&mut self, nodes: &'v [Node], dot: &Value<'v>) -> Outcome<Flow> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::Next => {}
                jump => return Ok(jump),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'v Node, dot: &Value<'v>) -> Outcome<Flow> {
        self.charge(limits::STEP_COST)?;
        match node {
            Node::Text(text) => self.write(text)?,
            Node::Action(pipe) => self.action(pipe, dot)?,
            Node::If(branch) => return self.nested(|exec| exec.conditional(branch, dot, false)),
            Node::With(branch) => return self.nested(|exec| exec.conditional(branch, dot, true)),
            Node::Range(branch) => return self.nested(|exec| exec.range(branch, dot)),
            Node::Template { name, pipe } => {
                return self.nested(|exec| exec.template(name, pipe.as_ref(), dot));
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Runs one level deeper, within the bound on depth.
    fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        self.depth += 1;
        if self.depth > limits::DEPTH_MAX {
            return Err(TemplateError::render(format!(
                "exceeded maximum template depth ({})",
                limits::DEPTH_MAX
            )));
        }
        let done = run(self);
        self.depth -= 1;
        done
    }

    /// Accounts for work; the bound makes any template end.
    pub(super) fn charge(&mut self, work: u64) -> Outcome<()> {
        self.work = self.work.saturating_add(work);
        if self.work > limits::WORK_MAX {
            return Err(TemplateError::render("template does more work than one line may cost"));
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        if self.out.len() - self.start + bytes.len() > limits::TEXT_BYTES_MAX {
            return Err(too_long());
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn action(&mut self, pipe: &'v Pipe, dot: &Value<'v>) -> Outcome<()> {
        let value = self.pipe(pipe, dot)?;
        if !pipe.variables.is_empty() {
            return Ok(());
        }
        match &value {
            Value::Text(text) => self.write(text),
            Value::Nil => self.write(b"<no value>"),
            other => {
                print::plain(self.out, other, self.context);
                if self.out.len() - self.start > limits::TEXT_BYTES_MAX { Err(too_long()) } else { Ok(()) }
            }
        }
    }

    fn conditional(&mut self, branch: &'v Branch, dot: &Value<'v>, rebinds: bool) -> Outcome<Flow> {
        let scope = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if !value.is_true(self.context) {
            self.list(&branch.otherwise, dot)
        } else if rebinds {
            self.list(&branch.body, &value)
        } else {
            self.list(&branch.body, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &'v Branch, dot: &Value<'v>) -> Outcome<Flow> {
        let scope = self.variables.len();
        let flow = match self.pipe(&branch.pipe, dot)? {
            Value::List(list) => {
                let elements = list.iter().enumerate();
                self.iterate(branch, elements.map(|(at, element)| (Value::length_of(at), element.clone())))
            }
            Value::Map(map) => self.iterate(
                branch,
                map.iter().map(|(key, element)| (Value::owned(key.as_bytes()), element.clone())),
            ),
            Value::Labels => {
                let labels = self.context.labels();
                self.iterate(branch, labels.into_iter().map(|(name, value)| (text(name), text(value))))
            }
            Value::Int(_, _) if branch.pipe.variables.len() > 1 => {
                Err(TemplateError::render("can't use an integer to iterate over more than one variable"))
            }
            Value::Int(count, kind) => {
                self.iterate(branch, (0..count).map(|at| (Value::Int(at, kind), Value::Int(at, kind))))
            }
            Value::Nil => Ok(false),
            other => Err(TemplateError::render(format!("range can't iterate over {}", other.type_name()))),
        };
        let flow = match flow? {
            true => Ok(Flow::Next),
            false => self.list(&branch.otherwise, dot),
        };
        self.variables.truncate(scope);
        flow
    }

    /// Runs the body once for each key and element; false if there was none.
    fn iterate(
        &mut self,
        branch: &'v Branch,
        items: impl Iterator<Item = (Value<'v>, Value<'v>)>,
    ) -> Outcome<bool> {
        let scope = self.variables.len();
        let mut ran = false;
        for (key, element) in items {
            ran = true;
            self.charge(limits::STEP_COST)?;
            self.bind_iteration(&branch.pipe, key, &element)?;
            let flow = self.list(&branch.body, &element)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        Ok(ran)
    }

    /// Gives the variables of a `range` their values: with two the key comes first.
    fn bind_iteration(&mut self, pipe: &'v Pipe, key: Value<'v>, element: &Value<'v>) -> Outcome<()> {
        let scope = self.variables.len();
        let bind = |exec: &mut Self, at: usize, value| {
            if pipe.assigns {
                exec.assign(&pipe.variables[at], value)
            } else {
                // `pipe` declared them just below this iteration's scope.
                let slot = scope - pipe.variables.len() + at;
                exec.variables[slot].1 = value;
                Ok(())
            }
        };
        match pipe.variables.len() {
            0 => Ok(()),
            1 => bind(self, 0, element.clone()),
            _ => {
                bind(self, 0, key)?;
                bind(self, 1, element.clone())
            }
        }
    }

    fn template(&mut self, name: &str, pipe: Option<&'v Pipe>, dot: &Value<'v>) -> Outcome<Flow> {
        let nodes = match self.parsed.defined.get(name) {
            Some(nodes) => nodes,
            None if name == "line" => &self.parsed.main,
            None => return Err(TemplateError::render(format!("template `{name}` not defined"))),
        };
        let dot = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Nil,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let flow = self.list(nodes, &dot);
        self.variables = outer;
        flow?;
        Ok(Flow::Next)
    }

    pub(super) fn pipe(&mut self, pipe: &'v Pipe, dot: &Value<'v>) -> Outcome<Value<'v>> {
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(command, dot, value)?.unwrapped());
        }
        let value = value.unwrap_or(Value::Nil);
        for variable in &pipe.variables {
            if pipe.assigns {
                self.assign(variable, value.clone())?;
            } else {
                self.variables.push((variable, value.clone()));
            }
        }
        Ok(value)
    }

    fn assign(&mut self, name: &str, value: Value<'v>) -> Outcome<()> {
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some((_, slot)) => *slot = value,
            // The root `$` may be assigned too; it then becomes a variable like the others.
            None if name == "$" => self.variables.insert(0, ("$", value)),
            None => return Err(TemplateError::render(format!("undefined variable `{name}`"))),
        }
        Ok(())
    }

    fn variable(&self, name: &str) -> Outcome<Value<'v>> {
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None if name == "$" => Ok(Value::Labels),
            None => Err(TemplateError::render(format!("undefined variable `{name}`"))),
        }
    }

    /// One command of a pipeline; `last` is the value of the one before.
    fn command(
        &mut self,
        command: &'v Command,
        dot: &Value<'v>,
        last: Option<Value<'v>>,
    ) -> Outcome<Value<'v>> {
        self.charge(limits::STEP_COST)?;
        let (first, args) = match command.operands.split_first() {
            Some(split) => split,
            None => return Ok(Value::Nil),
        };
        match first {
            Operand::Function(function, pattern) => {
                call::function(self, function, pattern.as_deref(), args, dot, last)
            }
            Operand::Field(keys) => self.field_chain(dot.clone(), keys, args, dot, last),
            Operand::Chain(inner, keys) => {
                let receiver = self.operand(inner, dot)?;
                self.field_chain(receiver, keys, args, dot, last)
            }
            Operand::Variable(name, keys) if !keys.is_empty() => {
                let receiver = self.variable(name)?;
                self.field_chain(receiver, keys, args, dot, last)
            }
            _ if !args.is_empty() || last.is_some() => {
                Err(TemplateError::render("can't give argument to non-function"))
            }
            Operand::Nil => Err(TemplateError::render("nil is not a command")),
            other => self.operand(other, dot),
        }
    }

    /// An operand where nothing says which type is wanted.
    pub(super) fn operand(&mut self, operand: &'v Operand, dot: &Value<'v>) -> Outcome<Value<'v>> {
        match operand {
            Operand::Dot => Ok(dot.clone()),
            Operand::Nil => Ok(Value::Nil),
            Operand::Bool(value) => Ok(Value::Bool(*value)),
            Operand::Number(number) => constant(*number),
            Operand::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
            Operand::Field(keys) => self.field_chain(dot.clone(), keys, &[], dot, None),
            Operand::Variable(name, keys) => {
                let receiver = self.variable(name)?;
                self.field_chain(receiver, keys, &[], dot, None)
            }
            Operand::Function(function, _) => self.bare_function(function, dot),
            Operand::Pipe(pipe) => self.nested(|exec| exec.pipe(pipe, dot)),
            Operand::Chain(inner, keys) => {
                let receiver = self.operand(inner, dot)?;
                self.field_chain(receiver, keys, &[], dot, None)
            }
        }
    }

    fn bare_function(&mut self, function: &'static Function, dot: &Value<'v>) -> Outcome<Value<'v>> {
        call::function(self, function, None, &[], dot, None)
    }

    /// `.a.b.c` on `receiver`; only the last may be a method with arguments.
    fn field_chain(
        &mut self,
        mut receiver: Value<'v>,
        keys: &'v [String],
        args: &'v [Operand],
        dot: &Value<'v>,
        last: Option<Value<'v>>,
    ) -> Outcome<Value<'v>> {
        let Some((final_key, path)) = keys.split_last() else { return Ok(receiver) };
        for key in path {
            receiver = self.field(receiver, key, &[], dot, None)?;
        }
        self.field(receiver, final_key, args, dot, last)
    }

    fn field(
        &mut self,
        receiver: Value<'v>,
        key: &'v str,
        args: &'v [Operand],
        dot: &Value<'v>,
        last: Option<Value<'v>>,
    ) -> Outcome<Value<'v>> {
        match receiver {
            Value::Nil => return Ok(Value::Nil),
            Value::NilElement => {
                return Err(TemplateError::render(format!("nil pointer evaluating interface {{}}.{key}")));
            }
            Value::Labels | Value::Map(_) => {}
            other => return call::method(self, &other, key, args, dot, last),
        }
        if !args.is_empty() || last.is_some() {
            return Err(TemplateError::render(format!("{key} is not a method but has arguments")));
        }
        Ok(match &receiver {
            Value::Map(map) => map.get(key).cloned().unwrap_or(Value::NilElement),
            _ => text(self.context.label(key).unwrap_or_default()),
        })
    }
}

fn constant<'v>(number: Number) -> Outcome<Value<'v>> {
    match number.int {
        _ if number.looks_float => Ok(Value::Float(number.float)),
        Some(int) => Ok(Value::int(int)),
        None => Err(TemplateError::render("integer constant overflows int")),
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text.as_bytes()))
}

fn too_long() -> TemplateError {
    TemplateError::render(format!("template output is longer than {} bytes", limits::TEXT_BYTES_MAX))
}
