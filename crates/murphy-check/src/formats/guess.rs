//! A guess is the model that the words of a history belong to, where its format does not say.
//!
//! Only transactions tell: `append` is list-append, `w` is rw-register. Everything else (`read`, `write`, `add`, …) is
//! a word of several models, and whoever has the history must say which.

use crate::value::Value;

/// What the operations so far tell.
#[derive(Debug, Default)]
pub(super) struct Guess {
    /// Line and word of the first operation.
    first: Option<(u64, Box<str>)>,
    /// Some step that only one of the two models has.
    step: Option<(u64, Step)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// `append`, or a read that found a list.
    Append,
    /// `w`.
    Write,
}

impl Step {
    fn model(self) -> &'static str {
        match self {
            Self::Append => "list-append",
            Self::Write => "rw-register",
        }
    }
}

impl Guess {
    /// Takes an operation into account; a problem where it cannot be of the same model as those before.
    pub fn see(&mut self, line: u64, f: &str, value: &Value) -> Result<(), Box<str>> {
        match &self.first {
            None => self.first = Some((line, f.into())),
            Some((first, word)) if (&**word == "txn") != (f == "txn") => {
                return Err(
                    format!("`{f}` after `{word}` of line {first}: no model has both").into(),
                );
            }
            Some(_) => {}
        }
        if f != "txn" {
            return Ok(());
        }
        let steps = value.as_list().unwrap_or_default();
        for found in steps.iter().filter_map(step) {
            match self.step {
                None => self.step = Some((line, found)),
                Some((before, step)) if step != found => {
                    let (is, was) = (found.model(), step.model());
                    return Err(format!(
                        "a step of model {is} after one of {was} on line {before}: no model has both"
                    )
                    .into());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The model, or why it cannot be told.
    pub fn model(&self) -> Result<&'static str, Box<str>> {
        match (&self.step, &self.first) {
            (Some((_, step)), _) => Ok(step.model()),
            (None, Some((_, word))) => Err(format!(
                "`{word}` is a word of several models; name the one that is meant (--model)"
            )
            .into()),
            (None, None) => {
                Err("no operation tells the model; name the one that is meant (--model)".into())
            }
        }
    }
}

fn step(step: &Value) -> Option<Step> {
    let parts = step.as_list()?;
    match (parts.first()?.as_text()?, parts.get(2)) {
        ("append", _) | ("r", Some(Value::List(_))) => Some(Step::Append),
        ("w", _) => Some(Step::Write),
        _ => None,
    }
}
