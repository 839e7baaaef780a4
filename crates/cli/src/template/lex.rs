//! Cuts a template into tokens, by the rules of Go's `text/template/parse`.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    /// Byte offset in the whole text.
    pub position: usize,
    pub line: usize,
    pub text: String,
}

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Bool,
    Character,
    CharacterConstant,
    Assign,
    Declare,
    End,
    Field,
    Identifier,
    LeftDelimiter,
    LeftParenthesis,
    Number,
    Pipe,
    RawString,
    RightDelimiter,
    RightParenthesis,
    Space,
    String,
    Text,
    Variable,
    Dot,
    Nil,
    Keyword,
}

const KEYWORDS: [&str; 10] =
    ["block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"];

/// All tokens of `input`; the last is `End` or `Error`.
pub(super) fn lex(input: &str) -> Vec<Token> {
    let mut lexer = Lexer { input, start: 0, at: 0, line: 1, depth: 0, tokens: Vec::new() };
    let end = match lexer.run() {
        Ok(()) => (Kind::End, String::new()),
        Err(message) => (Kind::Error, message),
    };
    let (position, line) = (lexer.start, lexer.line);
    lexer.tokens.push(Token { kind: end.0, position, line, text: end.1 });
    lexer.tokens
}

struct Lexer<'a> {
    input: &'a str,
    start: usize,
    at: usize,
    line: usize,
    depth: usize,
    tokens: Vec<Token>,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// A character the way Go's `%#U` shows it.
