//! `$bucket`, which is a `$group` by ranges that are given, and `$bucketAuto`, which finds ranges that hold about as many
//! documents each.

use std::sync::Arc;

use bson::raw::{CString, RawArrayBuf, RawBson, RawBsonRef, RawDocumentBuf, cstr};
use bson::rawdoc;

use super::accumulator::{Accumulator, State, as_double, weight};
use super::arguments::{elements, fields, whole};
use super::group::{Group, count_output, output};
use super::parse::Stage;
use super::rows::Held;
use super::{Context, Documents, Pull, Turn, exhaust};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope};
use crate::filter::type_name;
use crate::sort::Sort;
use crate::value::number::Number;
use crate::value::{class_of, compare};

pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Vec<Stage>, StoreError> {
    let RawBsonRef::Document(specification) = operand else {
        let found = type_name(operand);
        return Err(location!(40201, "Argument to $bucket stage must be an object, but found type: {found}."));
    };
    let (mut by, mut boundaries, mut default, mut outputs) = (None, None, None, None);
    for (name, value) in fields(specification) {
        match name {
            "groupBy" => {
                if !is_computed(value) {
                    return Err(location!(
                        40202,
                        "The $bucket 'groupBy' field must be defined as a $-prefixed path or an expression object"
                    ));
                }
                by = Some(value);
            }
            "boundaries" => boundaries = Some(bounds(value, names)?),
            "default" => {
                default = Some(constant(value, names).ok_or_else(|| {
                    location!(
                        40195,
                        "The $bucket 'default' field must be a constant value, but found something computed"
                    )
                })?)
            }
            "output" => outputs = Some(outputs_of("$bucket", value, names)?),
            other => return Err(location!(40197, "Unrecognized option to $bucket: {other}.")),
        }
    }
    let (Some(by), Some(boundaries)) = (by, boundaries) else {
        return Err(location!(40198, "$bucket requires 'groupBy' and 'boundaries' to be specified."));
    };
    if let Some(default) = &default {
        let (low, high) = (&boundaries[0], &boundaries[boundaries.len() - 1]);
        let default = default.as_raw_bson_ref();
        let inside =
            compare(default, low.as_raw_bson_ref()).is_ge() && compare(default, high.as_raw_bson_ref()).is_lt();
        if inside {
            return Err(location!(
                40199,
                "The $bucket 'default' field must be less than the lowest boundary or greater than or equal to the highest \
                 boundary."
            ));
        }
    }
    let mut branches = RawArrayBuf::new();
    for range in boundaries.windows(2) {
        let at_least = rawdoc! { "$gte": [by, { "$literal": range[0].clone() }] };
        let below = rawdoc! { "$lt": [by, { "$literal": range[1].clone() }] };
        branches.push(rawdoc! { "case": { "$and": [at_least, below] }, "then": { "$literal": range[0].clone() } });
    }
    let mut choice = rawdoc! { "branches": branches };
    if let Some(default) = default {
        choice.append(cstr!("default"), rawdoc! { "$literal": default });
    }
    // Without a default, what is in no bucket is the error of the `$switch`.
    let key = Expression::parse(RawBsonRef::Document(&rawdoc! { "$switch": choice }), names)?;
    let group = Group::of(key, outputs.unwrap_or_else(|| vec![count_output()]));
    let sort = Sort::parse(&rawdoc! { "_id": 1 })?;
    Ok(vec![Stage::Group(Arc::new(group)), Stage::Sort(Arc::new(sort), None)])
}

/// Whether it is a path or an expression rather than a constant.
fn is_computed(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::String(path) => path.starts_with('$'),
        RawBsonRef::Document(document) => fields(document).next().is_some_and(|(name, _)| name.starts_with('$')),
        _ => false,
    }
}

fn constant(value: RawBsonRef<'_>, names: &Names) -> Option<RawBson> {
    let expression = Expression::parse(value, names).ok()?;
    expression.as_constant().map(Into::into)
}

