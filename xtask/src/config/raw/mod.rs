//! The files that users write, each declared once.

pub mod kernel_config;
pub mod leaf;
pub mod manifest;
pub mod project;
pub mod scenario;

use super::decode::{Cx, Decode, Int, Map, OneOrMany, Val};
use super::diag::Diagnostic;
use super::shape::Shape;
use crate::model::Arch;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::DeValue;

/// The version of the format: 1.
#[derive(Clone, Copy, Debug)]
pub struct Format;

impl Decode for Format {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        let DeValue::Integer(n) = value.get_ref() else {
            return cx.wrong_type(value, &Self::shape());
        };
        if n.radix() == 10 && n.as_str() == "1" {
            return Some(Self);
        }
        let message = format!("format {n} is unknown to this Osier, which reads format 1");
        let d = Diagnostic::at(cx.place(&value.span()), message);
        cx.out.push(d.help("write `format = 1`, or use the Osier that the file was written for"));
        None
    }

    fn shape() -> Shape {
        Shape::Integer { min: 1, max: 1 }
    }

    fn placeholder() -> Self {
        Self
    }
}

/// One value for all archs, or a table with one for each arch.
#[derive(Clone, Debug)]
pub enum PerArch<T> {
    /// The same everywhere.
    All(Val<T>),
    /// By arch; others have none.
    Each(BTreeMap<Arch, Val<T>>),
}

impl<T: Clone> PerArch<T> {
    /// The value for `arch`.
    #[must_use]
    pub fn on(&self, arch: Arch) -> Option<&Val<T>> {
        match self {
            Self::All(v) => Some(v),
            Self::Each(map) => map.get(&arch),
        }
    }
}

impl<T: Decode> Decode for PerArch<T> {
    fn decode(value: &Spanned<DeValue<'_>>, cx: &mut Cx<'_>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => Map::decode(value, cx).map(|m: Map<Arch, T>| Self::Each(m.0)),
            _ => cx.val(value).map(Self::All),
        }
    }

    fn shape() -> Shape {
        Shape::Either(vec![T::shape(), Map::<Arch, T>::shape()])
    }

    fn placeholder() -> Self {
        Self::Each(BTreeMap::new())
    }
}

/// A number of CPUs; 255 is what xAPIC ids can name.
pub type Cpus = Int<1, 255>;
/// A list of values.
pub type List<T> = Vec<Val<T>>;
/// One value or a list of them.
pub type Many<T> = OneOrMany<T>;
