//! A log entry as lines for a terminal: the call, what its function said, what went wrong and where.
//!
//! In: an entry as the Admin API gives it. Out: lines. What callers and functions wrote cannot steer the terminal.

use jiff::Timestamp;
use serde_json::Value as Json;

use super::excerpt;

/// Colour, on terminals only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    pub colour: bool,
}

impl Style {
    /// What suits standard output.
    pub fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour: wanted && std::io::IsTerminal::is_terminal(&std::io::stdout()) }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// A status in the colour of its class.
    fn status(self, status: u64) -> String {
        let code = match status {
            0..300 => "32",
            300..400 => "36",
            400..500 => "33",
            _ => "31",
        };
        self.paint(code, &status.to_string())
    }
}

/// What an entry is introduced with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Date and type, as suits a log.
    Whole,
    /// Neither, as suits somebody who watches.
    Short,
}

pub fn part<'a>(entry: &'a Json, key: &str) -> Option<&'a str> {
    entry.get(key).and_then(Json::as_str).filter(|text| !text.is_empty())
}

pub fn moment(entry: &Json, key: &str) -> Option<Timestamp> {
    entry.get(key)?.as_str()?.parse().ok()
}

/// The stack of a failure.
pub fn stack(entry: &Json) -> &str {
    entry.get("error_details").and_then(|details| part(details, "stack")).unwrap_or_default()
}

/// `source` gives a source by its path, for the line that failed.
pub fn render(
    entry: &Json,
    head: Head,
    link: &str,
    style: Style,
    source: &mut dyn FnMut(&str) -> Option<String>,
) -> Vec<String> {
    let part = |key: &str| part(entry, key);
    let duration = match (moment(entry, "started"), moment(entry, "completed")) {
        (Some(started), Some(completed)) => format!("{} ms", started.duration_until(completed).as_millis()),
        _ => "-".to_owned(),
    };
    let what = match (part("request_method"), part("endpoint_route"), part("function_name"), part("request_url")) {
        (Some(method), Some(route), _, _) => format!("{method} {route}"),
        (_, _, Some(function), _) => function.to_owned(),
        (Some(method), _, _, Some(url)) => format!("{method} {url}"),
        (_, _, _, url) => url.unwrap_or("-").to_owned(),
    };
    let what = harmless(&what);
    let status = entry.get("status").and_then(Json::as_u64).map(|status| style.status(status));
    let mut lines = vec![match head {
        Head::Whole => {
            let started = style.dim(part("started").unwrap_or("-"));
            let status = status.map(|status| format!(" → {status}")).unwrap_or_default();
            format!("{started} [{duration}] {} {}{status}", part("type").unwrap_or("-"), style.bold(&what))
        }
        Head::Short => {
            let status = status.map(|status| format!("{status} ")).unwrap_or_default();
            format!("{} {status}{}", style.bold(&what), style.dim(&duration))
        }
    }];
    let messages = entry.get("messages").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    for message in messages {
        let message = message.as_str().map_or_else(|| message.to_string(), str::to_owned);
        lines.extend(message.split('\n').map(|line| format!("    {}", harmless(line))));
    }
    if let Some(dropped) = entry.get("messages_dropped").and_then(Json::as_u64) {
        lines.push(style.dim(&format!("    ({dropped} more lines were not kept)")));
    }
    if let Some(error) = part("error") {
        let code = part("error_code").unwrap_or("error");
        let error = words(error);
        let mut error = error.split('\n');
        let first = harmless(error.next().unwrap_or_default());
        lines.push(format!("    {}", style.bad(&format!("{code}: {first}"))));
        lines.extend(error.map(|line| format!("        {}", harmless(line))));
        if let Some(reason) = entry.get("error_details").and_then(|details| self::part(details, "reason")) {
            lines.push(format!("    because {}", harmless(reason)));
        }
        let stack = stack(entry);
        let place = excerpt::place(stack);
        if let Some(place) = &place
            && let Some(source) = source(&place.path)
        {
            lines.extend(excerpt::excerpt(place, &source).iter().map(|line| format!("      {}", harmless(line))));
        }
        lines.extend(stack.lines().map(|line| style.dim(&format!("    {}", harmless(line)))));
        if !link.is_empty() {
            lines.push(format!("    {link}"));
        }
    }
    lines
}