fn bounds(value: RawBsonRef<'_>, names: &Names) -> Result<Vec<RawBson>, StoreError> {
    let RawBsonRef::Array(array) = value else {
        let found = type_name(value);
        return Err(location!(40200, "The $bucket 'boundaries' field must be an array, but found type: {found}."));
    };
    let bounds: Option<Vec<_>> = elements(array).map(|bound| constant(bound, names)).collect();
    let bounds = bounds
        .ok_or_else(|| location!(40191, "The $bucket 'boundaries' field must be an array of constant values."))?;
    if bounds.len() < 2 {
        let found = bounds.len();
        return Err(location!(
            40192,
            "The $bucket 'boundaries' field must have at least 2 values, but found {found} value(s)."
        ));
    }
    for pair in bounds.windows(2) {
        let (low, high) = (pair[0].as_raw_bson_ref(), pair[1].as_raw_bson_ref());
        if class_of(low) != class_of(high) {
            return Err(location!(
                40193,
                "All values in the 'boundaries' option to $bucket must have the same type. Found conflicting types {} and {}.",
                type_name(low),
                type_name(high)
            ));
        }
        if compare(low, high).is_ge() {
            return Err(location!(40194, "The 'boundaries' option to $bucket must be sorted in ascending order"));
        }
    }
    Ok(bounds)
}

fn outputs_of(stage: &str, value: RawBsonRef<'_>, names: &Names) -> Result<Vec<(CString, Accumulator)>, StoreError> {
    let RawBsonRef::Document(specification) = value else {
        let found = type_name(value);
        return Err(match stage {
            "$bucket" => location!(40196, "The $bucket 'output' field must be an object, but found type: {found}."),
            _ => location!(40244, "The $bucketAuto 'output' field must be an object, but found type: {found}."),
        });
    };
    fields(specification).map(|(name, value)| output(name, value, names)).collect()
}

#[derive(Debug)]
pub struct BucketAuto {
    by: Expression,
    buckets: usize,
    outputs: Vec<(CString, Accumulator)>,
    granularity: Option<Granularity>,
}

impl BucketAuto {
    pub fn parse(operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let RawBsonRef::Document(specification) = operand else {
            let found = type_name(operand);
            return Err(location!(40240, "The argument to $bucketAuto must be an object, but found type: {found}."));
        };
        let (mut by, mut buckets, mut outputs, mut granularity) = (None, None, None, None);
        for (name, value) in fields(specification) {
            match name {
                "groupBy" => {
                    if !is_computed(value) {
                        return Err(location!(
                            40239,
                            "The $bucketAuto 'groupBy' field must be defined as a $-prefixed path or an expression object"
                        ));
                    }
                    by = Some(Expression::parse(value, names)?);
                }
                "buckets" => buckets = Some(number_of_buckets(value)?),
                "output" => outputs = Some(outputs_of("$bucketAuto", value, names)?),
                "granularity" => {
                    let RawBsonRef::String(name) = value else {
                        let found = type_name(value);
                        let text = "The $bucketAuto 'granularity' field must be a string, but found type: ";
                        return Err(location!(40261, "{text}{found}."));
                    };
                    granularity = Some(Granularity::named(name)?);
                }
                other => return Err(location!(40245, "Unrecognized option to $bucketAuto: {other}.")),
            }
        }
        let (Some(by), Some(buckets)) = (by, buckets) else {
            return Err(location!(40246, "$bucketAuto requires 'groupBy' and 'buckets' to be specified."));
        };
        Ok(Self { by, buckets, outputs: outputs.unwrap_or_else(|| vec![count_output()]), granularity })
    }

    pub fn start(self: Arc<Self>, input: Box<dyn Documents>, context: Arc<Context>) -> Box<dyn Documents> {
        Box::new(Bucketing {
            input: Some(input),
            stage: self,
            context,
            found: Vec::new(),
            held: Held::by("$bucketAuto"),
            buckets: Vec::new().into_iter(),
        })
    }
}

fn number_of_buckets(value: RawBsonRef<'_>) -> Result<usize, StoreError> {
    if Number::of(value).is_none() {
        let found = type_name(value);
        return Err(location!(
            40241,
            "The $bucketAuto 'buckets' field must be a numeric value, but found type: {found}."
        ));
    }
    let Some(buckets) = whole(value).and_then(|buckets| i32::try_from(buckets).ok()) else {
        return Err(location!(
            40242,
            "The $bucketAuto 'buckets' field must be representable as a 32-bit integer, but found {value:?}."
        ));
    };
    match usize::try_from(buckets) {
        Ok(buckets) if buckets > 0 => Ok(buckets),
        _ => Err(location!(40243, "The $bucketAuto 'buckets' field must be greater than 0, but found: {buckets}.")),
    }
}

struct Bucketing {
    input: Option<Box<dyn Documents>>,
    stage: Arc<BucketAuto>,
    context: Arc<Context>,
    found: Vec<(RawBson, RawDocumentBuf)>,
    held: Held,
    buckets: std::vec::IntoIter<RawDocumentBuf>,
}

