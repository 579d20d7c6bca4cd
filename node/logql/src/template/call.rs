//! Calls: arguments are evaluated for the types a function wants, as Go's reflection would, then it runs.

use std::borrow::Cow;

use super::{
    TemplateError,
    ast::Operand,
    exec::{Exec, Outcome},
    functions::{Args, Env, Function, Run, methods::Method, regex::Pattern},
    limits,
    value::{IntType, Param, Value},
};

/// Calls a function; `last` is its final argument where it stands after a `|`.
pub(super) fn function<'v>(
    exec: &mut Exec<'v, '_>,
    function: &'static Function,
    pattern: Option<&'v Pattern>,
    args: &'v [Operand],
    dot: &Value<'v>,
    last: Option<Value<'v>>,
) -> Outcome<Value<'v>> {
    let given = args.len() + usize::from(last.is_some());
    check_count(function.name, function.params.len(), function.rest.is_some(), given)?;
    let param = |at: usize| function.params.get(at).copied().or(function.rest).unwrap_or(Param::Any);
    let body = match function.run {
        Run::Until(stop) => return until(exec, stop, args, dot, last),
        Run::Call(body) => body,
    };
    let values = evaluate(exec, args, dot, last, param)?;
    charge(exec, &values)?;
    if function.takes_pattern && pattern.is_none() {
        exec.charge(limits::PATTERN_COST)?;
    }
    let env = Env { context: exec.context, pattern };
    let value = body(&env, Args(values))
        .map_err(|problem| TemplateError::render(format!("error calling {}: {problem}", function.name)))?;
    charge(exec, std::slice::from_ref(&value))?;
    Ok(value)
}

/// Calls a method of a value, or says that it has none of this name.
pub(super) fn method<'v>(
    exec: &mut Exec<'v, '_>,
    receiver: &Value<'v>,
    name: &str,
    args: &'v [Operand],
    dot: &Value<'v>,
    last: Option<Value<'v>>,
) -> Outcome<Value<'v>> {
    let Some(method) = Method::find(receiver, name) else {
        let type_name = receiver.type_name();
        return Err(TemplateError::render(format!("can't evaluate field {name} in type {type_name}")));
    };
    let given = args.len() + usize::from(last.is_some());
    check_count(name, method.params.len(), false, given)?;
    let param = |at: usize| method.params.get(at).copied().unwrap_or(Param::Any);
    let values = evaluate(exec, args, dot, last, param)?;
    charge(exec, &values)?;
    let value = method.call(receiver, Args(values));
    charge(exec, std::slice::from_ref(&value))?;
    Ok(value)
}

fn check_count(name: &str, fixed: usize, variadic: bool, given: usize) -> Outcome<()> {
    let problem = match variadic {
        true if given < fixed => {
            format!("wrong number of args for {name}: want at least {fixed} got {given}")
        }
        false if given != fixed => format!("wrong number of args for {name}: want {fixed} got {given}"),
        _ => return Ok(()),
    };
    Err(TemplateError::render(problem))
}

/// Evaluates `and` and `or`: the first argument whose truth is `stop`, else the last.
fn until<'v>(
    exec: &mut Exec<'v, '_>,
    stop: bool,
    args: &'v [Operand],
    dot: &Value<'v>,
    last: Option<Value<'v>>,
) -> Outcome<Value<'v>> {
    let mut value = Value::Nil;
    for arg in args {
        value = argument(exec, arg, Param::Any, dot)?;
        if value.is_true(exec.context) == stop {
            return Ok(value);
        }
    }
    Ok(last.unwrap_or(value))
}

fn evaluate<'v>(
    exec: &mut Exec<'v, '_>,
    args: &'v [Operand],
    dot: &Value<'v>,
    last: Option<Value<'v>>,
    param: impl Fn(usize) -> Param,
) -> Outcome<Vec<Value<'v>>> {
    let mut values = Vec::with_capacity(args.len() + usize::from(last.is_some()));
    for (at, arg) in args.iter().enumerate() {
        values.push(argument(exec, arg, param(at), dot)?);
    }
    if let Some(last) = last {
        values.push(param(args.len()).accept(last).map_err(TemplateError::render)?);
    }
    Ok(values)
}

/// One argument for a parameter: constants take the type it wants, computed values must have it.
fn argument<'v>(
    exec: &mut Exec<'v, '_>,
    operand: &'v Operand,
    param: Param,
    dot: &Value<'v>,
) -> Outcome<Value<'v>> {
    let constant = match (operand, param) {
        (Operand::Nil, Param::Any) => Some(Value::Nil),
        (Operand::Nil, _) => return Err(TemplateError::render("cannot assign nil to this parameter")),
        (Operand::Text(text), Param::Text) => Some(Value::Text(Cow::Borrowed(text))),
        (Operand::Number(number), Param::Int) => number.int.map(Value::int),
        (Operand::Number(number), Param::Duration) => {
            number.int.map(|nanos| Value::Int(nanos, IntType::Duration))
        }
        (Operand::Number(number), Param::Float) => Some(Value::Float(number.float)),
        (Operand::Bool(_) | Operand::Number(_) | Operand::Text(_), param) if param != Param::Any => None,
        _ => {
            let value = exec.operand(operand, dot)?;
            return param.accept(value).map_err(TemplateError::render);
        }
    };
    constant.ok_or_else(|| TemplateError::render(format!("expected {}", param.expected())))
}

/// Accounts for the bytes a call reads or makes, and refuses a text that is too long.
fn charge<'v>(exec: &mut Exec<'v, '_>, values: &[Value<'v>]) -> Outcome<()> {
    for value in values {
        if matches!(value, Value::Text(text) if text.len() > limits::TEXT_BYTES_MAX) {
            return Err(TemplateError::render(format!(
                "text is longer than {} bytes",
                limits::TEXT_BYTES_MAX
            )));
        }
        exec.charge(value.weight() as u64)?;
    }
    Ok(())
}
