//! What differs between two texts, as a unified diff.
//!
//! In: a name and two texts. Out: hunks with three lines around each change, as `diff -u` prints them; nothing when the
//! texts are the same. The shortest script of changes by Myers' algorithm, up to a bound: past it everything from the
//! first difference to the last is one change, which is still true and costs nothing.

use crate::limits::DIFF_CHANGES_MAX;

/// Lines shown around a change.
const AROUND: usize = 3;

/// One step from the old text to the new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Keep,
    Remove,
    Add,
}

pub fn diff(name: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (lines(old), lines(new));
    let steps = steps(&old, &new);
    let mut text = format!("--- {name}\n+++ {name}\n");
    for hunk in hunks(&steps) {
        // What stands before the hunk gives the numbers of its first lines.
        let before = |skip: Step| steps[..hunk.start].iter().filter(|step| **step != skip).count();
        let (mut old_at, mut new_at) = (before(Step::Add), before(Step::Remove));
        let inside = |skip: Step| steps[hunk.clone()].iter().filter(|step| **step != skip).count();
        let range = |at: usize, count: usize| match count {
            0 => format!("{at},0"),
            1 => format!("{}", at + 1),
            _ => format!("{},{count}", at + 1),
        };
        let (old_range, new_range) = (range(old_at, inside(Step::Add)), range(new_at, inside(Step::Remove)));
        text.push_str(&format!("@@ -{old_range} +{new_range} @@\n"));
        for step in &steps[hunk] {
            let (mark, line) = match step {
                Step::Keep => (' ', old[old_at]),
                Step::Remove => ('-', old[old_at]),
                Step::Add => ('+', new[new_at]),
            };
            old_at += usize::from(*step != Step::Add);
            new_at += usize::from(*step != Step::Remove);
            text.push(mark);
            text.push_str(line);
            if !line.ends_with('\n') {
                text.push_str("\n\\ No newline at end of file\n");
            }
        }
    }
    text
}

/// Lines with their ends, since a text that lost its last one differs.
fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let start = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    let middle = shortest(old, new).unwrap_or_else(|| {
        let removed = std::iter::repeat_n(Step::Remove, old.len());
        removed.chain(std::iter::repeat_n(Step::Add, new.len())).collect()
    });
    let kept = |count: usize| std::iter::repeat_n(Step::Keep, count);
    kept(start).chain(middle).chain(kept(end)).collect()
}

/// The shortest script, or nothing when it has more changes than we look for.
fn shortest(old: &[&str], new: &[&str]) -> Option<Vec<Step>> {
    let (rows, columns) = (old.len() as isize, new.len() as isize);
    let bound = DIFF_CHANGES_MAX.min(old.len() + new.len()) as isize;
    let width = (2 * bound + 3) as usize;
    let at = |diagonal: isize| (diagonal + bound + 1) as usize;
    // For each diagonal how far down the old text one gets with so many changes; one row is kept per number of changes,
    // since the way back needs them.
    let mut furthest = vec![0isize; width];
    let mut history: Vec<Vec<isize>> = Vec::new();
    for changes in 0..=bound {
        history.push(furthest.clone());
        for diagonal in (-changes..=changes).step_by(2) {
            let down = diagonal == -changes
                || (diagonal != changes && furthest[at(diagonal - 1)] < furthest[at(diagonal + 1)]);
            let mut row = if down { furthest[at(diagonal + 1)] } else { furthest[at(diagonal - 1)] + 1 };
            while row < rows && row - diagonal < columns && old[row as usize] == new[(row - diagonal) as usize] {
                row += 1;
            }
            furthest[at(diagonal)] = row;
            if diagonal == rows - columns && row >= rows {
                return Some(way_back(&history, rows, columns, at));
            }
        }
    }
    None
}

