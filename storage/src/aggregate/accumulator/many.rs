//! Accumulators that keep some of the values they see: `$firstN`, `$lastN`, `$minN`, `$maxN`, and, in an order of their
//! own, `$top`, `$topN`, `$bottom`, `$bottomN`.

use std::collections::VecDeque;

use bson::raw::{RawArrayBuf, RawBson, RawBsonRef};

use super::{named_operands, weight};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope, Value};
use crate::filter::type_name;
use crate::sort::Sort;
use crate::value::key;
use crate::value::number::Number;

#[derive(Debug, Clone)]
pub struct Many {
    which: Which,
    /// `None`: one, which is given by itself and not in an array.
    number: Option<Expression>,
    value: Expression,
}

#[derive(Debug, Clone)]
enum Which {
    First,
    Last,
    Least,
    Greatest,
    /// The first in an order.
    Top(Sort),
    /// The last in an order.
    Bottom(Sort),
}

/// The values kept so far.
#[derive(Debug, Clone)]
pub struct Kept {
    number: usize,
    /// With a key to sort by where there is an order.
    values: VecDeque<(Vec<u8>, RawBson)>,
}

impl Many {
    /// `None` when no such accumulator has that name.
    pub fn parse(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Option<Self>, StoreError> {
        match name {
            "$firstN" => Self::by_number(name, Which::First, operand, names).map(Some),
            "$lastN" => Self::by_number(name, Which::Last, operand, names).map(Some),
            "$minN" => Self::by_number(name, Which::Least, operand, names).map(Some),
            "$maxN" => Self::by_number(name, Which::Greatest, operand, names).map(Some),
            "$top" | "$topN" | "$bottom" | "$bottomN" => Self::by_order(name, operand, names).map(Some),
            _ => Ok(None),
        }
    }

    fn by_number(name: &str, which: Which, operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let Some(operands) = named_operands(operand) else {
            return Err(location!(5787900, "specification must be an object; found {name}: {}", type_name(operand)));
        };
        let (mut number, mut input) = (None, None);
        for (field, value) in operands {
            match field {
                "n" => number = Some(Expression::parse(value, names)?),
                "input" => input = Some(Expression::parse(value, names)?),
                other => return Err(location!(5787901, "Unknown argument for 'n' operator: {other}")),
            }
        }
        let number = number.ok_or_else(|| location!(5787906, "Missing value for 'n'"))?;
        let value = input.ok_or_else(|| location!(5787907, "Missing value for 'input'"))?;
        check_constant(&number)?;
        Ok(Self { which, number: Some(number), value })
    }

    fn by_order(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let Some(operands) = named_operands(operand) else {
            return Err(location!(5788001, "specification must be an object; found {name}: {}", type_name(operand)));
        };
        let counted = name.ends_with('N');
        let (mut number, mut output, mut sort) = (None, None, None);
        for (field, value) in operands {
            match field {
                "n" if counted => number = Some(Expression::parse(value, names)?),
                "output" => output = Some(Expression::parse(value, names)?),
                "sortBy" => {
                    let RawBsonRef::Document(order) = value else {
                        let text = "expected 'sortBy' to be an object";
                        return Err(location!(5788604, "{text}, found {}", type_name(value)));
                    };
                    sort = Some(Sort::parse(order)?);
                }
                other => return Err(location!(5788002, "Unknown argument to {name} '{other}'")),
            }
        }
        if counted && number.is_none() {
            return Err(location!(5788003, "Missing value for 'n'"));
        }
        let value = output.ok_or_else(|| location!(5788004, "Missing value for 'output'"))?;
        let sort = sort.ok_or_else(|| location!(5788005, "Missing value for 'sortBy'"))?;
        if let Some(number) = &number {
            check_constant(number)?;
        }
        let which = if name.starts_with("$top") { Which::Top(sort) } else { Which::Bottom(sort) };
        Ok(Self { which, number, value })
    }

    pub fn begin(&self, scope: &Scope<'_>) -> Result<Kept, StoreError> {
        let number = match &self.number {
            None => 1,
            Some(number) => count(&number.evaluate(scope)?)?,
        };
        Ok(Kept { number, values: VecDeque::new() })
    }

    pub fn add(&self, kept: &mut Kept, scope: &Scope<'_>) -> Result<usize, StoreError> {
        let (number, full) = (kept.number, kept.values.len() >= kept.number);
        // A missing value is null, except where the greatest or least are sought: those pass over it.
        let value = |value: Value<'_>| value.into_bson().unwrap_or(RawBson::Null);
        match &self.which {
            Which::First if full => Ok(0),
            Which::First => Ok(kept.push(Vec::new(), value(self.value.evaluate(scope)?))),
            Which::Last => {
                let grown = kept.push(Vec::new(), value(self.value.evaluate(scope)?));
                if kept.values.len() > number {
                    kept.values.pop_front();
                }
                Ok(grown)
            }
            which @ (Which::Least | Which::Greatest) => {
                let value = self.value.evaluate(scope)?;
                let Some(found) = value.get().filter(|_| !value.is_nullish()) else { return Ok(0) };
                let mut key = key::encode(found);
                if matches!(which, Which::Greatest) {
                    invert(&mut key);
                }
                let grown = kept.push(key, found.into());
                kept.cut_end();
                Ok(grown)
            }
            Which::Top(sort) => {
                let key = sort.key(scope.root())?;
                let grown = kept.push(key, value(self.value.evaluate(scope)?));
                kept.cut_end();
                Ok(grown)
            }
            Which::Bottom(sort) => {
                let mut key = sort.key(scope.root())?;
                invert(&mut key);
                let grown = kept.push(key, value(self.value.evaluate(scope)?));
                kept.cut_end();
                Ok(grown)
            }
        }
    }

    pub fn finish(&self, mut kept: Kept) -> RawBson {
        match &self.which {
            Which::First | Which::Last => {}
            Which::Least | Which::Greatest | Which::Top(_) => kept.cut(),
            Which::Bottom(_) => {
                kept.cut();
                kept.values.make_contiguous().reverse();
            }
        }
        match self.number {
            None => kept.values.pop_front().map_or(RawBson::Null, |(_, value)| value),
            Some(_) => RawBson::Array(kept.values.into_iter().map(|(_, value)| value).collect::<RawArrayBuf>()),
        }
    }
}

impl Kept {
    fn push(&mut self, key: Vec<u8>, value: RawBson) -> usize {
        let grown = key.len() + weight(&value) + size_of::<(Vec<u8>, RawBson)>();
        self.values.push_back((key, value));
        grown
    }

