//! JSON to a tree of tests. Operators may begin with `%` or `$`; one that is not known, or whose operand is of the wrong
//! kind, is an error that names the place.

use bson::raw::{CString, RawBson};
use serde_json::{Map, Value as Json};

use super::tree::{Comparison, Conversion, Expansion, Operand, Predicate, Root, Test};
use super::{Expression, NotAnExpression, value_of};

/// How deep expressions may nest. Real ones have three or four levels; it bounds every recursion over them.
const DEPTH_MAX: usize = 64;

/// Keys of Extended JSON: an object of these is a value and not a test.
const EXTENDED: &[&str] = &[
    "$oid",
    "$date",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$timestamp",
    "$regularExpression",
    "$symbol",
    "$minKey",
    "$maxKey",
    "$undefined",
];

type Parsed<T> = Result<T, NotAnExpression>;

pub fn expression(json: &Json) -> Parsed<Expression> {
    let mut reader = Reader { at: Vec::new(), functions: Vec::new(), roots: Vec::new() };
    let test = reader.test(json)?;
    Ok(Expression { test, functions: reader.functions, roots: reader.roots })
}

/// An operator's name without its prefix.
fn operator(key: &str) -> Option<&str> {
    if key.starts_with("%%") { None } else { key.strip_prefix('%').or_else(|| key.strip_prefix('$')) }
}

fn conversion(name: &str) -> Option<Conversion> {
    Some(match name {
        "stringToOid" => Conversion::StringToOid,
        "oidToString" => Conversion::OidToString,
        "stringToUuid" => Conversion::StringToUuid,
        "uuidToString" => Conversion::UuidToString,
        _ => return None,
    })
}

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "eq" => Comparison::Equal,
        "ne" => Comparison::NotEqual,
        "gt" => Comparison::Greater,
        "gte" => Comparison::GreaterOrEqual,
        "lt" => Comparison::Less,
        "lte" => Comparison::LessOrEqual,
        _ => return None,
    })
}

/// Whether a key is an operator that gives a value.
fn gives_value(key: &str) -> bool {
    operator(key).is_some_and(|name| name == "function" || conversion(name).is_some())
}

/// Whether a key is an operator that asks something of a value.
fn asks(key: &str) -> bool {
    operator(key).is_some_and(|name| comparison(name).is_some() || matches!(name, "in" | "nin" | "exists"))
}

fn is_extended(fields: &Map<String, Json>) -> bool {
    fields.keys().next().is_some_and(|first| EXTENDED.contains(&first.as_str())) && fields.len() == 1
}

struct Reader {
    /// The way to what is being read.
    at: Vec<String>,
    functions: Vec<String>,
    roots: Vec<Root>,
}

impl Reader {
    fn wrong<T>(&self, reason: impl Into<String>) -> Parsed<T> {
        Err(NotAnExpression { at: self.at.concat(), reason: reason.into() })
    }

    fn below<T>(&mut self, step: String, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.at.len() >= DEPTH_MAX {
            return self.wrong(format!("nested deeper than {DEPTH_MAX} levels"));
        }
        self.at.push(step);
        let read = read(self);
        self.at.pop();
        read
    }

    fn each<T>(
        &mut self,
        name: &str,
        json: &Json,
        mut read: impl FnMut(&mut Self, &Json) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let Json::Array(items) = json else { return self.wrong(format!("'{name}' needs an array")) };
        items
            .iter()
            .enumerate()
            .map(|(index, item)| self.below(format!("[{index}]"), |reader| read(reader, item)))
            .collect()
    }

    fn test(&mut self, json: &Json) -> Parsed<Test> {
        match json {
            Json::Bool(constant) => Ok(Test::Constant(*constant)),
            Json::String(text) if text == "%%true" => Ok(Test::Constant(true)),
            Json::String(text) if text == "%%false" => Ok(Test::Constant(false)),
            Json::Object(fields) => {
                let tests = fields
                    .iter()
                    .map(|(key, right)| self.below(format!(".{key}"), |reader| reader.entry(key, right)))
                    .collect::<Parsed<Vec<Test>>>()?;
                Ok(match <[Test; 1]>::try_from(tests) {
                    Ok([only]) => only,
                    Err(tests) if tests.is_empty() => Test::Constant(true),
                    Err(tests) => Test::All(tests),
                })
            }
            _ => self.wrong("an expression is true, false or an object"),
        }
    }

