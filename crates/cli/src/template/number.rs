//! Numeric literals.

use super::ast::Number;
use super::lex::{Kind, Token};
use super::quote::{quote, unquote};

/// Reads a numeric literal in all the forms it may be used in.
pub(super) fn read(token: &Token) -> Result<Number, String> {
    let text = token.text.clone();
    if token.kind == Kind::CharacterConstant {
        let inner = unquote(&text).unwrap_or_default();
        let mut chars = inner.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return Err(format!("malformed character constant: {text}"));
        };
        let code = u32::from(c);
        return Ok(Number {
            text,
            integer: Some(code.into()),
            unsigned: Some(code.into()),
            float: Some(code.into()),
            is_character: true,
        });
    }
    let plain = text.replace('_', "");
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') && !lower.contains(['.', 'e']) => {
            (8, &lower[1..])
        }
        _ => (10, lower.as_str()),
    };
    let magnitude = u64::from_str_radix(digits, radix).ok();
    let mut integer = magnitude.and_then(|value| {
        let value = i128::from(value);
        i64::try_from(if negative { -value } else { value }).ok()
    });
    let is_decimal =
        !lower.starts_with("0x") && !lower.starts_with("0o") && !lower.starts_with("0b");
    let mut float = is_decimal.then(|| plain.parse::<f64>().ok()).flatten();
    if integer.is_none() && magnitude.is_none() && text.contains(['.', 'e', 'E']) {
        // 1e3 is an integer too.
        integer = float.filter(|value| value.fract() == 0.0 && value.abs() < 9e18).and_then(whole);
    }
    float = float.or(integer.and_then(|value| value.to_string().parse().ok()));
    if integer.is_none()
        && magnitude.is_none()
        && float.is_some()
        && !text.contains(['.', 'e', 'E'])
    {
        return Err(format!("integer overflow: {}", quote(&text)));
    }
    if integer.is_none() && magnitude.is_none() && float.is_none() {
        return Err(format!("illegal number syntax: {}", quote(&text)));
    }
    let unsigned =
        if negative { None } else { magnitude.or(integer.and_then(|it| u64::try_from(it).ok())) };
    Ok(Number { text, integer, unsigned, float, is_character: false })
}

fn whole(value: f64) -> Option<i64> {
    format!("{value:.0}").parse().ok()
}
