//! What is kept of a campaign: a folder with what was asked for and every trial as soon as it is over, behind which it goes on.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use murphy_amplify::{
    campaign::{
        experiment::Experiment,
        row::{Made, Purpose, Trials, Tried},
        trial::{Looks, TrialError},
    },
    report::{self, BESIDE, CAMPAIGN, Campaign},
};
use serde_json::json;

use crate::{
    exit::Failure,
    output::{self, grouped},
};

/// What trials are written to.
const TRIALS: &str = "trials.jsonl";
/// What a target, its workload and its restart say, in files that may be there before a campaign is.
pub const TARGET_LOG: &str = "target.log";
/// The same of the workload.
pub const WORKLOAD_LOG: &str = "workload.log";
/// The same of what starts a target again.
pub const RESTART_LOG: &str = "restart.log";
/// No trial is longer, in bytes.
const LINE_MAX: u64 = 64 << 20;

/// Trials that are written down as they are made, and not made again.
pub struct Kept<'a> {
    /// Those that are made.
    pub made: Made<'a>,
    /// Those that were.
    pub earlier: Vec<Tried>,
    /// Where they are written.
    pub into: File,
    /// What that is called.
    pub path: PathBuf,
    /// Whether what came of each is said for machines.
    pub json: bool,
    /// How many there are.
    pub count: u64,
}

impl Trials for Kept<'_> {
    fn tried(
        &mut self,
        experiment: &Experiment,
        rate: f64,
        purpose: Purpose,
        looks: &mut Looks,
    ) -> Result<Tried, TrialError> {
        let is_it = |one: &Tried| {
            one.experiment == experiment.name
                && one.rate.to_bits() == rate.to_bits()
                && one.purpose == purpose
        };
        if let Some(place) = self.earlier.iter().position(is_it) {
            return Ok(self.earlier.remove(place));
        }
        self.made.stage.patience.wait(Duration::ZERO)?;
        let tried = self.made.tried(experiment, rate, purpose, looks)?;
        let line = serde_json::to_vec(&tried).map_err(io::Error::from);
        let written = line.and_then(|mut line| {
            line.push(b'\n');
            self.into.write_all(&line)
        });
        written.map_err(|source| TrialError::Kept {
            path: self.path.clone(),
            source,
        })?;
        self.count += 1;
        say_tried(&tried, self.json);
        Ok(tried)
    }
}