fn describe(c: Option<char>) -> String {
    match c {
        Some(c) => format!("U+{:04X} '{c}'", u32::from(c)),
        None => "U+FFFFFFFFFFFFFFFF".into(),
    }
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.input[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, set: &str) -> bool {
        let found = self.peek().is_some_and(|c| set.contains(c));
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, set: &str) {
        while self.accept(set) {}
    }

    fn emit(&mut self, kind: Kind) {
        let text = self.input[self.start..self.at].to_owned();
        let breaks = text.matches('\n').count();
        self.tokens.push(Token { kind, position: self.start, line: self.line, text });
        self.line += breaks;
        self.start = self.at;
    }

    /// Skips what was read without making a token of it.
    fn ignore(&mut self) {
        self.line += self.input[self.start..self.at].matches('\n').count();
        self.start = self.at;
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let Some(found) = self.rest().find("{{") else {
                self.at = self.input.len();
                if self.at > self.start {
                    self.emit(Kind::Text);
                }
                return Ok(());
            };
            let delimiter = self.at + found;
            let trims = begins_trim(&self.input[delimiter + 2..]);
            self.at = if trims {
                self.start + self.input[self.start..delimiter].trim_end_matches(is_space).len()
            } else {
                delimiter
            };
            if self.at > self.start {
                self.emit(Kind::Text);
            }
            self.at = delimiter;
            self.ignore();
            self.action(trims)?;
        }
    }

    /// One `{{…}}`, the text after a trimming delimiter included.
    fn action(&mut self, trims: bool) -> Result<(), String> {
        self.at += 2;
        let marker = if trims { 2 } else { 0 };
        if self.rest()[marker..].starts_with("/*") {
            self.at += marker;
            self.ignore();
            return self.comment();
        }
        self.emit(Kind::LeftDelimiter);
        self.at += marker;
        self.ignore();
        self.depth = 0;
        loop {
            if let Some((length, trims)) = self.right_delimiter() {
                if self.depth > 0 {
                    return Err("unclosed left paren".into());
                }
                self.at += length - 2;
                self.ignore();
                self.at += 2;
                self.emit(Kind::RightDelimiter);
                if trims {
                    self.skip_space();
                }
                return Ok(());
            }
            self.inside()?;
        }
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(is_space).len();
        self.ignore();
    }

    /// The length of the right delimiter here, and whether it trims.
    fn right_delimiter(&self) -> Option<(usize, bool)> {
        let rest = self.rest();
        let mut chars = rest.chars();
        if chars.next().is_some_and(is_space) && chars.as_str().starts_with("-}}") {
            return Some((4, true));
        }
        rest.starts_with("}}").then_some((2, false))
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(found) = self.rest()[2..].find("*/") else {
            return Err("unclosed comment".into());
        };
        self.at += 2 + found + 2;
        let Some((length, trims)) = self.right_delimiter() else {
            return Err("comment ends before closing delimiter".into());
        };
        self.at += length;
        self.ignore();
        if trims {
            self.skip_space();
        }
        Ok(())
    }

    fn inside(&mut self) -> Result<(), String> {
        let Some(c) = self.next() else { return Err("unclosed action".into()) };
        match c {
            _ if is_space(c) => {
                // A space before a trimming delimiter belongs to the delimiter.
                while self.right_delimiter().is_none() && self.peek().is_some_and(is_space) {
                    self.next();
                }
                self.emit(Kind::Space);
            }
            '=' => self.emit(Kind::Assign),
            ':' if self.accept("=") => self.emit(Kind::Declare),
            ':' => return Err("expected :=".into()),
            '|' => self.emit(Kind::Pipe),
            '"' => self.quoted('"', Kind::String, "unterminated quoted string")?,
            '\'' => {
                self.quoted('\'', Kind::CharacterConstant, "unterminated character constant")?;
            }
            '`' => {
                let Some(found) = self.rest().find('`') else {
                    return Err("unterminated raw quoted string".into());
                };
                self.at += found + 1;
                self.emit(Kind::RawString);
            }
            '$' => self.field_or_variable(Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                self.field_or_variable(Kind::Field)?;
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.at -= 1;
                self.number()?;
            }
            _ if is_alphanumeric(c) => self.identifier()?,
            '(' => {
                self.emit(Kind::LeftParenthesis);
                self.depth += 1;
            }
            ')' => {
                self.emit(Kind::RightParenthesis);
                self.depth = self.depth.checked_sub(1).ok_or("unexpected right paren")?;
            }
            ' '..='~' => self.emit(Kind::Character),
            _ => {
                return Err(format!("unrecognized character in action: {}", describe(Some(c))));
            }
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        loop {
            match self.next() {
                Some('\\') if self.peek().is_some_and(|c| c != '\n') => {
                    self.next();
                }
                None | Some('\n') => return Err(unterminated.into()),
                Some(c) if c == quote => break,
                Some(_) => {}
            }
        }
        self.emit(kind);
        Ok(())
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with("}}"),
        }
    }

    fn field_or_variable(&mut self, kind: Kind) -> Result<(), String> {
        if self.at_terminator() {
            self.emit(if kind == Kind::Variable { kind } else { Kind::Dot });
            return Ok(());
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        if !self.at_terminator() {
            return Err(format!("bad character {}", describe(self.peek())));
        }
        self.emit(kind);
        Ok(())
    }

    fn identifier(&mut self) -> Result<(), String> {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        if !self.at_terminator() {
            return Err(format!("bad character {}", describe(self.peek())));
        }
        let word = &self.input[self.start..self.at];
        self.emit(match word {
            "true" | "false" => Kind::Bool,
            "nil" => Kind::Nil,
            _ if KEYWORDS.contains(&word) => Kind::Keyword,
            _ => Kind::Identifier,
        });
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        if digits.len() == 11 && self.accept("eE") || digits.len() == 23 && self.accept("pP") {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            let text = &self.input[self.start..self.at];
            return Err(format!("bad number syntax: {}", super::quote::quote(text)));
        }
        self.emit(Kind::Number);
        Ok(())
    }
}

/// Whether the text after a left delimiter trims the text before it.
fn begins_trim(after: &str) -> bool {
    let mut chars = after.chars();
    chars.next() == Some('-') && chars.next().is_some_and(is_space)
}
