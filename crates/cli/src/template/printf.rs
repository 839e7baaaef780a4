//! `printf` with Go's verbs, flags and complaints.

use super::print::{Style, float, go_syntax, print, write_value};
use super::quote::{quote, quote_char};
use super::value::Value;

/// The flags, width and precision of one verb.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "Go has five independent flags")]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut state = State { args, next: 0, reordered: false };
    let mut out = String::new();
    let mut rest = format;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        rest = state.verb(&rest[percent + 1..], &mut out);
    }
    out.push_str(rest);
    if !state.reordered && state.next < args.len() {
        let extra: Vec<String> = args[state.next..]
            .iter()
            .map(|arg| match arg {
                Value::Invalid => "<nil>".into(),
                arg => format!("{}={}", arg.type_name(), print(arg)),
            })
            .collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

struct State<'a> {
    args: &'a [Value],
    next: usize,
    reordered: bool,
}

impl State<'_> {
    /// Reads one verb after `%`, appends its output and returns the rest of the format.
    fn verb<'f>(&mut self, mut rest: &'f str, out: &mut String) -> &'f str {
        let mut spec = Spec::default();
        while let Some(c) = rest.chars().next() {
            match c {
                '-' => spec.minus = true,
                '+' => spec.plus = true,
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = true,
                _ => break,
            }
            rest = &rest[1..];
        }
        rest = self.index(rest);
        (spec.width, rest) = self.amount(rest, &mut spec.minus, out, "WIDTH");
        if let Some(after) = rest.strip_prefix('.') {
            rest = self.index(after);
            let precision;
            (precision, rest) = self.amount(rest, &mut false, out, "PREC");
            spec.precision = Some(precision.unwrap_or(0));
        }
        rest = self.index(rest);
        let Some(verb) = rest.chars().next() else {
            out.push_str("%!(NOVERB)");
            return rest;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            out.push('%');
        } else if let Some(arg) = self.args.get(self.next) {
            self.next += 1;
            out.push_str(&format_one(spec, verb, arg));
        } else {
            out.push_str(&format!("%!{verb}(MISSING)"));
        }
        rest
    }

    /// Reads an explicit argument index such as `[2]`.
    fn index<'f>(&mut self, rest: &'f str) -> &'f str {
        let Some(inner) = rest.strip_prefix('[') else { return rest };
        let Some((digits, after)) = inner.split_once(']') else { return rest };
        if let Some(at) = digits.parse::<usize>().ok().and_then(|at| at.checked_sub(1)) {
            self.next = at;
            self.reordered = true;
        }
        after
    }

    /// Reads a width or precision, `*` included.
    fn amount<'f>(
        &mut self,
        rest: &'f str,
        minus: &mut bool,
        out: &mut String,
        what: &str,
    ) -> (Option<usize>, &'f str) {
        if let Some(after) = rest.strip_prefix('*') {
            let number = match self.args.get(self.next) {
                Some(Value::Int(number, _)) => Some(*number),
                _ => None,
            };
            self.next += 1;
            let Some(number) = number else {
                out.push_str(&format!("%!(BAD{what})"));
                return (None, after);
            };
            *minus |= number < 0;
            return (usize::try_from(number.unsigned_abs()).ok(), after);
        }
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        (rest[..digits].parse().ok(), &rest[digits..])
    }
}

fn bad(verb: char, arg: &Value) -> String {
    match arg {
        Value::Invalid => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", arg.type_name(), print(arg)),
    }
}

