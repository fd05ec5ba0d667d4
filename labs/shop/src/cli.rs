//! The command line: what people say, and, hidden, what the lab says to the processes that it starts.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use clap::{Parser, Subcommand};
use murphy_fault::keeper;

use crate::{
    lab::{self, Form},
    service::{
        self, CATALOG_TIMEOUT, LOAD_TIMEOUT, ServiceError, catalog,
        database::Database,
        front_end,
        load::{self, Load},
        upstream::Upstream,
    },
};

/// A small real system to break: a front end, two catalogs, a database and a load generator.
#[derive(Debug, Parser)]
#[command(name = "shop", disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Start the shop, wait until an order has gone through, and say what to try.
    Up {
        /// Each service in a named network namespace, or in a container of podman.
        #[arg(long = "in", value_name = "FORM", value_enum, default_value_t)]
        form: Form,
    },
    /// End the shop, and leave nothing of it.
    Down,
    /// Say how every service is.
    Status,
    /// Own a shop in the background.
    #[command(name = lab::OWNER_VERB, hide = true)]
    Owner {
        #[arg(long = "in", value_enum)]
        form: Form,
    },
    /// Keep watch over an owner.
    #[command(name = keeper::VERB, hide = true)]
    Keeper { owner: Vec<String> },
    #[command(hide = true)]
    FrontEnd {
        #[arg(long = "catalog", required = true)]
        catalogs: Vec<Named>,
    },
    #[command(hide = true)]
    Catalog {
        #[arg(long)]
        name: String,
        #[arg(long, value_delimiter = ',', required = true)]
        database: Vec<IpAddr>,
    },
    #[command(hide = true)]
    Load {
        #[arg(long)]
        front_end: Named,
        /// Requests a second.
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=1000))]
        rate: u32,
        /// Where the figures go; standard output by default.
        #[arg(long)]
        figures: Option<PathBuf>,
    },
}

/// `NAME=ADDRESS[,ADDRESS]`.
#[derive(Clone, Debug)]
struct Named {
    name: String,
    addresses: Vec<IpAddr>,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, addresses) = text.split_once('=').ok_or("expected NAME=ADDRESS")?;
        let addresses: Result<Vec<IpAddr>, _> = addresses.split(',').map(str::parse).collect();
        Ok(Self {
            name: name.to_owned(),
            addresses: addresses.map_err(|error| error.to_string())?,
        })
    }
}

impl Cli {
    /// Does what was asked; what failed is a fragment that reads after "failed to".
    pub fn run(self) -> Result<(), String> {
        let said = |error: ServiceError| error.to_string();
        match self.verb {
            Verb::Up { form } => lab::up(form).map_err(|error| error.to_string()),
            Verb::Down => lab::down().map_err(|error| error.to_string()),
            Verb::Status => lab::status().map_err(|error| error.to_string()),
            Verb::Owner { form } => lab::own(form).map_err(|error| error.to_string()),
            Verb::Keeper { owner } => keeper::run(&owner).map_err(|error| error.to_string()),
            Verb::FrontEnd { catalogs } => {
                let catalogs = catalogs
                    .into_iter()
                    .map(|one| Upstream::new(one.name, one.addresses, CATALOG_TIMEOUT))
                    .collect();
                service::run(front_end::run(catalogs)).map_err(said)
            }
            Verb::Catalog { name, database } => {
                service::run(catalog::run(name, Database::at(&database))).map_err(said)
            }
            Verb::Load {
                front_end,
                rate,
                figures,
            } => {
                let front_end = Upstream::new(front_end.name, front_end.addresses, LOAD_TIMEOUT);
                let load = Load {
                    front_end,
                    rate,
                    figures,
                };
                service::run(load::run(load)).map_err(said)
            }
        }
    }
}
