//! Stages that make one document of one: `$project`, `$addFields`, `$unset` … on plain names.

use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::arguments::{elements, fields};
use super::place::Place;
use crate::error::StoreError;
use crate::expression::{Expression, Globals, Names, Scope};
use crate::filter::Filter;
use crate::projection::Projection;

#[derive(Debug, Clone)]
pub enum Shape {
    Project(Option<Projection>, Vec<(Place, Expression)>),
    Root(Expression),
    Add(Vec<(Place, Expression)>),
    Unset(Vec<Place>),
}

impl Shape {
    pub fn parse(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let unsupported = || StoreError::unsupported(format!("{name} of this form is not supported"));
        Ok(match (name, operand) {
            ("$project", RawBsonRef::Document(chosen)) => {
                let (mut plain, mut computed) = (RawDocumentBuf::new(), Vec::new());
                for (name, value) in chosen.iter().map_while(Result::ok) {
                    match value {
                        RawBsonRef::Boolean(_)
                        | RawBsonRef::Int32(_)
                        | RawBsonRef::Int64(_)
                        | RawBsonRef::Double(_) => {
                            if !computed.is_empty() && name.as_str() != "_id" {
                                return Err(unsupported());
                            }
                            plain.append(name, value);
                        }
                        RawBsonRef::Document(inner) if !operator(inner) => return Err(unsupported()),
                        _ if name.as_str().contains('.') => return Err(unsupported()),
                        value => computed.push((Place::parse(name.as_str())?, Expression::parse(value, names)?)),
                    }
                }
                if !computed.is_empty() && fields(&plain).all(|(name, _)| name == "_id") {
                    plain.append(bson::raw::cstr!("."), 1);
                }
                if !computed.is_empty() {
                    let mut named = RawDocumentBuf::new();
                    for (name, value) in plain.iter().map_while(Result::ok) {
                        match name.as_str() {
                            "." => named.append(bson::raw::cstr!("\u{1}"), value),
                            _ => named.append(name, value),
                        }
                    }
                    plain = named;
                }
                Self::Project(Projection::parse(&plain)?, computed)
            }
            ("$addFields" | "$set", RawBsonRef::Document(added)) => {
                let added = fields(added)
                    .map(|(name, value)| match value {
                        RawBsonRef::Document(inner) if !operator(inner) => Err(unsupported()),
                        _ if name.contains('.') => Err(unsupported()),
                        value => Ok((Place::parse(name)?, Expression::parse(value, names)?)),
                    })
                    .collect::<Result<_, StoreError>>()?;
                Self::Add(added)
            }
            ("$unset", RawBsonRef::String(path)) if !path.contains('.') => Self::Unset(vec![Place::parse(path)?]),
            ("$unset", RawBsonRef::Array(paths)) if !paths.is_empty() => {
                let paths = elements(paths).map(|path| {
                    let path = path.as_str().filter(|path| !path.contains('.'));
                    Place::parse(path.ok_or_else(unsupported)?)
                });
                Self::Unset(paths.collect::<Result<_, _>>()?)
            }
            ("$replaceWith", value) => Self::Root(Expression::parse(value, names)?),
            ("$replaceRoot", RawBsonRef::Document(document)) if fields(document).count() == 1 => {
                let root = document.get("newRoot").ok().flatten().ok_or_else(unsupported)?;
                Self::Root(Expression::parse(root, names)?)
            }
            _ => return Err(unsupported()),
        })
    }

    pub fn apply(&self, document: &RawDocument, globals: &Globals) -> Result<Option<RawDocumentBuf>, StoreError> {
        let scope = Scope::new(document, globals);
        let put = |mut made: RawDocumentBuf, added: &[(Place, Expression)]| {
            for (place, expression) in added {
                let value = expression.evaluate(&scope)?;
                if let Some(value) = value.get() {
                    made = place.put(&made, Some(value));
                }
            }
            Ok(Some(made))
        };
        match self {
            Self::Project(projection, computed) => {
                let kept = match projection {
                    // Nothing positional is here that would ask the filter which element it was.
                    Some(projection) => projection.apply(document, &Filter::And(Vec::new()))?,
                    None => document.to_owned(),
                };
                put(kept, computed)
            }
            Self::Root(root) => match root.evaluate(&scope)?.get() {
                Some(RawBsonRef::Document(root)) => Ok(Some(root.to_owned())),
                _ => Err(StoreError::caller(40228, "Location40228", "'newRoot' expression must evaluate to an object")),
            },
            Self::Add(added) => put(document.to_owned(), added),
            Self::Unset(places) => {
                Ok(Some(places.iter().fold(document.to_owned(), |made, place| place.put(&made, None))))
            }
        }
    }
}

fn operator(document: &RawDocument) -> bool {
    fields(document).next().is_some_and(|(name, _)| name.starts_with('$'))
}
