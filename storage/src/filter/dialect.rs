//! Patterns as MongoDB's engine (PCRE) reads them, in the words of the engines here.
//!
//! In: a pattern and whether white space in it is decoration. Out: the same pattern as the `regex` and `fancy-regex` crates
//! read it, and what it asks of them. Most patterns come out as they went in; what differs is what the dialects spell alike
//! and mean differently: `\d` and its kin are ASCII, braces and brackets may stand for themselves, `\<` is no word's
//! beginning, white space is kept inside classes, `$` also matches before a newline that ends the text.
//!
//! Not here: judging patterns. What is wrong in both dialects is passed on for the engine to refuse.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Default)]
pub struct Translated {
    pub text: String,
    /// It looks around, refers back or holds on to what it took, which takes an engine that tries and goes back.
    pub goes_back: bool,
    /// It has an end that is also met before a final newline.
    pub ends: bool,
}

/// `going_back`: for the engine that goes back, which can say what such an end is.
pub fn translate(pattern: &str, extended: bool, multiline: bool, going_back: bool) -> Translated {
    let translator = Translator {
        rest: pattern.chars().peekable(),
        out: Translated::default(),
        extended,
        multiline,
        going_back,
        quantified: false,
    };
    translator.run()
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: Translated,
    extended: bool,
    multiline: bool,
    going_back: bool,
    /// Whether what came last is a quantifier, so that a plus after it means to hold on.
    quantified: bool,
}

const BLANKS: &str = "\\t\\x20\u{a0}\u{1680}\u{180e}\u{2000}-\u{200a}\u{202f}\u{205f}\u{3000}";
const BREAKS: &str = "\\n\\x0B\\x0C\\r\u{85}\u{2028}\u{2029}";

/// What a letter after a backslash stands for, when it is a set of characters, and whether all others are meant.
fn set_of(letter: char) -> Option<(&'static str, bool)> {
    let set = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\x0B\\x0C\\r\\x20",
        'h' => BLANKS,
        'v' => BREAKS,
        _ => return None,
    };
    Some((set, letter.is_ascii_uppercase()))
}

