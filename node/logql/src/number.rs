//! Floats as Go reads and writes them.

use crate::value::parse_number;

/// The value of a number in a query, or what `strconv.ParseFloat` says of it.
pub(crate) fn parse_float(text: &str) -> Result<f64, String> {
    parse_number(text).map_err(|_| {
        let is_too_large = text.replace('_', "").parse::<f64>().is_ok_and(f64::is_infinite);
        let why = if is_too_large { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseFloat: parsing \"{text}\": {why}")
    })
}

/// `strconv.FormatFloat(value, 'f', -1, 64)`: as many digits as it takes, never an exponent.
pub(crate) fn format_plain(value: f64) -> String {
    match special(value) {
        Some(name) => name.to_owned(),
        None => value.to_string(),
    }
}

/// `fmt.Sprint(value)`: an exponent from 1e21 up and below 1e-4.
pub(crate) fn format_general(value: f64) -> String {
    if let Some(name) = special(value) {
        return name.to_owned();
    }
    let scientific = format!("{value:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if value == 0.0 || (-4..21).contains(&exponent) {
        return value.to_string();
    }
    let mantissa = scientific.split_once('e').map_or(scientific.as_str(), |(mantissa, _)| mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn special(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{format_general, format_plain, parse_float};

    #[test]
    fn floats_are_read_as_go_reads_them() {
        assert_eq!(parse_float("1_000.5"), Ok(1000.5));
        assert_eq!(parse_float(".5"), Ok(0.5));
        assert_eq!(parse_float("1e3"), Ok(1000.0));
        let refused = parse_float("0x1f").unwrap_err();
        assert_eq!(refused, "strconv.ParseFloat: parsing \"0x1f\": invalid syntax");
        assert_eq!(
            parse_float("1e999").unwrap_err(),
            "strconv.ParseFloat: parsing \"1e999\": value out of range"
        );
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        let cases = [
            (1000.0, "1000"),
            (0.5, "0.5"),
            (-0.0, "-0"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1.5e-7, "1.5e-07"),
            (1e-4, "0.0001"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(format_general(value), expected);
        }
        assert_eq!(format_plain(1.5e-7), "0.00000015");
    }
}