    /// One key of an expression and what stands beside it.
    fn entry(&mut self, key: &str, right: &Json) -> Parsed<Test> {
        match key {
            "" => return self.wrong("a key must not be empty"),
            "%%true" => return self.asserted(true, right),
            "%%false" => return self.asserted(false, right),
            _ => {}
        }
        if let Some(name) = operator(key) {
            return match name {
                "and" => Ok(Test::All(self.each(key, right, Self::test)?)),
                "or" => Ok(Test::Any(self.each(key, right, Self::test)?)),
                "nor" => Ok(Test::None(self.each(key, right, Self::test)?)),
                "xor" => Ok(Test::Odd(self.each(key, right, Self::test)?)),
                "not" => Ok(Test::Not(Box::new(self.test(right)?))),
                "function" => {
                    let answer = self.function(right)?;
                    Ok(Test::Of(answer, Predicate::Is(Comparison::Equal, Operand::Value(RawBson::Boolean(true)))))
                }
                _ if asks(key) => {
                    self.wrong(format!("'{key}' needs a value to its left, such as a field or '%%user.id'"))
                }
                _ => self.wrong(format!("unknown operator '{key}'")),
            };
        }
        let left = match key.strip_prefix("%%") {
            Some(name) => self.expansion(name)?,
            // A field of the document.
            None => {
                self.mention(Root::Root);
                Expansion { root: Root::Root, path: key.split('.').map(str::to_owned).collect() }
            }
        };
        Ok(Test::Of(Operand::Expanded(left), self.predicate(right)?))
    }

    /// `{"%%true": …}`: an expression, or a value that has to be true.
    fn asserted(&mut self, expected: bool, right: &Json) -> Parsed<Test> {
        let turned = |test: Test| if expected { test } else { Test::Not(Box::new(test)) };
        match right {
            Json::Bool(_) => Ok(turned(self.test(right)?)),
            Json::String(text) if text == "%%true" || text == "%%false" => Ok(turned(self.test(right)?)),
            Json::Object(fields) if !fields.keys().any(|key| gives_value(key) || asks(key)) => {
                Ok(turned(self.test(right)?))
            }
            _ => Ok(Test::Of(Operand::Value(RawBson::Boolean(expected)), self.predicate(right)?)),
        }
    }

    fn predicate(&mut self, json: &Json) -> Parsed<Predicate> {
        if let Json::Object(fields) = json
            && !is_extended(fields)
            && fields.keys().any(|key| key.starts_with(['%', '$']))
        {
            let all = fields
                .iter()
                .map(|(key, right)| self.below(format!(".{key}"), |reader| reader.asked(key, right)))
                .collect::<Parsed<Vec<Predicate>>>()?;
            return Ok(match <[Predicate; 1]>::try_from(all) {
                Ok([only]) => only,
                Err(all) => Predicate::All(all),
            });
        }
        Ok(Predicate::Is(Comparison::Equal, self.operand(json)?))
    }

    fn asked(&mut self, key: &str, right: &Json) -> Parsed<Predicate> {
        if key.starts_with("%%") {
            return self.wrong(format!("'{key}' cannot stand to the right of another value"));
        }
        let Some(name) = operator(key) else {
            return self.wrong(format!("the field '{key}' stands beside operators"));
        };
        if let Some(comparison) = comparison(name) {
            return Ok(Predicate::Is(comparison, self.operand(right)?));
        }
        match name {
            "in" => Ok(Predicate::In(self.list(key, right)?)),
            "nin" => Ok(Predicate::NotIn(self.list(key, right)?)),
            "exists" => match self.operand(right)? {
                flag @ (Operand::Value(RawBson::Boolean(_)) | Operand::Expanded(_)) => Ok(Predicate::Exists(flag)),
                _ => self.wrong(format!("'{key}' needs true or false")),
            },
            "and" => Ok(Predicate::All(self.each(key, right, Self::predicate)?)),
            "or" => Ok(Predicate::Any(self.each(key, right, Self::predicate)?)),
            "nor" => Ok(Predicate::None(self.each(key, right, Self::predicate)?)),
            "xor" => Ok(Predicate::Odd(self.each(key, right, Self::predicate)?)),
            "not" => Ok(Predicate::Not(Box::new(self.predicate(right)?))),
            _ if gives_value(key) => Ok(Predicate::Is(Comparison::Equal, self.valued(key, right)?)),
            _ => self.wrong(format!("unknown operator '{key}'")),
        }
    }

