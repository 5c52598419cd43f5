//! The declaration of a table, from which its struct, decoder, reference and schema come.

/// Declares a TOML table once: its struct, decoder, reference and schema.
///
/// ```ignore
/// table! {
///     /// Documentation of the table.
///     pub struct RawThing, "a thing" {
///         /// Documentation of the key.
///         size: "size", MemorySize, required;
///         cpus: "cpus", Int<1, 255>, default "1";
///         note: "note", Text, optional;
///     }
/// }
/// ```
macro_rules! table {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident, $what:literal {
            $(
                $(#[doc = $kdoc:literal])+
                $field:ident: $key:literal, $ty:ty, $presence:ident $($default:literal)?;
            )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $(
                $(#[doc = $kdoc])+
                pub $field: $crate::config::table::table!(@field $presence $ty),
            )+
        }

        impl $crate::config::decode::Table for $name {
            const DOC: $crate::config::shape::TableDoc = $crate::config::shape::TableDoc {
                what: $what,
                doc: &[$($doc),+],
                keys: || vec![$(
                    $crate::config::shape::KeyDoc {
                        key: $key,
                        doc: &[$($kdoc),+],
                        shape: <$ty as $crate::config::decode::Decode>::shape(),
                        presence: $crate::config::table::table!(@presence $presence $($default)?),
                    },
                )+],
            };

            fn decode_table(
                table: &toml::de::DeTable<'_>,
                whole: &$crate::config::diag::Span,
                cx: &mut $crate::config::decode::Cx<'_>,
            ) -> Self {
                // Tables without a required key have no use for it.
                let _ = whole;
                cx.unknown_keys(table, &Self::DOC);
                Self { $(
                    $field: $crate::config::table::table!(
                        @decode $presence cx table whole $key $what $($default)?
                    ),
                )+ }
            }
        }

        impl $crate::config::decode::Decode for $name {
            fn decode(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                cx: &mut $crate::config::decode::Cx<'_>,
            ) -> Option<Self> {
                match value.get_ref() {
                    toml::de::DeValue::Table(t) => {
                        use $crate::config::decode::Table as _;
                        Some(Self::decode_table(t, &value.span(), cx))
                    }
                    _ => cx.wrong_type(value, &Self::shape()),
                }
            }

            fn shape() -> $crate::config::shape::Shape {
                $crate::config::shape::Shape::Table(&<Self as $crate::config::decode::Table>::DOC)
            }

            fn placeholder() -> Self {
                let mut unheard = Vec::new();
                let file = $crate::config::diag::FileId::default();
                let mut cx = $crate::config::decode::Cx { file, out: &mut unheard };
                let none = toml::de::DeTable::new();
                <Self as $crate::config::decode::Table>::decode_table(&none, &(0..0), &mut cx)
            }
        }
    };
    (@field required $ty:ty) => { $crate::config::decode::Val<$ty> };
    (@field default $ty:ty) => { $crate::config::decode::Val<$ty> };
    (@field optional $ty:ty) => { Option<$crate::config::decode::Val<$ty>> };
    (@presence required) => { $crate::config::shape::Presence::Required };
    (@presence optional) => { $crate::config::shape::Presence::Optional };
    (@presence default $default:literal) => {
        $crate::config::shape::Presence::Default($default)
    };
    (@decode required $cx:ident $t:ident $whole:ident $key:literal $what:literal) => {
        $cx.required($t, $whole, $key, $what)
    };
    (@decode optional $cx:ident $t:ident $whole:ident $key:literal $what:literal) => {
        $cx.optional($t, $key)
    };
    (@decode default $cx:ident $t:ident $whole:ident $key:literal $what:literal $d:literal) => {
        $cx.defaulted($t, $key, $d)
    };
}
pub(crate) use table;
