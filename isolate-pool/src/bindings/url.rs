//! `urlParse(text, base)` and `urlSet(href, part, text)`: the parts of a URL as the URL standard names them, or undefined
//! when there is none.
//!
//! The parts come as an array in the order of [`parts`]; the runtime's `URL` keeps it.

use url::{Url, quirks};

use crate::engine::error::string;

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn parse<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let text = arguments.get(0).to_rust_string_lossy(scope);
    let base = arguments.get(1);
    let url = if base.is_string() {
        let base = base.to_rust_string_lossy(scope);
        Url::parse(&base).and_then(|base| base.join(&text))
    } else {
        Url::parse(&text)
    };
    if let Ok(url) = url {
        give(scope, answer, &url);
    }
}

pub fn set<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let href = arguments.get(0).to_rust_string_lossy(scope);
    let part = arguments.get(1).uint32_value(scope);
    let text = arguments.get(2).to_rust_string_lossy(scope);
    let Ok(mut url) = Url::parse(&href) else { return };
    // A part that cannot be set so stays as it is, as browsers have it.
    let _ = match part {
        Some(1) => quirks::set_protocol(&mut url, &text),
        Some(2) => quirks::set_username(&mut url, &text),
        Some(3) => quirks::set_password(&mut url, &text),
        Some(4) => quirks::set_host(&mut url, &text),
        Some(5) => quirks::set_hostname(&mut url, &text),
        Some(6) => quirks::set_port(&mut url, &text),
        Some(7) => {
            quirks::set_pathname(&mut url, &text);
            Ok(())
        }
        Some(8) => {
            quirks::set_search(&mut url, &text);
            Ok(())
        }
        Some(9) => {
            quirks::set_hash(&mut url, &text);
            Ok(())
        }
        _ => Err(()),
    };
    give(scope, answer, &url);
}

fn give<'s>(scope: &mut v8::PinScope<'s, '_>, mut answer: Answer<'s>, url: &Url) {
    let origin = quirks::origin(url);
    let parts = parts(url, &origin).map(|part| string(scope, part).into());
    answer.set(v8::Array::new_with_elements(scope, &parts).into());
}

/// The order the runtime knows.
fn parts<'a>(url: &'a Url, origin: &'a str) -> [&'a str; 11] {
    [
        quirks::href(url),
        quirks::protocol(url),
        quirks::username(url),
        quirks::password(url),
        quirks::host(url),
        quirks::hostname(url),
        quirks::port(url),
        quirks::pathname(url),
        quirks::search(url),
        quirks::hash(url),
        origin,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_those_of_the_standard() {
        let url = Url::parse("https://us%40er:p@ss@EXAMPLE.com:8443/a/./b?q=1#h").unwrap();
        let origin = quirks::origin(&url);
        assert_eq!(
            parts(&url, &origin),
            [
                "https://us%40er:p%40ss@example.com:8443/a/b?q=1#h",
                "https:",
                "us%40er",
                "p%40ss",
                "example.com:8443",
                "example.com",
                "8443",
                "/a/b",
                "?q=1",
                "#h",
                "https://example.com:8443"
            ]
        );
    }
}