impl Bucketing {
    fn see(&mut self, document: RawDocumentBuf) -> Result<(), StoreError> {
        let by = self.stage.by.evaluate(&Scope::new(&document, &self.context.globals))?;
        let by = by.into_bson().unwrap_or(RawBson::Null);
        if self.stage.granularity.is_some() {
            let Some(number) = Number::of(by.as_raw_bson_ref()) else {
                return Err(location!(
                    40258,
                    "$bucketAuto can specify a 'granularity' with numeric boundaries only, but found a value with type: {}",
                    type_name(by.as_raw_bson_ref())
                ));
            };
            if number.is_nan() {
                return Err(location!(
                    40259,
                    "$bucketAuto can specify a 'granularity' with numeric boundaries only: NaN"
                ));
            }
            if number.compare(Number::Int32(0)).is_lt() {
                return Err(location!(40260, "$bucketAuto can specify a 'granularity' with non-negative numbers only"));
            }
        }
        self.held.add(weight(&by) + document.as_bytes().len() + size_of::<(RawBson, RawDocumentBuf)>())?;
        self.found.push((by, document));
        Ok(())
    }

    /// Each bucket takes its share of the documents, and then all that are equal to its last one.
    fn fill(&mut self) -> Result<Vec<RawDocumentBuf>, StoreError> {
        let mut found = std::mem::take(&mut self.found);
        found.sort_by(|left, right| compare(left.0.as_raw_bson_ref(), right.0.as_raw_bson_ref()));
        let share = found.len() as f64 / self.stage.buckets as f64;
        // Half up, and at least one: fewer documents than buckets make as many buckets as documents.
        let share = ((share + 0.5).floor() as usize).max(1);
        let value = |at: usize| found[at].0.as_raw_bson_ref();
        let mut ranges: Vec<Range> = Vec::new();
        let mut at = 0;
        while at < found.len() && ranges.len() < self.stage.buckets {
            let last = ranges.len() + 1 == self.stage.buckets;
            let mut end = if last { found.len() } else { (at + share).min(found.len()) };
            let (mut low, mut high): (RawBson, RawBson) = (value(at).into(), value(end - 1).into());
            if let Some(granularity) = &self.stage.granularity {
                // The lower end is where the bucket before ended; the upper one is rounded up, and takes in what lies below.
                low = match ranges.last() {
                    Some(before) => before.high.clone(),
                    None => granularity.down(low.as_raw_bson_ref()),
                };
                high = granularity.up(high.as_raw_bson_ref());
                while end < found.len() && compare(value(end), high.as_raw_bson_ref()).is_lt() {
                    end += 1;
                }
            } else {
                while end < found.len() && compare(value(end), value(end - 1)).is_eq() {
                    end += 1;
                }
                high = match end < found.len() {
                    true => value(end).into(),
                    false => value(end - 1).into(),
                };
            }
            ranges.push(Range { low, high, from: at, end });
            at = end;
        }
        ranges.into_iter().map(|range| self.bucket(&range, &found[range.from..range.end])).collect()
    }

    fn bucket(&self, range: &Range, members: &[(RawBson, RawDocumentBuf)]) -> Result<RawDocumentBuf, StoreError> {
        let nothing = RawDocumentBuf::new();
        let own = Scope::new(&nothing, &self.context.globals);
        let outputs = &self.stage.outputs;
        let mut states: Vec<State> =
            outputs.iter().map(|(_, accumulator)| accumulator.begin(&own)).collect::<Result<_, _>>()?;
        for (_, document) in members {
            let scope = Scope::new(document, &self.context.globals);
            for ((_, accumulator), state) in outputs.iter().zip(&mut states) {
                accumulator.add(state, &scope)?;
            }
        }
        let mut bucket = rawdoc! { "_id": { "min": range.low.clone(), "max": range.high.clone() } };
        for ((name, accumulator), state) in outputs.iter().zip(states) {
            bucket.append(name, accumulator.finish(state));
        }
        Ok(bucket)
    }
}

struct Range {
    low: RawBson,
    high: RawBson,
    from: usize,
    end: usize,
}

impl Documents for Bucketing {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if let Some(mut input) = self.input.take() {
            if !exhaust(&mut *input, turn, |document| self.see(document))? {
                self.input = Some(input);
                return Ok(Pull::Pause);
            }
            self.buckets = self.fill()?.into_iter();
        }
        Ok(self.buckets.next().map_or(Pull::End, Pull::Document))
    }
}

