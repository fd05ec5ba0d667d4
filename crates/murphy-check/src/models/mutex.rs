//! Model `mutex`: a lock that one process holds at a time, with fencing tokens where it gives them.

use super::words::{number, unknown_f};
use crate::{
    model::{Kept, Model, Request, Vocabulary},
    value::Value,
};

/// A lock that nobody holds in the beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex;

/// A request to a lock, or to what it guards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `acquire`; a number in its answer is a fencing token, greater than every one before.
    Acquire {
        /// Who wants it.
        process: u32,
    },
    /// `release`, by the holder.
    Release {
        /// Who gives it back.
        process: u32,
    },
    /// `access` to what the lock guards, under a token: never less than one that was used before.
    Access {
        /// The token.
        token: i64,
    },
}

/// A lock and what it guards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Who holds it.
    pub holder: Option<u32>,
    /// The last token given.
    pub given: Option<i64>,
    /// The greatest token used.
    pub used: Option<i64>,
}

impl Model for Mutex {
    type State = State;
    type Ask = Ask;
    /// The token, where there is one.
    type Answer = Option<i64>;

    fn initial(&self) -> State {
        State::default()
    }

    fn step(
        &self,
        state: &State,
        ask: &Ask,
        answer: Option<&Option<i64>>,
        next: &mut dyn FnMut(State),
    ) {
        match *ask {
            Ask::Acquire { process } => {
                let token = answer.copied().flatten();
                let is_fresh =
                    token.is_none_or(|token| state.given.is_none_or(|given| token > given));
                if state.holder.is_none() && is_fresh {
                    let given = token.or(state.given);
                    next(State {
                        holder: Some(process),
                        given,
                        ..*state
                    });
                }
            }
            Ask::Release { process } => {
                if state.holder == Some(process) {
                    next(State {
                        holder: None,
                        ..*state
                    });
                }
            }
            Ask::Access { token } => {
                if state.used.is_none_or(|used| token >= used) {
                    next(State {
                        used: Some(token),
                        ..*state
                    });
                }
            }
        }
    }
}

impl Vocabulary for Mutex {
    const NAME: &'static str = "mutex";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        let process = request.process;
        match request.f {
            "acquire" => Ok(Ask::Acquire { process }),
            "release" => Ok(Ask::Release { process }),
            "access" => number("access", request.value).map(|token| Ask::Access { token }),
            f => unknown_f(f, Self::NAME, "acquire, release and access"),
        }
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Option<i64>, Box<str>> {
        Ok(match ask {
            Ask::Acquire { .. } => value.as_int(),
            _ => None,
        })
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Acquire { .. } => "acquire".into(),
            Ask::Release { .. } => "release".into(),
            Ask::Access { token } => format!("access with token {token}"),
        }
    }

    fn say_answer(&self, _: &Ask, answer: &Option<i64>) -> String {
        answer.map_or_else(String::new, |token| format!("token {token}"))
    }

    fn say_state(&self, state: &State) -> String {
        let held = if state.holder.is_some() {
            "held"
        } else {
            "free"
        };
        let given = (state.given).map_or_else(String::new, |token| format!(", last token {token}"));
        let used = (state.used).map_or_else(String::new, |token| format!(", token {token} used"));
        format!("{held}{given}{used}")
    }

    fn forget(&mut self, kept: &mut Kept<'_, Self>) {
        kept.processes
            .extend(kept.states.iter().filter_map(|state| state.holder));
    }
}
