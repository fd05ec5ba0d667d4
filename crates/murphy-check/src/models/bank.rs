//! Model `bank`: accounts between which money moves; none is made, none is lost, none is owed.

use smallvec::SmallVec;

use super::words::{number, unknown_f, wrong};
use crate::{
    atoms::{Atom, Atoms},
    model::{Model, Request, Vocabulary},
    value::Value,
};

/// A bank whose balances are unknown until somebody has read them.
#[derive(Clone, Debug, Default)]
pub struct Bank {
    atoms: Atoms,
}

/// Amounts by account, in the order of the accounts' numbers.
pub type Amounts = SmallVec<[(Atom, i64); 8]>;

/// A request to a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `read` of every balance.
    Read,
    /// `transfer`, `{"from": …, "to": …, "amount": …}`.
    Transfer {
        /// The account that pays.
        from: Atom,
        /// The account that is paid.
        to: Atom,
        /// How much, at least 0.
        amount: i64,
    },
}

/// The balances, or what has moved before anybody read them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// Whether `amounts` are balances; changes since the beginning otherwise.
    pub is_known: bool,
    /// Amounts other than 0 by account; every account, where they are balances.
    pub amounts: Amounts,
}

impl Model for Bank {
    type State = State;
    type Ask = Ask;
    /// The balances read; nothing is made of it for a transfer.
    type Answer = Amounts;

    fn initial(&self) -> State {
        State::default()
    }

    fn step(
        &self,
        state: &State,
        ask: &Ask,
        answer: Option<&Amounts>,
        next: &mut dyn FnMut(State),
    ) {
        match (ask, answer) {
            (Ask::Read, None) => next(state.clone()),
            (Ask::Read, Some(balances)) if state.is_known => {
                if *balances == state.amounts {
                    next(state.clone());
                }
            }
            (Ask::Read, Some(balances)) => {
                // Whatever they were in the beginning, every account that has moved must be among them.
                let has = |account| balances.iter().any(|(other, _)| *other == account);
                if state.amounts.iter().all(|(account, _)| has(*account)) && !is_owed(balances) {
                    next(State {
                        is_known: true,
                        amounts: balances.clone(),
                    });
                }
            }
            (Ask::Transfer { from, to, amount }, _) => {
                let mut after = state.clone();
                let moved =
                    add(&mut after, *from, -amount).and_then(|()| add(&mut after, *to, *amount));
                if moved.is_some() && !(after.is_known && is_owed(&after.amounts)) {
                    next(after);
                }
            }
        }
    }

    fn is_read(&self, ask: &Ask, answer: Option<&Amounts>) -> bool {
        // The first answer settles what the balances are.
        *ask == Ask::Read && answer.is_none()
    }

    fn state_bytes(&self, state: &State) -> usize {
        let spilled = state.amounts.spilled();
        size_of_val(state)
            + if spilled {
                state.amounts.capacity() * 16
            } else {
                0
            }
    }

    fn tells(&self, ask: &Ask, _: &Amounts) -> bool {
        *ask == Ask::Read
    }
}

fn is_owed(balances: &Amounts) -> bool {
    balances.iter().any(|(_, amount)| *amount < 0)
}

/// Adds to an account; `None` where balances are known and it is not among them.
fn add(state: &mut State, account: Atom, amount: i64) -> Option<()> {
    match state
        .amounts
        .binary_search_by_key(&account, |(account, _)| *account)
    {
        Ok(place) => {
            let balance = &mut state.amounts[place].1;
            *balance = balance.wrapping_add(amount);
            if *balance == 0 && !state.is_known {
                state.amounts.remove(place);
            }
        }
        Err(_) if state.is_known => return None,
        Err(place) if amount != 0 => state.amounts.insert(place, (account, amount)),
        Err(_) => {}
    }
    Some(())
}

impl Vocabulary for Bank {
    const NAME: &'static str = "bank";

    fn ask(&mut self, request: Request<'_>) -> Result<Ask, Box<str>> {
        match request.f {
            "read" => Ok(Ask::Read),
            "transfer" => {
                let field = |name| request.value.field(name);
                let (Some(from), Some(to), Some(amount)) =
                    (field("from"), field("to"), field("amount"))
                else {
                    return wrong("transfer", "from, to and amount", request.value);
                };
                let amount = number("transfer", amount)?;
                if amount < 0 {
                    return wrong("transfer", "an amount of at least 0", request.value);
                }
                Ok(Ask::Transfer {
                    from: self.account(from),
                    to: self.account(to),
                    amount,
                })
            }
            f => unknown_f(f, Self::NAME, "read and transfer"),
        }
    }

    fn answer(&mut self, ask: &Ask, value: &Value) -> Result<Amounts, Box<str>> {
        if let Ask::Transfer { .. } = ask {
            return Ok(Amounts::new());
        }
        let Value::Map(entries) = value else {
            return wrong("read", "a balance for each account", value);
        };
        let mut balances = Amounts::new();
        for (account, balance) in entries {
            let account = self.account(account);
            balances.push((account, number("read", balance)?));
        }
        balances.sort_unstable();
        if balances.windows(2).any(|two| two[0].0 == two[1].0) {
            return wrong("read", "each account once", value);
        }
        Ok(balances)
    }

    fn say_ask(&self, ask: &Ask) -> String {
        match ask {
            Ask::Read => "read".into(),
            Ask::Transfer { from, to, amount } => {
                format!(
                    "transfer {amount} from {} to {}",
                    self.atoms.value(*from),
                    self.atoms.value(*to)
                )
            }
        }
    }

    fn say_answer(&self, ask: &Ask, answer: &Amounts) -> String {
        match ask {
            Ask::Read => self.say(answer),
            Ask::Transfer { .. } => String::new(),
        }
    }

    fn say_state(&self, state: &State) -> String {
        match (state.is_known, state.amounts.is_empty()) {
            (true, _) => self.say(&state.amounts),
            (false, true) => "balances not read yet".into(),
            (false, false) => format!("moved so far: {}", self.say(&state.amounts)),
        }
    }
}

impl Bank {
    /// The number of an account. Names of fields are text in JSON, so that an account 1 is `1` in a request and `"1"`
    /// among the balances.
    fn account(&mut self, name: &Value) -> Atom {
        let number = name.as_text().and_then(|text| {
            let number: i64 = text.parse().ok()?;
            (number.to_string() == text).then_some(number)
        });
        match number {
            Some(number) => self.atoms.of(&Value::Int(number)),
            None => self.atoms.of(name),
        }
    }

    fn say(&self, amounts: &Amounts) -> String {
        let said: Vec<_> = (amounts.iter())
            .map(|(account, amount)| format!("{}: {amount}", self.atoms.value(*account)))
            .collect();
        format!("{{{}}}", said.join(", "))
    }
}
