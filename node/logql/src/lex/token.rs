//! The words of the language.

use std::borrow::Cow;
use std::fmt;

use crate::ast::{BinaryOp, Conversion, RangeOp, VectorOp};

/// One word of a query and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// An identifier's or number's text, or a string's content; empty for all else.
    pub text: Cow<'a, str>,
    /// A string's content where that is not UTF-8; `text` has U+FFFD then, as labels have that are stored.
    pub bytes: Option<Vec<u8>>,
    /// The line as error texts give it: from 1, or 0 (see [`crate::parse::ParseError::line`]).
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// What a token is. Its `Display` is the name that Loki's error texts give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    End,
    Identifier,
    String,
    Number,
    Flag(Flag),
    /// Nanoseconds.
    Duration(i64),
    /// `[5m]`, in nanoseconds.
    Range(i64),
    Bytes(u64),
    Symbol(Symbol),
    Keyword(Keyword),
    /// `!=` is here although it also matches labels and filters lines.
    Binary(BinaryOp),
    RangeFunction(RangeOp),
    VectorFunction(VectorOp),
    Conversion(Conversion),
    Vector,
    Ip,
}

/// An option of `logfmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Strict,
    KeepEmpty,
}

/// Declares an enum whose members are each written one way.
macro_rules! written {
    ($(#[$doc:meta])* $name:ident { $($member:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($member,)* }

        impl $name {
            const ALL: &[Self] = &[$(Self::$member,)*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$member => $text,)* }
            }

            pub(super) fn find(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|member| member.as_str() == text)
            }
        }
    };
}

written! {
    /// Punctuation that is no binary operator.
    Symbol {
        Comma = ",",
        Dot = ".",
        OpenBrace = "{",
        CloseBrace = "}",
        OpenParen = "(",
        CloseParen = ")",
        CloseBracket = "]",
        Equal = "=",
        RegexMatch = "=~",
        NotRegexMatch = "!~",
        NotPattern = "!>",
        PipeExact = "|=",
        PipeMatch = "|~",
        PipePattern = "|>",
        Pipe = "|",
    }
}

written! {
    /// Names that mean something wherever they stand, and so cannot name a label.
    Keyword {
        By = "by",
        Without = "without",
        Bool = "bool",
        On = "on",
        Ignoring = "ignoring",
        GroupLeft = "group_left",
        GroupRight = "group_right",
        Offset = "offset",
        LabelReplace = "label_replace",
        Unwrap = "unwrap",
        Json = "json",
        Regexp = "regexp",
        Logfmt = "logfmt",
        Unpack = "unpack",
        Pattern = "pattern",
        LabelFormat = "label_format",
        LineFormat = "line_format",
        Decolorize = "decolorize",
        Drop = "drop",
        Keep = "keep",
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::End => "$end",
            Self::Identifier => "IDENTIFIER",
            Self::String => "STRING",
            Self::Number => "NUMBER",
            Self::Flag(_) => "FUNCTION_FLAG",
            Self::Duration(_) => "DURATION",
            Self::Range(_) => "RANGE",
            Self::Bytes(_) => "BYTES",
            Self::Vector => "VECTOR",
            Self::Ip => "ip",
            Self::Symbol(symbol) => symbol.as_str(),
            Self::Keyword(keyword) => keyword.as_str(),
            Self::Binary(op) => op.as_str(),
            Self::RangeFunction(op) => return f.write_str(&op.as_str().to_uppercase()),
            Self::VectorFunction(op) => return f.write_str(&op.as_str().to_uppercase()),
            Self::Conversion(conversion) => {
                return write!(f, "{}_CONV", conversion.as_str().to_uppercase());
            }
        };
        f.write_str(name)
    }
}
