//! An HTTP probe asks for a page: `http://HOST:PORT/PATH [method=M] [status=S] [body~PATTERN]`.
//!
//! It passes when the whole answer comes within the limit, with the status that is expected (any 2xx unless something
//! else is said), and with a body as it should be. No redirect is followed, no body is sent, nothing is encrypted.

use std::{fmt, time::Duration};

use murphy_observe::http::{Answer, BadUrl, Method, StatusCode, Url, Waiter, ask, is_path};

use super::{
    grammar::{Misread, word},
    look::{Outcome, Reason, one_line},
    pattern::Expected,
};

/// No more of a body is read and searched.
const BODY_BYTES_MAX: usize = 1 << 20;
const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// A page, and what is expected of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where the server is; the path has a field of its own, because it may have a query.
    pub url: Url,
    /// What is asked for, from its first slash on.
    pub path: String,
    /// How it is asked for.
    pub method: Method,
    /// What must be answered.
    pub statuses: Statuses,
    /// What the body must hold, or must not.
    pub body: Option<Expected>,
}

/// Which statuses are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statuses {
    /// All that begin with this digit, from 1 to 5.
    Class(u16),
    /// This one.
    Exactly(u16),
}

impl Statuses {
    /// Without anything said: it went well.
    const GOOD: Self = Self::Class(2);

    /// Whether a status is one of them.
    pub fn contain(self, status: StatusCode) -> bool {
        match self {
            Self::Class(class) => status.as_u16() / 100 == class,
            Self::Exactly(code) => status.as_u16() == code,
        }
    }

    fn read(text: &str) -> Option<Self> {
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some(Self::Class(class));
        }
        let code = text
            .parse()
            .ok()
            .filter(|code| (100..=599).contains(code))?;
        Some(Self::Exactly(code))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Exactly(code) => code.fmt(f),
        }
    }
}

impl Http {
    pub(super) fn read(text: &str) -> Result<Self, Misread> {
        let (whole, options) = word(text);
        let (url, path) = place(whole).map_err(|bad| Misread::url(text, bad))?;
        if !is_path(path) {
            let at = &text[whole.len() - path.len()..];
            let wrong = "expected a path in ASCII, with %XX for everything else and without #";
            return Err(Misread::at(at, wrong));
        }
        let mut http = Self {
            url,
            path: path.to_owned(),
            method: Method::GET,
            statuses: Statuses::GOOD,
            body: None,
        };
        http.read_options(options)?;
        Ok(http)
    }

    fn read_options(&mut self, options: &str) -> Result<(), Misread> {
        let mut rest = options.trim_start();
        while !rest.is_empty() {
            // A pattern may have blanks: it goes on to the end.
            if let Some(expected) = rest.strip_prefix("body").and_then(Expected::read) {
                let expected = expected.map_err(|wrong| Misread::at(rest, wrong))?;
                if self.method == Method::HEAD {
                    return Err(Misread::at(rest, "an answer to HEAD has no body"));
                }
                self.body = Some(expected);
                return Ok(());
            }
            let (option, behind) = word(rest);
            match option.split_once('=') {
                Some(("method", name)) => {
                    self.method = method(name).map_err(|wrong| Misread::at(rest, wrong))?;
                }
                Some(("status", text)) => {
                    let wrong = "expected a status such as status=204 or status=3xx";
                    self.statuses = Statuses::read(text).ok_or_else(|| Misread::at(rest, wrong))?;
                }
                _ => {
                    let wrong = "expected method=GET, status=200, body~PATTERN or body!~PATTERN";
                    return Err(Misread::at(rest, wrong));
                }
            }
            rest = behind.trim_start();
        }
        Ok(())
    }

    /// Asks for the page once.
    pub(super) fn look(&self, waiter: &Waiter, limit: Duration) -> Outcome {
        let asking = ask(&self.url, self.method.clone(), &self.path, BODY_BYTES_MAX);
        match waiter.within(limit, asking) {
            None => Outcome::failed(
                Reason::TimedOut,
                format!("no whole answer within {limit:?}"),
            ),
            Some(Err(error)) => Outcome::unanswered(&error),
            Some(Ok(answer)) => self.judge(&answer),
        }
    }

    fn judge(&self, answer: &Answer) -> Outcome {
        let said = one_line(&answer.body);
        if !self.statuses.contain(answer.status) {
            return Outcome::failed(Reason::BadStatus, format!("{}: {said}", answer.status));
        }
        match &self.body {
            Some(Expected::Present(pattern)) if !pattern.is_in(&answer.body) => {
                Outcome::failed(Reason::BadBody, format!("no {pattern:?} in: {said}"))
            }
            Some(Expected::Missing(pattern)) if pattern.is_in(&answer.body) => {
                Outcome::failed(Reason::BadBody, format!("{pattern:?} in: {said}"))
            }
            _ => Outcome::PASSED,
        }
    }
}

/// Where a server is, and what it is asked for.
fn place(text: &str) -> Result<(Url, &str), BadUrl> {
    let authority = text.strip_prefix("http://").unwrap_or_default();
    let slash = authority
        .find('/')
        .map(|at| text.len() - authority.len() + at);
    let (at, path) = text.split_at(slash.unwrap_or(text.len()));
    // What is no URL is said as a whole.
    let url = at.parse().map_err(|bad| match bad {
        BadUrl::Form(_) => BadUrl::Form(text.to_owned()),
        BadUrl::Tls(_) => BadUrl::Tls(text.to_owned()),
    })?;
    Ok((url, if path.is_empty() { "/" } else { path }))
}

fn method(name: &str) -> Result<Method, String> {
    let is_it = |method: &Method| method.as_str().eq_ignore_ascii_case(name);
    METHODS.into_iter().find(is_it).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(Method::as_str).collect();
        format!("no method {name:?}: expected one of {}", names.join(", "))
    })
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url, self.path)?;
        if self.method != Method::GET {
            write!(f, " method={}", self.method)?;
        }
        if self.statuses != Statuses::GOOD {
            write!(f, " status={}", self.statuses)?;
        }
        match &self.body {
            Some(expected) => write!(f, " body{expected}"),
            None => Ok(()),
        }
    }
}