/// Where everything goes: what was asked for, or a folder that goes with the campaign. One in which no campaign was begun is left as it
/// was found.
pub struct Folder {
    path: PathBuf,
    /// Held as long as somebody is at work there.
    _lock: File,
    is_made: bool,
    is_begun: bool,
    is_temporary: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of these says nothing that was not said.
        if self.is_temporary {
            let _ = fs::remove_dir_all(&self.path);
        } else if !self.is_begun {
            for name in own() {
                let _ = fs::remove_file(self.path.join(name));
            }
            if self.is_made {
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// What may be in a folder before a campaign is begun there.
fn own() -> [String; 4] {
    let beside = Path::new(CAMPAIGN).with_extension(BESIDE);
    let beside = beside.to_string_lossy().into_owned();
    [TARGET_LOG, WORKLOAD_LOG, RESTART_LOG, &beside].map(str::to_owned)
}

impl Folder {
    /// Opens or makes it. Nobody else is at work there meanwhile.
    pub fn open(asked: Option<&Path>) -> Result<Self, Failure> {
        let temporary =
            || std::env::temp_dir().join(format!("murphy-amplify-{}", std::process::id()));
        let path = asked.map_or_else(temporary, Path::to_owned);
        let refused = |error: io::Error| {
            Failure::machine(format!("make the folder {}: {error}", path.display()))
        };
        let is_made = !path.exists();
        if asked.is_some() {
            fs::create_dir_all(&path).map_err(refused)?;
        } else {
            fs::create_dir(&path).map_err(refused)?;
        }
        let open = |error: io::Error| {
            Failure::machine(format!("open the folder {}: {error}", path.display()))
        };
        let lock = File::open(&path).map_err(open)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::machine(format!(
                    "go on in {}: another `murphy amplify run` is at work there",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(open(error)),
        }
        Ok(Self {
            path,
            _lock: lock,
            is_made,
            // What was there is not taken away before it is known to be nobody's.
            is_begun: !is_made,
            is_temporary: asked.is_none(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was tried there before, and as what it was asked for then; refused where that was something else.
    pub fn earlier(
        &mut self,
        campaign: Campaign,
        seed: Option<u64>,
    ) -> Result<(Campaign, Vec<Tried>), Failure> {
        let head = self.path.join(CAMPAIGN);
        let text = match fs::read(&head) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.is_nobodys()?;
                self.is_begun = false;
                return Ok((campaign, Vec::new()));
            }
            Err(error) => {
                return Err(Failure::input(format!("read {}: {error}", head.display())));
            }
        };
        let before: Campaign = serde_json::from_slice(&text)
            .map_err(|error| Failure::input(format!("read {}: {error}", head.display())))?;
        let no = |why: String| {
            Err(Failure::input(format!(
                "go on in {}: {why}; say the same as then, or another folder",
                self.path.display()
            )))
        };
        if before.asked != campaign.asked {
            return no("another campaign was begun there".into());
        }
        // What was drawn before goes on as it would have.
        if let Some(seed) = seed.filter(|seed| *seed != before.seed) {
            return no(format!(
                "it was begun with --seed {}, and this is --seed {seed}",
                before.seed
            ));
        }
        Ok((before, self.trials()?))
    }

    /// That nothing is there that somebody might want to keep.
    fn is_nobodys(&self) -> Result<(), Failure> {
        let refused = |error: io::Error| {
            Failure::machine(format!("read the folder {}: {error}", self.path.display()))
        };
        let own = own();
        for entry in fs::read_dir(&self.path).map_err(refused)? {
            let name = entry.map_err(refused)?.file_name();
            if !own.iter().any(|own| name == own.as_str()) {
                return Err(Failure::input(format!(
                    "begin in {}: the folder is not empty, and no campaign was begun there",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }

    /// The trials that are whole: a last line that was cut short counts for nothing.
    fn trials(&self) -> Result<Vec<Tried>, Failure> {
        let path = self.path.join(TRIALS);
        let refused =
            |error: io::Error| Failure::machine(format!("read {}: {error}", path.display()));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(refused(error)),
        };
        let (all, whole) = trials(BufReader::new(file)).map_err(|error| match error {
            Unread::Io(error) => refused(error),
            Unread::Wrong(place) => Failure::input(format!("read {}:{place}", path.display()))
                .hint("take the line out, and what it tells is tried again; or say another folder"),
        })?;
        let file = File::options().write(true).open(&path);
        file.and_then(|file| file.set_len(whole)).map_err(refused)?;
        if !all.is_empty() {
            output::note(&format!(
                "murphy: {} of an earlier run in {} are not made again",
                output::plural(all.len() as u64, "trial"),
                self.path.display()
            ));
        }
        Ok(all)
    }

    /// Writes down what is asked for, and opens the file for trials.
    pub fn begin(&mut self, campaign: &Campaign) -> Result<(PathBuf, File), Failure> {
        if !self.is_begun {
            let text = serde_json::to_vec_pretty(campaign).map_err(Failure::machine)?;
            report::write(&self.path.join(CAMPAIGN), &text).map_err(Failure::machine)?;
            self.is_begun = true;
        }
        let path = self.path.join(TRIALS);
        let file = File::options().create(true).append(true).open(&path);
        let file =
            file.map_err(|error| Failure::machine(format!("write {}: {error}", path.display())))?;
        Ok((path, file))
    }
}

/// Why trials cannot be read.
enum Unread {
    Io(io::Error),
    /// What was found, behind its line and column.
    Wrong(String),
}

/// The trials of whole lines, and how long these are in bytes.
fn trials(mut source: impl BufRead) -> Result<(Vec<Tried>, u64), Unread> {
    let (mut all, mut whole, mut line) = (Vec::new(), 0, Vec::new());
    for number in 1_u64.. {
        line.clear();
        let read = source.by_ref().take(LINE_MAX).read_until(b'\n', &mut line);
        let length = read.map_err(Unread::Io)? as u64;
        let wrong = |column: usize, why: &str| Unread::Wrong(format!("{number}:{column}: {why}"));
        if length == LINE_MAX {
            return Err(wrong(1, "the line is longer than 64 MiB: this is no trial"));
        }
        if !line.ends_with(b"\n") {
            break;
        }
        let text = std::str::from_utf8(&line)
            .map_err(|error| wrong(error.valid_up_to() + 1, "expected UTF-8"))?;
        all.push(serde_json::from_str(text).map_err(|error| {
            // It knows of this line alone.
            let said = error.to_string();
            let why = said.rsplit_once(" at line ").map_or(&*said, |(why, _)| why);
            wrong(error.column().max(1), why)
        })?);
        whole += length;
    }
    Ok((all, whole))
}

/// The words Murphy was begun with, without what a row is repeated by, where it goes, and how long all may take.
pub fn words_of(words: impl IntoIterator<Item = String>) -> Vec<String> {
    const LEFT_OUT: [&str; 8] = [
        "--error", "--only", "--first", "--up-to", "--rate", "--seed", "--out", "--budget",
    ];
    let mut all = Vec::new();
    let mut words = words.into_iter();
    let mut is_command = false;
    while let Some(word) = words.next() {
        is_command |= word == "--";
        let name = word.split('=').next().unwrap_or_default();
        if is_command || !LEFT_OUT.contains(&name) {
            all.push(word);
        } else if !word.contains('=') {
            // Its value is a word of its own.
            words.next();
        }
    }
    all
}

fn say_tried(tried: &Tried, json: bool) {
    if json {
        output::json(&json!({"event": "trial", "trial": tried}));
        return;
    }
    output::note(&format!(
        "{} at {:.2} %{}: {}, {} of {} calls hit: {}",
        tried.experiment,
        tried.rate * 100.0,
        match tried.purpose {
            Purpose::Search => "",
            Purpose::Replay => " again",
        },
        tried.verdict,
        grouped(tried.seen.injections),
        grouped(tried.seen.exposures),
        tried.why
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_campaign_are_kept_without_what_differs_from_row_to_row() {
        let words = "murphy amplify run --error fsync=EIO --error=read/socket=EAGAIN --first 1% --up-to=5% --out DIR --probe \
                     up=http://h/?a=b --seed 7 --budget 10s --rate 3% --force -- run --error x";
        let words = words.split(' ').filter(|word| !word.is_empty());
        assert_eq!(
            words_of(words.map(str::to_owned)).join(" "),
            "murphy amplify run --probe up=http://h/?a=b --force -- run --error x"
        );
    }

    #[test]
    fn trials_that_are_damaged_are_told_by_line_and_column_and_half_a_line_is_none() {
        for (text, said) in [
            (
                &b"{\"experiment\": \"a\xFF\"}\n"[..],
                "1:18: expected UTF-8",
            ),
            (b"{\"experiment\": 1}\n", "1:16: invalid type: integer"),
            (b"\n", "1:"),
        ] {
            match trials(text) {
                Err(Unread::Wrong(found)) => assert!(found.starts_with(said), "{found}"),
                _ => panic!("{said}"),
            }
        }
        assert!(matches!(trials(&b"{\"experiment\": \"a\xFF"[..]), Ok((all, 0)) if all.is_empty()));
    }

    #[test]
    fn a_folder_without_a_campaign_is_left_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("out");
        let mut folder = Folder::open(Some(&path)).unwrap();
        folder.is_nobodys().unwrap();
        assert!(
            Folder::open(Some(&path)).is_err(),
            "somebody is at work there"
        );
        folder.is_begun = false;
        fs::write(path.join(TARGET_LOG), "no such library").unwrap();
        drop(folder);
        assert!(!path.exists());
        fs::create_dir(&path).unwrap();
        fs::write(path.join("thesis.txt"), "mine").unwrap();
        let folder = Folder::open(Some(&path)).unwrap();
        assert!(folder.is_nobodys().is_err());
        drop(folder);
        assert!(path.join("thesis.txt").exists());
    }
}
