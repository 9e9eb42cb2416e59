//! A [`Node`] and a [`Scope`] to a [`Value`].

use bson::raw::RawBsonRef;

use super::made::{Elements, Fields};
use super::operator::Operator;
use super::scope::Scope;
use super::tree::{Node, Variable};
use super::value::Value;
use super::{choice, field, random, work};
use crate::error::StoreError;

impl Node {
    pub fn evaluate<'a>(&'a self, scope: &Scope<'a>) -> Result<Value<'a>, StoreError> {
        match self {
            Self::Constant(value) => Ok(Value::Ref(value.as_raw_bson_ref())),
            Self::Missing => Ok(Value::Missing),
            Self::Variable(variable) => Ok(variable.of(scope).into()),
            Self::Path(variable, path) => {
                Ok(variable.of(scope).map_or(Value::Missing, |value| field::below(value, path, 0)))
            }
            Self::Document(fields) => {
                let mut document = Fields::of("An object");
                for (name, node) in fields {
                    // A field whose value is missing is left out.
                    if let Some(value) = node.evaluate(&scope.holding(document.bytes())?)?.get() {
                        document.append(name, value)?;
                    }
                }
                Ok(document.done())
            }
            Self::Array(nodes) => {
                let mut array = Elements::of("An array");
                for node in nodes {
                    array.push(node.evaluate(&scope.holding(array.bytes())?)?.or_null())?;
                }
                Ok(array.done())
            }
            Self::Call(operator, operands) => call(operator, operands, scope),
            Self::And(nodes) => choice::every(nodes, scope),
            Self::Or(nodes) => choice::any(nodes, scope),
            Self::Cond(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.evaluate(scope)?.truth() { then.evaluate(scope) } else { otherwise.evaluate(scope) }
            }
            Self::IfNull(nodes) => choice::first_not_null(nodes, scope),
            Self::Switch(switch) => switch.evaluate(scope),
            Self::Let(form) => form.evaluate(scope),
            Self::Map(form) => form.evaluate(scope),
            Self::Filter(form) => form.evaluate(scope),
            Self::Reduce(form) => form.evaluate(scope),
            Self::SortArray(form) => form.evaluate(scope),
            Self::Rand => Ok(random::uniform().into()),
        }
    }
}

impl Variable {
    fn of<'a>(self, scope: &Scope<'a>) -> Option<RawBsonRef<'a>> {
        match self {
            Self::Root => Some(RawBsonRef::Document(scope.root)),
            Self::Current => scope.current,
            Self::Now => Some(RawBsonRef::DateTime(scope.globals.now())),
            Self::ClusterTime => Some(RawBsonRef::Timestamp(scope.globals.cluster_time())),
            Self::Numbered(number) => scope.variable(number),
        }
    }
}

/// Nearly all calls have few operands, whose values then lie on the stack.
const FEW: usize = 4;

fn call<'a>(
    operator: &'static Operator,
    operands: &'a [Option<Node>],
    scope: &Scope<'a>,
) -> Result<Value<'a>, StoreError> {
    // What has been evaluated waits for the rest.
    let mut scope = *scope;
    let mut value = |operand: &'a Option<Node>| {
        let Some(operand) = operand else { return Ok(None) };
        let value = operand.evaluate(&scope)?;
        work::spend(value.extent())?;
        scope = scope.holding(value.bytes())?;
        Ok(Some(value))
    };
    if operands.len() > FEW {
        let mut values = operands.iter().map(value).collect::<Result<Vec<_>, StoreError>>()?;
        return (operator.apply)(operator, &mut values);
    }
    let mut values = [const { None }; FEW];
    for (place, operand) in values.iter_mut().zip(operands) {
        *place = value(operand)?;
    }
    (operator.apply)(operator, &mut values[..operands.len()])
}
