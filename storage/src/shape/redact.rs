//! `$redact`: an expression that says of each document inside a document whether it stays.
//!
//! In: an expression that comes to `$$KEEP`, `$$PRUNE` or `$$DESCEND`. Out: the document without what was pruned. On the
//! way down, `$$CURRENT` and so every field path begins at the document that is asked about; `$$ROOT` stays the whole.

use bson::raw::{RawArray, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::error::{StoreError, location};
use crate::expression::{Expression, Frame, Globals, Names, Scope, Value};

#[derive(Debug, Clone)]
pub struct Redact {
    expression: Expression,
    /// The number of the first of the three variables.
    first: usize,
}

/// As in MongoDB, the variables are texts like any other.
const DECISIONS: [(&str, &str); 3] = [("DESCEND", "descend"), ("PRUNE", "prune"), ("KEEP", "keep")];

impl Redact {
    pub fn parse(operand: RawBsonRef<'_>, known: &Names) -> Result<Self, StoreError> {
        let mut names = known.clone();
        for (name, _) in DECISIONS {
            names.add(name);
        }
        Ok(Self { expression: Expression::parse(operand, &names)?, first: known.len() })
    }

    pub fn apply(&self, document: &RawDocument, globals: &Globals) -> Result<Option<RawDocumentBuf>, StoreError> {
        let values = DECISIONS.map(|(_, text)| Value::Ref(RawBsonRef::String(text)));
        let frame = Frame::new(self.first, &values);
        self.document(document, &Scope::new(document, globals).within(&frame))
    }

    fn document<'a>(
        &'a self,
        document: &'a RawDocument,
        scope: &Scope<'a>,
    ) -> Result<Option<RawDocumentBuf>, StoreError> {
        let scope = scope.at(RawBsonRef::Document(document));
        let decision = self.expression.evaluate(&scope)?;
        match decision.as_str() {
            Some("keep") => return Ok(Some(document.to_owned())),
            Some("prune") => return Ok(None),
            Some("descend") => {}
            _ => {
                let shown =
                    decision.get().and_then(|value| bson::Bson::try_from(value).ok()).map(|value| value.to_string());
                return Err(location!(
                    17053,
                    "$redact's expression should not return anything aside from the variables $$KEEP, $$DESCEND, and \
                     $$PRUNE, but returned {}",
                    shown.unwrap_or_else(|| "MISSING".to_owned())
                ));
            }
        }
        let mut kept = RawDocumentBuf::new();
        for (name, value) in document.iter().map_while(Result::ok) {
            match value {
                RawBsonRef::Document(inner) => {
                    if let Some(inner) = self.document(inner, &scope)? {
                        kept.append(name, inner);
                    }
                }
                RawBsonRef::Array(array) => kept.append(name, self.array(array, &scope)?),
                value => kept.append(name, value),
            }
        }
        Ok(Some(kept))
    }

    fn array<'a>(&'a self, array: &'a RawArray, scope: &Scope<'a>) -> Result<RawArrayBuf, StoreError> {
        let mut kept = RawArrayBuf::new();
        for element in array.into_iter().map_while(Result::ok) {
            match element {
                RawBsonRef::Document(inner) => {
                    if let Some(inner) = self.document(inner, scope)? {
                        kept.push(inner);
                    }
                }
                RawBsonRef::Array(inner) => kept.push(self.array(inner, scope)?),
                element => kept.push(element),
            }
        }
        Ok(kept)
    }
}