/// A thrown Error is kept as JSON of its message and name; people read `Name: message`.
pub fn words(error: &str) -> String {
    let thrown = serde_json::from_str::<Json>(error).unwrap_or_default();
    match (thrown.get("name").and_then(Json::as_str), thrown.get("message").and_then(Json::as_str)) {
        (Some(name), Some(message)) => format!("{name}: {message}"),
        _ => error.to_owned(),
    }
}

/// Tenants' callers write into these lines, and a terminal obeys control characters.
pub fn harmless(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() && letter != '\t' { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plain(entry: &Json, link: &str) -> Vec<String> {
        render(entry, Head::Whole, link, Style::default(), &mut |_| None)
    }

    #[test]
    fn an_entry_is_a_line_and_what_its_function_said_below() {
        let entry = json!({
            "type": "ENDPOINT", "request_method": "GET", "endpoint_route": "/hello", "status": 200,
            "started": "2026-01-02T03:04:05.6Z", "completed": "2026-01-02T03:04:05.612Z",
            "messages": ["one", "two\nlines"],
        });
        assert_eq!(
            plain(&entry, "link"),
            ["2026-01-02T03:04:05.6Z [12 ms] ENDPOINT GET /hello → 200", "    one", "    two", "    lines"]
        );
        let short = render(&entry, Head::Short, "", Style { colour: true }, &mut |_| None);
        assert_eq!(short[0], "\x1b[1mGET /hello\x1b[0m \x1b[32m200\x1b[0m \x1b[2m12 ms\x1b[0m");
    }

    #[test]
    fn a_failure_shows_its_code_its_line_and_where_to_look() {
        let entry = json!({
            "type": "ENDPOINT", "request_method": "GET", "endpoint_route": "/boom", "status": 400,
            "started": "2026-01-02T03:04:05Z", "completed": "2026-01-02T03:04:06Z",
            "error": r#"{"message":"bad","name":"Error"}"#, "error_code": "FunctionExecutionError",
            "error_details": { "stack": "    at exports (functions/boom.js:1:23)" },
        });
        let source = "exports = () => { throw new Error('bad'); };";
        let shown = render(&entry, Head::Whole, "http://127.0.0.1/l", Style::default(), &mut |path| {
            (path == "functions/boom.js").then(|| source.to_owned())
        });
        assert_eq!(
            shown[1..],
            [
                "    FunctionExecutionError: Error: bad".to_owned(),
                "      functions/boom.js:1:23".to_owned(),
                format!("      > 1 | {source}"),
                format!("          | {}^", " ".repeat(22)),
                "        at exports (functions/boom.js:1:23)".to_owned(),
                "    http://127.0.0.1/l".to_owned(),
            ]
        );
    }

    #[test]
    fn a_refusal_shows_what_the_caller_was_not_told() {
        let entry = json!({
            "type": "ENDPOINT", "status": 401, "error": "invalid session", "error_code": "InvalidSession",
            "error_details": { "reason": "api-key: no such key" },
        });
        assert_eq!(plain(&entry, "")[1..], ["    InvalidSession: invalid session", "    because api-key: no such key"]);
    }

    #[test]
    fn an_entry_of_an_unknown_kind_is_shown_too() {
        assert_eq!(plain(&json!({ "type": "TELEPATHY" }), ""), ["- [-] TELEPATHY -"]);
        assert_eq!(plain(&json!({}), ""), ["- [-] - -"]);
    }

    #[test]
    fn a_caller_cannot_steer_the_terminal() {
        let entry = json!({ "type": "FUNCTION", "function_name": "f", "messages": ["\u{1b}[2Jgone"] });
        assert_eq!(plain(&entry, "")[1], "    \u{fffd}[2Jgone");
    }
}