fn format_one(spec: Spec, verb: char, arg: &Value) -> String {
    match verb {
        'T' => return pad(spec, &arg.type_name(), false),
        'v' if spec.sharp => return pad(spec, &go_syntax(arg), false),
        'p' if matches!(arg, Value::Ptr(..)) => return print(arg),
        _ => {}
    }
    match arg {
        Value::List(list) if verb != 'v' => {
            let items: Vec<String> =
                list.items.iter().map(|item| format_one(spec, verb, item)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Map(map) if verb != 'v' => {
            let key = |key: &str| format_one(spec, verb, &Value::str(key));
            let items: Vec<String> = map
                .entries
                .iter()
                .map(|(name, item)| format!("{}:{}", key(name), format_one(spec, verb, item)))
                .collect();
            format!("map[{}]", items.join(" "))
        }
        Value::Struct(it) if verb != 'v' => {
            let items: Vec<String> =
                it.fields.iter().map(|field| format_one(spec, verb, &field.value)).collect();
            format!("{{{}}}", items.join(" "))
        }
        Value::Bool(_) if matches!(verb, 't' | 'v') => pad(spec, &print(arg), false),
        Value::Int(number, _) => integer(spec, verb, i128::from(*number), arg),
        Value::Uint(number, _) => integer(spec, verb, i128::from(*number), arg),
        Value::Duration(number) if !matches!(verb, 'v' | 's' | 'q') => {
            integer(spec, verb, i128::from(*number), arg)
        }
        Value::Float(number) => floating(spec, verb, *number, arg),
        Value::Str(text, _) | Value::Number(text) => string(spec, verb, text, arg),
        Value::Time(_) | Value::Duration(_) => string(spec, verb, &print(arg), arg),
        Value::Invalid if verb == 'v' => pad(spec, "<nil>", false),
        other if verb == 'v' => {
            let style = if spec.plus { Style::WithNames } else { Style::Plain };
            let mut out = String::new();
            write_value(&mut out, other, style, 0);
            pad(spec, &out, false)
        }
        other => bad(verb, other),
    }
}

fn string(spec: Spec, verb: char, text: &str, arg: &Value) -> String {
    let cut: String = match spec.precision {
        Some(most) => text.chars().take(most).collect(),
        None => text.into(),
    };
    match verb {
        's' | 'v' => pad(spec, &cut, spec.zero),
        'q' if spec.sharp && !cut.contains('`') => pad(spec, &format!("`{cut}`"), false),
        'q' => pad(spec, &quote(&cut), false),
        'x' | 'X' => {
            let separator = if spec.space { " " } else { "" };
            let bytes: Vec<String> = cut
                .bytes()
                .map(|byte| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") })
                .collect();
            let prefix = if spec.sharp { if verb == 'x' { "0x" } else { "0X" } } else { "" };
            pad(spec, &format!("{prefix}{}", bytes.join(separator)), false)
        }
        _ => bad(verb, arg),
    }
}

fn integer(spec: Spec, verb: char, number: i128, arg: &Value) -> String {
    let magnitude = number.unsigned_abs();
    let character = u32::try_from(magnitude).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
    let (mut digits, prefix) = match verb {
        'd' | 'v' => (magnitude.to_string(), ""),
        'b' => (format!("{magnitude:b}"), if spec.sharp { "0b" } else { "" }),
        'o' => (format!("{magnitude:o}"), if spec.sharp { "0" } else { "" }),
        'O' => (format!("{magnitude:o}"), "0o"),
        'x' => (format!("{magnitude:x}"), if spec.sharp { "0x" } else { "" }),
        'X' => (format!("{magnitude:X}"), if spec.sharp { "0X" } else { "" }),
        'c' => return pad(spec, &character.to_string(), false),
        'q' => return pad(spec, &quote_char(character), false),
        'U' => return pad(spec, &format!("U+{magnitude:04X}"), false),
        _ => return bad(verb, arg),
    };
    let sign = match (number < 0, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let least = match spec.precision {
        Some(precision) => precision,
        None if spec.zero && !spec.minus => {
            spec.width.unwrap_or(0).saturating_sub(sign.len() + prefix.len())
        }
        None => 0,
    };
    if digits.len() < least {
        digits.insert_str(0, &"0".repeat(least - digits.len()));
    }
    pad(spec, &format!("{sign}{prefix}{digits}"), false)
}

fn floating(spec: Spec, verb: char, number: f64, arg: &Value) -> String {
    let precision = spec.precision.unwrap_or(6);
    let magnitude = number.abs();
    let mut text = match verb {
        'f' | 'F' => format!("{magnitude:.precision$}"),
        'e' | 'E' => exponent(magnitude, precision, verb),
        'g' | 'G' | 'v' => match spec.precision {
            None => float(magnitude),
            Some(precision) => general(magnitude, precision.max(1)),
        },
        _ => return bad(verb, arg),
    };
    let sign = match (number.is_sign_negative(), spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    };
    let least = spec.width.unwrap_or(0).saturating_sub(sign.len());
    if spec.zero && !spec.minus && text.len() < least {
        text.insert_str(0, &"0".repeat(least - text.len()));
    }
    pad(spec, &format!("{sign}{text}"), false)
}

fn exponent(magnitude: f64, precision: usize, verb: char) -> String {
    let text = format!("{magnitude:.precision$e}");
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let sign = if power < 0 { '-' } else { '+' };
    format!("{mantissa}{verb}{sign}{:02}", power.abs())
}

fn general(magnitude: f64, digits: usize) -> String {
    let scientific = format!("{magnitude:.*e}", digits - 1);
    let power: i32 = scientific.split_once('e').and_then(|it| it.1.parse().ok()).unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let most = i32::try_from(digits).unwrap_or(i32::MAX);
    if power < -4 || power >= most {
        let text = exponent(magnitude, digits - 1, 'e');
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "+00"));
        return format!("{}e{power}", trim(mantissa));
    }
    let decimals = usize::try_from(most - 1 - power).unwrap_or(0);
    trim(&format!("{magnitude:.decimals$}"))
}

/// Pads to the width, counted in characters.
fn pad(spec: Spec, text: &str, with_zeros: bool) -> String {
    let missing = spec.width.unwrap_or(0).saturating_sub(text.chars().count());
    if spec.minus {
        format!("{text}{}", " ".repeat(missing))
    } else {
        format!("{}{text}", if with_zeros { "0" } else { " " }.repeat(missing))
    }
}
