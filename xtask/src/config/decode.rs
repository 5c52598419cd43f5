//! From a parsed TOML document to raw types, with every mistake reported and none fatal.
//!
//! A file's kind is declared once, with [`table!`](crate::config::table::table): the
//! declaration gives the Rust struct, the decoder, the key reference in `docs/` and the
//! JSON schema. Decoding never stops at a mistake: the value is replaced by a placeholder
//! marked [`Val::bad`], so that later checks go on and report what else is wrong.

use super::diag::{Diagnostic, FileId, Place, Span};
use super::shape::{KeyDoc, Shape, TableDoc};
use super::suggest;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A decoded value and where it stands.
#[derive(Clone, Debug)]
pub struct Val<T> {
    /// The value.
    pub value: T,
    /// Where it stands; `None` when it is the key's default.
    pub span: Option<Span>,
    /// A placeholder for a value whose mistake has been reported.
    pub bad: bool,
}

impl<T> std::ops::Deref for Val<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The file that is being decoded, and the mistakes found so far.
pub struct Cx<'a> {
    /// The file.
    pub file: FileId,
    /// The mistakes of all files.
    pub out: &'a mut Vec<Diagnostic>,
}

/// Why a string is no value of a type, and what to write instead.
#[derive(Debug)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What to write.
    pub help: Option<String>,
}

impl Problem {
    /// A problem without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A type that a TOML value can be decoded to.
pub trait Decode: Sized {
    /// Decodes `value`; `None` when a mistake was reported instead.
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self>;
    /// What the type accepts, for the reference and the schema.
    fn shape() -> Shape;
    /// Stands in for a value that could not be decoded.
    fn placeholder() -> Self;
}

/// A table with fixed keys; declared with [`table!`].
pub trait Table: Decode {
    /// Its keys, for messages, the reference and the schema.
    const DOC: TableDoc;
    /// Decodes a table that stands at `whole`.
    fn decode_table(table: &DeTable<'_>, whole: &Span, cx: &mut Cx<'_>) -> Self;
}

/// A type written as a TOML string.
pub trait Leaf: Sized {
    /// What a value is called in messages and in the reference.
    const WHAT: &'static str;
    /// An ECMA 262 pattern for the schema, when the type is narrower than any string.
    const PATTERN: Option<&'static str> = None;
    /// Every value, when they are few.
    const CHOICES: &'static [&'static str] = &[];
    /// Reads a value.
    ///
    /// # Errors
    /// When `text` is none; with the reason.
    fn parse(text: &str) -> Result<Self, Problem>;
    /// Reads a value written as an integer, for types that allow it.
    #[must_use]
    fn parse_integer(_value: i128) -> Option<Result<Self, Problem>> {
        None
    }
    /// Whether integers are allowed as well.
    const INTEGER_TOO: bool = false;
    /// Stands in for a value that could not be read.
    fn placeholder() -> Self;
}

impl<T: Leaf> Decode for T {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        let result = match value.get_ref() {
            DeValue::String(text) => Some(T::parse(text)),
            DeValue::Integer(_) => integer(value).and_then(T::parse_integer),
            _ => None,
        };
        let Some(result) = result else {
            return cx.wrong_type(value, &Self::shape());
        };
        match result {
            Ok(v) => Some(v),
            Err(problem) => {
                let help = problem.help.or_else(|| match value.get_ref() {
                    DeValue::String(s) if !T::CHOICES.is_empty() => {
                        Some(suggest::help(s, T::CHOICES.iter().copied(), ""))
                    }
                    _ => None,
                });
                let mut d = Diagnostic::at(cx.place(&value.span()), problem.message);
                d.helps.extend(help);
                cx.out.push(d);
                None
            }
        }
    }

    fn shape() -> Shape {
        if T::CHOICES.is_empty() {
            Shape::Text { what: T::WHAT, pattern: T::PATTERN, integer_too: T::INTEGER_TOO }
        } else {
            Shape::Choice { what: T::WHAT, choices: T::CHOICES }
        }
    }

    fn placeholder() -> Self {
        <T as Leaf>::placeholder()
    }
}

impl Decode for bool {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            _ => cx.wrong_type(value, &Shape::Flag),
        }
    }

    fn shape() -> Shape {
        Shape::Flag
    }

    fn placeholder() -> Self {
        false
    }
}

