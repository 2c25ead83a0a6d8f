//! Reading: the file, the environment over it, and the place of what is wrong.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, reworded};
use super::file::Config;
use super::judge::{Flaw, judge};
use super::settings::Settings;

const VARIABLE_PREFIX: &str = "TAKT_";

impl Settings {
    /// Reads a file, with the process's environment over it.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong, with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self::parse(path, &text, environment)
    }

    /// As [`Settings::load`], for the text of the file at `path` and a given environment. Touches
    /// no file.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn parse(
        path: &Path,
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let broken = |error: toml::de::Error| ConfigError::toml(path, text, &error);
        // For the places of what is wrong: the merged form below has none.
        toml::from_str::<Config>(text).map_err(broken)?;
        let mut table: toml::Table = text.parse().map_err(broken)?;
        let mut variables = BTreeMap::new();
        for (variable, value) in environment {
            let Some((section, key)) = address(&variable) else { continue };
            let value = override_value(&variable, &section, &key, &value)?;
            variables.insert((section.clone(), key.clone()), variable);
            let entry = table.entry(section).or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(section) = entry {
                section.insert(key, value);
            }
        }
        let config = Config::deserialize(table).map_err(broken)?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        judge(config, base).map_err(|flaw| {
            match variables.remove(&(flaw.section.to_owned(), flaw.key.to_owned())) {
                Some(variable) => ConfigError::Environment { variable, problem: flaw.problem },
                None => ConfigError::at(path, text, place(text, &flaw), flaw.problem),
            }
        })
    }
}

/// Section and key that a variable is about: `TAKT_JOURNAL__FILE_SIZE` is `journal`, `file_size`.
fn address(variable: &str) -> Option<(String, String)> {
    let (section, key) = variable.strip_prefix(VARIABLE_PREFIX)?.split_once("__")?;
    Some((section.to_lowercase(), key.to_lowercase()))
}

/// The value of a variable: as TOML where that fits the key, as a plain string otherwise, so that
/// nobody has to quote within quotes.
fn override_value(
    variable: &str,
    section: &str,
    key: &str,
    text: &str,
) -> Result<Value, ConfigError> {
    let wrap = |value: &Value| {
        let inner = toml::Table::from_iter([(key.to_owned(), value.clone())]);
        toml::Table::from_iter([(section.to_owned(), Value::Table(inner))])
    };
    let wrong =
        |problem: String| ConfigError::Environment { variable: variable.to_owned(), problem };
    if section == "topics" {
        return Err(wrong("topics are set in the file only".to_owned()));
    }
    let as_toml = DeValue::parse(text)
        .ok()
        .and_then(|_| format!("v = {text}").parse::<toml::Table>().ok())
        .and_then(|mut table| table.remove("v"))
        .filter(|value| Config::deserialize(wrap(value)).is_ok());
    if let Some(value) = as_toml {
        return Ok(value);
    }
    let value = Value::String(text.to_owned());
    match Config::deserialize(wrap(&value)) {
        Ok(_) => Ok(value),
        Err(error) => Err(wrong(reworded(error.message(), None))),
    }
}

/// Where in the text a flaw is: its key, or else its section.
fn place(text: &str, flaw: &Flaw) -> Option<Range<usize>> {
    let document = DeTable::parse(text).ok()?.into_inner();
    let (header, mut section) = document.get_key_value(flaw.section)?;
    let mut span = header.span();
    if let (DeValue::Array(tables), Some(index)) = (section.as_ref(), flaw.index) {
        section = tables.get(index)?;
        span = section.span();
    }
    if let DeValue::Table(keys) = section.as_ref()
        && let Some((key, _)) = keys.get_key_value(flaw.key)
    {
        span = key.span();
    }
    Some(span)
}