    /// Now and then: sorting for every value that comes would cost more than keeping twice as many.
    fn cut_end(&mut self) {
        if self.values.len() >= self.number.saturating_mul(2).max(16) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        // Stable: of equal ones those that came first are kept.
        self.values.make_contiguous().sort_by(|left, right| left.0.cmp(&right.0));
        self.values.truncate(self.number);
    }
}

/// The same bytes in the opposite order. No key is the beginning of another, so this turns the order of all keys around.
fn invert(key: &mut [u8]) {
    for byte in key {
        *byte = !*byte;
    }
}

fn check_constant(number: &Expression) -> Result<(), StoreError> {
    // One that depends on the group's key is worked out with each group.
    match number.as_constant() {
        Some(constant) => count(&Value::Ref(constant)).map(|_| ()),
        None => Ok(()),
    }
}

/// How many to keep.
fn count(value: &Value<'_>) -> Result<usize, StoreError> {
    let Some(number) = value.number() else {
        let found = value.type_name();
        return Err(location!(5787902, "Value for 'n' must be of integral type, but found type {found}"));
    };
    let Some(number) = Number::whole(number) else {
        return Err(location!(5787903, "Value for 'n' must be of integral type, but found {number:?}"));
    };
    match usize::try_from(number) {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(location!(5787908, "'n' must be greater than 0, found {number}")),
    }
}