/// An integer in `MIN..=MAX`.
#[derive(Clone, Copy, Debug)]
pub struct Int<const MIN: i64, const MAX: i64>(pub i64);

impl<const MIN: i64, const MAX: i64> Decode for Int<MIN, MAX> {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        let DeValue::Integer(written) = value.get_ref() else {
            return cx.wrong_type(value, &Self::shape());
        };
        let range = i128::from(MIN)..=i128::from(MAX);
        match integer(value).filter(|n| range.contains(n)) {
            Some(n) => i64::try_from(n).ok().map(Self),
            None => {
                let place = cx.place(&value.span());
                cx.out.push(
                    Diagnostic::at(place, format!("{written} is not between {MIN} and {MAX}"))
                        .label("out of range"),
                );
                None
            }
        }
    }

    fn shape() -> Shape {
        Shape::Integer { min: MIN, max: MAX }
    }

    fn placeholder() -> Self {
        Self(MIN)
    }
}

impl<T: Decode> Decode for Vec<Val<T>> {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        let DeValue::Array(items) = value.get_ref() else {
            return cx.wrong_type(value, &Self::shape());
        };
        // A bad element is reported and left out; its neighbours stay.
        Some(items.iter().filter_map(|item| cx.val(item)).collect())
    }

    fn shape() -> Shape {
        Shape::List(Box::new(T::shape()))
    }

    fn placeholder() -> Self {
        Vec::new()
    }
}

/// One value or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<Val<T>>);

impl<T: Decode> Decode for OneOrMany<T> {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(_) => Vec::decode(value, cx).map(Self),
            _ => cx.val(value).map(|v| Self(vec![v])),
        }
    }

    fn shape() -> Shape {
        Shape::Either(vec![T::shape(), Shape::List(Box::new(T::shape()))])
    }

    fn placeholder() -> Self {
        Self(Vec::new())
    }
}

/// A table with free keys.
#[derive(Clone, Debug)]
pub struct Map<K, V>(pub BTreeMap<K, Val<V>>);

impl<K: Leaf + Ord, V: Decode> Decode for Map<K, V> {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        let DeValue::Table(table) = value.get_ref() else {
            return cx.wrong_type(value, &<Self as Decode>::shape());
        };
        let mut map = BTreeMap::new();
        for (key, value) in table {
            match K::parse(key.get_ref()) {
                Ok(k) => {
                    if let Some(v) = cx.val(value) {
                        map.insert(k, v);
                    }
                }
                Err(problem) => {
                    let mut d = Diagnostic::at(cx.place(&key.span()), problem.message);
                    if problem.help.is_none() && !K::CHOICES.is_empty() {
                        let choices = K::CHOICES.iter().copied();
                        d = d.help(suggest::help(key.get_ref(), choices, ""));
                    }
                    d.helps.extend(problem.help);
                    cx.out.push(d);
                }
            }
        }
        Some(Self(map))
    }

    fn shape() -> Shape {
        Shape::Map { key: Box::new(<K as Decode>::shape()), value: Box::new(V::shape()) }
    }

    fn placeholder() -> Self {
        Self(BTreeMap::new())
    }
}