/// Which numbers may be the ends of buckets: a series of preferred numbers, the same in every power of ten (or of two).
#[derive(Debug)]
enum Granularity {
    Series(&'static [f64]),
    PowersOfTwo,
}

impl Granularity {
    fn named(name: &str) -> Result<Self, StoreError> {
        let series: &[f64] = match name {
            "POWERSOF2" => return Ok(Self::PowersOfTwo),
            "R5" => &[10.0, 16.0, 25.0, 40.0, 63.0],
            "R10" => &[100.0, 125.0, 160.0, 200.0, 250.0, 315.0, 400.0, 500.0, 630.0, 800.0],
            "R20" => &[
                100.0, 112.0, 125.0, 140.0, 160.0, 180.0, 200.0, 224.0, 250.0, 280.0, 315.0, 355.0, 400.0, 450.0,
                500.0, 560.0, 630.0, 710.0, 800.0, 900.0,
            ],
            "R40" => &[
                100.0, 106.0, 112.0, 118.0, 125.0, 132.0, 140.0, 150.0, 160.0, 170.0, 180.0, 190.0, 200.0, 212.0,
                224.0, 236.0, 250.0, 265.0, 280.0, 300.0, 315.0, 355.0, 375.0, 400.0, 425.0, 450.0, 475.0, 500.0,
                530.0, 560.0, 600.0, 630.0, 670.0, 710.0, 750.0, 800.0, 850.0, 900.0, 950.0,
            ],
            "R80" => &[
                103.0, 109.0, 115.0, 122.0, 128.0, 136.0, 145.0, 155.0, 165.0, 175.0, 185.0, 195.0, 206.0, 218.0,
                230.0, 243.0, 258.0, 272.0, 290.0, 307.0, 325.0, 345.0, 365.0, 387.0, 412.0, 437.0, 462.0, 487.0,
                515.0, 545.0, 575.0, 615.0, 650.0, 690.0, 730.0, 775.0, 825.0, 875.0, 925.0, 975.0,
            ],
            "1-2-5" => &[10.0, 20.0, 50.0],
            "E6" => &[10.0, 15.0, 22.0, 33.0, 47.0, 68.0],
            "E12" => &[10.0, 12.0, 15.0, 18.0, 22.0, 27.0, 33.0, 39.0, 47.0, 56.0, 68.0, 82.0],
            "E24" => &[
                10.0, 11.0, 12.0, 13.0, 15.0, 16.0, 18.0, 20.0, 22.0, 24.0, 27.0, 30.0, 33.0, 36.0, 39.0, 43.0, 47.0,
                51.0, 56.0, 62.0, 68.0, 75.0, 82.0, 91.0,
            ],
            "E48" => &E48,
            "E96" => &E96,
            "E192" => &E192,
            other => return Err(location!(40257, "Unknown rounding granularity '{other}'")),
        };
        Ok(Self::Series(series))
    }

    /// The next number of the series above.
    fn up(&self, value: RawBsonRef<'_>) -> RawBson {
        let number = Number::of(value).map_or(0.0, as_double);
        if number == 0.0 {
            return value.into();
        }
        match self {
            Self::PowersOfTwo => keep_whole(value, 2f64.powf(number.log2().floor() + 1.0)),
            Self::Series(series) => {
                let mut scale = scale_of(number, series);
                loop {
                    if let Some(next) = series.iter().map(|one| one * scale).find(|one| *one > number) {
                        return RawBson::Double(next);
                    }
                    scale *= 10.0;
                }
            }
        }
    }

    /// The next number of the series below.
    fn down(&self, value: RawBsonRef<'_>) -> RawBson {
        let number = Number::of(value).map_or(0.0, as_double);
        if number == 0.0 {
            return value.into();
        }
        match self {
            Self::PowersOfTwo => keep_whole(value, 2f64.powf(number.log2().ceil() - 1.0)),
            Self::Series(series) => {
                let mut scale = scale_of(number, series) * 10.0;
                loop {
                    if let Some(next) = series.iter().rev().map(|one| one * scale).find(|one| *one < number) {
                        return RawBson::Double(next);
                    }
                    scale /= 10.0;
                }
            }
        }
    }
}

/// A power of ten that brings the whole series to or below the number.
fn scale_of(number: f64, series: &[f64]) -> f64 {
    10f64.powf((number / series[series.len() - 1]).log10().floor())
}

/// Powers of two of integers are integers.
fn keep_whole(of: RawBsonRef<'_>, power: f64) -> RawBson {
    match of {
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) if (1.0..9.2e18).contains(&power) => {
            let whole = power as i64;
            i32::try_from(whole).map_or(RawBson::Int64(whole), RawBson::Int32)
        }
        _ => RawBson::Double(power),
    }
}