impl Translator<'_> {
    fn run(mut self) -> Translated {
        while let Some(next) = self.rest.next() {
            let quantified = std::mem::take(&mut self.quantified);
            match next {
                '\\' => self.escape(),
                '[' => self.class(),
                '(' => self.group(),
                '{' => self.brace(),
                '}' => self.out.text.push_str("\\}"),
                '*' | '?' | '+' => {
                    if quantified && next == '+' {
                        self.out.goes_back = true;
                    }
                    // `a+?` and `a++` end the quantifier.
                    self.quantified = !quantified;
                    self.out.text.push(next);
                }
                '$' if !self.multiline => self.end(),
                blank if self.extended && blank.is_ascii_whitespace() => self.quantified = quantified,
                '#' if self.extended => while self.rest.next().is_some_and(|next| next != '\n') {},
                other => self.out.text.push(other),
            }
        }
        self.out
    }

    fn end(&mut self) {
        self.out.ends = true;
        self.out.text.push_str(if self.going_back { "(?=\\n?\\z)" } else { "\\z" });
    }

    fn code(&mut self, code: u32) {
        // Writing to a string does not fail.
        let _ = write!(self.out.text, "\\x{{{code:x}}}");
    }

    fn escape(&mut self) {
        let Some(letter) = self.rest.next() else { return self.out.text.push('\\') };
        if let Some((set, others)) = set_of(letter) {
            let others = if others { "^" } else { "" };
            let _ = write!(self.out.text, "[{others}{set}]");
            return;
        }
        match letter {
            'N' => self.out.text.push_str("[^\\n]"),
            'R' => {
                let _ = write!(self.out.text, "(?:\\r\\n|[{BREAKS}])");
            }
            'Z' => self.end(),
            // Words are ASCII, and so are their bounds; the other engine has no way to say it.
            'b' if !self.going_back => self.out.text.push_str("(?-u:\\b)"),
            // Three octal digits are a character, fewer refer back to a group.
            '1'..='7' if self.octal_digits_follow() => self.character(letter),
            'G' | 'K' | 'g' | '1'..='9' => {
                self.out.goes_back = true;
                self.out.text.push('\\');
                self.out.text.push(letter);
            }
            'k' => {
                self.out.goes_back = true;
                let close = match self.rest.next_if(|next| matches!(next, '{' | '<' | '\'')) {
                    Some('{') => '}',
                    Some('<') => '>',
                    Some(_) => '\'',
                    None => return self.out.text.push_str("\\k"),
                };
                let name: String = self.rest.by_ref().take_while(|next| *next != close).collect();
                let _ = write!(self.out.text, "\\k<{name}>");
            }
            'Q' => self.quoted(),
            'E' => {}
            other => self.character(other),
        }
    }

    fn octal_digits_follow(&self) -> bool {
        self.rest.clone().take(2).filter(|next| next.is_digit(8)).count() == 2
    }

    /// What stands for one character, in classes and outside them.
    fn character(&mut self, letter: char) {
        match letter {
            '0'..='7' => {
                let mut code = letter.to_digit(8).unwrap_or(0);
                for _ in 0..2 {
                    let Some(digit) = self.rest.peek().and_then(|next| next.to_digit(8)) else { break };
                    code = code * 8 + digit;
                    self.rest.next();
                }
                self.code(code);
            }
            'x' if self.rest.peek() != Some(&'{') => {
                let mut code = 0;
                for _ in 0..2 {
                    let Some(digit) = self.rest.peek().and_then(|next| next.to_digit(16)) else { break };
                    code = code * 16 + digit;
                    self.rest.next();
                }
                self.code(code);
            }
            'c' => {
                if let Some(control) = self.rest.next() {
                    self.code(u32::from(control.to_ascii_uppercase()) ^ 0x40);
                }
            }
            'e' => self.code(0x1b),
            // A property or a code in braces, which are no quantifier.
            'p' | 'P' | 'x' => {
                self.out.text.push('\\');
                self.out.text.push(letter);
                if let Some(brace) = self.rest.next_if_eq(&'{') {
                    self.out.text.push(brace);
                    for next in self.rest.by_ref() {
                        self.out.text.push(next);
                        if next == '}' {
                            break;
                        }
                    }
                }
            }
            letter if letter.is_ascii_alphanumeric() => {
                self.out.text.push('\\');
                self.out.text.push(letter);
            }
            other => self.literal(other),
        }
    }

    fn literal(&mut self, character: char) {
        match character {
            '<' | '>' => self.out.text.push(character),
            other if other.is_ascii_whitespace() => self.code(other.into()),
            other if other.is_ascii_punctuation() => {
                self.out.text.push('\\');
                self.out.text.push(other);
            }
            other => self.out.text.push(other),
        }
    }

    /// What follows `\Q` stands for itself, up to `\E`.
    fn quoted(&mut self) {
        while let Some(next) = self.rest.next() {
            if next == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(next);
        }
    }

    /// A brace that opens no quantifier stands for itself.
    fn brace(&mut self) {
        let mut ahead = self.rest.clone();
        let (mut digits, mut comma, mut inner) = (0, false, String::new());
        loop {
            match ahead.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    digits += usize::from(!comma);
                    inner.push(digit);
                }
                Some(',') if digits > 0 && !comma => {
                    comma = true;
                    inner.push(',');
                }
                Some('}') if digits > 0 => break,
                _ => return self.out.text.push_str("\\{"),
            }
        }
        let _ = write!(self.out.text, "{{{inner}}}");
        self.rest = ahead;
        self.quantified = true;
    }

    fn group(&mut self) {
        if self.rest.peek() == Some(&'*') {
            self.out.goes_back = true;
        }
        self.out.text.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return;
        }
        let mut ahead = self.rest.clone();
        match (ahead.next(), ahead.next()) {
            (Some('#'), _) => {
                self.out.text.pop();
                self.rest.by_ref().take_while(|next| *next != ')').for_each(drop);
                return;
            }
            (Some('='), _) | (Some('!'), _) | (Some('>'), _) | (Some('('), _) | (Some('<'), Some('=' | '!')) => {
                self.out.goes_back = true;
            }
            (Some('R' | '&' | '|' | '0'..='9'), _) | (Some('P'), Some('=' | '>')) => self.out.goes_back = true,
            (Some('-' | 'a'..='z' | 'U' | 'J'), _) => self.flags(),
            (Some('\''), _) => {
                self.rest.next();
                let name: String = self.rest.by_ref().take_while(|next| *next != '\'').collect();
                let _ = write!(self.out.text, "?<{name}>");
                return;
            }
            _ => {}
        }
        self.out.text.push('?');
    }

    /// Flags inside the pattern, as far as this translation has to know them; from here to the end, which is where nearly
    /// all of them reach.
    fn flags(&mut self) {
        let mut on = true;
        for flag in self.rest.clone() {
            match flag {
                '-' => on = false,
                'x' => self.extended = on,
                'm' => self.multiline = on,
                'a'..='z' | 'U' | 'J' => {}
                _ => break,
            }
        }
    }

    fn class(&mut self) {
        self.out.text.push('[');
        if let Some(not) = self.rest.next_if_eq(&'^') {
            self.out.text.push(not);
        }
        let mut first = true;
        // Whether a set came last, after which a hyphen stands for itself.
        let mut after_set = false;
        while let Some(next) = self.rest.next() {
            let set_came = std::mem::take(&mut after_set);
            match next {
                ']' if !first => return self.out.text.push(']'),
                ']' => self.out.text.push_str("\\]"),
                '[' => after_set = self.bracket_in_class(),
                '-' if first || set_came || self.hyphen_stands_alone() => self.out.text.push_str("\\-"),
                '-' => self.out.text.push('-'),
                '\\' => after_set = self.escape_in_class(),
                '&' | '~' | '#' | '^' => {
                    self.out.text.push('\\');
                    self.out.text.push(next);
                }
                blank if blank.is_ascii_whitespace() => self.code(blank.into()),
                other => self.out.text.push(other),
            }
            first = false;
        }
    }

    fn hyphen_stands_alone(&self) -> bool {
        let mut ahead = self.rest.clone();
        match ahead.next() {
            Some(']' | '-') | None => true,
            Some('\\') => ahead.next().is_some_and(|letter| set_of(letter).is_some() || matches!(letter, 'p' | 'P')),
            Some('[') => ahead.next() == Some(':'),
            _ => false,
        }
    }

    /// A class by its name, such as `[:alpha:]`, or a bracket that stands for itself.
    fn bracket_in_class(&mut self) -> bool {
        let mut ahead = self.rest.clone();
        if ahead.next() == Some(':') {
            let name: String = ahead.by_ref().take_while(|next| next.is_ascii_alphabetic() || *next == '^').collect();
            if ahead.next() == Some(']') && !name.is_empty() {
                let _ = write!(self.out.text, "[:{name}:]");
                self.rest = ahead;
                return true;
            }
        }
        self.out.text.push_str("\\[");
        false
    }

    fn escape_in_class(&mut self) -> bool {
        let Some(letter) = self.rest.next() else {
            self.out.text.push('\\');
            return false;
        };
        if let Some((set, others)) = set_of(letter) {
            let _ = if others { write!(self.out.text, "[^{set}]") } else { write!(self.out.text, "{set}") };
            return true;
        }
        match letter {
            'b' => self.code(8),
            'Q' => self.quoted(),
            'E' => {}
            other => self.character(other),
        }
        matches!(letter, 'p' | 'P')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dialects_read_differently_is_rewritten() {
        let table = [
            ("^abc.*$", "^abc.*\\z"),
            (r"\d+\W", r"[0-9]+[^0-9A-Za-z_]"),
            (r"[\w-.]", r"[0-9A-Za-z_\-.]"),
            (r"[+-\d]", r"[+\-0-9]"),
            ("[[]", r"[\[]"),
            ("[]a]", r"[\]a]"),
            ("[a&&b]", r"[a\&\&b]"),
            ("[[:alpha:]-]", r"[[:alpha:]\-]"),
            ("{{name}}", r"\{\{name\}\}"),
            ("a{2,3}b{,3}", r"a{2,3}b\{,3\}"),
            (r"\<b\>", "<b>"),
            (r"\Qa.b\E.", r"a\.b."),
            (r"\101\x4a\cA\e", r"\x{41}\x{4a}\x{1}\x{1b}"),
            (r"\p{Lu}\x{e9}", r"\p{Lu}\x{e9}"),
            ("a(?#note)b", "ab"),
            ("(?'n'a)", "(?<n>a)"),
        ];
        for (pattern, expected) in table {
            let translated = translate(pattern, false, false, false);
            assert_eq!(translated.text, expected, "{pattern}");
            assert!(!translated.goes_back, "{pattern}");
        }
        assert_eq!(translate("[a b] c # end\nd", true, false, false).text, r"[a\x{20}b]cd");
        assert_eq!(translate("a$", false, true, false).text, "a$");
        assert_eq!(translate("(?m)a$", false, false, false).text, "(?m)a$");
        for pattern in ["(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", r"(a)\1", r"(?<n>a)\k{n}", "a++", "a{2}+"] {
            assert!(translate(pattern, false, false, true).goes_back, "{pattern}");
        }
        assert!(!translate("a+?b*c{2}d", false, false, false).goes_back);
    }
}