fn way_back(history: &[Vec<isize>], rows: isize, columns: isize, at: impl Fn(isize) -> usize) -> Vec<Step> {
    let (mut row, mut column) = (rows, columns);
    let mut steps = Vec::new();
    for (changes, furthest) in history.iter().enumerate().rev() {
        let changes = changes as isize;
        let diagonal = row - column;
        let down =
            diagonal == -changes || (diagonal != changes && furthest[at(diagonal - 1)] < furthest[at(diagonal + 1)]);
        let former = if down { diagonal + 1 } else { diagonal - 1 };
        let (former_row, former_column) = match changes {
            0 => (0, 0),
            _ => (furthest[at(former)], furthest[at(former)] - former),
        };
        while row > former_row && column > former_column {
            steps.push(Step::Keep);
            row -= 1;
            column -= 1;
        }
        if changes > 0 {
            steps.push(if down { Step::Add } else { Step::Remove });
            (row, column) = (former_row, former_column);
        }
    }
    steps.reverse();
    steps
}

/// Ranges of steps that are shown together.
fn hunks(steps: &[Step]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, _) in steps.iter().enumerate().filter(|(_, step)| **step != Step::Keep) {
        let (start, end) = (index.saturating_sub(AROUND), (index + AROUND + 1).min(steps.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.end => last.end = end,
            _ => hunks.push(start..end),
        }
    }
    hunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_shown_with_what_stands_around_them() {
        for (old, new, expected) in [
            ("a\n", "a\n", ""),
            ("", "a\n", "--- f\n+++ f\n@@ -0,0 +1 @@\n+a\n"),
            ("a\n", "", "--- f\n+++ f\n@@ -1 +0,0 @@\n-a\n"),
            ("a\nb\nc\n", "a\nx\nc\n", "--- f\n+++ f\n@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"),
            ("a", "a\n", "--- f\n+++ f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"),
            (
                "1\n2\n3\n4\n5\n6\n7\n8\n9\n",
                "0\n1\n2\n3\n4\n5\n6\n7\n8\n",
                "--- f\n+++ f\n@@ -1,3 +1,4 @@\n+0\n 1\n 2\n 3\n@@ -6,4 +7,3 @@\n 6\n 7\n 8\n-9\n",
            ),
        ] {
            assert_eq!(diff("f", old, new), expected, "{old:?} to {new:?}");
        }
    }

    /// Applies the steps to `old`; what comes out must be `new`.
    fn applied(old: &[&str], new: &[&str]) -> (Vec<String>, usize) {
        let (mut old_at, mut new_at, mut result, mut changes) = (0, 0, Vec::new(), 0);
        for step in steps(old, new) {
            match step {
                Step::Keep => result.push(old[old_at].to_owned()),
                Step::Add => result.push(new[new_at].to_owned()),
                Step::Remove => {}
            }
            changes += usize::from(step != Step::Keep);
            old_at += usize::from(step != Step::Add);
            new_at += usize::from(step != Step::Remove);
        }
        assert_eq!((old_at, new_at), (old.len(), new.len()));
        (result, changes)
    }

    #[test]
    fn steps_lead_from_the_old_text_to_the_new_and_are_few() {
        let words = ["a", "b", "c"];
        let mut seed = 7u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..500 {
            let mut text = || -> Vec<&str> { (0..next(9)).map(|_| words[next(3) as usize]).collect() };
            let (old, new) = (text(), text());
            let (result, changes) = applied(&old, &new);
            assert_eq!(result, new, "{old:?}");
            assert_eq!(changes, old.len() + new.len() - 2 * common(&old, &new), "{old:?} to {new:?}");
        }
    }

    /// Length of the longest common subsequence, by the book.
    fn common(old: &[&str], new: &[&str]) -> usize {
        match (old, new) {
            ([], _) | (_, []) => 0,
            ([a, old @ ..], [b, new @ ..]) if a == b => 1 + common(old, new),
            ([_, shorter @ ..], [_, less @ ..]) => common(shorter, new).max(common(old, less)),
        }
    }

    #[test]
    fn texts_without_anything_in_common_cost_no_more_than_their_length() {
        let text = |word: &str| (0..20_000).map(|line| format!("{word} {line}\n")).collect::<String>();
        let (old, new) = (text("old"), text("new"));
        let shown = diff("f", &old, &new);
        assert_eq!(shown.lines().count(), 3 + 40_000);
    }
}
