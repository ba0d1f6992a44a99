//! Parameters of query routes: their declaration, their part of the OpenAPI document, and their
//! values in a request.
//!
//! Each route declares its parameters in a table. The table decides which names a request may have
//! ([`values`]), and is what the OpenAPI document shows.

mod values;

use std::marker::PhantomData;

use observer_core::query::{MAX_LIMIT, moment};
use utoipa::IntoParams;
use utoipa::openapi::path::{
    Parameter as OpenApiParameter, ParameterBuilder, ParameterIn, ParameterStyle,
};
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Schema,
    SchemaFormat, SchemaType, Type,
};
use utoipa::openapi::{RefOr, Required};

pub(in crate::routes) use self::values::Values;

/// Source whose attempts alone are considered.
pub(super) const SOURCE: Parameter =
    Parameter::new("source", Kind::Text, "Source whose attempts alone are considered");
/// Model whose attempts alone are considered.
pub(super) const MODEL: Parameter =
    Parameter::new("model", Kind::Text, "Model whose attempts alone are considered");
/// Begin of a window of the time of attempts.
pub(super) const SINCE: Parameter =
    Parameter::new("since", Kind::Time, "Earliest time of an attempt");
/// End of a window of the time of attempts.
pub(super) const UNTIL: Parameter =
    Parameter::new("until", Kind::Time, "Time before which attempts were made");
/// Number of rows of a page.
pub(super) const LIMIT: Parameter = Parameter::new(
    "limit",
    Kind::Count { min: 1, max: MAX_LIMIT },
    "Largest number of rows; 100 by default",
);
/// Where a page begins.
pub(super) const CURSOR: Parameter =
    Parameter::new("cursor", Kind::Text, "`cursor` of the page before");

/// Conditions on the fields of events.
pub(in crate::routes) const EVENT_FILTERS: [Parameter; 7] = [
    Parameter::new("source", Kind::Texts, "Source of the event; any of several"),
    Parameter::new("event_kind", Kind::Texts, "Kind of the outcome; any of several"),
    Parameter::new("ok", Kind::Flag, "Whether the cycle succeeded; a phase never matches"),
    Parameter::new("sig_hash", Kind::Texts, "Signature of the problem; any of several"),
    Parameter::new("cycle_id", Kind::Texts, "Cycle of the event; any of several"),
    Parameter::new("staffer_id", Kind::Texts, "Model of the event; any of several"),
    Parameter::new(
        "labels",
        Kind::Labels,
        "Value of a label, as `label.branch=main`; any of several with the same name",
    ),
];

/// Pattern of a position.
const POSITION_PATTERN: &str = "^[0-9]{1,18}-[0-9]{1,18}$";

/// Prefix of the parameters of the kind [`Kind::Labels`].
const LABEL_PREFIX: &str = "label.";

/// Parameter of a query route.
#[derive(Debug, Clone, Copy)]
pub(in crate::routes) struct Parameter {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) description: &'static str,
}

/// Kind of the values of a parameter.
#[derive(Debug, Clone, Copy)]
pub(in crate::routes) enum Kind {
    /// Text, given once.
    Text,
    /// Text, any number of times.
    Texts,
    /// `true` or `false`.
    Flag,
    /// Moment: RFC 3339, a date, or an age such as `24h`.
    Time,
    /// The same, which must be given.
    RequiredTime,
    /// Whole number within a range.
    Count { min: usize, max: usize },
    /// One of several names.
    OneOf(&'static [&'static str]),
    /// Several of several names.
    AnyOf(&'static [&'static str]),
    /// Time zone of the IANA database.
    Zone,
    /// Position in the journal: an epoch and a sequence number.
    Position,
    /// Parameters `label.NAME`, one for each label.
    Labels,
}

/// Route with a table of parameters.
pub(in crate::routes) trait Declared {
    const PARAMETERS: &'static [Parameter];
}

/// Parameters of a route in the OpenAPI document.
pub(in crate::routes) struct ParametersOf<R>(PhantomData<R>);

/// Returns two tables as one. `N` is the sum of `A` and `B`.
pub(in crate::routes) const fn joined<const A: usize, const B: usize, const N: usize>(
    first: [Parameter; A],
    second: [Parameter; B],
) -> [Parameter; N] {
    assert!(A + B == N, "N is the sum of A and B");
    let mut all = [first[0]; N];
    let mut index = 0;
    while index < N {
        all[index] = if index < A { first[index] } else { second[index - A] };
        index += 1;
    }
    all
}

impl<R: Declared> IntoParams for ParametersOf<R> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<OpenApiParameter> {
        R::PARAMETERS.iter().map(|parameter| parameter.to_openapi()).collect()
    }
}

impl Parameter {
    pub(in crate::routes) const fn new(
        name: &'static str,
        kind: Kind,
        description: &'static str,
    ) -> Self {
        Self { name, kind, description }
    }

    /// Returns the name for messages.
    fn shown_name(&self) -> &'static str {
        match self.kind {
            Kind::Labels => "label.NAME",
            _ => self.name,
        }
    }

    fn to_openapi(self) -> OpenApiParameter {
        let required = match self.kind {
            Kind::RequiredTime => Required::True,
            _ => Required::False,
        };
        let parameter = ParameterBuilder::new()
            .name(self.name)
            .parameter_in(ParameterIn::Query)
            .required(required)
            .description(Some(self.description))
            .schema(Some(self.kind.schema()));
        match self.kind {
            Kind::Texts | Kind::AnyOf(_) | Kind::Labels => {
                parameter.style(Some(ParameterStyle::Form)).explode(Some(true)).build()
            }
            _ => parameter.build(),
        }
    }
}

impl Kind {
    fn schema(self) -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let names = |names: &'static [&'static str]| text().enum_values(Some(names.to_vec()));
        let object = match self {
            Self::Text | Self::Zone => text().min_length(Some(1)),
            Self::Texts => return ArrayBuilder::new().items(text().min_length(Some(1))).into(),
            Self::Flag => ObjectBuilder::new().schema_type(SchemaType::new(Type::Boolean)),
            Self::Time | Self::RequiredTime => {
                let of = |format| text().format(Some(SchemaFormat::KnownFormat(format)));
                return OneOfBuilder::new()
                    .item(of(KnownFormat::DateTime))
                    .item(of(KnownFormat::Date))
                    .item(text().pattern(Some(moment::AGE_PATTERN)))
                    .into();
            }
            Self::Position => text().pattern(Some(POSITION_PATTERN)),
            Self::Count { min, max } => ObjectBuilder::new()
                .schema_type(Type::Integer)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
                .minimum(Some(min))
                .maximum(Some(max)),
            Self::OneOf(known) => names(known),
            Self::AnyOf(known) => return ArrayBuilder::new().items(names(known)).into(),
            Self::Labels => ObjectBuilder::new()
                .schema_type(Type::Object)
                .property_names(Some(text().pattern(Some("^label\\..+"))))
                .additional_properties(Some(AdditionalProperties::RefOr(
                    text().min_length(Some(1)).into(),
                ))),
        };
        object.into()
    }
}
