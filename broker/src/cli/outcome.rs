//! How a command ends.

use std::error::Error;
use std::io;
use std::process::ExitCode;

/// How a command ended that did what it was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All is well. Exit code 0.
    Done,
    /// There are conflicts or damage to look at. Exit code 3.
    Look,
}

/// Why a command did not do what it was asked to do.
#[derive(Debug)]
pub struct Failure {
    /// For standard error; empty where nobody needs to be told.
    message: String,
    code: u8,
}

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const LOOK: u8 = 3;

impl Failure {
    /// It could not be done. Exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: FAILED }
    }

    /// It was asked for in a way that makes no sense. Exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: USAGE }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(hint);
        self
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: &(dyn Error + 'static) = &error;
        let broken_pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref::<io::Error>().is_some_and(broken_pipe) {
            // Whoever reads the answer has enough of it: `takt sub | head`.
            return Self { message: String::new(), code: DONE };
        }
        Self::new(with_causes(error))
    }
}

/// The error and its causes, as far as it does not tell them itself.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}

/// Says why a command failed, and gives its exit code.
pub(super) fn exit(result: Result<Outcome, Failure>) -> ExitCode {
    let code = match result {
        Ok(Outcome::Done) => DONE,
        Ok(Outcome::Look) => LOOK,
        Err(Failure { message, code }) => {
            if !message.is_empty() {
                eprintln!("takt: {message}");
            }
            code
        }
    };
    ExitCode::from(code)
}
