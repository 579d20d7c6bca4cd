//! The canonical text of a query, on one line.
//!
//! `Display` writes what Loki writes for the same query, so that error texts, rules and caches agree with it.
//! Two of its habits lose something: it rounds sizes (`1KiB` becomes `1.0kB`) and the numbers of `vector`.
//! Where a query is passed on to be run, [`to_query`] writes the same but for those, exactly.

mod log;
mod pretty;
mod sample;

use std::fmt;

use crate::ast::{Expr, LabelFilter, LogExpr, SampleExpr, Stage};
pub use pretty::pretty;

/// How faithful the text must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// As Loki prints it.
    Canonical,
    /// So that it parses to the same.
    Exact,
}

/// The text of a query that parses to the same query, to the last digit. A literal that is no number (`1 / 0`)
/// is the one thing the language cannot write; it is written as the division it came from.
pub fn to_query(expr: &Expr) -> String {
    let mut printer = Printer { out: String::new(), style: Style::Exact };
    printer.expr(expr);
    printer.out
}

/// Gathers the text.
struct Printer {
    out: String,
    style: Style,
}

impl Printer {
    fn canonical(print: impl FnOnce(&mut Self)) -> String {
        let mut printer = Self { out: String::new(), style: Style::Canonical };
        print(&mut printer);
        printer.out
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Prints `items` with `separator` between them.
    fn separated<T>(&mut self, items: &[T], separator: &str, mut print: impl FnMut(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.push(separator);
            }
            print(self, item);
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Log(log) => self.log(log),
            Expr::Sample(sample) => self.sample(sample),
        }
    }
}

/// Implements `Display` by a method of the printer.
macro_rules! display {
    ($($type:ty => $method:ident,)*) => {
        $(impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&Printer::canonical(|printer| printer.$method(self)))
            }
        })*
    };
}

display! {
    Expr => expr,
    LogExpr => log,
    Stage => stage,
    LabelFilter => label_filter,
    SampleExpr => sample,
}

#[cfg(test)]
mod generated;
#[cfg(test)]
mod tests;
