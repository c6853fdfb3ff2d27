//! The functions of a template beside Go's own: those of the originals' templater and of gtf, which it takes in. Pure.
//!
//! Left out is what looks at anything but its arguments (the clock), since a file must be the same as long as nothing
//! changes, and what looks at Go's types.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use gotmpl::{FuncMap, Result, TemplateError, Value, ValueFunc};

use super::plain;

/// The longest text a function makes: no file needs more, and a typo must not take the memory.
const MAX_TEXT: usize = 1 << 20;

/// What takes part in a call: a function's name, and what it was given.
struct Call<'a> {
    name: &'static str,
    arguments: &'a [Value],
}

type Body = fn(&Call<'_>) -> Result<Value>;

/// Every function, by name.
pub(super) fn all() -> FuncMap {
    let functions = TEMPLATER.iter().chain(GTF);
    functions
        .map(|&(name, body)| (name.to_owned(), function(name, body)))
        .collect()
}

/// The templater's own, and one of ours.
const TEMPLATER: &[(&str, Body)] = &[
    ("add", |call| call.arithmetic(i64::checked_add)),
    ("base", |call| call.of_text(base)),
    ("contains", |call| call.of_two_texts(|text, part| text.contains(part))),
    ("dir", |call| call.of_text(dir)),
    ("div", |call| call.arithmetic(i64::checked_div)),
    ("eq", equal),
    ("hasPrefix", |call| {
        call.of_two_texts(|text, start| text.starts_with(start))
    }),
    ("hasSuffix", |call| call.of_two_texts(|text, end| text.ends_with(end))),
    ("ifOrDef", |call| {
        let [condition, yes, no] = call.take()?;
        Ok(if *condition == Value::Nil {
            no.clone()
        } else {
            yes.clone()
        })
    }),
    ("isArray", |call| call.is(|value| matches!(value, Value::List(_)))),
    ("isMap", |call| call.is(|value| matches!(value, Value::Map(_)))),
    ("isNil", |call| call.is(|value| *value == Value::Nil)),
    ("isString", |call| call.is(|value| matches!(value, Value::String(_)))),
    ("join", join),
    ("json", |call| call.json(serde_json::Value::is_object)),
    ("jsonArray", |call| call.json(serde_json::Value::is_array)),
    ("mod", |call| call.arithmetic(i64::checked_rem)),
    ("mul", |call| call.arithmetic(i64::checked_mul)),
    ("orDef", |call| {
        let [value, default] = call.take()?;
        Ok(if *value == Value::Nil {
            default.clone()
        } else {
            value.clone()
        })
    }),
    ("orDefs", |call| {
        let [values, default] = call.take()?;
        let some = values.len().is_some_and(|length| length > 0);
        Ok(if some {
            values.clone()
        } else {
            Value::from(vec![default.clone()])
        })
    }),
    ("pairs", pairs),
    ("repeat", |call| {
        let [text, times] = call.take()?;
        call.repeat(call.text(text)?, times)
    }),
    ("replace", replace),
    ("safeName", |call| call.of_text(safe_name)),
    ("split", |call| {
        let [text, separator] = call.take()?;
        Ok(split(call.text(text)?, call.text(separator)?))
    }),
    ("sub", |call| call.arithmetic(i64::checked_sub)),
    ("toJson", |call| {
        let [value] = call.take()?;
        to_json(value)
            .map(Value::from)
            .ok_or_else(|| call.error("a number that JSON has no form for"))
    }),
    ("toLower", |call| call.of_text(str::to_lowercase)),
    ("toUpper", |call| call.of_text(str::to_uppercase)),
];

/// gtf's: what they change comes last, for pipelines.
const GTF: &[(&str, Body)] = &[
    ("boolYesno", |call| {
        let [yes, no, value] = call.take()?;
        Ok(if call.flag(value)? { yes.clone() } else { no.clone() })
    }),
    ("filesizeformat", size),
    ("intDivisibleby", |call| {
        let [by, number] = call.take()?;
        let rest = call.number(number)?.checked_rem(call.number(by)?);
        Ok(Value::Bool(rest == Some(0)))
    }),
    ("intPluralize", pluralize),
    ("stringCapfirst", |call| call.of_text(capitalised)),
    ("stringCenter", |call| {
        call.padded(|missing| (missing / 2, missing - missing / 2))
    }),
    ("stringDefault", |call| {
        let [default, text] = call.take()?;
        Ok(if call.text(text)?.is_empty() {
            default.clone()
        } else {
            text.clone()
        })
    }),
    ("stringLength", |call| {
        let [text] = call.take()?;
        Ok(number(call.text(text)?.len()))
    }),
    ("stringLengthIs", |call| {
        let [length, text] = call.take()?;
        let is = i64::try_from(call.text(text)?.chars().count());
        Ok(Value::Bool(is == Ok(call.number(length)?)))
    }),
    ("stringLjust", |call| call.padded(|missing| (0, missing))),
    ("stringLower", |call| call.of_text(str::to_lowercase)),
    ("stringReplace", |call| {
        let [part, text] = call.take()?;
        Ok(Value::from(call.text(text)?.replace(call.text(part)?, "")))
    }),
    ("stringRjust", |call| call.padded(|missing| (missing, 0))),
    ("stringTrim", |call| call.of_text(|text| text.trim().to_owned())),
    ("stringTruncatechars", truncate),
    ("stringUpper", |call| call.of_text(str::to_uppercase)),
    ("stringUrlencode", |call| call.of_text(gotmpl::url_encode)),
    ("stringWordcount", |call| {
        let [text] = call.take()?;
        Ok(number(call.text(text)?.split_whitespace().count()))
    }),
];

fn function(name: &'static str, body: Body) -> ValueFunc {
    Arc::new(move |arguments: &[Value]| body(&Call { name, arguments }))
}

impl Call<'_> {
    fn error(&self, what: impl Display) -> TemplateError {
        TemplateError::Exec(format!("{}: {what}", self.name))
    }

    /// Just as many arguments as there are.
    fn take<const N: usize>(&self) -> Result<&[Value; N]> {
        self.arguments.try_into().map_err(|_| TemplateError::ArgCount {
            name: self.name.to_owned(),
            expected: N,
            got: self.arguments.len(),
        })
    }

    fn text<'v>(&self, value: &'v Value) -> Result<&'v str> {
        value
            .as_str()
            .ok_or_else(|| self.error(format_args!("{value} is no text")))
    }

    fn number(&self, value: &Value) -> Result<i64> {
        integer(value).ok_or_else(|| self.error(format_args!("{value} is no whole number")))
    }

    fn flag(&self, value: &Value) -> Result<bool> {
        match value {
            Value::Bool(flag) => Ok(*flag),
            _ => Err(self.error(format_args!("{value} is neither true nor false"))),
        }
    }

    fn of_text(&self, change: impl Fn(&str) -> String) -> Result<Value> {
        let [text] = self.take()?;
        Ok(Value::from(change(self.text(text)?)))
    }

    fn of_two_texts(&self, ask: impl Fn(&str, &str) -> bool) -> Result<Value> {
        let [text, part] = self.take()?;
        Ok(Value::Bool(ask(self.text(text)?, self.text(part)?)))
    }

    fn is(&self, ask: impl Fn(&Value) -> bool) -> Result<Value> {
        let [value] = self.take()?;
        Ok(Value::Bool(ask(value)))
    }

    fn arithmetic(&self, calculate: impl Fn(i64, i64) -> Option<i64>) -> Result<Value> {
        let [left, right] = self.take()?;
        let result = calculate(self.number(left)?, self.number(right)?);
        result.map(Value::Int).ok_or_else(|| self.error("has no result"))
    }

    fn repeat(&self, text: &str, times: &Value) -> Result<Value> {
        let times = usize::try_from(self.number(times)?).map_err(|_| self.error("a negative count"))?;
        let fits = text.len().checked_mul(times).is_some_and(|length| length <= MAX_TEXT);
        fits.then(|| Value::from(text.repeat(times)))
            .ok_or_else(|| self.error(format_args!("makes more than {MAX_TEXT} bytes")))
    }

    /// gtf's: a width and a text, which gets blanks before and behind.
    fn padded(&self, place: impl Fn(usize) -> (usize, usize)) -> Result<Value> {
        let [width, text] = self.take()?;
        let text = self.text(text)?;
        let width = usize::try_from(self.number(width)?).unwrap_or(0);
        if width > MAX_TEXT {
            return Err(self.error(format_args!("makes more than {MAX_TEXT} bytes")));
        }
        let (before, behind) = place(width.saturating_sub(text.chars().count()));
        Ok(Value::from(format!(
            "{}{text}{}",
            " ".repeat(before),
            " ".repeat(behind)
        )))
    }

    fn json(&self, is_right: impl Fn(&serde_json::Value) -> bool) -> Result<Value> {
        let [text] = self.take()?;
        let read: serde_json::Value = serde_json::from_str(self.text(text)?).map_err(|error| self.error(error))?;
        if !is_right(&read) {
            return Err(self.error("JSON of another type"));
        }
        Ok(from_json(read))
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Uint(number) => i64::try_from(*number).ok(),
        _ => None,
    }
}