    /// The right side of `$in`: an array, or something that has an array when it is expanded.
    fn list(&mut self, key: &str, right: &Json) -> Parsed<Operand> {
        match self.operand(right)? {
            list @ (Operand::List(_)
            | Operand::Value(RawBson::Array(_))
            | Operand::Expanded(_)
            | Operand::Function { .. }) => Ok(list),
            _ => self.wrong(format!("'{key}' needs an array")),
        }
    }

    fn operand(&mut self, json: &Json) -> Parsed<Operand> {
        match json {
            Json::String(text) if text == "%%true" => Ok(Operand::Value(RawBson::Boolean(true))),
            Json::String(text) if text == "%%false" => Ok(Operand::Value(RawBson::Boolean(false))),
            Json::String(text) if text.starts_with("%%") => Ok(Operand::Expanded(self.expansion(&text[2..])?)),
            Json::Array(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.below(format!("[{index}]"), |reader| reader.operand(item)))
                    .collect::<Parsed<Vec<Operand>>>()?;
                match items.iter().all(|item| matches!(item, Operand::Value(_))) {
                    true => self.literal(json),
                    false => Ok(Operand::List(items)),
                }
            }
            Json::Object(fields) if is_extended(fields) => self.literal(json),
            Json::Object(fields) => {
                if let Some((key, right)) = fields.iter().find(|(key, _)| key.starts_with(['%', '$'])) {
                    return match gives_value(key) && fields.len() == 1 {
                        true => self.below(format!(".{key}"), |reader| reader.valued(key, right)),
                        false => self.wrong(format!("'{key}' cannot stand in a value")),
                    };
                }
                let parts = fields
                    .iter()
                    .map(|(key, value)| {
                        let part = self.below(format!(".{key}"), |reader| reader.operand(value))?;
                        match CString::try_from(key.as_str()) {
                            Ok(name) => Ok((name, part)),
                            Err(_) => self.wrong("a name must not hold a zero character"),
                        }
                    })
                    .collect::<Parsed<Vec<_>>>()?;
                match parts.iter().all(|(_, part)| matches!(part, Operand::Value(_))) {
                    true => self.literal(json),
                    false => Ok(Operand::Object(parts)),
                }
            }
            _ => self.literal(json),
        }
    }

    fn literal(&self, json: &Json) -> Parsed<Operand> {
        match value_of(json) {
            Some(value) => Ok(Operand::Value(value)),
            None => self.wrong("not a value"),
        }
    }

    /// `%function`, or one of the conversions.
    fn valued(&mut self, key: &str, right: &Json) -> Parsed<Operand> {
        match operator(key).and_then(conversion) {
            None => self.function(right),
            Some(conversion) => match self.operand(right)? {
                operand @ (Operand::Value(_) | Operand::Expanded(_)) => {
                    Ok(Operand::Converted(conversion, Box::new(operand)))
                }
                _ => self.wrong(format!("'{key}' takes a literal or an expansion, no operators")),
            },
        }
    }

    fn function(&mut self, json: &Json) -> Parsed<Operand> {
        let Some(fields) = json.as_object() else { return self.wrong("'%function' needs an object with a 'name'") };
        let Some(name) = fields.get("name").and_then(Json::as_str).filter(|name| !name.is_empty()) else {
            return self.wrong("'%function' needs a 'name'");
        };
        if let Some(other) = fields.keys().find(|key| !matches!(key.as_str(), "name" | "arguments")) {
            return self.wrong(format!("'%function' knows 'name' and 'arguments', not '{other}'"));
        }
        let before = self.functions.len();
        let arguments = match fields.get("arguments") {
            None | Some(Json::Null) => Vec::new(),
            Some(list) => self.each("arguments", list, Self::operand)?,
        };
        if self.functions.len() > before {
            return self.wrong("the arguments of '%function' cannot call functions themselves");
        }
        self.functions.push(name.to_owned());
        Ok(Operand::Function { slot: before, name: name.to_owned(), arguments })
    }

    /// What follows `%%`.
    fn expansion(&mut self, name: &str) -> Parsed<Expansion> {
        let mut parts = name.split('.');
        let first = parts.next().unwrap_or_default();
        let Some(root) = Root::ALL.into_iter().find(|root| root.name() == first) else {
            let known: Vec<String> = Root::ALL.iter().map(|root| format!("%%{}", root.name())).collect();
            return self.wrong(format!("'%%{first}' is not known; there are {}, %%true and %%false", known.join(", ")));
        };
        self.mention(root);
        Ok(Expansion { root, path: parts.map(str::to_owned).collect() })
    }

    fn mention(&mut self, root: Root) {
        if !self.roots.contains(&root) {
            self.roots.push(root);
        }
    }
}
