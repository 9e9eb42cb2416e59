//! Where in a function's source something went wrong, put before a person: the line, its neighbour, a caret under the
//! column.
//!
//! In: a stack as log entries have it, and sources by path. Out: lines of text; none when the stack names no line of ours
//! or the source is not at hand.

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As stacks name it, such as `functions/hello.js`.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// The first place a stack names: where the error was made.
pub fn place(stack: &str) -> Option<Place> {
    stack.lines().find_map(|line| {
        let at = line.find("functions/")?;
        let named = line[at..].trim_end().trim_end_matches(')');
        let mut parts = named.rsplitn(3, ':');
        let column = parts.next()?.parse().ok()?;
        let line = parts.next()?.parse().ok()?;
        Some(Place { path: parts.next()?.to_owned(), line, column })
    })
}

/// The place and its line.
///
/// ```text
/// functions/hello.js:3:9
///   2 |   const name = 'x';
/// > 3 |   throw new Error('bad');
///     |         ^
/// ```
pub fn excerpt(place: &Place, source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().collect();
    let mut shown = vec![format!("{}:{}:{}", place.path, place.line, place.column)];
    let Some(text) = place.line.checked_sub(1).and_then(|at| lines.get(at)) else { return shown };
    let width = place.line.to_string().len();
    if let Some(before) = place.line.checked_sub(2).and_then(|at| lines.get(at)).filter(|text| !text.trim().is_empty())
    {
        shown.push(format!("  {:>width$} | {before}", place.line - 1));
    }
    shown.push(format!("> {} | {text}", place.line));
    // Tabs stay tabs, so that the caret stands under its column however wide they are shown.
    let indent: String = text
        .chars()
        .take(place.column.saturating_sub(1))
        .map(|letter| if letter == '\t' { '\t' } else { ' ' })
        .collect();
    shown.push(format!("  {:width$} | {indent}^", ""));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_ours_is_the_place() {
        let stack = "    at inner (functions/a/b.js:12:7)\n    at exports (functions/hello.js:3:9)";
        assert_eq!(place(stack), Some(Place { path: "functions/a/b.js".to_owned(), line: 12, column: 7 }));
        assert_eq!(place("    at functions/hello.js:3:9").map(|place| place.line), Some(3));
        assert_eq!(place("    at exports (node:fs:1:2)"), None);
        assert_eq!(place(""), None);
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        let place = Place { path: "functions/x.js".to_owned(), line: 2, column: 3 };
        assert_eq!(
            excerpt(&place, "exports = () => {\n\t throw 1;\n};"),
            ["functions/x.js:2:3", "  1 | exports = () => {", "> 2 | \t throw 1;", "    | \t ^"]
        );
        let gone = Place { line: 9, ..place };
        assert_eq!(excerpt(&gone, "short"), ["functions/x.js:9:3"]);
    }
}
