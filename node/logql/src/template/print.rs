//! Prints values as Go's `fmt` does: the plain `%v`, and `Sprint` and `Sprintln` over several.

use super::{Context, value::Value, verb::Format};

/// `%v` without flags. `context` is asked only for the labels as a whole.
pub(super) fn plain(out: &mut Vec<u8>, value: &Value<'_>, context: &dyn Context) {
    Format::default().value(out, value, 'v', context);
}

/// `Sprint`: a space between operands when neither is a string.
pub(super) fn sprint(out: &mut Vec<u8>, values: &[Value<'_>], context: &dyn Context) {
    let mut after_text = true;
    for (at, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_));
        if at > 0 && !is_text && !after_text {
            out.push(b' ');
        }
        plain(out, value, context);
        after_text = is_text;
    }
}

/// `Sprintln`: spaces between all, and a newline.
pub(super) fn sprintln(out: &mut Vec<u8>, values: &[Value<'_>], context: &dyn Context) {
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        plain(out, value, context);
    }
    out.push(b'\n');
}

/// A float with a verb of `e E f F g G` and a precision, `None` meaning the shortest that reads back the
/// same; signed only if negative.
pub(super) fn float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-Inf" } else { "+Inf" }.to_owned();
    }
    match (verb, precision) {
        ('f' | 'F', Some(precision)) => format!("{value:.precision$}"),
        ('f' | 'F', None) => format!("{value}"),
        ('e' | 'E', Some(precision)) => exponent(&format!("{value:.precision$e}"), verb),
        ('e' | 'E', None) => exponent(&format!("{value:e}"), verb),
        (_, precision) => general(value, verb, precision),
    }
}

/// `%g`: an exponent where it is below -4 or at least the precision, which counts as 6 for the shortest form.
fn general(value: f64, verb: char, precision: Option<usize>) -> String {
    let significant = precision.map(|digits| digits.max(1));
    let scientific = match significant {
        Some(digits) => format!("{value:.*e}", digits - 1),
        None => format!("{value:e}"),
    };
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i64 = power.parse().unwrap_or(0);
    let mantissa = match mantissa.contains('.') {
        true => mantissa.trim_end_matches('0').trim_end_matches('.'),
        false => mantissa,
    };
    let threshold = significant.map_or(6, |digits| i64::try_from(digits).unwrap_or(i64::MAX));
    if power < -4 || power >= threshold {
        return exponent(&format!("{mantissa}e{power}"), if verb == 'G' { 'E' } else { 'e' });
    }
    match significant {
        Some(_) => {
            let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
            let decimals = i64::try_from(digits).unwrap_or(0) - 1 - power;
            format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
        }
        None => format!("{value}"),
    }
}

/// Rust's `1.5e3` as Go's `1.5e+03`.
fn exponent(scientific: &str, verb: char) -> String {
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let (sign, digits) = match power.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', power),
    };
    format!("{mantissa}{verb}{sign}{digits:0>2}")
}