impl Cx<'_> {
    /// `span` in the file that is being decoded.
    #[must_use]
    pub fn place(&self, span: &Span) -> Place {
        Place { file: self.file, span: span.clone() }
    }

    /// Decodes a value, keeping where it stands.
    pub fn val<T: Decode>(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Val<T>> {
        let decoded = T::decode(value, self)?;
        Some(Val { value: decoded, span: Some(value.span()), bad: false })
    }

    /// Reports a value of another type than `wanted`.
    pub fn wrong_type<T>(&mut self, value: &Spanned<DeValue<'_>>, wanted: &Shape) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let wanted_name = wanted.name();
        let mut d = Diagnostic::at(
            self.place(&value.span()),
            format!("wrong type: expected {wanted_name}, found {found}"),
        )
        .label(format!("expected {wanted_name}"));
        d.helps.extend(wanted.example(value.get_ref()));
        self.out.push(d);
        None
    }

    /// Reports every key of `table` that `doc` does not name.
    pub fn unknown_keys(&mut self, table: &DeTable<'_>, doc: &TableDoc) {
        let keys = (doc.keys)();
        for (key, _) in table {
            let written = key.get_ref().as_ref();
            if keys.iter().any(|k| k.key == written) {
                continue;
            }
            let d = Diagnostic::at(
                self.place(&key.span()),
                format!("unknown key `{written}` in {}", doc.what),
            );
            self.out.push(d.help(unknown_key_help(written, &keys)));
        }
    }

    /// A key that must be given.
    pub fn required<T: Decode>(
        &mut self,
        table: &DeTable<'_>,
        whole: &Span,
        key: &'static str,
        what: &str,
    ) -> Val<T> {
        if let Some(value) = table.get(key) {
            return self.val(value).unwrap_or_else(|| placeholder(value.span()));
        }
        // Point at the table's head, which is its first line.
        let mut d = Diagnostic::at(self.place(whole), format!("{what} lacks the key `{key}`"));
        d.helps.extend(T::shape().example_line(key).map(|e| format!("add `{e}`")));
        self.out.push(d);
        placeholder(whole.clone())
    }

    /// A key that may be absent.
    pub fn optional<T: Decode>(&mut self, table: &DeTable<'_>, key: &str) -> Option<Val<T>> {
        let value = table.get(key)?;
        Some(self.val(value).unwrap_or_else(|| placeholder(value.span())))
    }

    /// A key with a default, which `default` states as TOML: what the reference shows is
    /// what is decoded.
    pub fn defaulted<T: Decode>(
        &mut self,
        table: &DeTable<'_>,
        key: &str,
        default: &'static str,
    ) -> Val<T> {
        if let Some(given) = self.optional(table, key) {
            return given;
        }
        let decoded = DeValue::parse(default).ok().and_then(|v| T::decode(&v, self));
        match decoded {
            Some(value) => Val { value, span: None, bad: false },
            // Unreachable while the test that decodes every default passes.
            None => Val { value: T::placeholder(), span: None, bad: true },
        }
    }
}

/// A default, stated as TOML, as JSON; `None` when it is no TOML value.
#[must_use]
pub fn to_json(toml: &str) -> Option<serde_json::Value> {
    fn json(value: &DeValue<'_>) -> serde_json::Value {
        match value {
            DeValue::String(s) => s.as_ref().into(),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().into(),
            DeValue::Float(f) => f.as_str().parse::<f64>().ok().into(),
            DeValue::Boolean(b) => (*b).into(),
            DeValue::Datetime(d) => d.to_string().into(),
            DeValue::Array(items) => items.iter().map(|i| json(i.get_ref())).collect(),
            DeValue::Table(table) => {
                let pair = |(k, v): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                    let key: &std::borrow::Cow<'_, str> = k.get_ref();
                    (key.to_string(), json(v.get_ref()))
                };
                serde_json::Value::Object(table.iter().map(pair).collect())
            }
        }
    }
    Some(json(DeValue::parse(toml).ok()?.get_ref()))
}

fn placeholder<T: Decode>(span: Span) -> Val<T> {
    Val { value: T::placeholder(), span: Some(span), bad: true }
}

/// The integer that stands in `value`, whatever its radix.
fn integer(value: &Spanned<DeValue<'_>>) -> Option<i128> {
    match value.get_ref() {
        DeValue::Integer(n) => i128::from_str_radix(n.as_str(), n.radix()).ok(),
        _ => None,
    }
}

/// Advice for an unknown key: the nearest one, the table that it belongs in, or all keys.
fn unknown_key_help(written: &str, keys: &[KeyDoc]) -> String {
    let inner = |k: &KeyDoc| match &k.shape {
        Shape::Table(t) => Some((t.keys)()),
        _ => None,
    };
    for outer in keys {
        if inner(outer).is_some_and(|ks| ks.iter().any(|k| k.key == written)) {
            return format!("`{written}` belongs in the table `[{}]`", outer.key);
        }
    }
    if let Some(near) = suggest::nearest(written, keys.iter().map(|k| k.key)) {
        return format!("did you mean `{near}`?");
    }
    for outer in keys {
        let inner = inner(outer).unwrap_or_default();
        if let Some(near) = suggest::nearest(written, inner.iter().map(|k| k.key)) {
            return format!("did you mean `{near}` in the table `[{}]`?", outer.key);
        }
    }
    let all: Vec<String> = keys.iter().map(|k| format!("`{}`", k.key)).collect();
    format!("the keys are {}", suggest::list(&all, "and"))
}