const E48: [f64; 48] = [
    100.0, 105.0, 110.0, 115.0, 121.0, 127.0, 133.0, 140.0, 147.0, 154.0, 162.0, 169.0, 178.0, 187.0, 196.0, 205.0,
    215.0, 226.0, 237.0, 249.0, 261.0, 274.0, 287.0, 301.0, 316.0, 332.0, 348.0, 365.0, 383.0, 402.0, 422.0, 442.0,
    464.0, 487.0, 511.0, 536.0, 562.0, 590.0, 619.0, 649.0, 681.0, 715.0, 750.0, 787.0, 825.0, 866.0, 909.0, 953.0,
];

const E96: [f64; 96] = [
    100.0, 102.0, 105.0, 107.0, 110.0, 113.0, 115.0, 118.0, 121.0, 124.0, 127.0, 130.0, 133.0, 137.0, 140.0, 143.0,
    147.0, 150.0, 154.0, 158.0, 162.0, 165.0, 169.0, 174.0, 178.0, 182.0, 187.0, 191.0, 196.0, 200.0, 205.0, 210.0,
    215.0, 221.0, 226.0, 232.0, 237.0, 243.0, 249.0, 255.0, 261.0, 267.0, 274.0, 280.0, 287.0, 294.0, 301.0, 309.0,
    316.0, 324.0, 332.0, 340.0, 348.0, 357.0, 365.0, 374.0, 383.0, 392.0, 402.0, 412.0, 422.0, 432.0, 442.0, 453.0,
    464.0, 475.0, 487.0, 499.0, 511.0, 523.0, 536.0, 549.0, 562.0, 576.0, 590.0, 604.0, 619.0, 634.0, 649.0, 665.0,
    681.0, 698.0, 715.0, 732.0, 750.0, 768.0, 787.0, 806.0, 825.0, 845.0, 866.0, 887.0, 909.0, 931.0, 953.0, 976.0,
];

const E192: [f64; 192] = [
    100.0, 101.0, 102.0, 104.0, 105.0, 106.0, 107.0, 109.0, 110.0, 111.0, 113.0, 114.0, 115.0, 117.0, 118.0, 120.0,
    121.0, 123.0, 124.0, 126.0, 127.0, 129.0, 130.0, 132.0, 133.0, 135.0, 137.0, 138.0, 140.0, 142.0, 143.0, 145.0,
    147.0, 149.0, 150.0, 152.0, 154.0, 156.0, 158.0, 160.0, 162.0, 164.0, 165.0, 167.0, 169.0, 172.0, 174.0, 176.0,
    178.0, 180.0, 182.0, 184.0, 187.0, 189.0, 191.0, 193.0, 196.0, 198.0, 200.0, 203.0, 205.0, 208.0, 210.0, 213.0,
    215.0, 218.0, 221.0, 223.0, 226.0, 229.0, 232.0, 234.0, 237.0, 240.0, 243.0, 246.0, 249.0, 252.0, 255.0, 258.0,
    261.0, 264.0, 267.0, 271.0, 274.0, 277.0, 280.0, 284.0, 287.0, 291.0, 294.0, 298.0, 301.0, 305.0, 309.0, 312.0,
    316.0, 320.0, 324.0, 328.0, 332.0, 336.0, 340.0, 344.0, 348.0, 352.0, 357.0, 361.0, 365.0, 370.0, 374.0, 379.0,
    383.0, 388.0, 392.0, 397.0, 402.0, 407.0, 412.0, 417.0, 422.0, 427.0, 432.0, 437.0, 442.0, 448.0, 453.0, 459.0,
    464.0, 470.0, 475.0, 481.0, 487.0, 493.0, 499.0, 505.0, 511.0, 517.0, 523.0, 530.0, 536.0, 542.0, 549.0, 556.0,
    562.0, 569.0, 576.0, 583.0, 590.0, 597.0, 604.0, 612.0, 619.0, 626.0, 634.0, 642.0, 649.0, 657.0, 665.0, 673.0,
    681.0, 690.0, 698.0, 706.0, 715.0, 723.0, 732.0, 741.0, 750.0, 759.0, 768.0, 777.0, 787.0, 796.0, 806.0, 816.0,
    825.0, 835.0, 845.0, 856.0, 866.0, 876.0, 887.0, 898.0, 909.0, 920.0, 931.0, 942.0, 953.0, 965.0, 976.0, 988.0,
];