fn number(count: usize) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Go's `path.Base`.
fn base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    match (trimmed, path) {
        ("", "") => ".".to_owned(),
        ("", _) => "/".to_owned(),
        _ => trimmed.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

/// Go's `path.Dir`, for paths without `.` and `..`.
fn dir(path: &str) -> String {
    let Some((parent, _)) = path.rsplit_once('/') else {
        return ".".to_owned();
    };
    match parent.trim_end_matches('/') {
        "" => "/".to_owned(),
        parent => parent.to_owned(),
    }
}

/// The templater's own `eq`: whether the first is any of the others; values of different kinds are not equal, which is no
/// error as it is in Go.
fn equal(call: &Call<'_>) -> Result<Value> {
    let Some((first, others)) = call.arguments.split_first() else {
        return Err(call.error("there is nothing to compare"));
    };
    let same = |other: &Value| match (integer(first), integer(other)) {
        (Some(first), Some(other)) => first == other,
        _ => first == other,
    };
    Ok(Value::Bool(others.iter().any(same)))
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn size(call: &Call<'_>) -> Result<Value> {
    let [value] = call.take()?;
    let bytes = match value {
        Value::Float(number) => *number,
        other => call.number(other)? as f64,
    };
    let (mut shown, mut unit) = (bytes, "bytes");
    for next in ["KB", "MB", "GB", "TB", "PB"] {
        if shown < 1024.0 {
            break;
        }
        (shown, unit) = (shown / 1024.0, next);
    }
    Ok(Value::from(format!("{shown:.1} {unit}").replace(".0", "")))
}

fn pluralize(call: &Call<'_>) -> Result<Value> {
    let [endings, count] = call.take()?;
    let (singular, plural) = match call.text(endings)?.split_once(',') {
        None => ("", call.text(endings)?),
        Some((_, plural)) if plural.contains(',') => ("", ""),
        Some(both) => both,
    };
    Ok(Value::from(if call.number(count)? == 1 { singular } else { plural }))
}

fn join(call: &Call<'_>) -> Result<Value> {
    let [values, separator] = call.take()?;
    let Value::List(values) = values else {
        return Err(call.error(format_args!("{values} is no list")));
    };
    let texts: Vec<&str> = values.iter().map(|value| call.text(value)).collect::<Result<_>>()?;
    Ok(Value::from(texts.join(call.text(separator)?)))
}

/// Go's `strings.Split`: an empty separator parts the characters.
fn split(text: &str, separator: &str) -> Value {
    let parts: Vec<Value> = if separator.is_empty() {
        text.chars().map(|c| Value::from(c.to_string())).collect()
    } else {
        text.split(separator).map(Value::from).collect()
    };
    Value::from(parts)
}

fn pairs(call: &Call<'_>) -> Result<Value> {
    if !call.arguments.len().is_multiple_of(2) {
        return Err(call.error("the last key has no value"));
    }
    let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    for pair in call.arguments.chunks_exact(2) {
        if let [key, value] = pair {
            map.insert(Arc::from(call.text(key)?), value.clone());
        }
    }
    Ok(Value::from(map))
}

/// Go's `strings.Replace`: text, what, by what, how often (negative: always).
fn replace(call: &Call<'_>) -> Result<Value> {
    let [text, what, by, count] = call.take()?;
    let (text, what, by) = (call.text(text)?, call.text(what)?, call.text(by)?);
    let longest = text.len().saturating_add(1).saturating_mul(by.len().saturating_add(1));
    if longest > MAX_TEXT {
        return Err(call.error(format_args!("may make more than {MAX_TEXT} bytes")));
    }
    Ok(Value::from(match usize::try_from(call.number(count)?) {
        Ok(count) => text.replacen(what, by, count),
        Err(_) => text.replace(what, by),
    }))
}

/// Ours: for a place that takes a single token, regardless of the name of an instance.
fn safe_name(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '-');
    text.chars().map(|c| if safe(c) { c } else { '_' }).collect()
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next()
        .map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}

fn truncate(call: &Call<'_>) -> Result<Value> {
    let [length, text] = call.take()?;
    let characters: Vec<char> = call.text(text)?.chars().collect();
    let Ok(length) = usize::try_from(call.number(length)?) else {
        return Ok(text.clone());
    };
    let cut = |length| characters.iter().take(length).collect::<String>();
    Ok(match length {
        _ if length >= characters.len() => text.clone(),
        4.. => Value::from(cut(length - 3) + "..."),
        _ => Value::from(cut(length)),
    })
}

/// Escapes in JSON bring no control character in by the back door.
fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(flag) => Value::Bool(flag),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(whole) => Value::Int(whole),
            None => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::from(plain(&text)),
        serde_json::Value::Array(values) => Value::from(values.into_iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(fields) => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (Arc::from(plain(&name)), from_json(value)));
            Value::from(fields.collect::<BTreeMap<Arc<str>, Value>>())
        }
    }
}

/// As Go's `json.MarshalIndent` with two blanks; the keys in their order, and nothing in it ends a script.
fn to_json(value: &Value) -> Option<String> {
    let text = serde_json::to_string_pretty(&into_json(value)?).ok()?;
    Some(
        text.replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026"),
    )
}

fn into_json(value: &Value) -> Option<serde_json::Value> {
    Some(match value {
        Value::Nil | Value::Function(_) => serde_json::Value::Null,
        Value::Bool(flag) => (*flag).into(),
        Value::Int(number) => (*number).into(),
        Value::Uint(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        Value::String(text) => text.as_ref().into(),
        Value::List(values) => serde_json::Value::Array(values.iter().map(into_json).collect::<Option<_>>()?),
        Value::Map(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| Some((name.to_string(), into_json(value)?)));
            serde_json::Value::Object(fields.collect::<Option<_>>()?)
        }
    })
}
